//! The partition indexes of a table.

use aws_sdk_glue::types::{BackfillErrorCode, PartitionIndex, PartitionIndexDescriptor, PartitionIndexStatus};

use super::{Glue, impossible};
use crate::catalog::aws::Failure;
use crate::catalog::decide::{FoundIndex, IndexState, index_name};

impl Glue {
    /// Returns the partition indexes of a table. Glue takes three of them, so that there is no second page.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn indexes(&self, database: &str, table: &str) -> Result<Vec<FoundIndex>, Failure> {
        let request = self.client.get_partition_indexes().set_catalog_id(self.catalog_id.clone()).database_name(database).table_name(table);
        let answer = self.caller.call("GetPartitionIndexes", request.send()).await?;
        Ok(answer.partition_index_descriptor_list().iter().map(found).collect())
    }

    /// Has an index made of the partitions that are there: Glue goes on with it after its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call; while another one is being made or deleted it is refused.
    pub async fn create_index(&self, database: &str, table: &str, keys: &[String]) -> Result<(), Failure> {
        let operation = "CreatePartitionIndex";
        let request = self
            .client
            .create_partition_index()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(database)
            .table_name(table)
            .partition_index(index(operation, keys)?);
        self.caller.call(operation, request.send()).await.map(drop)
    }
}

/// Returns an index of some keys as Glue takes it.
pub(super) fn index(operation: &'static str, keys: &[String]) -> Result<PartitionIndex, Failure> {
    let index = PartitionIndex::builder().index_name(index_name(keys)).set_keys(Some(keys.to_vec())).build();
    index.map_err(|error| impossible(operation, &error))
}

fn found(index: &PartitionIndexDescriptor) -> FoundIndex {
    let state = match index.index_status() {
        PartitionIndexStatus::Creating => IndexState::Creating,
        PartitionIndexStatus::Deleting => IndexState::Deleting,
        PartitionIndexStatus::Failed => IndexState::Failed(reasons(index)),
        // What a newer Glue says more is not for this operator to mend.
        _ => IndexState::Active,
    };
    let keys = index.keys().iter().map(|key| key.name().to_owned()).collect();
    FoundIndex { name: index.index_name().to_owned(), keys, state }
}

fn reasons(index: &PartitionIndexDescriptor) -> String {
    let codes = index.backfill_errors().iter().filter_map(|error| error.code()).map(BackfillErrorCode::as_str);
    let codes: Vec<&str> = codes.collect();
    if codes.is_empty() { "Glue gives no reason".to_owned() } else { codes.join(", ") }
}
