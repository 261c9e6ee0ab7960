//! What a new spec may not change about the one in force.
//!
//! CEL says the same on the API server where it can. It cannot see a member that was removed and added again, nor the order of a list
//! with keys. So the operator compares with the spec that it accepted last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockpipeline::Pipeline;
use stockpipeline::check::FieldError;
use stockpipeline::rules::ProcessedFormat;
use stockpipeline::schema::Column;

/// A field that keeps its first value: its path, and its text where it is set.
type Fixed = (&'static str, Option<String>);

/// Values of fixed fields that an earlier spec had and the one in force has not, by path: they bind whoever adds the field again.
pub type Kept = BTreeMap<String, String>;

/// What of an accepted spec binds the next one. It stands beside the spec, so that it also binds where an operator with a stricter check
/// no longer reads that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Values of the fixed fields that are set, by path.
    fixed: BTreeMap<String, String>,
    /// Partitions of the topic, where the spec names a number.
    partitions: Option<i32>,
    /// Name and type of each column.
    columns: Vec<(String, String)>,
}

impl Bounds {
    /// Returns what binds whoever follows a pipeline.
    #[must_use]
    pub fn of(pipeline: &Pipeline) -> Self {
        let fixed = fixed(pipeline).into_iter().filter_map(|(path, value)| Some((path.to_owned(), value?)));
        let columns = pipeline.schema.columns.iter().map(|column| (column.name.clone(), column.column_type.glue_type()));
        Self { fixed: fixed.collect(), partitions: pipeline.kafka.topic.partitions, columns: columns.collect() }
    }
}

/// Returns every change that `next` may not make to what is in force, nor to what is kept of those before.
#[must_use]
pub fn forbidden(accepted: &Bounds, kept: &Kept, next: &Pipeline) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (path, after) in fixed(next) {
        // A part that comes or goes is no change of it, and one that comes again is as it was.
        if let (Some(before), Some(after)) = (accepted.fixed.get(path).or_else(|| kept.get(path)), after)
            && *before != after
        {
            let reason = format!("was {before} and is immutable");
            errors.push(error(path, &after, reason, "set it back, or make a pipeline of another name"));
        }
    }
    check_partitions(accepted, next, &mut errors);
    if !next.operations.unrestricted_evolution {
        check_columns(&accepted.columns, &next.schema.columns, &mut errors);
    }
    errors
}

/// Returns what is kept once `next` follows what is in force.
#[must_use]
pub fn kept(accepted: &Bounds, kept: &Kept, next: &Pipeline) -> Kept {
    let gone = fixed(next).into_iter().filter(|(_, after)| after.is_none());
    gone.filter_map(|(path, _)| Some((path.to_owned(), accepted.fixed.get(path).or_else(|| kept.get(path))?.clone()))).collect()
}

fn fixed(pipeline: &Pipeline) -> Vec<Fixed> {
    let (sink, producer) = (&pipeline.sink, pipeline.producer.as_ref());
    let column = |index: usize| pipeline.schema.columns.get(index).map(|column| column.name.clone());
    let format = match sink.processed_format {
        ProcessedFormat::Parquet { .. } => "Parquet",
        ProcessedFormat::JsonLines { .. } => "JsonLines",
    };
    let partitions: Vec<String> = sink
        .partition_by
        .iter()
        .map(|field| format!("{} ({:?} of {})", field.name, field.transform, column(field.column).unwrap_or_default()))
        .collect();
    vec![
        ("spec.kafka.topic.name", Some(pipeline.kafka.topic.name.clone())),
        ("spec.kafka.consumerGroup", Some(pipeline.kafka.consumer_group.clone())),
        ("spec.producer.slots", producer.map(|producer| producer.slots.to_string())),
        ("spec.producer.slotsTopic", producer.map(|producer| producer.slots_topic.clone())),
        ("spec.producer.keyColumn", producer.and_then(|producer| column(producer.key_column))),
        ("spec.sink.bucket.name", Some(sink.bucket.clone())),
        ("spec.sink.raw.prefix", sink.raw.as_ref().map(|(prefix, _)| prefix.clone())),
        ("spec.sink.processed.prefix", Some(sink.processed_prefix.clone())),
        ("spec.sink.processed.format", Some(format.to_owned())),
        ("spec.sink.processed.partitionBy", Some(partitions.join(", "))),
        ("spec.sink.onBadRecord.prefix", Some(sink.dead_letters.0.clone())),
        ("spec.sink.ledger.prefix", Some(sink.ledger.prefix.clone())),
        ("spec.glue.database.name", pipeline.glue.as_ref().map(|glue| glue.database.clone())),
    ]
}

fn check_partitions(accepted: &Bounds, next: &Pipeline, errors: &mut Vec<FieldError>) {
    if let (Some(before), Some(after)) = (accepted.partitions, next.kafka.topic.partitions)
        && after < before
    {
        let reason = format!("is less than {before}; Kafka cannot take partitions away");
        errors.push(error("spec.kafka.topic.partitions", &after.to_string(), reason, "set at least as many"));
    }
}

fn check_columns(accepted: &[(String, String)], next: &[Column], errors: &mut Vec<FieldError>) {
    const REMEDY: &str = "put it back, or set spec.schema.evolution to Unrestricted";
    const COLUMNS: &str = "spec.schema.columns";
    for (place, (name, before)) in accepted.iter().enumerate() {
        let found = next.iter().position(|column| column.name == *name);
        match found.and_then(|found| Some((found, next.get(found)?))) {
            None => errors.push(error(COLUMNS, "", format!("no longer have {name}"), REMEDY)),
            Some((found, _)) if found != place => {
                let reason = format!("have {name} as number {}, not {}; columns are added at the end", found + 1, place + 1);
                errors.push(error(COLUMNS, "", reason, REMEDY));
            }
            Some((_, after)) => {
                let after = after.column_type.glue_type();
                if *before != after {
                    errors.push(error(&format!("{COLUMNS}[{place}].type"), &after, format!("was {before} and stays so"), REMEDY));
                }
            }
        }
    }
    let is_new = |column: &Column| !accepted.iter().any(|(name, _)| *name == column.name);
    for (place, column) in next.iter().enumerate().filter(|(_, column)| is_new(column) && !column.nullable) {
        let reason = format!("is false for {}, which older files do not have", column.name);
        errors.push(error(&format!("{COLUMNS}[{place}].nullable"), "", reason, "let an added column be nullable"));
    }
}

fn error(path: &str, value: &str, reason: String, remedy: &str) -> FieldError {
    FieldError { path: path.to_owned(), value: value.to_owned(), reason, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests;
