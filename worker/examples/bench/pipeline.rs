//! The pipeline that is measured: ticks of nine columns, in a topic that others fill.

use std::path::Path;

use anyhow::anyhow;
use serde_json::Value;
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::Document;
use stockpipeline_worker::kafka::{Clients, Identity};

use crate::host::{BUCKET, Hosted, TOPIC};
use crate::spec::{Raw, Ticks, spec};

/// Records of one plan. The embedded broker keeps 5 MiB a partition, so that plans of the usual 128 MiB can't be made from it.
const PLAN_RECORDS: u64 = 40_000;

/// What the sink writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zones {
    /// JSON lines of every message.
    Raw(Raw),
    /// Parquet with zstd.
    Processed,
    /// Both.
    Both,
}

/// Returns the pipeline's Kafka clients.
pub(crate) fn clients(pipeline: &Pipeline) -> anyhow::Result<Clients> {
    Ok(Clients::new(&pipeline.kafka, Path::new("/nonexistent"), Identity::default())?)
}

/// Returns the pipeline of the ticks; every name of a run is its own.
pub(crate) fn pipeline(hosted: &Hosted, zones: Zones, run: &str) -> anyhow::Result<Pipeline> {
    check(document(hosted, zones, run))
}

/// Returns the checked pipeline of a document.
pub(crate) fn check(spec: Value) -> anyhow::Result<Pipeline> {
    match Pipeline::check(&Document::new("bench", None, spec), UnknownFields::Error) {
        Ok((pipeline, _warnings)) => Ok(pipeline),
        Err(errors) => Err(anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))),
    }
}

/// Returns the pipeline as a user writes it.
pub(crate) fn document(hosted: &Hosted, zones: Zones, run: &str) -> Value {
    let raw = match zones {
        Zones::Raw(raw) => raw,
        Zones::Both => Raw::Zstd,
        Zones::Processed => Raw::Off,
    };
    spec(&Ticks {
        kafka: &hosted.bootstrap_servers,
        s3: &hosted.s3_endpoint,
        region: "us-east-1",
        bucket: BUCKET,
        topic: TOPIC,
        partitions: hosted.load.partitions,
        run,
        raw,
        records: PLAN_RECORDS,
        interval: "1h",
    })
}
