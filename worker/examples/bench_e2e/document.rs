//! The pipeline as a user writes it: ticks of nine columns in a topic that others fill.

use serde_json::{Value, json};

use crate::bucket::{BUCKET, REGION};
use crate::stage::Stage;
use crate::topic::Topic;

/// What the raw zone holds, where it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw {
    /// Nothing.
    Off,
    /// Plain JSON lines.
    Plain,
    /// JSON lines with zstd.
    Zstd,
}

/// What is asked for.
pub(crate) struct Wanted<'a> {
    /// Of the group, and of the prefix of everything that is stored.
    pub(crate) run: &'a str,
    /// Where the ticks are.
    pub(crate) topic: &'a Topic,
    /// The raw zone.
    pub(crate) raw: Raw,
    /// Records of an object.
    pub(crate) records: u64,
    /// Age of an object's first record.
    pub(crate) interval: &'a str,
}

/// Returns the prefix of the processed zone of a run.
pub(crate) fn processed(run: &str) -> String {
    format!("{run}/processed")
}

/// Returns the prefix of the raw zone of a run.
pub(crate) fn raw(run: &str) -> String {
    format!("{run}/raw")
}

/// Returns the document of a pipeline.
pub(crate) fn document(stage: &Stage, wanted: &Wanted<'_>) -> Value {
    let doubles = ["open", "high", "low", "close", "adj_close", "close_usd"];
    let mut columns = vec![
        json!({ "name": "index", "type": "String", "nullable": false }),
        json!({ "name": "date", "type": "Date", "nullable": false }),
        json!({ "name": "volume", "type": "Bigint" }),
    ];
    columns.extend(doubles.map(|name| json!({ "name": name, "type": "Double" })));
    let run = wanted.run;
    let mut sink = json!({
        "bucket": { "name": BUCKET },
        "processed": {
            "prefix": processed(run),
            "partitionBy": [{ "name": "dt", "transform": "day", "column": "date" }],
        },
        "onBadRecord": { "prefix": format!("{run}/dlq") },
        "ledger": { "prefix": format!("{run}/ledger") },
        "rotation": { "maxRecords": wanted.records, "maxInterval": wanted.interval },
    });
    let compression = match wanted.raw {
        Raw::Off => None,
        Raw::Plain => Some("None"),
        Raw::Zstd => Some("Zstd"),
    };
    if let Some(compression) = compression {
        sink["raw"] = json!({ "prefix": raw(run), "compression": compression });
    }
    json!({
        "apiVersion": "stockpipeline.dev/v1alpha1",
        "kind": "StockPipeline",
        "metadata": { "name": "bench" },
        "spec": {
            "aws": { "region": REGION, "endpoints": { "s3": stage.s3 }, "forcePathStyle": true },
            "source": { "type": "ExternalTopic" },
            "schema": { "eventTimeColumn": "date", "columns": columns },
            "kafka": {
                "bootstrapServers": stage.kafka.split(',').collect::<Vec<_>>(),
                "topic": { "name": wanted.topic.name, "partitions": wanted.topic.partitions },
                "consumerGroup": run,
            },
            "sink": sink,
        },
    })
}
