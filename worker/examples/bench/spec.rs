//! The spec of every pipeline that is measured: ticks of nine columns in a topic that others fill.

use serde_json::{Value, json};

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

/// What differs between them.
pub(crate) struct Ticks<'a> {
    /// Addresses of Kafka.
    pub(crate) kafka: &'a str,
    /// Address of S3.
    pub(crate) s3: &'a str,
    /// AWS region.
    pub(crate) region: &'a str,
    /// Bucket.
    pub(crate) bucket: &'a str,
    /// Topic.
    pub(crate) topic: &'a str,
    /// Partitions of the topic.
    pub(crate) partitions: i32,
    /// Of the group, and of the prefix of everything that is stored.
    pub(crate) run: &'a str,
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

/// Returns the spec of a pipeline as a user writes it.
pub(crate) fn spec(ticks: &Ticks<'_>) -> Value {
    let doubles = ["open", "high", "low", "close", "adj_close", "close_usd"];
    let mut columns = vec![
        json!({ "name": "index", "type": "String", "nullable": false }),
        json!({ "name": "date", "type": "Date", "nullable": false }),
        json!({ "name": "volume", "type": "Bigint" }),
    ];
    columns.extend(doubles.map(|name| json!({ "name": name, "type": "Double" })));
    let run = ticks.run;
    let mut sink = json!({
        "bucket": { "name": ticks.bucket },
        "processed": {
            "prefix": processed(run),
            "partitionBy": [{ "name": "dt", "transform": "day", "column": "date" }],
        },
        "onBadRecord": { "prefix": format!("{run}/dlq") },
        "ledger": { "prefix": format!("{run}/ledger") },
        "rotation": { "maxRecords": ticks.records, "maxInterval": ticks.interval },
    });
    let compression = match ticks.raw {
        Raw::Off => None,
        Raw::Plain => Some("None"),
        Raw::Zstd => Some("Zstd"),
    };
    if let Some(compression) = compression {
        sink["raw"] = json!({ "prefix": raw(run), "compression": compression });
    }
    json!({
        "aws": { "region": ticks.region, "endpoints": { "s3": ticks.s3 }, "forcePathStyle": true },
        "source": { "type": "ExternalTopic" },
        "schema": { "eventTimeColumn": "date", "columns": columns },
        "kafka": {
            "bootstrapServers": ticks.kafka.split(',').collect::<Vec<_>>(),
            "topic": { "name": ticks.topic, "partitions": ticks.partitions },
            "consumerGroup": run,
        },
        "sink": sink,
    })
}
