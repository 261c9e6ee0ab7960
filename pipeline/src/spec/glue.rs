//! Spec: Glue database, tables, partitions and crawler.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{immutable, rules};

/// Glue database and tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Glue {
    /// Catalogue: an AWS account's twelve digits, in quotes. Default: the account of the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 12, max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub catalog_id: Option<String>,
    /// The database.
    pub database: Database,
    /// Names of the tables.
    #[serde(default)]
    pub tables: Tables,
    /// How partitions become known.
    #[serde(default)]
    pub partitions: Partitions,
    /// What happens when a table differs from the spec: Correct it, or only Report it. Default: Correct.
    #[serde(default)]
    pub drift_policy: DriftPolicy,
    /// What happens to a table that exists and is not this pipeline's. Adopt needs a grant of the operator. Default: FailIfExists.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// A crawler that audits the catalogue. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crawler: Option<Crawler>,
}

/// The Glue database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Name: lower-case letters, digits and `_`. Immutable. Example: `market_data`.
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[a-z_][a-z0-9_]*$"),
        extend("x-kubernetes-validations" = immutable("glue.database.name"))
    )]
    pub name: String,
    /// Whether the operator makes it if it is missing. Default: false.
    #[serde(default)]
    pub create: bool,
}

/// Names of the tables: lower-case letters, digits and `_`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tables {
    /// Table of the processed zone. Default: `metadata.name` with `_` for each `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub processed: Option<String>,
    /// Table of the raw zone. Default: the processed table's name and `_raw`, if there is a raw zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub raw: Option<String>,
    /// Table of the dead letters. Default: the processed table's name and `_dlq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub dlq: Option<String>,
}

/// How partitions become known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Partitions {
    /// Registered: the sink registers each one before its first object, for every engine; Projection: Athena computes them from
    /// table properties. Changing it moves no data. Default: Registered.
    pub mode: PartitionMode,
    /// Partition indexes of the processed table, made with it or later: at most 3 lists of partition names. Example: `[[dt]]`.
    #[schemars(length(max = 3), inner(length(min = 1, max = 8), inner(length(min = 1, max = 128))))]
    pub indexes: Vec<Vec<String>>,
    /// First day that Projection covers, `YYYY-MM-DD`; needed for Projection over year, month or day. Example: `2020-01-01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 10))]
    pub projection_start: Option<String>,
}

/// How partitions become known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartitionMode {
    /// The sink registers each one.
    #[default]
    Registered,
    /// Athena computes them.
    Projection,
}

/// What happens when a table differs from the spec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// The operator writes the owned parts again.
    #[default]
    Correct,
    /// The operator only says so.
    Report,
}

/// What happens to a table that exists and is not this pipeline's. One that another pipeline has made is never taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// The operator refuses.
    #[default]
    FailIfExists,
    /// The operator takes it over and writes only what the pipeline owns, where its settings grant that to the namespace.
    Adopt,
    /// The operator never writes it.
    Observe,
}

/// A crawler that audits the catalogue; it never owns columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("!self.enabled || has(self.roleArn)", "an enabled crawler needs roleArn"),
])))]
pub struct Crawler {
    /// Whether it exists. Default: false.
    pub enabled: bool,
    /// Role that it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^arn:[a-z-]+:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub role_arn: Option<String>,
    /// When it runs, in AWS's cron form. Default: on demand. Example: `cron(0 3 * * ? *)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = r"^cron\([0-9A-Za-z*?,/#L -]+\)$"))]
    pub schedule: Option<String>,
}
