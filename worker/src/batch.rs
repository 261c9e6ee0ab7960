//! Buffers the records of one Kafka partition until a seal, compacted as they arrive. Pure.

pub(crate) mod blocks;
pub(crate) mod clock_text;
mod dead_letters;
mod hive;
pub(crate) mod lines;
pub(crate) mod raw;
pub(crate) mod rows;
mod sealed;
mod sort;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod texts;

use std::collections::BTreeMap;
use std::sync::Arc;

use stockpipeline::layout::Epoch;
use stockpipeline::rules::Rules;
use stockpipeline::value::Value;

use self::clock_text::{FIRST_MICROS, LAST_MICROS};
use self::dead_letters::DeadLetterLine;
pub(crate) use self::dead_letters::push_text;
use self::hive::{HivePartitions, Place};
use self::lines::Lines;
use self::raw::RawLine;
use self::rows::Rows;
pub use self::sealed::Sealed;
use crate::decode::{self, DeadLetter, Decoder, Object, Payload};
use crate::record::Record;

/// Hive partitions that one plan may touch, so that no seal opens more files than this.
pub const MAX_HIVE_PARTITIONS: usize = 512;

/// Memory that making objects takes whatever the buffer's size: the rows gathered, and pages, dictionary and compressor of each column.
const ENCODING_BYTES: usize = 4 << 20;

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

impl Counts {
    /// Returns the number of dead letters of all classes.
    #[must_use]
    pub fn letters(&self) -> u64 {
        self.dead_letters.values().sum()
    }
}

/// Rows before the buffer's newest event time minus this count as late, in microseconds: a day.
const LATE_MICROS: i64 = 86_400_000_000;

/// The records of one Kafka partition since the last seal.
pub struct Buffer {
    rules: Arc<Rules>,
    partition: i32,
    limits: Limits,
    counts: Counts,
    decoder: Decoder,
    raw_line: RawLine,
    raw: Option<Lines>,
    dead_letter_line: DeadLetterLine,
    dead_letters: Option<Lines>,
    rows: Rows,
    hive: HivePartitions,
    newest_event_time: Option<i64>,
    /// Allocation of the values of one record, empty between records.
    values: Vec<Value<'static>>,
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

/// What becomes of a record in the processed zone.
enum Verdict {
    Row {
        hive: u32,
        event_time: Option<i64>,
    },
    DeadLetter(DeadLetter),
    /// The record would open one Hive partition too many.
    NoRoom,
}

impl Buffer {
    /// Returns an empty buffer of one Kafka partition.
    #[must_use]
    pub fn new(rules: Arc<Rules>, partition: i32, limits: Limits) -> Self {
        let partition_by = rules.processed.as_ref().map_or(&[][..], |zone| &zone.partition_by);
        Self {
            partition,
            limits,
            counts: Counts::default(),
            decoder: Decoder::new(&rules.schema),
            raw_line: RawLine::new(partition),
            raw: rules.raw.as_ref().map(|zone| Lines::new(zone.compression)),
            dead_letter_line: DeadLetterLine::new(partition),
            dead_letters: None,
            rows: Rows::new(&rules.schema),
            hive: HivePartitions::new(partition_by),
            newest_event_time: None,
            values: Vec::new(),
            rules,
        }
    }

    /// Takes one record: its raw line, and its row or its dead letter.
    ///
    /// A record that is larger than the limit of bytes is taken into an empty buffer.
    pub fn push(&mut self, record: &Record<'_>) -> Push {
        let bytes = (record.key.map_or(0, <[u8]>::len) + record.payload.map_or(0, <[u8]>::len)) as u64;
        if let Some(full) = self.full() {
            return Push::Full(full);
        }
        if self.counts.records > 0 && self.counts.bytes.saturating_add(bytes) > self.limits.max_bytes {
            return Push::Full(Full::Bytes);
        }
        let record = &Record { timestamp_millis: record.timestamp_millis.filter(|millis| has_four_digit_year(*millis)), ..*record };
        let payload = self.decoder.scan(record.payload);
        if self.rules.processed.is_some() && !self.process(record, &payload) {
            return Push::Full(Full::HivePartitions);
        }
        if let Some(lines) = &mut self.raw {
            self.raw_line.write(record.offset, record.timestamp_millis, record.payload, &payload, lines.line());
            lines.end_line();
            self.counts.raw += 1;
        }
        if let Payload::Object(object) = &payload {
            self.counts.unknown_fields += object.unknown_fields;
        }
        self.counts.records += 1;
        self.counts.bytes += bytes;
        Push::Taken
    }

