//! A plan: the self-contained record of one rotation of one Kafka partition.
//!
//! Plans of a partition form a chain: `first` of the next is `last` + 1 of this one, gaps in the offsets included.
//! A stored plan is never changed; whoever stores it first has decided the rotation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::layout::Epoch;
use crate::rules::Rules;

/// Version of the plan's format; a worker that meets a higher one stops.
pub const PLAN_VERSION: u32 = 1;

/// Name of the object metadata in which every data object names its plan.
const PLAN_METADATA: &str = "stockpipeline-plan";

/// One rotation of one Kafka partition: an offset range, the rules it was sealed under and the objects it writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Format version ([`PLAN_VERSION`]).
    pub version: u32,
    /// Incarnation of the topic.
    pub epoch: Epoch,
    /// Kafka partition.
    pub partition: i32,
    /// First offset of the range.
    pub first: i64,
    /// Last offset of the range, inclusive.
    pub last: i64,
    /// When the range was sealed, microseconds since 1970 (UTC). The raw and dead-letter zones are partitioned by it.
    pub sealed_at_micros: i64,
    /// Why the range was sealed.
    pub reason: SealReason,
    /// Name of the worker that sealed it.
    pub worker: String,
    /// Kafka's leader epoch of `last`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_epoch: Option<i32>,
    /// Everything that decides what the records become.
    pub rules: Rules,
    /// The objects, in key order. Empty when the range holds no record.
    pub objects: Vec<PlannedObject>,
}

/// One object that a plan writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedObject {
    /// Zone of the object.
    pub zone: ZoneName,
    /// Object key.
    pub key: String,
    /// Hive partition names and (unescaped) values, in path order.
    pub hive: Vec<(String, String)>,
    /// Rows (lines) in the object.
    pub rows: u64,
    /// Smallest event time of the rows, microseconds since 1970; processed zone only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_event_time_micros: Option<i64>,
    /// Largest event time of the rows, microseconds since 1970; processed zone only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_event_time_micros: Option<i64>,
}

/// The zones of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ZoneName {
    /// JSON lines of every record.
    Raw,
    /// Typed rows.
    Processed,
    /// Records that have no place in the processed zone.
    DeadLetters,
}

/// Why a range was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SealReason {
    /// `rotation.maxBytes` was reached.
    Bytes,
    /// `rotation.maxRecords` was reached.
    Records,
    /// `rotation.maxInterval` passed since the first buffered record.
    Interval,
    /// The worker's memory budget was under pressure.
    Memory,
    /// The range touched as many Hive partitions as one plan may.
    HivePartitions,
    /// Kafka took the partition away.
    Revoked,
    /// The worker was asked to stop.
    Shutdown,
    /// A finite source ended.
    EndOfSource,
}

/// The first record of a ledger: written once by whoever comes first, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// Format version ([`PLAN_VERSION`]).
    pub version: u32,
    /// Kafka's cluster id, where the broker tells one.
    pub cluster_id: Option<String>,
    /// Kafka's topic id; None where the broker has none and the epoch was made from what else is known.
    pub topic_id: Option<String>,
    /// Topic.
    pub topic: String,
    /// First offset of each partition's chain, by `startFrom`; a partition that is missing starts at 0.
    pub starts: BTreeMap<i32, i64>,
}

impl Plan {
    /// Returns the user metadata that every data object of the plan carries.
    #[must_use]
    pub fn object_metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(PLAN_METADATA.to_owned(), self.mark())])
    }

    /// Returns whether an object with this user metadata was written by the plan.
    #[must_use]
    pub fn claims(&self, metadata: &BTreeMap<String, String>) -> bool {
        metadata.get(PLAN_METADATA).is_some_and(|mark| *mark == self.mark())
    }

    fn mark(&self) -> String {
        format!("{}/p{:05}/{:020}-{:020}", self.epoch.as_str(), self.partition, self.first, self.last)
    }
}

impl Root {
    /// Returns the first offset of a partition's chain.
    #[must_use]
    pub fn start(&self, partition: i32) -> i64 {
        self.starts.get(&partition).copied().unwrap_or(0)
    }
}

impl SealReason {
    /// Returns the label used in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Records => "records",
            Self::Interval => "interval",
            Self::Memory => "memory",
            Self::HivePartitions => "hive_partitions",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
            Self::EndOfSource => "end_of_source",
        }
    }
}

impl ZoneName {
    /// Returns the label used in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Processed => "processed",
            Self::DeadLetters => "dlq",
        }
    }
}
