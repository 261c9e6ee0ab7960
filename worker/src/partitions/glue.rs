//! Glue's API: the only place of the worker that knows its types. It decides nothing.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_glue::Client;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::config::timeout::TimeoutConfig;
use aws_sdk_glue::config::{Builder, Config, Credentials as Keys, Region};
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::types::{
    BatchUpdatePartitionRequestEntry, ErrorDetail, Partition, PartitionInput, PartitionValueList, StorageDescriptor,
};

use super::Settings;
use crate::dial;
use crate::error::line;
use crate::metrics::PartitionMetrics;
use crate::store::Credentials;

/// Partitions that Glue takes in one call.
pub(super) const BATCH: usize = 100;
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a message of AWS that are kept.
const MAX_MESSAGE: usize = 300;

/// A client for the tables of one pipeline.
#[derive(Debug)]
pub(super) struct Glue {
    client: Client,
    catalog_id: Option<String>,
    database: String,
    metrics: PartitionMetrics,
}

/// A call that Glue did not serve, or one entry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) operation: &'static str,
    pub(super) code: String,
    pub(super) message: String,
}

/// How the partitions of a table are described.
#[derive(Debug)]
pub(super) struct TableDescriptor {
    /// Names of the partition keys.
    pub(super) keys: Vec<String>,
    /// Where the table lies.
    pub(super) location: String,
    storage: StorageDescriptor,
}

/// A partition to write: its values and its location.
#[derive(Debug, Clone)]
pub(super) struct NewPartition {
    pub(super) values: Vec<String>,
    pub(super) location: String,
}

/// What became of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is registered by this call.
    Created,
    /// It was registered before.
    Exists,
    /// It was not taken.
    Failed(Failure),
}

/// What Glue has of a partition.
#[derive(Debug)]
pub(super) struct Registered {
    partition: Partition,
}

impl Failure {
    /// Returns whether credentials or policy forbid the call.
    pub(super) fn is_about_access(&self) -> bool {
        ["AccessDenied", "UnrecognizedClient", "ExpiredToken", "InvalidSignature"].iter().any(|start| self.code.starts_with(start))
    }

    /// Returns whether Glue will not take it as it is.
    pub(super) fn is_about_input(&self) -> bool {
        ["InvalidInputException", "ValidationException"].contains(&self.code.as_str())
    }
}

impl Glue {
    /// Returns a client; connects to nothing yet.
    pub(super) async fn connect(settings: &Settings, metrics: PartitionMetrics) -> Self {
        let region = Region::new(settings.region.clone());
        let builder = match &settings.credentials {
            Credentials::Chain => Builder::from(&aws_config::defaults(BehaviorVersion::latest()).region(region).load().await),
            Credentials::Static { access_key_id, secret_access_key, session_token } => {
                let keys = Keys::new(access_key_id, secret_access_key, session_token.clone(), None, "pipeline");
                Config::builder().behavior_version(BehaviorVersion::latest()).region(region).credentials_provider(keys)
            }
            Credentials::Anonymous => Config::builder().behavior_version(BehaviorVersion::latest()).region(region).allow_no_auth(),
        };
        let timeouts = TimeoutConfig::builder().connect_timeout(CALL_TIMEOUT / 2).operation_timeout(CALL_TIMEOUT).build();
        // The registrar repeats: it knows what else there is to do.
        let mut builder = builder.retry_config(RetryConfig::disabled()).timeout_config(timeouts).http_client(dial::aws_client());
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let (catalog_id, database) = (settings.catalog_id.clone(), settings.database.clone());
        Self { client: Client::from_conf(builder.build()), catalog_id, database, metrics }
    }

