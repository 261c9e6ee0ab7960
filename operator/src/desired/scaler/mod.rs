//! How many workers there should be: by the spec, by whoever scales the resource, or by lag; and none where the user wants none.
//!
//! Pure: `now` and what was recommended before come in. Never changes the spec.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan};
use stockpipeline::operations::{DesiredState, LagScaling, Lifecycle, Scaling, Window};

use crate::desired::Counts;

/// How far back the start or end of a window is looked for. A window that lasts longer than this ends early.
const LOOK_BACK_MINUTES: u32 = 32 * 24 * 60;

/// What is known of the sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// `spec.sink.worker.replicas`.
    pub replicas: u32,
    /// How many there are by now.
    pub current: u32,
    /// Partitions of the topic, where they are known: a sink beyond them has nothing to do.
    pub partitions: Option<u32>,
    /// Records that are not yet durable, where they are measured.
    pub lag: Option<u64>,
}

/// What was recommended lately: the greatest of it holds, so that sinks go only once less has been enough for long enough.
///
/// Holds falling recommendations only, so it is never longer than there are different ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    recommended: VecDeque<(Timestamp, u32)>,
}

impl History {
    /// Returns the history of an operator that has just started: it trusts the number that it finds for one whole period.
    #[must_use]
    pub fn starting(now: Timestamp, current: u32) -> Self {
        Self { recommended: VecDeque::from([(now, current)]) }
    }

    /// Adds a recommendation and returns the greatest one of the period that ends now.
    fn stabilize(&mut self, now: Timestamp, recommendation: u32, period: Duration) -> u32 {
        while self.recommended.back().is_some_and(|(_, earlier)| *earlier <= recommendation) {
            self.recommended.pop_back();
        }
        self.recommended.push_back((now, recommendation));
        let is_over = |at: Timestamp| u128::try_from(now.duration_since(at).as_millis()).is_ok_and(|age| age >= period.as_millis());
        while self.recommended.len() > 1 && self.recommended.front().is_some_and(|(at, _)| is_over(*at)) {
            self.recommended.pop_front();
        }
        self.recommended.front().map_or(recommendation, |(_, greatest)| *greatest)
    }
}

/// Returns how many sinks a running pipeline should have.
#[must_use]
pub fn sinks(scaling: &Scaling, observed: Observed, history: &mut History, now: Timestamp) -> u32 {
    let partitions = observed.partitions.unwrap_or(u32::MAX);
    match scaling {
        Scaling::Fixed => observed.replicas,
        Scaling::External => observed.replicas.min(partitions),
        Scaling::Lag(settings) => {
            let most = settings.max_replicas.min(partitions).max(1);
            let least = least_replicas(settings, now).clamp(1, most);
            let wanted = match observed.lag {
                Some(lag) => u32::try_from(lag.div_ceil(settings.target_lag_per_replica.max(1))).unwrap_or(u32::MAX),
                // Nothing was measured, so nothing is known that would justify a change.
                None => observed.current,
            };
            history.stabilize(now, wanted.clamp(least, most), settings.scale_down_stabilization).clamp(least, most)
        }
    }
}

/// Returns the least number of sinks at a time: that of the settings, or more within a window.
fn least_replicas(settings: &LagScaling, now: Timestamp) -> u32 {
    let open = settings.windows.iter().filter(|window| is_open(window, now)).map(|window| window.min_replicas);
    open.fold(settings.min_replicas, u32::max)
}

/// Returns whether the last thing that a window did was to start. A start counts before an end in the same minute.
#[must_use]
pub fn is_open(window: &Window, now: Timestamp) -> bool {
    let local = now.to_zoned(window.time_zone.rules().clone()).datetime();
    let mut minute = DateTime::from_parts(local.date(), jiff::civil::time(local.hour(), local.minute(), 0, 0));
    // Local minutes, so that a start within the hour that summer time skips still counts.
    for _ in 0..LOOK_BACK_MINUTES {
        if window.start.fires_at(minute) {
            return true;
        }
        if window.end.fires_at(minute) {
            return false;
        }
        let Ok(before) = minute.checked_sub(1.minute()) else { return false };
        minute = before;
    }
    false
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// For how long the pipeline has been asked to drain.
    pub elapsed: Duration,
    /// Producers that still run.
    pub producers: u32,
    /// Records that are not yet durable, where they are measured.
    pub lag: Option<u64>,
    /// Whether this drain was seen to end before: without sinks nobody measures the lag any more.
    pub ended: bool,
}

/// What has come of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Sinks still write.
    NotYet,
    /// Nothing is left.
    Empty,
    /// The time is over.
    TimedOut,
}

impl Drain {
    /// Returns what has come of it within a time-out. The lag counts only once no producer adds to it.
    #[must_use]
    pub fn outcome(self, timeout: Duration) -> Drained {
        if self.ended || (self.producers == 0 && self.lag == Some(0)) {
            Drained::Empty
        } else if self.elapsed >= timeout {
            Drained::TimedOut
        } else {
            Drained::NotYet
        }
    }
}

/// Returns how many workers there should be, given how many there would be while the pipeline runs.
#[must_use]
pub fn counts(lifecycle: Lifecycle, running: Counts, drain: Drain) -> Counts {
    match lifecycle.desired_state {
        DesiredState::Running => running,
        DesiredState::Stopped => Counts::default(),
        DesiredState::Drained => match drain.outcome(lifecycle.drain_timeout) {
            // A pipeline that was stopped needs a sink to be drained.
            Drained::NotYet => Counts { producers: 0, sinks: running.sinks.max(1) },
            Drained::Empty | Drained::TimedOut => Counts::default(),
        },
    }
}

#[cfg(test)]
mod tests;
