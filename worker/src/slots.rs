//! Slots: the units of work that Kafka's group protocol hands to producer replicas, and how far each slot has come.
//!
//! A row belongs to slot `hash(key) mod S`. Who is assigned partition `s` of the slots topic feeds the rows of slot `s`. This file is pure: which
//! replay it is, which rows are still to be fed, what is committed. The group and the progress records are read and kept in its parts.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stockpipeline::checked::{Location, Order, Source};
use stockpipeline::layout::Epoch;
use stockpipeline::murmur2::murmur2;
use stockpipeline::schema::Column;

use crate::address;

pub mod group;
pub mod progress;

/// Returns the hash of a key, without its sign: its remainders are the key's slot and its Kafka partition.
#[must_use]
pub fn key_hash(key: &[u8]) -> u32 {
    murmur2(key) & 0x7fff_ffff
}

/// What makes a replay the same replay, so that it resumes.
#[derive(Debug, Clone, Copy)]
pub struct Replay<'a> {
    /// Incarnation of the data topic.
    pub epoch: &'a Epoch,
    /// The source as the user wrote it, and how it is read.
    pub source: &'a Source,
    /// Fingerprint of the source's content.
    pub fingerprint: &'a str,
    /// Name of the source field whose text is the key.
    pub key_field: &'a str,
    /// The column of the event time.
    pub event_time: &'a Column,
    /// Slots.
    pub slots: u32,
}

/// Id of a replay: 16 hexadecimal digits. Another source, order, option or topic is another replay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplayId(String);

impl ReplayId {
    /// Returns the id of a replay. Pace and repetition are left out: they change no row.
    #[must_use]
    pub fn of(replay: &Replay<'_>) -> Self {
        let mut hash = Sha256::new();
        // Each part is preceded by its length, so that no two replays give the same bytes.
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(replay.epoch.as_str().as_bytes());
        part(uri(replay.source, replay.fingerprint).as_bytes());
        part(replay.fingerprint.as_bytes());
        part(replay.key_field.as_bytes());
        part(&replay.slots.to_be_bytes());
        match replay.source {
            Source::CsvReplay(csv) => {
                part(&[csv.delimiter, order_number(csv.order)]);
                part(&csv.seed.to_be_bytes());
                for null in &csv.null_values {
                    // No text holds this byte: a null value is never taken for the first of the names.
                    part(if null == "header" { b"\xffheader" } else { null.as_bytes() });
                }
                for name in csv.header.iter().flatten() {
                    part(b"header");
                    part(name.as_bytes());
                }
                if csv.order == Order::EventTime {
                    // How event times are read decides which row has which number.
                    let Column { from, column_type, .. } = replay.event_time;
                    let reading = serde_json::to_string(&(from, column_type)).expect("names, texts and numbers are JSON");
                    part(reading.as_bytes());
                }
            }
            // The fingerprint of a synthetic source is that of its settings.
            Source::Synthetic(_) => part(b"synthetic"),
            Source::ExternalTopic => part(b"external"),
        }
        let digest = hash.finalize();
        let first = digest.first_chunk().expect("a SHA-256 digest has 32 bytes");
        Self(format!("{:016x}", u64::from_be_bytes(*first)))
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the group that the replicas of this replay join.
    #[must_use]
    pub fn group(&self, consumer_group: &str) -> String {
        format!("{consumer_group}-producer-{}", self.0)
    }
}

fn order_number(order: Order) -> u8 {
    match order {
        Order::File => 0,
        Order::EventTime => 1,
        Order::Random => 2,
    }
}

/// Returns the name of a source, as it stands in headers and progress records: never with an address's credentials or signature, and of its query only a hash.
#[must_use]
pub fn uri(source: &Source, fingerprint: &str) -> String {
    match source {
        Source::CsvReplay(csv) => match &csv.location {
            Location::Path(path) => path.clone(),
            Location::S3 { bucket, key } => format!("s3://{bucket}/{key}"),
            Location::Http(address) => address::name(address),
            Location::ConfigMap { name, key } => format!("configmap:{name}/{key}"),
        },
        // Other settings are another source, not a changed one.
        Source::Synthetic(_) => format!("synthetic:{}", fingerprint.get(..16).unwrap_or(fingerprint)),
        Source::ExternalTopic => "external".to_owned(),
    }
}

/// The last record of a replay in a slot's partition: what remains when the group's offsets have expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressRecord {
    /// The replay.
    pub replay: ReplayId,
    /// Incarnation of the data topic.
    pub epoch: Epoch,
    /// Name of the source.
    pub uri: String,
    /// Fingerprint of its content.
    pub fingerprint: String,
    /// First row that is not yet produced.
    pub row: u64,
}

