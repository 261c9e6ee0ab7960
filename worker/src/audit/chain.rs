//! The chain of one Kafka partition: each plan starts where the one before it ended. Pure.

use std::collections::BTreeMap;

use super::report::ChainEnd;

/// The chain of one Kafka partition in one epoch, as far as its plans have been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    start: i64,
    kept_from: Option<i64>,
    next: i64,
    plans: u64,
    /// Ranges of proven plans that clean-up has cut off from the rest while they were walked; one a run of plans that vanished.
    cut_off: Vec<(i64, i64)>,
}

impl Chain {
    /// Returns an empty chain that starts at an offset.
    pub(super) fn new(start: i64) -> Self {
        Self { start, kept_from: None, next: start, plans: 0, cut_off: Vec::new() }
    }

    /// Takes the next plan in key order; returns what is wrong with its place.
    pub(super) fn take(&mut self, first: i64, last: i64) -> Option<String> {
        let expected = self.next;
        let oldest = self.kept_from.is_none();
        self.kept_from.get_or_insert(first);
        self.next = self.next.max(last.saturating_add(1));
        self.plans += 1;
        if oldest {
            let before = first < expected;
            return before.then(|| format!("the oldest plan starts at {first}, before the chain's start {expected}"));
        }
        if first > expected {
            return Some(format!("no plan holds the offsets {expected} to {}", first - 1));
        }
        (first < expected).then(|| format!("two plans hold the offsets {first} to {}", expected.min(last.saturating_add(1)) - 1))
    }

    /// Notes that a plan was gone when it was read: clean-up removes the oldest ones first, so what is kept begins anew behind it.
    pub(super) fn lose_one(&mut self) {
        if let Some(first) = self.kept_from.take() {
            self.cut_off.push((first, self.next - 1));
        }
    }

    /// Returns the first offset of the chain.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// Returns the first offset of the oldest plan that is kept, or the end of an empty chain.
    pub(super) fn kept_from(&self) -> i64 {
        self.kept_from.unwrap_or(self.next)
    }

    /// Returns where the chain of a partition stands.
    pub(super) fn end(&self, epoch: &str, partition: i32) -> ChainEnd {
        let (start, kept_from, next, plans) = (self.start, self.kept_from(), self.next, self.plans);
        ChainEnd { epoch: epoch.to_owned(), partition, start, kept_from, next, plans }
    }
}

/// The ranges of plans that clean-up has removed, from the names of their objects. Holds 16 bytes a plan.
#[derive(Debug, Default)]
pub(super) struct NamedRanges {
    ranges: BTreeMap<i64, i64>,
}

impl NamedRanges {
    /// Takes the range of one object's name; returns what is wrong with it.
    pub(super) fn take(&mut self, first: i64, last: i64) -> Option<String> {
        match self.ranges.insert(first, last) {
            Some(other) if other != last => {
                Some(format!("its range ends at {last}, another object's from the same offset ends at {other}"))
            }
            Some(_) | None => None,
        }
    }

    /// Returns what the names leave out or claim twice between a chain's start and its oldest plan that is kept.
    pub(super) fn faults(&self, chain: &Chain) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expected = chain.start();
        let mut ranges: Vec<(i64, i64)> = self.ranges.iter().map(|(first, last)| (*first, *last)).chain(chain.cut_off.clone()).collect();
        ranges.push((chain.kept_from(), chain.kept_from() - 1));
        ranges.sort_unstable();
        for (first, last) in ranges {
            if first > expected {
                faults.push(format!("no plan and no object's name holds the offsets {expected} to {}", first - 1));
            }
            if first < expected {
                faults.push(format!("the names of two plans' objects hold offset {first}"));
            }
            expected = expected.max(last.saturating_add(1));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plans: &[(i64, i64)], faults: &[&str]) -> Chain {
        let mut chain = Chain::new(5);
        let found: Vec<_> = plans.iter().filter_map(|(first, last)| chain.take(*first, *last)).collect();
        assert_eq!(found, faults);
        chain
    }

    #[test]
    fn plans_that_follow_each_other_are_clean() {
        let chain = check(&[(5, 9), (10, 10), (11, 40)], &[]);
        assert_eq!(chain.end("e", 3), ChainEnd { epoch: "e".into(), partition: 3, start: 5, kept_from: 5, next: 41, plans: 3 });
    }

    #[test]
    fn a_chain_may_have_lost_its_oldest_plans_to_clean_up() {
        assert_eq!(check(&[(10, 19), (20, 29)], &[]).kept_from(), 10);
    }

    #[test]
    fn gaps_overlaps_and_a_wrong_start_are_found() {
        check(&[(5, 9), (12, 14), (15, 15)], &["no plan holds the offsets 10 to 11"]);
        check(&[(5, 9), (8, 14)], &["two plans hold the offsets 8 to 9"]);
        check(&[(5, 19), (8, 9), (20, 21)], &["two plans hold the offsets 8 to 9"]);
        check(&[(3, 9)], &["the oldest plan starts at 3, before the chain's start 5"]);
    }

    #[test]
    fn names_must_fill_the_offsets_below_the_oldest_kept_plan() {
        let chain = check(&[(30, 39)], &[]);
        let faults = |ranges: &[(i64, i64)]| {
            let mut names = NamedRanges::default();
            let mut faults: Vec<_> = ranges.iter().filter_map(|(first, last)| names.take(*first, *last)).collect();
            faults.extend(names.faults(&chain));
            faults
        };
        assert!(faults(&[(5, 9), (5, 9), (10, 29)]).is_empty());
        assert_eq!(faults(&[(5, 9), (12, 29)]), ["no plan and no object's name holds the offsets 10 to 11"]);
        assert_eq!(faults(&[(5, 9)]), ["no plan and no object's name holds the offsets 10 to 29"]);
        assert_eq!(faults(&[(5, 12), (10, 29)]), ["the names of two plans' objects hold offset 10"]);
        assert_eq!(faults(&[(5, 29), (5, 28)])[0], "its range ends at 28, another object's from the same offset ends at 29");
    }

    #[test]
    fn plans_that_clean_up_removes_while_they_are_walked_leave_no_gap() {
        let mut chain = Chain::new(5);
        assert_eq!([chain.take(5, 9), chain.take(10, 19)], [None, None]);
        chain.lose_one();
        chain.lose_one();
        assert_eq!(chain.take(40, 49), None);
        assert_eq!(chain.take(50, 59), None);
        assert_eq!((chain.kept_from(), chain.end("e", 0).next), (40, 60));
        let faults = |ranges: &[(i64, i64)]| {
            let mut names = NamedRanges::default();
            assert!(ranges.iter().all(|(first, last)| names.take(*first, *last).is_none()));
            names.faults(&chain)
        };
        // The objects of plans that were read are known by those; of the others there are names.
        assert!(faults(&[(20, 29), (30, 39)]).is_empty());
        assert_eq!(faults(&[(20, 29)]), ["no plan and no object's name holds the offsets 30 to 39"]);
    }

    #[test]
    fn an_empty_chain_has_nothing_below_its_start() {
        assert!(NamedRanges::default().faults(&Chain::new(7)).is_empty());
    }
}
