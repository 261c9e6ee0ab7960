//! Spec: Athena workgroup, named queries and views.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Athena workgroup, named queries and views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Athena {
    /// The workgroup.
    pub workgroup: Workgroup,
    /// Saved queries, at most 50.
    #[serde(default)]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub named_queries: Vec<NamedQuery>,
    /// Views in the pipeline's database, at most 50.
    #[serde(default)]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub views: Vec<View>,
}

/// The workgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workgroup {
    /// Name. Example: `market-data`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub name: String,
    /// Whether the operator makes it if it is missing. Default: false.
    #[serde(default)]
    pub create: bool,
    /// Where query results go, `s3://bucket/prefix/`. Default: the workgroup's own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/.*)?$"))]
    pub output_location: Option<String>,
    /// Bytes that one query may scan, at least 10000000. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10_000_000))]
    pub bytes_scanned_cutoff: Option<i64>,
}

/// A saved query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedQuery {
    /// Name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Description. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub description: Option<String>,
    /// The query, run as the user who runs it.
    #[schemars(length(min = 1, max = 65_536))]
    pub sql: String,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Name: lower-case letters, digits and `_`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub name: String,
    /// The select statement of the view.
    #[schemars(length(min = 1, max = 65_536))]
    pub sql: String,
}