    /// Returns how a table's partitions are described; None where there is no such table.
    pub(super) async fn table(&self, name: &str) -> Result<Option<TableDescriptor>, Failure> {
        let request = self.client.get_table().set_catalog_id(self.catalog_id.clone()).database_name(&self.database).name(name);
        let answer = match self.call("GetTable", request.send()).await {
            Err(failure) if failure.code == "EntityNotFoundException" => return Ok(None),
            other => other?,
        };
        Ok(answer.table.map(|table| {
            let storage = table.storage_descriptor.unwrap_or_else(|| StorageDescriptor::builder().build());
            TableDescriptor {
                keys: table.partition_keys.unwrap_or_default().iter().map(|key| key.name().to_owned()).collect(),
                location: storage.location.clone().unwrap_or_default(),
                storage,
            }
        }))
    }

    /// Registers partitions, [`BATCH`] at most, and returns what became of each.
    pub(super) async fn create(
        &self,
        table: &str,
        descriptor: &TableDescriptor,
        partitions: &[NewPartition],
    ) -> Result<Vec<Outcome>, Failure> {
        let operation = "BatchCreatePartition";
        let inputs = partitions.iter().map(|partition| input(descriptor, partition, None)).collect();
        let request = self
            .client
            .batch_create_partition()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(&self.database)
            .table_name(table)
            .set_partition_input_list(Some(inputs));
        let answer = self.call(operation, request.send()).await?;
        let errors: HashMap<&[String], &ErrorDetail> =
            answer.errors().iter().filter_map(|error| Some((error.partition_values(), error.error_detail()?))).collect();
        let outcome = |partition: &NewPartition| match errors.get(partition.values.as_slice()) {
            None => Outcome::Created,
            Some(detail) if detail.error_code() == Some("AlreadyExistsException") => Outcome::Exists,
            Some(detail) => Outcome::Failed(entry_failure(operation, detail)),
        };
        Ok(partitions.iter().map(outcome).collect())
    }

    /// Returns what Glue has of partitions, [`BATCH`] at most, by their values.
    pub(super) async fn find(&self, table: &str, partitions: &[NewPartition]) -> Result<HashMap<Vec<String>, Registered>, Failure> {
        let operation = "BatchGetPartition";
        let lists = partitions.iter().map(|partition| PartitionValueList::builder().set_values(Some(partition.values.clone())).build());
        let lists: Result<Vec<_>, _> = lists.collect();
        let lists = lists.map_err(|error| Failure { operation, code: "request".to_owned(), message: error.to_string() })?;
        let request = self
            .client
            .batch_get_partition()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(&self.database)
            .table_name(table)
            .set_partitions_to_get(Some(lists));
        let answer = self.call(operation, request.send()).await?;
        if !answer.unprocessed_keys().is_empty() {
            let message = format!("{} partitions were not looked up", answer.unprocessed_keys().len());
            return Err(Failure { operation, code: "unprocessed".to_owned(), message });
        }
        let found = answer.partitions.unwrap_or_default();
        Ok(found.into_iter().map(|partition| (partition.values().to_vec(), Registered { partition })).collect())
    }

    /// Gives registered partitions, [`BATCH`] at most, the table's descriptor and their own locations, and returns why each was not taken. What
    /// others keep in them stays; one that is gone is fine.
    pub(super) async fn update(
        &self,
        table: &str,
        descriptor: &TableDescriptor,
        partitions: &[(&NewPartition, &Registered)],
    ) -> Result<Vec<Option<Failure>>, Failure> {
        let operation = "BatchUpdatePartition";
        let mut entries = Vec::with_capacity(partitions.len());
        for (partition, registered) in partitions {
            let entry = BatchUpdatePartitionRequestEntry::builder()
                .set_partition_value_list(Some(partition.values.clone()))
                .partition_input(input(descriptor, partition, Some(&registered.partition)))
                .build();
            entries.push(entry.map_err(|error| Failure { operation, code: "request".to_owned(), message: error.to_string() })?);
        }
        let request = self
            .client
            .batch_update_partition()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(&self.database)
            .table_name(table)
            .set_entries(Some(entries));
        let answer = self.call(operation, request.send()).await?;
        let errors: HashMap<&[String], &ErrorDetail> =
            answer.errors().iter().filter_map(|error| Some((error.partition_value_list(), error.error_detail()?))).collect();
        let failure = |(partition, _): &(&NewPartition, &Registered)| {
            let detail = errors.get(partition.values.as_slice()).filter(|detail| detail.error_code() != Some("EntityNotFoundException"))?;
            Some(entry_failure(operation, detail))
        };
        Ok(partitions.iter().map(failure).collect())
    }

