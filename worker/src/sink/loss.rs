//! What is lost: offsets that the broker dropped, rows that were compacted away. Each is told once, with the time at which it was met first:
//! who looks a partition up anew meets it again, and what was acknowledged is not to come back with another date. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use stockpipeline::plan::Plan;

use crate::error::Class;
use crate::status::{Failure, Reason};

/// What was told to be lost.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Of each partition, the dropped offsets that were told last; its chain does not come back to earlier ones.
    dropped: BTreeMap<i32, Range<i64>>,
    /// Of each partition, the first offset of the plan whose rows were told to be gone last, and how many are.
    compacted: BTreeMap<i32, (i64, u64)>,
    last: Option<Failure>,
}

impl Losses {
    /// Returns the last loss.
    pub(super) fn last(&self) -> Option<&Failure> {
        self.last.as_ref()
    }

    /// Notes offsets that the broker dropped before they were stored. Returns whether that is new.
    pub(super) fn dropped(&mut self, partition: i32, offsets: Range<i64>, now_millis: i64) -> bool {
        let known = self.dropped.get(&partition);
        if known.is_some_and(|known| known.start <= offsets.start && offsets.end <= known.end) {
            return false;
        }
        // What continues a range, since retention goes on, is told with it.
        let start = known.filter(|known| (known.start..=known.end).contains(&offsets.start)).map_or(offsets.start, |known| known.start);
        let Range { end, .. } = offsets;
        let message = format!(
            "partition {partition}: the broker no longer has offsets {start} to {}; {} offsets are missing. \
             Raise the topic's retention, or add sinks; the annotation stockpipeline.dev/reconcile-requested-at acknowledges it",
            end - 1,
            end - start
        );
        self.dropped.insert(partition, start..end);
        self.last = Some(failure(message, now_millis));
        true
    }

    /// Notes rows of a plan that the broker no longer has: they were compacted away before the plan was finished. Returns whether that is new.
    pub(super) fn compacted(&mut self, plan: &Plan, rows: u64, now_millis: i64) -> bool {
        if self.compacted.insert(plan.partition, (plan.first, rows)) == Some((plan.first, rows)) {
            return false;
        }
        let message = format!(
            "partition {}, offsets {} to {}: {rows} rows of the plan are gone from the topic; what is left is stored. \
             Use cleanup.policy=delete for a topic whose every record counts",
            plan.partition, plan.first, plan.last
        );
        self.last = Some(failure(message, now_millis));
        true
    }
}

fn failure(message: String, at_millis: i64) -> Failure {
    Failure { class: Class::External, reason: Reason::DataLoss, message, at_millis }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the time and the offsets of the last loss.
    fn last(losses: &Losses) -> (i64, String) {
        let failure = losses.last().unwrap();
        let (_, text) = failure.message.split_once("no longer has offsets ").unwrap();
        (failure.at_millis, text.split_once(';').unwrap().0.to_owned())
    }

    #[test]
    fn a_range_is_lost_once_and_keeps_its_time() {
        let mut losses = Losses::default();
        assert!(losses.dropped(3, 100..200, 1_000));
        assert!(!losses.dropped(3, 100..200, 2_000));
        assert_eq!(last(&losses), (1_000, "100 to 199".to_owned()));
        assert!(losses.dropped(4, 100..200, 3_000), "another partition's");
    }

    #[test]
    fn what_is_dropped_beyond_a_known_range_is_a_new_loss_and_told_with_it() {
        let mut losses = Losses::default();
        losses.dropped(3, 100..200, 1_000);
        assert!(losses.dropped(3, 100..250, 2_000));
        assert_eq!(last(&losses), (2_000, "100 to 249".to_owned()));
        assert!(losses.dropped(3, 250..300, 3_000));
        assert_eq!(last(&losses), (3_000, "100 to 299".to_owned()));
        assert!(losses.dropped(3, 500..600, 4_000));
        assert_eq!(last(&losses), (4_000, "500 to 599".to_owned()));
    }
}
