//! When a row is due: the pace as a pure function of row numbers, event times and the time that has passed.

use std::time::Duration;

use stockpipeline::checked::{Pace, Source};

/// Most time that a late producer catches up on by producing faster; beyond it the schedule moves.
pub const MAX_CATCH_UP: Duration = Duration::from_secs(5);

/// Step back in event time from which on it is a new beginning (the next block or pass of a file) instead of disorder.
pub const NEW_BEGINNING_MICROS: i64 = 3_600_000_000;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// When rows are due, as time since the producer's start.
///
/// Every replica of a producer walks over all row numbers, so each one keeps the pace of the whole source.
#[derive(Debug, Clone)]
pub struct Schedule {
    pace: Pace,
    anchor: Option<Anchor>,
}

/// A row, or an event time, and when it is due.
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

    /// Returns the schedule of a source.
    #[must_use]
    pub fn of(source: &Source) -> Self {
        Self::new(match source {
            Source::CsvReplay(replay) => replay.pace,
            Source::Synthetic(synthetic) => synthetic.rows_per_second.map_or(Pace::Unlimited, Pace::RowsPerSecond),
            Source::ExternalTopic => Pace::Unlimited,
        })
    }

    /// Returns whether every row is due at once, so that no one needs to ask.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.pace == Pace::Unlimited
    }

    /// Returns when a row is due, as time since the producer's start; at most `now` means at once. Rows are asked for in
    /// ascending order. A row without an event time is due with the one before it, and so is one whose event time is
    /// earlier; one that is earlier by [`NEW_BEGINNING_MICROS`] starts a new count. Who has fallen behind by more than
    /// [`MAX_CATCH_UP`] goes on from there.
    pub fn due(&mut self, number: u64, event_time_micros: Option<i64>, now: Duration) -> Duration {
        let due = match (self.pace, event_time_micros) {
            (Pace::Unlimited, _) | (Pace::SpeedMillis(_), None) => return now,
            (Pace::RowsPerSecond(rate), _) => {
                let anchor = *self.anchor.get_or_insert(Anchor { at: now, number, event_time_micros: 0 });
                anchor.at + nanos(u128::from(number.saturating_sub(anchor.number)) * NANOS_PER_SECOND / u128::from(rate.max(1)))
            }
            (Pace::SpeedMillis(speed), Some(time)) => {
                let first = Anchor { at: now, number, event_time_micros: time };
                let anchor = *self.anchor.get_or_insert(first);
                if time < anchor.event_time_micros.saturating_sub(NEW_BEGINNING_MICROS) {
                    self.anchor = Some(first);
                    return now;
                }
                // The anchor follows the rows, so that a step back is measured from the latest time.
                let micros = u128::from(time.abs_diff(anchor.event_time_micros));
                let ahead = time > anchor.event_time_micros;
                let due = if ahead { anchor.at + nanos(micros * 1_000_000 / u128::from(speed.max(1))) } else { anchor.at };
                if ahead {
                    self.anchor = Some(Anchor { at: due, number, event_time_micros: time });
                }
                due
            }
        };
        if due + MAX_CATCH_UP >= now {
            return due;
        }
        if let Some(anchor) = &mut self.anchor {
            anchor.at += now.saturating_sub(MAX_CATCH_UP + due);
        }
        now
    }
}