/// Which rows this replica feeds, and what is committed of them.
///
/// `from` of a slot is the first row that is to be fed; rows below it are skipped. A slot that is not owned wants none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    from: Vec<u64>,
    committed: Vec<Option<u64>>,
}

impl Positions {
    /// Returns positions that own no slot.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        let slots = slots.max(1) as usize;
        Self { from: vec![u64::MAX; slots], committed: vec![None; slots] }
    }

    /// Returns the number of slots, owned or not.
    #[must_use]
    pub fn slots(&self) -> u32 {
        u32::try_from(self.from.len()).unwrap_or(u32::MAX)
    }

    /// Takes a slot at its committed row.
    pub fn take(&mut self, slot: u32, row: u64) {
        if let (Some(from), Some(committed)) = (self.from.get_mut(slot as usize), self.committed.get_mut(slot as usize)) {
            *from = row;
            *committed = Some(row);
        }
    }

    /// Gives a slot up.
    pub fn drop(&mut self, slot: u32) {
        if let (Some(from), Some(committed)) = (self.from.get_mut(slot as usize), self.committed.get_mut(slot as usize)) {
            *from = u64::MAX;
            *committed = None;
        }
    }

    /// Returns whether a row with this hash of its key is to be fed by this replica.
    #[must_use]
    #[inline]
    pub fn wants(&self, hash: u32, row: u64) -> bool {
        let slot = hash as usize % self.from.len();
        row >= self.from[slot]
    }

    /// Returns whether no slot is owned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.committed.iter().all(Option::is_none)
    }

    /// Returns the owned slots and their committed rows, in order.
    pub fn owned(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        (0..).zip(&self.committed).filter_map(|(slot, committed)| committed.map(|row| (slot, row)))
    }

    /// Returns the first row that any owned slot wants.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        self.owned().filter_map(|(slot, _)| self.from.get(slot as usize).copied()).min()
    }

    /// Returns whether slots are owned and each is committed up to this row.
    #[must_use]
    pub fn has_reached(&self, end: u64) -> bool {
        !self.is_empty() && self.owned().all(|(_, row)| row >= end)
    }

    /// Returns what a commit has to say once all rows below `cursor` were fed or skipped: slots whose row moves, and to where.
    #[must_use]
    pub fn advanced(&self, cursor: u64) -> Vec<(u32, u64)> {
        self.owned()
            .map(|(slot, committed)| (slot, committed, self.from[slot as usize].max(cursor)))
            .filter(|(_, committed, row)| row > committed)
            .map(|(slot, _, row)| (slot, row))
            .collect()
    }

    /// Notes that rows are committed.
    pub fn settle(&mut self, rows: &[(u32, u64)]) {
        for (slot, row) in rows {
            if self.committed.get(*slot as usize).is_some_and(Option::is_some) {
                self.take(*slot, *row);
            }
        }
    }

    /// Goes back to what is committed, after an abort.
    pub fn rewind(&mut self) {
        for (from, committed) in self.from.iter_mut().zip(&self.committed) {
            *from = committed.unwrap_or(u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests;