    /// The SDK's futures have some 20 KB each, in every future around them, too.
    fn call<T, E>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> impl Future<Output = Result<T, Failure>>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.in_time(operation, Box::pin(request))
    }

    async fn in_time<T, E>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let result = match tokio::time::timeout(CALL_TIMEOUT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure(operation, &error)),
            Err(_) => Err(Failure { operation, code: "timeout".to_owned(), message: "there was no answer in time".to_owned() }),
        };
        self.metrics.request(operation, result.as_ref().err().map_or("200", |failure| failure.code.as_str()));
        result
    }
}

impl Registered {
    /// Returns whether readers see the partition as they see the table: at its place, with the same columns, formats and reader.
    pub(super) fn follows(&self, descriptor: &TableDescriptor, location: &str) -> bool {
        let Some(found) = self.partition.storage_descriptor() else { return false };
        let wanted = &descriptor.storage;
        let columns = |storage: &StorageDescriptor| {
            storage.columns().iter().map(|column| (column.name().to_owned(), column.r#type().map(str::to_lowercase))).collect::<Vec<_>>()
        };
        let serde = |storage: &StorageDescriptor| {
            storage.serde_info().map(|serde| (serde.serialization_library.clone(), serde.parameters.clone().unwrap_or_default()))
        };
        let place = |location: &str| location.trim_end_matches('/').to_owned();
        columns(found) == columns(wanted)
            && found.input_format() == wanted.input_format()
            && serde(found) == serde(wanted)
            && place(found.location().unwrap_or_default()) == place(location)
    }
}

fn input(descriptor: &TableDescriptor, partition: &NewPartition, found: Option<&Partition>) -> PartitionInput {
    let mut storage = descriptor.storage.clone();
    storage.location = Some(partition.location.clone());
    PartitionInput::builder()
        .set_values(Some(partition.values.clone()))
        .set_parameters(found.and_then(|found| found.parameters.clone()))
        .set_last_access_time(found.and_then(|found| found.last_access_time))
        .set_last_analyzed_time(found.and_then(|found| found.last_analyzed_time))
        .storage_descriptor(storage)
        .build()
}

fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error.as_service_error() {
        Some(answer) => Failure {
            operation,
            code: answer.code().unwrap_or("unknown").to_owned(),
            message: tidy(answer.message().unwrap_or("AWS says no more")),
        },
        None => Failure { operation, code: "transport".to_owned(), message: tidy(&line(error)) },
    }
}

fn entry_failure(operation: &'static str, detail: &ErrorDetail) -> Failure {
    Failure {
        operation,
        code: detail.error_code().unwrap_or("unknown").to_owned(),
        message: tidy(detail.error_message().unwrap_or("AWS says no more")),
    }
}

fn tidy(message: &str) -> String {
    let letters = message.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    letters.take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Timing;
    use super::*;
    use crate::metrics::Registry;

    #[tokio::test]
    async fn a_name_that_leads_to_a_metadata_address_is_not_called() {
        // The system reads the number as 169.254.169.254, so that no server of names is needed.
        let settings = Settings {
            region: "us-east-1".to_owned(),
            endpoint: Some("http://2852039166".to_owned()),
            catalog_id: None,
            credentials: Credentials::Static { access_key_id: "id".to_owned(), secret_access_key: "key".to_owned(), session_token: None },
            bucket: "b".to_owned(),
            database: "d".to_owned(),
            tables: Vec::new(),
            timing: Timing::default(),
        };
        let glue = Glue::connect(&settings, PartitionMetrics::register(&mut Registry::new("sink"))).await;
        let failure = glue.table("t").await.unwrap_err();
        assert!(failure.message.contains("link-local or metadata"), "{failure:?}");
    }
}
