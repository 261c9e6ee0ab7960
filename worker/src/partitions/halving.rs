//! Batches that are halved where Glue refuses their input, until the bad entries are alone. Pure.

use std::time::Duration;

use super::glue::Failure;

/// Calls about one batch: enough to find a handful of bad entries among [`super::glue::BATCH`].
const MOST_CALLS: usize = 64;
/// Pause before every call but the first, so that a search takes little of what the account may call.
const PAUSE: Duration = Duration::from_millis(50);

/// A batch on its way through Glue.
#[derive(Debug)]
pub(super) struct Halving<T> {
    open: Vec<Vec<T>>,
    alone: Vec<(T, Failure)>,
    last: Option<Failure>,
    calls: usize,
    has_taken: bool,
}

/// What was not taken of a batch.
#[derive(Debug)]
pub(super) struct Untaken<T> {
    /// Refused alone, each with the reason.
    pub(super) alone: Vec<(T, Failure)>,
    /// Not looked at one by one, since that took too many calls, with the reason of the last refusal.
    pub(super) rest: Vec<(T, Failure)>,
}

impl<T> Halving<T> {
    pub(super) fn of(entries: Vec<T>) -> Self {
        let open = if entries.is_empty() { Vec::new() } else { vec![entries] };
        Self { open, alone: Vec::new(), last: None, calls: 0, has_taken: false }
    }

    /// Returns what the next call is about, and the pause before it; None where there is nothing left, or were too many calls.
    pub(super) fn next(&mut self) -> Option<(Duration, Vec<T>)> {
        if self.calls >= MOST_CALLS {
            return None;
        }
        let part = self.open.pop()?;
        let pause = if self.calls == 0 { Duration::ZERO } else { PAUSE };
        self.calls += 1;
        Some((pause, part))
    }

    /// Notes that a call was taken.
    pub(super) fn taken(&mut self) {
        self.has_taken = true;
    }

    /// Returns whether as many calls as may be were refused, and none taken: it is hardly about entries then.
    pub(super) fn is_hopeless(&self) -> bool {
        !self.has_taken && self.calls >= MOST_CALLS
    }

    /// Takes back what a call was refused for.
    pub(super) fn refused(&mut self, mut part: Vec<T>, failure: Failure) {
        if part.len() > 1 {
            let second = part.split_off(part.len() / 2);
            self.open.extend([second, part]);
        } else {
            self.alone.extend(part.into_iter().map(|entry| (entry, failure.clone())));
        }
        self.last = Some(failure);
    }

    /// Returns what was not taken.
    pub(super) fn end(self) -> Untaken<T> {
        let rest = self.last.map(|last| self.open.into_iter().flatten().map(|entry| (entry, last.clone())).collect());
        Untaken { alone: self.alone, rest: rest.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many calls were made, what was taken, and what was not.
    fn search(bad: &[usize]) -> (usize, usize, Untaken<usize>) {
        let mut halving = Halving::of((0..100).collect());
        let mut taken = 0;
        while let Some((_, part)) = halving.next() {
            if part.iter().any(|entry| bad.contains(entry)) {
                halving.refused(part, Failure { operation: "o", code: "InvalidInputException".to_owned(), message: String::new() });
            } else {
                taken += part.len();
                halving.taken();
            }
        }
        assert_eq!(halving.is_hopeless(), bad.len() == 100, "{bad:?}");
        (halving.calls, taken, halving.end())
    }

    #[test]
    fn bad_entries_are_found_and_the_others_taken() {
        for (bad, most_calls) in [(vec![], 1), (vec![0], 15), (vec![99], 15), (vec![7, 8, 50], 45), ((0..11).collect(), 40)] {
            let (calls, taken, untaken) = search(&bad);
            let alone: Vec<usize> = untaken.alone.iter().map(|(entry, _)| *entry).collect();
            assert_eq!((alone, taken, untaken.rest.len()), (bad.clone(), 100 - bad.len(), 0));
            assert!(calls <= most_calls, "{calls} calls for {bad:?}");
        }
    }

    #[test]
    fn a_search_has_a_bound_and_loses_none() {
        let all: Vec<usize> = (0..100).collect();
        let (calls, taken, untaken) = search(&all);
        assert_eq!((calls, taken), (MOST_CALLS, 0));
        let mut left: Vec<usize> = untaken.alone.iter().chain(&untaken.rest).map(|(entry, _)| *entry).collect();
        left.sort_unstable();
        assert!(left == all && untaken.alone.len() > 20, "{untaken:?}");
    }
}
