//! Athena's API: the only place of the operator that knows its types. It decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_athena::Client;
use aws_sdk_athena::config::Builder;
use aws_sdk_athena::types::{
    NamedQuery, QueryExecutionContext, QueryExecutionState, ResultConfiguration, ResultConfigurationUpdates, Tag, WorkGroupConfiguration,
    WorkGroupConfigurationUpdates,
};
use tokio::time::Instant;

use crate::catalog::aws::{Caller, Failure, FailureKind, GuardWrites, absent, tidy};
use crate::catalog::decide::{FoundQuery, FoundWorkgroup, WantedQuery, WantedWorkgroup};
use crate::process::fence::Fence;

/// Saved queries that Athena takes in one call.
pub const BATCH: usize = 50;
/// How long one view may take.
const RUN_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before the first look at a running statement; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two looks at a running statement.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Category of a failed statement that is Athena's own fault.
const SYSTEM_ERROR: i32 = 1;

/// A client of Athena for one place.
#[derive(Debug, Clone)]
pub struct AthenaClient(Client);

/// Athena, as one look at a pipeline's catalogue calls it.
#[derive(Debug, Clone)]
pub struct Athena {
    client: Client,
    caller: Caller,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// It did what it says.
    Succeeded,
    /// Athena does not take it.
    Refused(String),
    /// Athena failed, or stopped it: another try may succeed.
    Failed(String),
    /// It was still at work when nobody could wait any longer.
    Unfinished,
}

impl AthenaClient {
    /// Returns a client whose writes leave only while a fence is open; connects to nothing yet.
    #[must_use]
    pub fn new(configuration: &SdkConfig, endpoint: Option<&str>, fence: &Fence) -> Self {
        let mut builder = Builder::from(configuration).interceptor(GuardWrites(fence.clone()));
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self(Client::from_conf(builder.build()))
    }

    /// Returns Athena for one look at a pipeline's catalogue.
    #[must_use]
    pub fn with(&self, caller: Caller) -> Athena {
        Athena { client: self.0.clone(), caller }
    }
}

