//! Records that cannot be read. Their partition waits at them, and it alone: what is before them is stored, and nothing behind them is taken.
//! They are asked for again now and then, since a broker may have them back, from a replica, or have dropped them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::conductor::Conductor;
use super::partition::{Partition, Phase};
use super::stall::Stall;
use super::work::Cause;
use crate::error::Class;
use crate::source::Observation;
use crate::status::{Failure, Reason};

/// Time until they are asked for again: an answer costs little, and whoever has mended the log looks whether it helped.
const AGAIN: Duration = Duration::from_secs(15);

impl Conductor {
    /// Leaves a partition where it stands.
    pub(super) fn block(&mut self, id: i32, detail: &str) {
        let Some(partition) = self.partitions.get_mut(&id).filter(|partition| partition.takes()) else { return };
        partition.blocked_at = Some(Instant::now());
        partition.stall = Stall::default();
        partition.paused = true;
        let offset = partition.next;
        self.source.pause(&[id]);
        self.report.unreadable(&self.context, id, offset, detail);
    }

    /// Blocks the partitions whose answers have been in vain for long.
    pub(super) fn block_stalled(&mut self, seen: &Observation) {
        for &fetching in &seen.fetching {
            let Some(partition) = self.partitions.get_mut(&fetching.partition) else { continue };
            let is_behind = partition.log_end.is_some_and(|end| end > fetching.position);
            let wants = partition.takes() && !partition.paused && is_behind && seen.fetched_messages == 0;
            if partition.stall.observe(fetching, wants) {
                self.block(fetching.partition, "the broker's answers hold no whole batch");
            }
        }
    }

    /// Returns whether a partition waits at records that cannot be read.
    pub(super) fn is_blocked(&self, id: i32) -> bool {
        self.partitions.get(&id).is_some_and(|partition| partition.blocked_at.is_some())
    }

    /// Asks for the records again: first whether the log still has them.
    pub(super) fn ask_again(&mut self, id: i32, now: Instant) {
        let blocked_at =
            self.partitions.get(&id).filter(|partition| partition.leaving.is_none()).and_then(|partition| partition.blocked_at);
        if blocked_at.is_some_and(|at| now.duration_since(at) >= AGAIN) {
            self.measure(id, Cause::OutOfRange);
        }
    }
}

impl Partition {
    /// Returns whether records are taken, as they come.
    pub(super) fn takes(&self) -> bool {
        self.phase == Phase::Active && self.leaving.is_none() && self.blocked_at.is_none()
    }
}

/// Offsets at which partitions wait, and what is said of them. Pure.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    partitions: BTreeMap<i32, (i64, Failure)>,
}

impl Unreadable {
    /// Notes that what comes next in a partition cannot be read. Returns whether that is new.
    pub(super) fn met(&mut self, topic: &str, (partition, offset): (i32, i64), detail: &str, now_millis: i64) -> bool {
        let message = format!(
            "topic {topic:?}, partition {partition}: the records at offset {offset} cannot be read ({detail}). What is before them is stored, \
             nothing behind them is taken. Let a replica lead the partition that has them whole, or give them up with kafka-delete-records, \
             which counts as DataLoss; the sink asks for them again every few seconds"
        );
        let known = self.partitions.get(&partition).filter(|(at, _)| *at == offset).map(|(_, failure)| failure.at_millis);
        let at_millis = known.unwrap_or(now_millis);
        let failure = Failure { class: Class::External, reason: Reason::RecordsUnreadable, message, at_millis };
        self.partitions.insert(partition, (offset, failure));
        known.is_none()
    }

    /// Notes that a partition is no longer ours, or waits for something else.
    pub(super) fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// Notes where the log of a partition ends: what was cut off it is nobody's trouble any more.
    pub(super) fn log_ends(&mut self, partition: i32, end: i64) {
        self.partitions.retain(|id, (offset, _)| *id != partition || *offset < end);
    }

    /// Forgets what partitions have gone on behind.
    pub(super) fn passed(&mut self, partitions: &BTreeMap<i32, Partition>) {
        self.partitions.retain(|id, (offset, _)| partitions.get(id).is_some_and(|partition| partition.known_end() <= *offset));
    }

    /// Returns what is said of the first partition that waits.
    pub(super) fn first(&self) -> Option<&Failure> {
        self.partitions.values().next().map(|(_, failure)| failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_until_the_log_no_longer_holds_it() {
        let mut unreadable = Unreadable::default();
        assert!(unreadable.met("ticks", (0, 40), "damaged", 1_000));
        assert!(!unreadable.met("ticks", (0, 40), "damaged", 2_000));
        unreadable.log_ends(0, 41);
        assert_eq!(unreadable.first().map(|failure| failure.at_millis), Some(1_000), "it is still there");
        unreadable.log_ends(1, 40);
        assert!(unreadable.first().is_some(), "another partition's log");
        unreadable.log_ends(0, 40);
        assert_eq!(unreadable.first(), None, "the tail was cut off");
        assert!(unreadable.met("ticks", (0, 40), "damaged", 3_000), "another one in its place");
    }
}
