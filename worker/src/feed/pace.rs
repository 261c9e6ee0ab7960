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
            anchor.at += now - MAX_CATCH_UP - due;
        }
        now
    }
}

/// Returns a duration of nanoseconds, at most the longest one that can be added to another.
fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
}
