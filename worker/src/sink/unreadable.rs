//! Records that cannot be read. Their partition waits at them, and it alone: what is before them is stored, and nothing behind them is taken.
//! They are asked for again now and then, since a broker may have them back, from a replica, or have dropped them.

use std::time::{Duration, Instant};

use super::conductor::Conductor;
use super::partition::{Partition, Phase};
use super::stall::Stall;
use super::work::Cause;
use crate::source::Observation;

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
