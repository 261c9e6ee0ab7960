//! The status of a `StockPipeline`: what the operator reports. Only its types; [`crate::status`] decides.
//!
//! No member is required but the keys of lists: an operator of another version, which knows fewer, has to be able to write it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockPipelineStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Summary for people, derived from the conditions: Pending, Running, Degraded, Draining, Drained, Stopped, Completed, Invalid,
    /// Failed or Deleting. Programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub phase: Option<String>,
    /// Ready, and what it is made of: Accepted, TopicReady, ProducerAvailable, SinkAvailable, CatalogSynced. Beside them
    /// LagWithinBounds and Suspended, and, only while true, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The producers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<ComponentStatus>,
    /// The sinks; `kubectl scale` and autoscalers read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<ComponentStatus>,
    /// The topic and its lag, as the sinks see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaStatus>,
    /// The Glue tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glue: Option<GlueStatus>,
    /// The Athena objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub athena: Option<AthenaStatus>,
    /// Since when the pipeline drains; none while it is not asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<Time>,
    /// When the records were lost that SinkAvailable reports as DataLoss; only an acknowledgement after that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_lost_at: Option<Time>,
    /// Value of the annotation `stockpipeline.dev/reconcile-requested-at` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub last_handled_reconcile_at: Option<String>,
}

/// Workers of one role.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Pods that there should be.
    #[serde(default)]
    pub desired: i32,
    /// Pods that there are.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that can do their work.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Ready and desired pods, such as `2/2`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub summary: String,
    /// Label selector of the pods.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub selector: String,
    /// Hash of what the workers are configured with.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub config_hash: String,
    /// Image of the workers.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub image: String,
    /// When records were last made durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit_time: Option<Time>,
    /// Records made durable since the running workers started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_records: Option<i64>,
}

/// The topic, as the sinks see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaStatus {
    /// Kafka's topic id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub topic_id: Option<String>,
    /// Partitions of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Records that are not yet durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagStatus>,
}

/// Records that are not yet durable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LagStatus {
    /// Of all partitions.
    #[serde(default)]
    pub total: i64,
    /// Of the partition that has most.
    #[serde(default)]
    pub max_partition: i64,
    /// When this was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_at: Option<Time>,
}

/// The Glue tables.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GlueStatus {
    /// Database and table of the processed zone, such as `market_data.us_equities`.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub processed_table: String,
    /// The tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tables: Vec<TableStatus>,
    /// How often something that somebody had changed was set right again.
    #[serde(default)]
    pub drift_corrections: i64,
    /// The crawler that compares what is stored with the tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crawler: Option<CrawlerStatus>,
}

/// A crawler that only observes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrawlerStatus {
    /// Name.
    #[serde(default)]
    #[schemars(length(max = 255))]
    pub name: String,
    /// How its last run ended: SUCCEEDED, CANCELLED or FAILED; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub last_run: Option<String>,
    /// When its last run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_time: Option<Time>,
    /// What it would have changed, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub findings: Option<String>,
}

/// A Glue table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// Name.
    #[schemars(length(max = 255))]
    pub name: String,
    /// Glue's version of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Hash of its columns and partition keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub schema_hash: Option<String>,
    /// Partitions that are registered, as the sinks report them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i64>,
    /// The newest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_partition: Option<String>,
}

/// The Athena objects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AthenaStatus {
    /// The workgroup.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub workgroup: String,
    /// Ids of the saved queries by name: names are not unique in Athena.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub named_queries: BTreeMap<String, String>,
    /// Hashes of the views' statements by name; `claimed` before a view is made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub views: BTreeMap<String, String>,
    /// Hash of the workgroup and the saved queries as they were last in order: where they differ although it is the same, others have
    /// changed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub hash: Option<String>,
}