impl Athena {
    /// Returns a workgroup, if it is there.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn workgroup(&self, name: &str) -> Result<Option<FoundWorkgroup>, Failure> {
        let answer = absent(self.caller.call("GetWorkGroup", self.client.get_work_group().work_group(name).send()).await)?;
        Ok(answer.and_then(|answer| answer.work_group).map(|group| {
            let configuration = group.configuration();
            FoundWorkgroup {
                description: group.description().map(str::to_owned),
                output_location: configuration
                    .and_then(WorkGroupConfiguration::result_configuration)
                    .and_then(ResultConfiguration::output_location)
                    .filter(|location| !location.is_empty())
                    .map(str::to_owned),
                bytes_scanned_cutoff: configuration.and_then(WorkGroupConfiguration::bytes_scanned_cutoff_per_query),
            }
        }))
    }

    /// Makes a workgroup. Its settings bind whoever queries in it, so that the cut-off is one.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn create_workgroup(&self, wanted: &WantedWorkgroup, tags: &BTreeMap<String, String>) -> Result<(), Failure> {
        let result = wanted.output_location.as_ref().map(|location| ResultConfiguration::builder().output_location(location).build());
        let configuration = WorkGroupConfiguration::builder()
            .set_result_configuration(result)
            .set_bytes_scanned_cutoff_per_query(wanted.bytes_scanned_cutoff)
            .enforce_work_group_configuration(true)
            .publish_cloud_watch_metrics_enabled(true)
            .build();
        let tags: Vec<Tag> = tags.iter().map(|(name, value)| Tag::builder().key(name).value(value).build()).collect();
        let request = self
            .client
            .create_work_group()
            .name(&wanted.name)
            .description(&wanted.description)
            .configuration(configuration)
            .set_tags(Some(tags).filter(|tags| !tags.is_empty()));
        self.caller.call("CreateWorkGroup", request.send()).await.map(drop)
    }

    /// Sets a workgroup right.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn update_workgroup(&self, wanted: &WantedWorkgroup) -> Result<(), Failure> {
        let result =
            wanted.output_location.as_ref().map(|location| ResultConfigurationUpdates::builder().output_location(location).build());
        let updates = WorkGroupConfigurationUpdates::builder()
            .set_result_configuration_updates(result)
            .set_bytes_scanned_cutoff_per_query(wanted.bytes_scanned_cutoff)
            .set_remove_bytes_scanned_cutoff_per_query(wanted.bytes_scanned_cutoff.is_none().then_some(true))
            .build();
        let request = self.client.update_work_group().work_group(&wanted.name).configuration_updates(updates);
        self.caller.call("UpdateWorkGroup", request.send()).await.map(drop)
    }

    /// Deletes a workgroup that holds nothing; one that is gone is fine. Athena refuses one that holds something.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn delete_workgroup(&self, name: &str) -> Result<(), Failure> {
        let request = self.client.delete_work_group().work_group(name).recursive_delete_option(false);
        absent(self.caller.call("DeleteWorkGroup", request.send()).await).map(drop)
    }

    /// Returns the saved queries with some ids; those that are gone are left out.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    pub async fn queries(&self, ids: &[String]) -> Result<Vec<FoundQuery>, Failure> {
        let mut queries = Vec::with_capacity(ids.len());
        for ids in ids.chunks(BATCH) {
            match self.query_batch(ids).await {
                Ok(found) => queries.extend(found),
                // Emulators know one at a time, and fail at the rest.
                Err(failure) if failure.kind == FailureKind::Unavailable => {
                    for id in ids {
                        queries.extend(self.query(id).await?);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(queries)
    }

    async fn query_batch(&self, ids: &[String]) -> Result<Vec<FoundQuery>, Failure> {
        if let [id] = ids {
            return Ok(self.query(id).await?.into_iter().collect());
        }
        let request = self.client.batch_get_named_query().set_named_query_ids(Some(ids.to_vec()));
        let answer = self.caller.call("BatchGetNamedQuery", request.send()).await?;
        Ok(answer.named_queries().iter().map(found).collect())
    }

    async fn query(&self, id: &str) -> Result<Option<FoundQuery>, Failure> {
        let answer = absent(self.caller.call("GetNamedQuery", self.client.get_named_query().named_query_id(id).send()).await)?;
        Ok(answer.and_then(|answer| answer.named_query).map(|query| found(&query)))
    }

    /// Returns one page of the ids of a workgroup's saved queries, and where the next page starts.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn query_ids(&self, workgroup: &str, token: Option<String>) -> Result<(Vec<String>, Option<String>), Failure> {
        let request = self.client.list_named_queries().work_group(workgroup).set_next_token(token);
        let Some(answer) = absent(self.caller.call("ListNamedQueries", request.send()).await)? else { return Ok((Vec::new(), None)) };
        Ok((answer.named_query_ids.unwrap_or_default(), answer.next_token.filter(|token| !token.is_empty())))
    }

    /// Saves a query and returns its id. A second request with the same token gives the id of the first.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn create_query(&self, query: &WantedQuery, database: &str, workgroup: &str, token: String) -> Result<String, Failure> {
        let operation = "CreateNamedQuery";
        let request = self
            .client
            .create_named_query()
            .name(&query.name)
            .description(&query.description)
            .database(database)
            .query_string(&query.sql)
            .work_group(workgroup)
            .client_request_token(token);
        let answer = self.caller.call(operation, request.send()).await?;
        answer.named_query_id.ok_or_else(|| Failure {
            operation,
            kind: FailureKind::Unavailable,
            code: "transport".to_owned(),
            message: "the answer holds no id".to_owned(),
        })
    }

    /// Writes a saved query.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn update_query(&self, id: &str, query: &WantedQuery) -> Result<(), Failure> {
        let request =
            self.client.update_named_query().named_query_id(id).name(&query.name).description(&query.description).query_string(&query.sql);
        self.caller.call("UpdateNamedQuery", request.send()).await.map(drop)
    }

    /// Deletes a saved query; one that is gone is fine.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn delete_query(&self, id: &str) -> Result<(), Failure> {
        absent(self.caller.call("DeleteNamedQuery", self.client.delete_named_query().named_query_id(id).send()).await).map(drop)
    }

    /// Runs a statement and waits until it has ended, or nobody can wait any longer.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    pub async fn run(&self, statement: &str, database: &str, workgroup: &WantedWorkgroup) -> Result<Run, Failure> {
        let result = workgroup.output_location.as_ref().map(|location| ResultConfiguration::builder().output_location(location).build());
        let request = self
            .client
            .start_query_execution()
            .query_string(statement)
            .query_execution_context(QueryExecutionContext::builder().database(database).build())
            .work_group(&workgroup.name)
            .set_result_configuration(result);
        let answer = match self.caller.call("StartQueryExecution", request.send()).await {
            Ok(answer) => answer,
            // What Athena cannot parse it refuses at once.
            Err(failure) if failure.kind == FailureKind::Invalid => return Ok(Run::Refused(failure.message)),
            Err(failure) => return Err(failure),
        };
        let Some(id) = answer.query_execution_id else { return Ok(Run::Failed("the answer holds no id".to_owned())) };
        let until = self.caller.deadline.min(Instant::now() + RUN_TIMEOUT);
        let mut pause = FIRST_PAUSE;
        loop {
            if Instant::now() + pause >= until {
                return Ok(Run::Unfinished);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(run) = self.outcome(&id).await? {
                return Ok(run);
            }
        }
    }

    /// Returns how a statement ended; None while it is at work.
    async fn outcome(&self, id: &str) -> Result<Option<Run>, Failure> {
        let request = self.client.get_query_execution().query_execution_id(id);
        let answer = self.caller.call("GetQueryExecution", request.send()).await?;
        let Some(status) = answer.query_execution().and_then(|execution| execution.status()) else { return Ok(None) };
        let reason = tidy(status.state_change_reason().unwrap_or("Athena gives no reason"));
        Ok(match status.state() {
            Some(QueryExecutionState::Succeeded) => Some(Run::Succeeded),
            Some(QueryExecutionState::Cancelled) => Some(Run::Failed(reason)),
            Some(QueryExecutionState::Failed) => {
                let passes = status.athena_error().is_some_and(|error| error.retryable() || error.error_category() == Some(SYSTEM_ERROR));
                Some(if passes { Run::Failed(reason) } else { Run::Refused(reason) })
            }
            _ => None,
        })
    }
}

fn found(query: &NamedQuery) -> FoundQuery {
    FoundQuery {
        id: query.named_query_id().unwrap_or_default().to_owned(),
        name: query.name().to_owned(),
        description: query.description().map(str::to_owned),
        database: query.database().to_owned(),
        sql: query.query_string().to_owned(),
        workgroup: query.work_group().unwrap_or_default().to_owned(),
    }
}