/// Returns a duration of nanoseconds, at most the longest one that can be added to another.
fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn seconds(number: f64) -> Duration {
        Duration::from_secs_f64(number)
    }

    #[test]
    fn unlimited_rows_are_due_at_once() {
        let mut schedule = Schedule::new(Pace::Unlimited);
        assert!(schedule.is_unlimited());
        assert_eq!(schedule.due(1_000_000, None, seconds(3.0)), seconds(3.0));
    }

    #[test]
    fn rows_a_second_count_from_the_first_row_asked_for() {
        let mut schedule = Schedule::new(Pace::RowsPerSecond(4));
        assert_eq!(schedule.due(100, None, seconds(1.0)), seconds(1.0));
        assert_eq!(schedule.due(101, None, seconds(1.0)), seconds(1.25));
        assert_eq!(schedule.due(108, None, seconds(1.0)), seconds(3.0));
        assert_eq!(schedule.due(108, None, seconds(3.5)), seconds(3.0));
    }

    #[test]
    fn rows_a_second_do_not_drift() {
        let mut schedule = Schedule::new(Pace::RowsPerSecond(3));
        schedule.due(0, None, Duration::ZERO);
        assert_eq!(schedule.due(3_000_000, None, seconds(999_999.9)), seconds(1_000_000.0));
    }

    #[test]
    fn a_late_producer_catches_up_on_a_few_seconds_only() {
        let mut schedule = Schedule::new(Pace::RowsPerSecond(1));
        assert_eq!(schedule.due(0, None, Duration::ZERO), Duration::ZERO);
        assert!(schedule.due(1, None, seconds(100.0)) <= seconds(100.0));
        // Row 1 counts as due five seconds ago.
        assert_eq!(schedule.due(2, None, seconds(100.0)), seconds(96.0));
        assert_eq!(schedule.due(7, None, seconds(100.0)), seconds(101.0));
    }

    #[test]
    fn event_time_runs_as_many_times_as_fast_as_the_clock() {
        let mut schedule = Schedule::new(Pace::SpeedMillis(60_000));
        assert_eq!(schedule.due(0, Some(0), seconds(1.0)), seconds(1.0));
        assert_eq!(schedule.due(1, Some(60 * SECOND), seconds(1.0)), seconds(2.0));
        assert_eq!(schedule.due(2, Some(90 * SECOND), seconds(2.0)), seconds(2.5));
        let mut slower = Schedule::new(Pace::SpeedMillis(500));
        slower.due(0, Some(0), Duration::ZERO);
        assert_eq!(slower.due(1, Some(SECOND), Duration::ZERO), seconds(2.0));
    }

    #[test]
    fn disorder_in_event_time_costs_no_time_twice() {
        let mut schedule = Schedule::new(Pace::SpeedMillis(1000));
        schedule.due(0, Some(0), Duration::ZERO);
        for (number, (time, due)) in (1..).zip([(10, 10.0), (9, 10.0), (10, 10.0), (9, 10.0), (11, 11.0)]) {
            assert_eq!(schedule.due(number, Some(time * SECOND), seconds(9.0)), seconds(due));
        }
    }

    #[test]
    fn the_next_block_of_a_file_starts_a_new_count() {
        let mut schedule = Schedule::new(Pace::SpeedMillis(86_400_000));
        let day = 86_400 * SECOND;
        schedule.due(0, Some(1000 * day), Duration::ZERO);
        assert_eq!(schedule.due(1, Some(1001 * day), Duration::ZERO), seconds(1.0));
        assert_eq!(schedule.due(2, Some(0), seconds(1.0)), seconds(1.0));
        assert_eq!(schedule.due(3, Some(day), seconds(1.0)), seconds(2.0));
    }

    #[test]
    fn a_row_without_event_time_waits_for_nothing() {
        let mut schedule = Schedule::new(Pace::SpeedMillis(1000));
        assert_eq!(schedule.due(0, None, seconds(2.0)), seconds(2.0));
        assert_eq!(schedule.due(1, Some(5 * SECOND), seconds(2.0)), seconds(2.0));
    }

    #[test]
    fn times_far_apart_do_not_overflow() {
        let mut schedule = Schedule::new(Pace::SpeedMillis(1));
        schedule.due(0, Some(i64::MIN), Duration::ZERO);
        assert!(schedule.due(1, Some(i64::MAX), Duration::ZERO) > seconds(1e9));
        let mut rows = Schedule::new(Pace::RowsPerSecond(1));
        rows.due(0, None, Duration::ZERO);
        assert!(rows.due(u64::MAX, None, Duration::ZERO) > seconds(1e9));
    }
}
