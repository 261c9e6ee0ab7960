//! How many records one transaction may hold: fewer after one that took too long, more again after quick ones. Pure.

use std::time::Duration;

/// Most records of one transaction, when they come faster than its interval.
const MOST: u64 = 1_000_000;

/// How many records one transaction may hold.
#[derive(Debug)]
pub(super) struct Allowance {
    records: u64,
}

impl Allowance {
    /// Returns the most that is ever allowed.
    pub(super) fn new() -> Self {
        Self { records: MOST }
    }

    /// Returns the records that one transaction may hold.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Notes a transaction that was not committed. When it had lasted for about as long as it may, the broker's way takes no more than a part of it.
    pub(super) fn gave_up(&mut self, records: u64, lasted: Duration, limit: Duration) {
        if records > 0 && lasted >= limit / 2 {
            self.records = (records.min(self.records) / 2).max(1);
        }
    }

    /// Notes how long a commit has waited for the broker. One that was slow leaves the allowance as it is, so that it does not swing.
    pub(super) fn committed(&mut self, waited: Duration, limit: Duration) {
        if waited <= limit / 4 {
            self.records = (self.records * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Drives transactions over a way that takes so many records a second; returns the allowance after each.
    fn driven(rate: u64, transactions: usize) -> Vec<u64> {
        let mut allowance = Allowance::new();
        let drive = |allowance: &mut Allowance| {
            let records = allowance.records().min(200_000);
            let waited = Duration::from_millis(records * 1_000 / rate);
            if waited > LIMIT {
                allowance.gave_up(records, LIMIT, LIMIT);
            } else {
                allowance.committed(waited, LIMIT);
            }
            allowance.records()
        };
        (0..transactions).map(|_| drive(&mut allowance)).collect()
    }

    #[test]
    fn slow_way_is_given_what_it_can_take_and_keeps_it() {
        assert_eq!(driven(3_000, 6), [100_000, 50_000, 25_000, 25_000, 25_000, 25_000]);
        assert_eq!(driven(1_000_000, 2), [MOST, MOST]);
        assert_eq!(driven(1, 20)[19], 6, "one that can take next to nothing");
    }

    #[test]
    fn allowance_grows_again_and_no_other_failure_makes_it_smaller() {
        let mut allowance = Allowance::new();
        allowance.gave_up(1_000, LIMIT / 4, LIMIT);
        assert_eq!(allowance.records(), MOST, "it had not lasted long");
        allowance.gave_up(1_000, LIMIT, LIMIT);
        assert_eq!(allowance.records(), 500);
        allowance.gave_up(0, LIMIT, LIMIT);
        assert_eq!(allowance.records(), 500, "it had nothing to send");
        for _ in 0..30 {
            allowance.committed(LIMIT / 10, LIMIT);
        }
        assert_eq!(allowance.records(), MOST);
    }
}
