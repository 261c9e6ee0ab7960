//! Looks again, now and then: whether the topic is still the one of the ledger, and whether what has stopped a partition is gone.
//!
//! Each decision asks for the topic's id, but an idle sink decides nothing, and a consumer goes on in a topic that was made again, or waits for
//! ever in it, without a word.

use std::time::{Duration, Instant};

use super::conductor::Conductor;
use super::partition::{Partition, Phase};
use super::work::Work;
use super::{SinkError, rotation};
use crate::status::Reason;

/// Longest rest of a stopped partition, in first ones: a quarter of an hour and a minute. A look may read a whole rotation from Kafka again.
const LONGEST_REST: u32 = 16;

impl Conductor {
    /// Asks for the topic's id, and looks stopped partitions up anew, where that is due.
    pub(super) fn patrol(&mut self) -> Result<(), SinkError> {
        // An assignment that is changed now would answer the group in place of a release.
        if self.draining.is_some() || !self.releases.is_empty() {
            return Ok(());
        }
        let (now, interval) = (Instant::now(), self.context.look_again);
        if !self.is_topic_asked && self.lookup.root.topic_id.is_some() && now.duration_since(self.topic_asked_at) >= interval {
            self.is_topic_asked = true;
            self.topic_asked_at = now;
            let (lookup, sender) = (self.lookup.clone(), self.sender.clone());
            self.runtime.spawn(async move {
                let is_same = lookup.is_same_topic().await;
                rotation::report(&sender, Work::TopicSeen { is_same });
            });
        }
        let is_due = |p: &Partition| p.stopped_at.is_some_and(|at| now.duration_since(at) >= rest(p.stops, interval));
        let stopped = self.partitions.values().filter(|p| heals(p.phase) && p.leaving.is_none() && is_due(p));
        for id in stopped.map(|partition| partition.id).collect::<Vec<_>>() {
            self.restart(id)?;
        }
        Ok(())
    }

    /// Ends the sink where the topic is another one; the next start gives it an epoch of its own.
    pub(super) fn topic_seen(&mut self, is_same: bool) -> Result<(), SinkError> {
        self.is_topic_asked = false;
        if is_same { Ok(()) } else { Err(SinkError::TopicReplaced { topic: self.context.pipeline.kafka.topic.name.clone() }) }
    }
}

/// Returns whether a partition is stopped by something that shows when it is gone. A plan's mismatch or version waits for another version of
/// this program; a log that was cut may have grown again over what nobody has stored, which a person has to know of.
fn heals(phase: Phase) -> bool {
    match phase {
        Phase::Stopped(reason) => !matches!(reason, Reason::PlanMismatch | Reason::PlanVersionUnknown | Reason::TopicTruncated),
        Phase::Looking | Phase::Active | Phase::Measuring => false,
    }
}

/// Returns how long a partition rests that was stopped so many times without completing a plan between: each time twice as long, up to a limit.
fn rest(stops: u32, first: Duration) -> Duration {
    first * 2_u32.saturating_pow(stops.saturating_sub(1)).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_stopped_again_and_again_is_looked_at_less_and_less_often() {
        let minutes = |stops| rest(stops, Duration::from_mins(1)).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 5, 6, 40, u32::MAX].map(minutes), [1, 2, 4, 8, 16, 16, 16, 16]);
    }
}
