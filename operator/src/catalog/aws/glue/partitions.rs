//! The registered partitions of a table, as far as they have to follow the table's columns.

use aws_sdk_glue::types::{BatchUpdatePartitionRequestEntry, Partition, PartitionInput, SerDeInfo, StorageDescriptor};

use super::table::{column, with_descriptor};
use super::{Glue, impossible, tree_map};
use crate::catalog::aws::{Failure, tidy};
use crate::catalog::decide::{TableInput, descriptor_hash};

/// Partitions that Glue takes in one call.
pub const BATCH: usize = 100;

/// One page of the partitions of a table.
#[derive(Debug)]
pub struct Page {
    /// Partitions whose descriptor is not the table's.
    pub stale: Vec<Stale>,
    /// Number of partitions on the page.
    pub partitions: usize,
    /// Where the next page starts; None after the last one.
    pub next: Option<String>,
}

/// A partition whose descriptor is not the table's.
#[derive(Debug)]
pub struct Stale(Partition);

/// A partition that Glue did not take, while it took others of the same call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPartition {
    /// Its values.
    pub values: Vec<String>,
    /// AWS' code.
    pub code: String,
    /// AWS' message.
    pub message: String,
}

impl Glue {
    /// Returns one page of the partitions of a table, compared with it.
    ///
    /// # Errors
    /// [`Failure`] of the call; a token that has expired is [`FailureKind::Invalid`].
    pub async fn partitions(&self, database: &str, table: &TableInput, token: Option<String>) -> Result<Page, Failure> {
        let request = self
            .client
            .get_partitions()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(database)
            .table_name(&table.name)
            .set_next_token(token);
        let answer = self.caller.call("GetPartitions", request.send()).await?;
        let next = answer.next_token.filter(|token| !token.is_empty());
        let found = answer.partitions.unwrap_or_default();
        let wanted = descriptor_hash(table);
        let partitions = found.len();
        let stale = found.into_iter().filter(|partition| descriptor_hash(&described(partition)) != wanted).map(Stale).collect();
        Ok(Page { stale, partitions, next })
    }

    /// Gives partitions, at most [`BATCH`], the table's columns, formats and reader. Their locations and parameters stay; one that is gone is
    /// fine. Returns those that Glue did not take.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn update_partitions(&self, database: &str, table: &TableInput, stale: &[Stale]) -> Result<Vec<RefusedPartition>, Failure> {
        let operation = "BatchUpdatePartition";
        let mut request =
            self.client.batch_update_partition().set_catalog_id(self.catalog_id.clone()).database_name(database).table_name(&table.name);
        for Stale(partition) in stale {
            let location = partition.storage_descriptor().and_then(StorageDescriptor::location).unwrap_or_default();
            let target = TableInput { location: location.to_owned(), ..table.clone() };
            let descriptor = with_descriptor(partition.storage_descriptor(), &target).map_err(|error| impossible(operation, &error))?;
            let input = PartitionInput::builder()
                .set_values(partition.values.clone())
                .set_last_access_time(partition.last_access_time)
                .set_parameters(partition.parameters.clone())
                .set_last_analyzed_time(partition.last_analyzed_time)
                .storage_descriptor(descriptor)
                .build();
            let entry = BatchUpdatePartitionRequestEntry::builder()
                .set_partition_value_list(Some(partition.values().to_vec()))
                .partition_input(input)
                .build();
            request = request.entries(entry.map_err(|error| impossible(operation, &error))?);
        }
        let answer = self.caller.call(operation, request.send()).await?;
        let refused = answer.errors().iter().filter_map(|entry| {
            let detail = entry.error_detail()?;
            let code = detail.error_code().unwrap_or("unknown");
            (code != "EntityNotFoundException").then(|| RefusedPartition {
                values: entry.partition_value_list().to_vec(),
                code: code.to_owned(),
                message: tidy(detail.error_message().unwrap_or_default()),
            })
        });
        Ok(refused.collect())
    }
}

/// Returns the fields of a partition that follow its table's.
fn described(partition: &Partition) -> TableInput {
    let descriptor = partition.storage_descriptor();
    let serde = descriptor.and_then(StorageDescriptor::serde_info);
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    TableInput {
        columns: descriptor.map(|descriptor| descriptor.columns().iter().map(column).collect()).unwrap_or_default(),
        input_format: text(descriptor.and_then(StorageDescriptor::input_format)),
        output_format: text(descriptor.and_then(StorageDescriptor::output_format)),
        serde_library: text(serde.and_then(SerDeInfo::serialization_library)),
        serde_parameters: tree_map(serde.and_then(SerDeInfo::parameters)),
        ..TableInput::default()
    }
}