    /// Returns the limit that what was taken has reached: no further record has room, whatever it is.
    #[inline]
    #[must_use]
    pub fn full(&self) -> Option<Full> {
        if self.counts.records >= self.limits.max_records.min(u64::from(u32::MAX)) {
            return Some(Full::Records);
        }
        (self.counts.records > 0 && self.counts.bytes >= self.limits.max_bytes).then_some(Full::Bytes)
    }

    /// Appends the row or the dead letter of a record; false when it has no room.
    fn process(&mut self, record: &Record<'_>, payload: &Payload<'_>) -> bool {
        let mut values = recycle(std::mem::take(&mut self.values));
        let verdict = match payload {
            Payload::Object(object) => self.judge(record, object, &mut values),
            other => Verdict::DeadLetter(other.dead_letter().expect("only an object has no dead letter of its own")),
        };
        match &verdict {
            Verdict::Row { hive, event_time } => {
                self.rows.push(record.offset, record.timestamp_millis.map(|millis| millis * 1_000), *hive, &values);
                self.hive.count(*hive, *event_time);
                self.count_row(*event_time);
            }
            Verdict::DeadLetter(dead_letter) => self.bury(record, dead_letter),
            Verdict::NoRoom => {}
        }
        self.values = recycle(values);
        !matches!(verdict, Verdict::NoRoom)
    }

    fn judge<'a>(&mut self, record: &Record<'_>, object: &Object<'a>, values: &mut Vec<Value<'a>>) -> Verdict {
        let schema = &self.rules.schema;
        if let Err(dead_letter) = self.decoder.values(schema, object, record.timestamp_millis, values) {
            return Verdict::DeadLetter(dead_letter);
        }
        let event_time = decode::event_time_micros(schema, values);
        match self.hive.place(schema, values) {
            Place::Known(hive) => Verdict::Row { hive, event_time },
            Place::New if self.hive.len() > 0 && self.hive.len() >= self.limits.max_hive_partitions => Verdict::NoRoom,
            Place::New => Verdict::Row { hive: self.hive.open(), event_time },
        }
    }

    fn count_row(&mut self, event_time: Option<i64>) {
        self.counts.processed += 1;
        let Some(time) = event_time else { return };
        let newest = self.newest_event_time.map_or(time, |newest| newest.max(time));
        self.newest_event_time = Some(newest);
        self.counts.late_rows += u64::from(time < newest.saturating_sub(LATE_MICROS));
    }

    #[cold]
    fn bury(&mut self, record: &Record<'_>, dead_letter: &DeadLetter) {
        let lines = self.dead_letters.get_or_insert_with(|| Lines::new(self.rules.dead_letters.compression));
        self.dead_letter_line.write(&self.rules.topic, &self.rules.schema, record, dead_letter, lines.line());
        lines.end_line();
        *self.counts.dead_letters.entry(dead_letter.class).or_default() += 1;
    }

    /// Returns the bytes of memory that the buffer holds, capacities included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let lines = |lines: &Option<Lines>| lines.as_ref().map_or(0, Lines::memory_bytes);
        lines(&self.raw)
            + lines(&self.dead_letters)
            + self.rows.memory_bytes()
            + self.hive.memory_bytes()
            + self.decoder.memory_bytes()
            + self.values.capacity() * size_of::<Value<'static>>()
    }

    /// Returns the most memory that making the objects takes beside [`Buffer::memory_bytes`], the objects included.
    ///
    /// Lines are sent as they lie. Rows are freed as they are encoded, but not those whose neighbours belong to other objects, and the
    /// bytes of a row group are held twice while it ends.
    #[must_use]
    pub fn encoding_bytes(&self) -> usize {
        ENCODING_BYTES + self.rows.memory_bytes() / 2
    }

    /// Returns what went through the buffer.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Fixes the objects: zones, keys, Hive values, rows, event-time ranges; in key order.
    #[must_use]
    pub fn seal(self, seal: &Seal) -> Sealed {
        Sealed::of(self, seal)
    }
}

/// Returns an empty list that may hold values of another lifetime, in the same allocation.
fn recycle<'a>(mut values: Vec<Value<'_>>) -> Vec<Value<'a>> {
    values.clear();
    values.into_iter().map(|_| Value::Null).collect()
}

/// A Kafka timestamp outside the years that SQL engines read counts as none, in every zone.
fn has_four_digit_year(millis: i64) -> bool {
    (FIRST_MICROS / 1_000..=LAST_MICROS / 1_000).contains(&millis)
}
