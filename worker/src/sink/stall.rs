//! Tells a partition whose next records librdkafka cannot read from one that has none. Pure.
//!
//! A batch that ends too early, or says a wrong length, looks to librdkafka like an answer that was cut short: it asks again, for ever and
//! without a word. Its statistics count such answers for a broker, not for a partition, and of many partitions most wait for their turn: an
//! answer has room for a few. But each request begins with another one of them, and a broker gives a whole batch to the one that it begins with.

use crate::source::Fetching;

/// Observations in a row, about a second apart, after which a partition may count as stalled. Answers that are cut short are common, but not at
/// the same position again and again.
const OBSERVATIONS: u32 = 10;
/// How often a request must have begun with the partition by then: requests are counted as they are sent, and the last is not answered yet.
/// With a hundred partitions and a broker that is asked twice a second that takes two minutes.
const TURNS: u64 = 2;

/// What was observed of a partition since it stands where it is.
#[derive(Debug, Default)]
pub(super) struct Stall {
    since: Option<Fetching>,
    observations: u32,
}

impl Stall {
    /// Notes an observation; `wants` says whether there is something to be fetched and nothing that was. Returns whether the partition stalls.
    pub(super) fn observe(&mut self, now: Fetching, wants: bool) -> bool {
        let here = self.since.as_mut().filter(|since| wants && since.broker == now.broker && since.position == now.position);
        let Some(since) = here else {
            *self = Self { since: wants.then_some(now), observations: 0 };
            return false;
        };
        since.sharers = since.sharers.max(now.sharers);
        self.observations += 1;
        let turns = now.requests.saturating_sub(since.requests) / since.sharers.max(1);
        let in_vain = now.partial_answers.saturating_sub(since.partial_answers);
        self.observations >= OBSERVATIONS && turns >= TURNS && in_vain >= TURNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns after how many seconds a partition stalls of which each second tells position, partial answers, and whether it wants; it shares a
    /// broker with `sharers`, which is sent so many requests a second.
    fn shared_stalls_after((sharers, requests): (u64, u64), seconds: impl IntoIterator<Item = (i64, u64, bool)>) -> Option<usize> {
        let mut stall = Stall::default();
        (0..).zip(seconds).position(|(second, (position, partial_answers, wants))| {
            let fetching = Fetching { partition: 0, broker: 1, position, partial_answers, requests: second * requests, sharers };
            stall.observe(fetching, wants)
        })
    }

    fn stalls_after(seconds: impl IntoIterator<Item = (i64, u64, bool)>) -> Option<usize> {
        shared_stalls_after((1, 2), seconds)
    }

    #[test]
    fn only_answers_in_vain_at_one_position_make_a_stall() {
        let seconds = 0..100_u64;
        assert_eq!(stalls_after(seconds.clone().map(|second| (7, 2 * second, true))), Some(10));
        assert_eq!(stalls_after(seconds.clone().map(|_| (7, 5, true))), None, "a broker that does not answer");
        assert_eq!(stalls_after(seconds.clone().map(|second| (7, second, second % 10 != 0))), None, "a queue that is full now and then");
        assert_eq!(stalls_after(seconds.map(|second| (i64::try_from(second / 10).unwrap(), second, true))), None, "a slow way");
    }

    #[test]
    fn a_partition_that_waits_for_its_turn_among_many_does_not_stall() {
        let cut_short = || (0..200_u64).map(|second| (7, 3 * second, true));
        assert_eq!(shared_stalls_after((150, 1), cut_short()), None, "others' answers are cut short, and it was first at most once");
        assert_eq!(shared_stalls_after((150, 20), cut_short()), Some(15), "two rounds of 150 requests");
    }

    #[test]
    fn another_broker_begins_anew() {
        let mut stall = Stall::default();
        let fetching = |broker, count| Fetching { partition: 0, broker, position: 7, partial_answers: count, requests: count, sharers: 1 };
        assert!((0..100).all(|second| !stall.observe(fetching((second / 10 % 2) as i32, 100 * second), true)));
    }
}
