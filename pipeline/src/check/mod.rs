//! From what a user wrote to a [`Pipeline`], or everything that is wrong with it at once.
//!
//! First the shape (types, bounds, unknown fields), then, once that is right, what the fields mean together. Pure: the same
//! document gives the same answer on a laptop, in the operator and in a worker.
//!
//! | module | what it decides |
//! |---|---|
//! | `metadata` | the envelope: name, namespace, annotations |
//! | `shape` | types, bounds, patterns, unknown fields |
//! | `source`, `schema`, `kafka`, `producer`, `sink`, `worker`, `catalog`, `aws` | one area of the spec each |
//! | `address`, `time`, [`cron`] | texts that hold addresses, times and schedules |

mod address;
mod aws;
mod catalog;
pub mod cron;
mod findings;
mod kafka;
mod metadata;
mod partition;
mod producer;
mod schema;
mod shape;
mod sink;
mod source;
mod suggest;
mod time;
mod worker;

pub use address::{ForbiddenAddress, allowed_addresses, is_forbidden_address};
pub use findings::{FieldError, Warning};
pub use shape::spec_schema;

use crate::Pipeline;
use crate::document::Document;
use crate::operations::Operations;
use crate::spec::PipelineSpec;
use findings::Findings;

/// What a field is that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// An error with a suggestion: for what people type.
    Error,
    /// A warning: for a worker that may be older than the operator.
    Warn,
}

impl Pipeline {
    /// Returns the pipeline that a document describes, and what is allowed in it but probably not meant.
    ///
    /// # Errors
    /// Every [`FieldError`] of the document's shape; when the shape is right, every one of its meaning. Always the user's.
    pub fn check(document: &Document, unknown: UnknownFields) -> Result<(Self, Vec<Warning>), Vec<FieldError>> {
        let mut findings = Findings::default();
        metadata::check(document, unknown, &mut findings);
        let spec = read_spec(document, unknown, &mut findings);
        let pipeline = spec.map(|spec| convert(document, &spec, &mut findings));
        match pipeline {
            Some(pipeline) if findings.errors.is_empty() => Ok((pipeline, findings.warnings)),
            Some(_) | None => Err(findings.errors),
        }
    }
}

/// Returns the spec when its shape is right.
fn read_spec(document: &Document, unknown: UnknownFields, findings: &mut Findings) -> Option<PipelineSpec> {
    let Some(spec) = document.body().get("spec") else {
        findings.broken("spec", "is required", "add spec with source, schema, kafka and sink");
        return None;
    };
    let mut spec = spec.clone();
    let before = findings.errors.len();
    shape::compare(&mut spec, unknown, findings);
    if findings.errors.len() > before {
        return None;
    }
    match serde_json::from_value(spec) {
        Ok(spec) => Some(spec),
        Err(error) => {
            findings.broken("spec", &format!("cannot be read: {error}"), "compare it with the examples");
            None
        }
    }
}

/// Collects errors as it goes; the pipeline counts only if there are none.
fn convert(document: &Document, spec: &PipelineSpec, findings: &mut Findings) -> Pipeline {
    let name = document.name().unwrap_or_default();
    let schema = schema::check(&spec.schema, findings);
    let source = source::check(&spec.source, findings);
    let kafka = kafka::check(spec, name, findings);
    let producer = producer::check(spec, &schema, findings);
    let sink = sink::check(spec, name, &schema, findings);
    let aws = aws::check(&spec.aws, findings);
    let catalog = catalog::check(spec, name, findings);
    let operations = Operations {
        lifecycle: worker::lifecycle(&spec.lifecycle, findings),
        control_plane: aws::control_plane(&spec.aws, findings),
        unrestricted_evolution: spec.schema.evolution == crate::spec::schema::Evolution::Unrestricted,
        producer_worker: spec.producer.as_ref().map(|producer| {
            let worker = &producer.worker;
            worker::check("spec.producer.worker", worker.replicas, &worker.pods, findings)
        }),
        sink_worker: worker::check("spec.sink.worker", spec.sink.worker.replicas, &spec.sink.worker.pods, findings),
        scaling: worker::scaling(spec, kafka.topic.partitions, findings),
        glue: catalog.settings,
        athena: catalog.athena,
        deletion: worker::deletion(spec.deletion_policy),
        drift_interval: time::span(
            findings,
            "spec.reconcile.driftInterval",
            &spec.reconcile.drift_interval,
            crate::spec::bounds::DRIFT_INTERVAL,
        ),
    };
    Pipeline {
        name: name.to_owned(),
        namespace: document.namespace().map(str::to_owned),
        aws,
        source,
        schema,
        kafka,
        producer,
        sink,
        glue: catalog.names,
        operations,
    }
}

/// Reads a whole number that the schema keeps at 0 or more.
fn unsigned<T: TryFrom<i64> + Default>(number: impl Into<i64>) -> T {
    T::try_from(number.into()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
