//! The Glue tables of a pipeline as values, and what to do about the ones that are there.
//!
//! The declared schema is the truth: no crawler guesses it. Pure, and free of AWS' types: whoever calls Glue sets exactly the fields of
//! [`TableInput`] on what Glue has, and leaves the rest as it is.
//!
//! | module | what it decides |
//! |---|---|
//! | `difference` | in which fields a table differs, once both are normalised |
//! | `decision` | whether that means to create, update, report or refuse |
//! | `indexes` | which partition indexes are still to be made |
//! | `projection` | the table parameters from which Athena computes partitions |
//! | `shared` | whether database and workgroup are made or written |
//! | `crawler`, `queries`, `views` | what is done about each of those |
//! | `verdict` | from what was met, thing by thing, to the one condition |
//! | `wanted` | everything that a pipeline wants of Glue and Athena, as one value |
//! | `report` | what the status remembers of the catalogue, and what a look at it says |

mod crawler;
mod decision;
mod difference;
mod indexes;
mod projection;
mod queries;
mod report;
mod shared;
#[cfg(test)]
mod tests;
mod verdict;
mod views;
mod wanted;

pub use crate::act::Act;
pub use crawler::{CrawlerDecision, FoundCrawler, LastRun, decide_crawler};
pub use decision::{Decision, Policy, Refusal, decide};
pub use difference::{Change, descriptor_hash, differences};
pub use indexes::{FoundIndex, IndexPlan, IndexState, index_name, indexes_hash, plan_indexes};
pub use queries::{FoundQuery, QueryStep, creation_token, plan_queries};
pub use report::{CLAIMED, CatalogReport, CatalogState, Mode, ObjectChange, Removal};
pub use shared::{FoundDatabase, FoundWorkgroup, SharedDecision, decide_database, decide_workgroup};
pub use verdict::Verdict;
pub use views::{FoundView, ViewDecision, decide_view};
pub(crate) use wanted::account_of;
pub use wanted::{Place, WantedAthena, WantedCatalogue, WantedCrawler, WantedDatabase, WantedQuery, WantedView, WantedWorkgroup};

use std::collections::BTreeMap;

use serde::Serialize;
use stockpipeline::Pipeline;
use stockpipeline::document::GROUP;
use stockpipeline::operations::PartitionMode;
use stockpipeline::table::Table;

use crate::hash;
use crate::resource::identity::Identity;

/// What Glue calls a table whose data is not its own.
pub const TABLE_TYPE: &str = "EXTERNAL_TABLE";
/// Type of every partition key.
const KEY_TYPE: &str = "string";

/// Which zone a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Zone {
    /// Typed rows.
    Processed,
    /// Every record.
    Raw,
    /// Records that fit no column.
    DeadLetters,
}

/// A table as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedTable {
    /// Which zone it shows.
    pub zone: Zone,
    /// Its database.
    pub database: String,
    /// The fields that the pipeline owns.
    pub input: TableInput,
    /// Partition indexes, each as a list of keys.
    pub indexes: Vec<Vec<String>>,
}

/// A table as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTable {
    /// The same fields, with every parameter that Glue has.
    pub input: TableInput,
    /// Glue's version, which an update names so that it overwrites nothing it has not seen.
    pub version: Option<String>,
}

/// The fields of Glue's `TableInput` that a pipeline owns, or keeps as they are found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableInput {
    /// `Name`.
    pub name: String,
    /// `TableType`.
    pub table_type: String,
    /// `StorageDescriptor.Columns`.
    pub columns: Vec<Column>,
    /// `PartitionKeys`.
    pub partition_keys: Vec<Column>,
    /// `StorageDescriptor.Location`.
    pub location: String,
    /// `StorageDescriptor.InputFormat`.
    pub input_format: String,
    /// `StorageDescriptor.OutputFormat`.
    pub output_format: String,
    /// `StorageDescriptor.SerdeInfo.SerializationLibrary`.
    pub serde_library: String,
    /// `StorageDescriptor.SerdeInfo.Parameters`.
    pub serde_parameters: BTreeMap<String, String>,
    /// `Parameters`.
    pub parameters: BTreeMap<String, String>,
}

/// A column of a Glue table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// `Name`.
    pub name: String,
    /// `Type`.
    pub glue_type: String,
    /// `Comment`.
    pub comment: Option<String>,
}

/// Who a table belongs to: its mark in the table's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// Returns the owner as it stands in marks.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the owner that a pipeline is. A pipeline that is deleted and made again under its name owns its tables as before;
    /// `cluster` tells clusters apart that share an account.
    #[must_use]
    pub fn of(cluster: &str, identity: &Identity) -> Self {
        let Identity { name, namespace, .. } = identity;
        Self(if cluster.is_empty() { format!("{namespace}/{name}") } else { format!("{cluster}/{namespace}/{name}") })
    }
}

