//! Tells a partition whose next records librdkafka cannot read from one that has none. Pure.
//!
//! A batch that ends too early, or says a wrong length, looks to librdkafka like an answer that was cut short: it asks again, for ever and
//! without a word. Its statistics show that answers come and the position stays.

use crate::source::Fetching;

/// Observations in a row, about a second apart, after which a partition counts as stalled. Answers that are cut short are common, but not at
/// the same position again and again.
const OBSERVATIONS: u32 = 10;

/// What was observed of a partition so far.
#[derive(Debug, Default)]
pub(super) struct Stall {
    last: Option<Fetching>,
    observations: u32,
}

impl Stall {
    /// Notes an observation; `wants` says whether there is something to be fetched and nothing that was. Returns whether the partition stalls.
    pub(super) fn observe(&mut self, now: Fetching, wants: bool) -> bool {
        let before = self.last.replace(now);
        let in_vain = before.is_some_and(|before| before.position == now.position && before.partial_answers < now.partial_answers);
        self.observations = if wants && in_vain { self.observations + 1 } else { 0 };
        self.observations >= OBSERVATIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns after how many seconds a partition stalls of which each second tells position, partial answers, and whether it wants.
    fn stalls_after(seconds: impl IntoIterator<Item = (i64, u64, bool)>) -> Option<usize> {
        let mut stall = Stall::default();
        seconds
            .into_iter()
            .position(|(position, partial_answers, wants)| stall.observe(Fetching { partition: 0, position, partial_answers }, wants))
    }

    #[test]
    fn only_answers_in_vain_at_one_position_make_a_stall() {
        let seconds = 0..100_u64;
        assert_eq!(stalls_after(seconds.clone().map(|second| (7, 2 * second, true))), Some(10));
        assert_eq!(stalls_after(seconds.clone().map(|_| (7, 5, true))), None, "a broker that does not answer");
        assert_eq!(stalls_after(seconds.clone().map(|second| (7, second, second % 10 != 0))), None, "a queue that is full now and then");
        assert_eq!(stalls_after(seconds.map(|second| (i64::try_from(second / 10).unwrap(), second, true))), None, "a slow way");
    }
}
