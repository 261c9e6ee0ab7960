//! Glue's API: the only place of the operator that knows its types. It decides nothing.

mod crawler;
mod indexes;
mod partitions;
mod table;

use std::collections::{BTreeMap, HashMap};

use aws_config::SdkConfig;
use aws_sdk_glue::Client;
use aws_sdk_glue::config::Builder;
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::DatabaseInput;

use crate::catalog::aws::{Caller, Failure, FailureKind, GuardWrites, absent};
use crate::catalog::decide::{FoundDatabase, TableInput, owner_mark};
use crate::process::fence::Fence;

pub use partitions::{BATCH, Page, RefusedPartition, Stale};
pub use table::GlueTable;

/// A client of Glue for one place.
#[derive(Debug, Clone)]
pub struct GlueClient(Client);

/// Glue, as one look at a pipeline's catalogue calls it.
#[derive(Debug, Clone)]
pub struct Glue {
    client: Client,
    caller: Caller,
    catalog_id: Option<String>,
}

impl GlueClient {
    /// Returns a client whose writes leave only while a fence is open; connects to nothing yet.
    #[must_use]
    pub fn new(configuration: &SdkConfig, endpoint: Option<&str>, fence: &Fence) -> Self {
        let mut builder = Builder::from(configuration).interceptor(GuardWrites(fence.clone()));
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self(Client::from_conf(builder.build()))
    }

    /// Returns Glue for one look at a pipeline's catalogue.
    #[must_use]
    pub fn with(&self, caller: Caller, catalog_id: Option<String>) -> Glue {
        Glue { client: self.0.clone(), caller, catalog_id }
    }
}

impl Glue {
    /// Returns when no call may go on any more.
    #[must_use]
    pub fn deadline(&self) -> tokio::time::Instant {
        self.caller.deadline
    }

    /// Returns a database, if it is there.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn database(&self, name: &str) -> Result<Option<FoundDatabase>, Failure> {
        let request = self.client.get_database().set_catalog_id(self.catalog_id.clone()).name(name);
        let Some(answer) = absent(self.caller.call("GetDatabase", request.send()).await)? else { return Ok(None) };
        let parameters = answer.database().and_then(|database| database.parameters());
        Ok(Some(FoundDatabase { owner: parameters.and_then(|parameters| parameters.get(&owner_mark())).cloned() }))
    }

    /// Makes a database with an owner's mark.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn create_database(&self, name: &str, owner: &str, tags: &BTreeMap<String, String>) -> Result<(), Failure> {
        let input = DatabaseInput::builder().name(name).parameters(owner_mark(), owner).build();
        let input = input.map_err(|error| impossible("CreateDatabase", &error))?;
        let request = self
            .client
            .create_database()
            .set_catalog_id(self.catalog_id.clone())
            .database_input(input)
            .set_tags(Some(hash_map(tags)).filter(|tags| !tags.is_empty()));
        self.caller.call("CreateDatabase", request.send()).await.map(drop)
    }

    /// Deletes a database; one that is gone is fine. Glue deletes what is in it, so ask [`Glue::has_tables`] before.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn delete_database(&self, name: &str) -> Result<(), Failure> {
        let request = self.client.delete_database().set_catalog_id(self.catalog_id.clone()).name(name);
        absent(self.caller.call("DeleteDatabase", request.send()).await).map(drop)
    }

    /// Returns whether a database has tables or views.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn has_tables(&self, database: &str) -> Result<bool, Failure> {
        let request = self.client.get_tables().set_catalog_id(self.catalog_id.clone()).database_name(database).max_results(1);
        let answer = absent(self.caller.call("GetTables", request.send()).await)?;
        Ok(answer.is_some_and(|answer| !answer.table_list().is_empty() || answer.next_token().is_some()))
    }

    /// Returns a table or view, if it is there.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn table(&self, database: &str, name: &str) -> Result<Option<GlueTable>, Failure> {
        let request = self.client.get_table().set_catalog_id(self.catalog_id.clone()).database_name(database).name(name);
        let answer = absent(self.caller.call("GetTable", request.send()).await)?;
        Ok(answer.and_then(|answer| answer.table).map(GlueTable::new))
    }

    /// Makes a table with its partition indexes.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn create_table(&self, database: &str, input: &TableInput, indexes: &[Vec<String>]) -> Result<(), Failure> {
        let operation = "CreateTable";
        let table = table::new_input(input).map_err(|error| impossible(operation, &error))?;
        let mut request = self.client.create_table().set_catalog_id(self.catalog_id.clone()).database_name(database).table_input(table);
        for keys in indexes {
            request = request.partition_indexes(indexes::index(operation, keys)?);
        }
        self.caller.call(operation, request.send()).await.map(drop)
    }

    /// Writes a table as it was found, but for the fields of `input`. Glue refuses it where the table has changed since.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn update_table(&self, database: &str, found: &GlueTable, input: &TableInput, keep_history: bool) -> Result<(), Failure> {
        let operation = "UpdateTable";
        let table = found.with(input).map_err(|error| impossible(operation, &error))?;
        let request = self
            .client
            .update_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(database)
            .table_input(table)
            .set_version_id(found.version())
            .skip_archive(!keep_history);
        self.caller.call(operation, request.send()).await.map(drop)
    }

    /// Deletes a table with its partitions, or a view; one that is gone is fine.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn delete_table(&self, database: &str, name: &str) -> Result<(), Failure> {
        let request = self.client.delete_table().set_catalog_id(self.catalog_id.clone()).database_name(database).name(name);
        absent(self.caller.call("DeleteTable", request.send()).await).map(drop)
    }
}

/// A value that the SDK does not take: nothing is sent.
fn impossible(operation: &'static str, error: &BuildError) -> Failure {
    Failure { operation, kind: FailureKind::Invalid, code: "request".to_owned(), message: error.to_string() }
}

fn hash_map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn tree_map(map: Option<&HashMap<String, String>>) -> BTreeMap<String, String> {
    map.map(|map| map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()).unwrap_or_default()
}