/// Parameter with the owner of a table.
#[must_use]
pub fn owner_mark() -> String {
    format!("{GROUP}/owner")
}

/// Parameter with the hash of columns and partition keys.
#[must_use]
pub fn schema_hash_mark() -> String {
    format!("{GROUP}/schema-hash")
}

/// Parameter with the generation of the resource that was last written from.
#[must_use]
pub fn generation_mark() -> String {
    format!("{GROUP}/generation")
}

/// Parameter with the hash of everything that was last written: a table that differs although this is the same was changed by others.
#[must_use]
pub fn written_hash_mark() -> String {
    format!("{GROUP}/written-hash")
}

/// Parameter with the hash of the descriptor that all registered partitions have been given: another one than the table's says that they
/// still have to follow it.
#[must_use]
pub fn partitions_hash_mark() -> String {
    format!("{GROUP}/partitions-hash")
}

/// Parameter with the hash of the partition indexes that have all been made: one that is missing then was deleted by others.
#[must_use]
pub fn indexes_hash_mark() -> String {
    format!("{GROUP}/indexes-hash")
}

/// Returns whether a parameter says how far the operator is with a table: a fact, where all others are wishes.
fn is_progress(parameter: &str) -> bool {
    parameter == partitions_hash_mark() || parameter == indexes_hash_mark()
}

/// Returns the tables of a pipeline; none without a catalogue.
#[must_use]
pub fn tables(pipeline: &Pipeline, owner: &Owner, generation: i64) -> Vec<WantedTable> {
    let (Some(names), Some(settings)) = (&pipeline.glue, &pipeline.operations.glue) else { return Vec::new() };
    let rules = pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema);
    let bucket = &pipeline.sink.bucket;
    let zones = [
        (Zone::Processed, Some(&names.processed_table), rules.processed_table(bucket)),
        (Zone::Raw, names.raw_table.as_ref(), rules.raw_table(bucket)),
        (Zone::DeadLetters, names.dead_letters_table.as_ref(), Some(rules.dead_letters_table(bucket))),
    ];
    let mut wanted = Vec::with_capacity(zones.len());
    for (zone, name, table) in zones {
        let (Some(name), Some(table)) = (name, table) else { continue };
        let mut input = TableInput::of(name, &table);
        if let PartitionMode::Projection { start } = &settings.partitions {
            input.parameters.extend(match zone {
                Zone::Processed => projection::of_fields(&pipeline.sink.partition_by, start.as_deref(), pipeline.schema.max_future_seconds),
                Zone::Raw | Zone::DeadLetters => projection::of_sealed_day(),
            });
        }
        input.mark(owner, generation);
        let indexes = if zone == Zone::Processed { settings.indexes.clone() } else { Vec::new() };
        wanted.push(WantedTable { zone, database: names.database.clone(), input, indexes });
    }
    wanted
}

impl TableInput {
    fn of(name: &str, table: &Table) -> Self {
        let key = |name: &String| Column { name: name.clone(), glue_type: KEY_TYPE.to_owned(), comment: None };
        Self {
            name: name.to_owned(),
            table_type: TABLE_TYPE.to_owned(),
            columns: table
                .columns
                .iter()
                .map(|column| Column { name: column.name.clone(), glue_type: column.glue_type.clone(), comment: column.comment.clone() })
                .collect(),
            partition_keys: table.partition_keys.iter().map(key).collect(),
            location: table.location.clone(),
            input_format: table.format.input_format().to_owned(),
            output_format: table.format.output_format().to_owned(),
            serde_library: table.format.serde().to_owned(),
            serde_parameters: table.serde_properties.clone(),
            parameters: table.properties.clone(),
        }
    }

    fn mark(&mut self, owner: &Owner, generation: i64) {
        let written = serde_json::to_string(self).expect("a struct with text keys is always JSON");
        self.parameters.extend([
            (owner_mark(), owner.0.clone()),
            (schema_hash_mark(), self.schema_hash()),
            (generation_mark(), generation.to_string()),
            (written_hash_mark(), hash::short(&written)),
        ]);
    }

    /// Returns the hash of names and types of columns and partition keys.
    #[must_use]
    pub fn schema_hash(&self) -> String {
        let list = |columns: &[Column]| columns.iter().map(|column| format!("{} {}", column.name, column.glue_type)).collect::<Vec<_>>();
        hash::short(&format!("{:?} {:?}", list(&self.columns), list(&self.partition_keys)))
    }
}
