//! Buffers the records of one Kafka partition until a seal, compacted as they arrive. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stockpipeline::layout::Epoch;
use stockpipeline::plan::PlannedObject;
use stockpipeline::rules::Rules;

use crate::record::Record;

/// Hive partitions that one plan may touch, so that no seal opens more files than this.
pub const MAX_HIVE_PARTITIONS: usize = 512;

/// What a buffer takes before it is full.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records.
    pub max_records: u64,
    /// Bytes of keys and payloads.
    pub max_bytes: u64,
    /// Distinct Hive partitions of the processed zone.
    pub max_hive_partitions: usize,
}

impl Limits {
    /// No limit at all: the range is given by a plan.
    pub const NONE: Self = Self { max_records: u64::MAX, max_bytes: u64::MAX, max_hive_partitions: usize::MAX };
}

/// Whether a record was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// The record is in the buffer.
    Taken,
    /// The buffer holds as many records or bytes as it may; the record was not taken.
    Full(Full),
}

/// The limit that a buffer has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `Limits::max_records`.
    Records,
    /// `Limits::max_bytes`.
    Bytes,
    /// `Limits::max_hive_partitions`: the record would have opened one more.
    HivePartitions,
}

/// What went through a buffer, for metrics and summaries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records taken.
    pub records: u64,
    /// Bytes of their keys and payloads.
    pub bytes: u64,
    /// Rows of the processed zone.
    pub processed: u64,
    /// Lines of the raw zone.
    pub raw: u64,
    /// Dead letters by class (`decode`'s closed set of labels).
    pub dead_letters: BTreeMap<&'static str, u64>,
    /// Fields that no column takes.
    pub unknown_fields: u64,
    /// Rows whose event time lies before the buffer's newest event time minus a day.
    pub late_rows: u64,
}

/// The records of one Kafka partition since the last seal.
pub struct Buffer {
    rules: Arc<Rules>,
}

/// The identity of the plan that a buffer is sealed under.
#[derive(Debug, Clone)]
pub struct Seal {
    /// Incarnation of the topic.
    pub epoch: Epoch,
    /// Kafka partition.
    pub partition: i32,
    /// First offset of the plan.
    pub first: i64,
    /// Last offset of the plan, inclusive.
    pub last: i64,
    /// When it was sealed, microseconds since 1970.
    pub sealed_at_micros: i64,
}

/// A sealed buffer: its objects are known, their bytes are made one by one.
pub struct Sealed {
    objects: Vec<PlannedObject>,
}

impl Buffer {
    /// Returns an empty buffer of one Kafka partition.
    #[must_use]
    pub fn new(rules: Arc<Rules>, partition: i32, limits: Limits) -> Self {
        let _ = (partition, limits);
        Self { rules }
    }

    /// Takes one record: its raw line, and its row or its dead letter.
    pub fn push(&mut self, record: &Record<'_>) -> Push {
        let _ = (record, &self.rules);
        todo!("encoding helper")
    }

    /// Returns the bytes of memory that the buffer holds, capacities included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        todo!("encoding helper")
    }

    /// Returns what went through the buffer.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        todo!("encoding helper")
    }

    /// Fixes the objects: zones, keys, Hive values, rows, event-time ranges; in key order.
    #[must_use]
    pub fn seal(self, seal: &Seal) -> Sealed {
        let _ = seal;
        todo!("encoding helper")
    }
}

impl Sealed {
    /// Returns the objects in key order, as the plan lists them.
    #[must_use]
    pub fn objects(&self) -> &[PlannedObject] {
        &self.objects
    }

    /// Returns the bytes of memory still held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        todo!("encoding helper")
    }

    /// Makes the bytes of the next object and frees its rows; None after the last one.
    pub fn encode_next(&mut self) -> Option<(PlannedObject, Bytes)> {
        todo!("encoding helper")
    }
}
