//! A plan: the self-contained record of one rotation of one Kafka partition.
//!
//! Plans of a partition form a chain: `first` of the next is `last` + 1 of this one, gaps in the offsets included.
//! A stored plan is never changed; whoever stores it first has decided the rotation.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::layout::Epoch;
use crate::rules::{DECODER_VERSION, Rules};

/// Version of the format of plans and roots; a worker that meets another one stops.
///
/// Raised with every field whose neglect would give other rows, other keys or another chain.
pub const PLAN_VERSION: u32 = 1;
/// Name of the object metadata that holds the plan's name ([`Plan::name`]); S3 sends it as `x-amz-meta-stockpipeline-plan`.
pub const PLAN_METADATA: &str = "stockpipeline-plan";

/// Why bytes of the ledger are no plan or root.
#[derive(Debug, Error)]
pub enum PlanError {
    /// Written by a worker whose format this one does not know.
    #[error(
        "the plan has format version {version} and this worker knows version {known}: use a worker of the version that wrote it, or newer"
    )]
    UnknownVersion {
        /// Version in the bytes.
        version: u64,
        /// Version of this program.
        known: u32,
    },
    /// Written under a decoder that this worker does not have.
    #[error(
        "the plan was sealed under decoder {decoder} and this worker knows up to {known}: use a worker of the version that wrote it, or newer"
    )]
    UnknownDecoder {
        /// Decoder in the plan's rules.
        decoder: u32,
        /// Decoder of this program.
        known: u32,
    },
    /// No JSON, or not of this shape.
    #[error("failed to read the plan's JSON")]
    Malformed {
        /// What serde met.
        #[source]
        source: serde_json::Error,
    },
    /// Values that contradict each other.
    #[error("the plan contradicts itself: {what}")]
    Inconsistent {
        /// The contradiction.
        what: &'static str,
    },
}

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
    /// Returns the plan as it is stored.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot panic")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has only text keys and no failing parts")
    }

    /// Returns the plan of stored bytes.
    ///
    /// # Errors
    /// [`PlanError`]: another format or decoder than this program knows, or bytes that are no plan.
    pub fn from_json(bytes: &[u8]) -> Result<Self, PlanError> {
        let plan: Self = read(bytes)?;
        if plan.rules.decoder > DECODER_VERSION {
            return Err(PlanError::UnknownDecoder { decoder: plan.rules.decoder, known: DECODER_VERSION });
        }
        if plan.partition < 0 || plan.first < 0 || plan.last < plan.first {
            return Err(PlanError::Inconsistent { what: "its offsets or partition are no range" });
        }
        plan.rules.check().map_err(|what| PlanError::Inconsistent { what })?;
        Ok(plan)
    }

    /// Returns the plan's name: `<epoch>/p<partition>/<first>-<last>`, unique within a consumer group's ledger.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { partition, first, last, .. } = self;
        format!("{}/p{partition:05}/{first:020}-{last:020}", self.epoch.as_str())
    }

    /// Returns the user metadata that marks an object as this plan's.
    #[must_use]
    pub fn object_metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(PLAN_METADATA.to_owned(), self.name())])
    }

    /// Returns whether an object's user metadata marks it as this plan's.
    #[must_use]
    pub fn claims(&self, metadata: &BTreeMap<String, String>) -> bool {
        metadata.get(PLAN_METADATA).is_some_and(|name| *name == self.name())
    }
}

/// Reads the version alone before the rest, so that an unknown one is told as such.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PlanError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let malformed = |source| PlanError::Malformed { source };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version != u64::from(PLAN_VERSION) {
        return Err(PlanError::UnknownVersion { version, known: PLAN_VERSION });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

impl Root {
    /// Returns the root as it is stored.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot panic")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a root has only text keys and no failing parts")
    }

    /// Returns the root of stored bytes.
    ///
    /// # Errors
    /// [`PlanError`]: another format than this program knows, or bytes that are no root.
    pub fn from_json(bytes: &[u8]) -> Result<Self, PlanError> {
        let root: Self = read(bytes)?;
        if root.starts.iter().any(|(partition, start)| *partition < 0 || *start < 0) {
            return Err(PlanError::Inconsistent { what: "a start is no offset of a partition" });
        }
        Ok(root)
    }

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

#[cfg(test)]
mod tests;
