//! The producer: slots, key and transactions.

use super::findings::Findings;
use super::kafka::{configs, topic_name};
use super::{schema, time, unsigned};
use crate::checked::Producer;
use crate::schema::{ColumnType, Schema};
use crate::spec::PipelineSpec;
use crate::spec::bounds::TRANSACTION_INTERVAL;
use crate::spec::producer::{self as spec, PRODUCER_CONFIGS};
use crate::spec::source::SourceType;

/// Characters that Kafka allows in a topic's name.
const MAX_TOPIC: usize = 249;

/// Checks that there is a producer exactly when the source needs one.
pub(crate) fn check(spec: &PipelineSpec, checked: &Schema, findings: &mut Findings) -> Option<Producer> {
    match (&spec.producer, spec.source.source_type) {
        (None, SourceType::ExternalTopic) => None,
        (None, kind @ (SourceType::CsvReplay | SourceType::Synthetic)) => {
            findings.broken("spec.producer", &format!("is required for a {kind:?} source"), "add producer: {}");
            None
        }
        (Some(_), SourceType::ExternalTopic) => {
            findings.broken("spec.producer", "is set although others fill the topic", "remove it, or choose another source.type");
            None
        }
        (Some(producer), SourceType::CsvReplay | SourceType::Synthetic) => {
            Some(convert(producer, &spec.kafka.topic.name, checked, findings))
        }
    }
}

/// Returns the first String column: the key when none is named.
pub(crate) fn default_key(schema: &Schema) -> Option<usize> {
    schema.columns.iter().position(|column| matches!(column.column_type, ColumnType::String))
}

fn convert(producer: &spec::Producer, topic: &str, checked: &Schema, findings: &mut Findings) -> Producer {
    configs(findings, "spec.producer.config", &producer.config, &PRODUCER_CONFIGS);
    Producer {
        slots: unsigned(producer.slots),
        slots_topic: slots_topic(producer, topic, findings),
        key_column: key_column(producer, checked, findings),
        transaction_interval: time::span(
            findings,
            "spec.producer.transactionInterval",
            &producer.transaction_interval,
            TRANSACTION_INTERVAL,
        ),
        config: producer.config.clone(),
    }
}

fn slots_topic(producer: &spec::Producer, topic: &str, findings: &mut Findings) -> String {
    let path = "spec.producer.slotsTopic";
    let name = producer.slots_topic.clone().unwrap_or_else(|| format!("{topic}.slots"));
    topic_name(findings, path, &name);
    if name == topic {
        findings.wrong(path, name.as_str(), "is the topic of the records", "name another topic");
    }
    if name.len() > MAX_TOPIC {
        let reason = format!("would have {} characters by default, more than the {MAX_TOPIC} that Kafka takes", name.len());
        findings.broken(path, &reason, "set slotsTopic, or use a shorter topic.name");
    }
    name
}

fn key_column(producer: &spec::Producer, checked: &Schema, findings: &mut Findings) -> usize {
    let path = "spec.producer.keyColumn";
    match &producer.key_column {
        Some(name) => schema::position(checked, path, name, findings),
        None => default_key(checked).or_else(|| {
            findings.broken(path, "is required, as no column is a String", "name the column whose text is the records' key");
            None
        }),
    }
    .unwrap_or(0)
}
