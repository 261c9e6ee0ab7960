//! Topic and lag, as the sinks report them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use stockpipeline::Pipeline;
use stockpipeline::operations::Scaling;
use stockpipeline::status::{Status, TopicReport};

use super::{Evidence, WorkersSeen, target};
use crate::resource::crd::report::{GlueStatus, KafkaStatus, LagStatus};
use crate::status::Finding;
use crate::status::reason::{LagWithinBounds, TopicReady};

/// Records that are not yet durable, measured over every partition of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Of all partitions.
    pub total: u64,
    /// Of the partition that has most.
    pub most: u64,
}

/// Returns the lag; None while a partition is in nobody's hands, or not measured.
#[must_use]
pub fn lag(said: &[Status], pipeline: Option<&Pipeline>) -> Option<Lag> {
    let mut partitions: BTreeMap<i32, u64> = BTreeMap::new();
    for partition in said.iter().filter_map(|status| status.sink.as_ref()).flat_map(|sink| &sink.partitions) {
        let lag = u64::try_from(partition.lag?).unwrap_or(0);
        // While a partition moves, two name it: the one that is further is right.
        partitions.entry(partition.partition).and_modify(|known| *known = lag.min(*known)).or_insert(lag);
    }
    let declared = pipeline.and_then(|pipeline| pipeline.kafka.topic.partitions).and_then(|count| u32::try_from(count).ok());
    let expected = newest(said).and_then(|topic| topic.partitions).or(declared)?;
    let is_complete = usize::try_from(expected).is_ok_and(|expected| expected > 0 && partitions.len() >= expected);
    is_complete.then(|| Lag { total: partitions.values().sum(), most: partitions.values().copied().max().unwrap_or(0) })
}

/// Returns the Kafka part of the status; None where no sink has looked.
#[must_use]
pub fn kafka_status(said: &[Status], pipeline: Option<&Pipeline>, now: Timestamp) -> Option<KafkaStatus> {
    let topic = newest(said)?;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Some(KafkaStatus {
        topic_id: topic.id.clone(),
        partitions: topic.partitions.and_then(|count| i32::try_from(count).ok()),
        lag: lag(said, pipeline).map(|lag| LagStatus {
            total: number(lag.total),
            max_partition: number(lag.most),
            measured_at: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
        }),
    })
}

/// Puts the partitions of tables into the status, as the sinks report them: of several, who has looked at all of them last knows best.
pub fn count_partitions(glue: &mut GlueStatus, said: &[Status]) {
    let database = glue.processed_table.split_once('.').map_or("", |(database, _)| database).to_owned();
    for table in &mut glue.tables {
        let name = format!("{database}.{}", table.name);
        let reports =
            said.iter().filter_map(|status| status.sink.as_ref()).flat_map(|sink| &sink.tables).filter(|found| found.table == name);
        let mut reports: Vec<_> = reports.collect();
        reports.sort_by_key(|found| found.audited_millis);
        if let Some(count) = reports.iter().rev().find_map(|found| found.partitions) {
            table.partitions = Some(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if let Some(newest) = reports.iter().filter_map(|found| found.newest.as_ref()).max() {
            table.last_partition = Some(newest.chars().take(1_024).collect());
        }
    }
}

/// Returns what was seen of the topic last.
fn newest(said: &[Status]) -> Option<&TopicReport> {
    said.iter().filter_map(|status| status.topic.as_ref()).max_by_key(|topic| topic.checked_millis)
}

pub(super) fn topic(sinks: &WorkersSeen<'_>) -> Finding<TopicReady> {
    let Some(topic) = newest(sinks.said) else {
        let message = if sinks.desired == 0 { "no sink runs that could look at the topic" } else { "no sink has looked at the topic yet" };
        return Finding { reason: TopicReady::NotMeasured, message: message.to_owned() };
    };
    let message = if topic.message.is_empty() {
        let differences = topic.differences.iter().take(5);
        let texts: Vec<String> =
            differences.map(|found| format!("{} is {} and should be {}", found.name, found.actual, found.desired)).collect();
        let partitions = topic.partitions.map(|count| format!(" with {count} partitions")).unwrap_or_default();
        if texts.is_empty() { format!("topic {}{partitions}", topic.name) } else { format!("topic {}: {}", topic.name, texts.join("; ")) }
    } else {
        topic.message.clone()
    };
    Finding { reason: topic.state, message }
}

pub(super) fn within_bounds(lag: Option<&Lag>, evidence: &Evidence<'_>) -> Finding<LagWithinBounds> {
    let Some(lag) = lag else {
        let message = if evidence.sink.desired == 0 { "no sink runs" } else { "the sinks have not measured every partition yet" };
        return Finding { reason: LagWithinBounds::NotMeasured, message: message.to_owned() };
    };
    let scaling = evidence.pipeline.map_or(&Scaling::Fixed, |pipeline| &pipeline.operations.scaling);
    let target = target(scaling, evidence.sink.desired);
    if lag.total <= target {
        return Finding { reason: LagWithinBounds::WithinTarget, message: format!("no more than {target} records are waiting") };
    }
    let is_at_most = match scaling {
        Scaling::Fixed | Scaling::External => false,
        Scaling::Lag(settings) => evidence.sink.desired >= settings.max_replicas,
    };
    let (reason, remedy) = if is_at_most {
        (LagWithinBounds::AtMaxReplicas, "; raise spec.sink.worker.scaling.maxReplicas, or give the sinks more")
    } else {
        (LagWithinBounds::LagAboveTarget, "")
    };
    Finding { reason, message: format!("more than {target} records are waiting{remedy}") }
}
