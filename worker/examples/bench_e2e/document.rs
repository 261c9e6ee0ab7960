//! The document of a pipeline on the stage.

use serde_json::{Value, json};

use crate::bucket::{BUCKET, REGION};
use crate::spec::{Raw, Ticks, spec};
use crate::stage::Stage;
use crate::topic::Topic;

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

/// Returns the document of a pipeline.
pub(crate) fn document(stage: &Stage, wanted: &Wanted<'_>) -> Value {
    let ticks = Ticks {
        kafka: &stage.kafka,
        s3: &stage.s3,
        region: REGION,
        bucket: BUCKET,
        topic: &wanted.topic.name,
        partitions: wanted.topic.partitions,
        run: wanted.run,
        raw: wanted.raw,
        records: wanted.records,
        interval: wanted.interval,
    };
    json!({
        "apiVersion": "stockpipeline.dev/v1alpha1",
        "kind": "StockPipeline",
        "metadata": { "name": "bench" },
        "spec": spec(&ticks),
    })
}
