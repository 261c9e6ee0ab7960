//! What a user writes: the `spec` of a `StockPipeline`, one file an area.
//!
//! Plain data with its bounds and defaults; the doc comments, bounds and rules become the text and the schema of the CRD.
//! Free of Kubernetes libraries. Nothing but [`crate::check`] reads these types: everything else takes the checked
//! [`crate::Pipeline`]. A rule that spans fields stands twice: as CEL here, for the API server, and as code in the check,
//! for files.

#![expect(clippy::doc_markdown, reason = "the comments are the CRD's text, in which enum words stand as the user writes them")]

pub mod athena;
pub mod aws;
pub mod bounds;
pub mod glue;
pub mod kafka;
pub mod lifecycle;
pub mod producer;
pub mod schema;
pub mod sink;
pub mod source;
pub mod worker;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use bounds::rules;

/// One stream of stock records: from its source through Kafka to queryable tables on S3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("(self.source.type == 'ExternalTopic') != has(self.producer)", "producer is required, unless source.type is ExternalTopic: then it must be left out"),
    ("self.schema.columns.exists(c, c.name == self.schema.eventTimeColumn && c.type in ['Timestamp', 'Date'])", "schema.eventTimeColumn must name a Timestamp or Date column"),
    ("self.sink.processed.partitionBy.all(p, self.schema.columns.exists(c, c.name == p.column))", "sink.processed.partitionBy must name declared columns"),
    ("self.sink.processed.partitionBy.all(p, !self.schema.columns.exists(c, c.name == p.name))", "a partition must not have the name of a column"),
    ("!has(self.producer) || !has(self.producer.keyColumn) || self.schema.columns.exists(c, c.name == self.producer.keyColumn)", "producer.keyColumn must name a declared column"),
    ("self.sink.worker.scaling.mode != 'Fixed' || !has(self.kafka.topic.partitions) || self.sink.worker.replicas <= self.kafka.topic.partitions", "sink.worker.replicas must not exceed kafka.topic.partitions"),
    ("self.sink.worker.scaling.mode != 'Fixed' || has(self.kafka.topic.partitions) || self.kafka.topic.management == 'Observe' || self.source.type == 'ExternalTopic' || self.sink.worker.replicas <= 6", "sink.worker.replicas must not exceed kafka.topic.partitions (6 unless set)"),
    ("!has(self.athena) || has(self.glue)", "athena needs glue, whose database it queries"),
])))]
pub struct PipelineSpec {
    /// Whether the pipeline runs, drains or stands still. Never changes replicas.
    #[serde(default)]
    pub lifecycle: lifecycle::Lifecycle,
    /// Region, endpoints and credentials of AWS.
    #[serde(default)]
    pub aws: aws::Aws,
    /// Where the records come from.
    pub source: source::Source,
    /// Declared columns: the one truth about the tables.
    pub schema: schema::TableSchema,
    /// Brokers, topic and consumer group.
    pub kafka: kafka::Kafka,
    /// Feeds the source into the topic. Required, unless `source.type` is ExternalTopic; `{}` takes every default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<producer::Producer>,
    /// Writes the topic to S3, every record exactly once.
    pub sink: sink::Sink,
    /// Glue database and tables. Without it nothing is catalogued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glue: Option<glue::Glue>,
    /// Athena workgroup, named queries and views. Needs `glue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub athena: Option<athena::Athena>,
    /// What happens to outside things when the resource is deleted. Default: everything stays.
    #[serde(default)]
    pub deletion_policy: lifecycle::DeletionPolicy,
    /// How often the operator looks for drift.
    #[serde(default)]
    pub reconcile: lifecycle::Reconcile,
}
