//! Decides what to do about memory. Pure: byte counts in, a verdict out.

/// Shares of the budget, in percent: above SEAL the largest buffer is sealed, above HALT nothing more is taken,
/// below RESUME taking starts again.
const SEAL_PERCENT: usize = 70;
const HALT_PERCENT: usize = 85;
const RESUME_PERCENT: usize = 60;

/// The bytes that a sink may hold, and whether it has stopped taking.
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: usize,
    halted: bool,
}

impl Budget {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes: limit_bytes.max(1), halted: false }
    }

    /// Returns whether the sink has stopped taking records for want of memory.
    pub(super) fn is_halted(&self) -> bool {
        self.halted
    }

    /// Returns whether so many bytes are more than the sink may hold while it takes records.
    pub(super) fn is_exceeded(&self, used_bytes: usize) -> bool {
        used_bytes > self.share(HALT_PERCENT)
    }

    /// Notes the bytes held. `relief` says whether anything held will be freed without taking more records:
    /// without it, taking goes on, since only more records can bring a range to its end.
    pub(super) fn observe(&mut self, used_bytes: usize, relief: bool) {
        self.halted = relief && used_bytes > self.share(if self.halted { RESUME_PERCENT } else { HALT_PERCENT });
    }

    /// Returns how many bytes have to be sealed now; 0 while memory is fine. `leaving_bytes` are sealed already.
    pub(super) fn excess_bytes(&self, used_bytes: usize, leaving_bytes: usize) -> usize {
        if !self.halted && used_bytes <= self.share(SEAL_PERCENT) {
            return 0;
        }
        used_bytes.saturating_sub(leaving_bytes).saturating_sub(self.share(RESUME_PERCENT))
    }

    fn share(&self, percent: usize) -> usize {
        self.limit_bytes / 100 * percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_stops_above_85_percent_and_starts_below_60() {
        let mut budget = Budget::new(1000);
        for (used, halted) in [(850, false), (860, true), (700, true), (601, true), (600, false), (700, false)] {
            budget.observe(used, true);
            assert_eq!(budget.is_halted(), halted, "at {used}");
        }
    }

    #[test]
    fn without_relief_taking_goes_on() {
        let mut budget = Budget::new(1000);
        budget.observe(2000, false);
        assert!(!budget.is_halted());
    }

    #[test]
    fn what_has_halted_is_sealed_down_to_where_taking_starts_again() {
        let mut budget = Budget::new(1000);
        budget.observe(860, true);
        budget.observe(650, true);
        assert!(budget.is_halted());
        assert_eq!(budget.excess_bytes(650, 0), 50);
    }

    #[test]
    fn what_is_sealed_already_is_not_sealed_again() {
        let budget = Budget::new(1000);
        assert_eq!(budget.excess_bytes(700, 0), 0);
        assert_eq!(budget.excess_bytes(800, 0), 200);
        assert_eq!(budget.excess_bytes(800, 150), 50);
        assert_eq!(budget.excess_bytes(800, 300), 0);
    }
}
