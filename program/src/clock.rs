//! The clocks of this machine. Called at the edges only; pure code takes the values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// How often the wall clock is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// Time by which a wall clock is set at least: less is how one is kept in step.
const IS_SET: Duration = Duration::from_secs(30);

/// Returns milliseconds since boot, a stopped process's or suspended machine's sleep included. Never jumps; what fences, leases and liveness
/// measure with.
#[must_use]
pub fn boottime_millis() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    (time.tv_sec * 1_000 + time.tv_nsec / 1_000_000).unsigned_abs()
}

/// Returns milliseconds since 1970 (UTC). May jump; for what is shown and stored, never for time-outs.
#[must_use]
pub fn wall_millis() -> i64 {
    wall_micros() / 1_000
}

/// Returns microseconds since 1970 (UTC). May jump, as [`wall_millis`].
#[must_use]
pub fn wall_micros() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}

/// Returns the seconds of CPU that this process has used, ended threads included.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds of CPU time are far below 2^53")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

/// Waits until the wall clock is set back, and returns by how much. Whatever waits for a moment on it would wait for as long again, clients'
/// threads and credentials among it, so a process ends then and starts anew.
pub async fn set_back() -> Duration {
    let ahead_millis = || wall_millis().saturating_sub_unsigned(boottime_millis());
    let mut clock = WallClock::new(ahead_millis());
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        if let Some(by) = clock.set_back(ahead_millis()) {
            return by;
        }
    }
}

/// By how much the wall clock is ahead of the time since boot.
#[derive(Debug, Clone, Copy)]
struct WallClock {
    ahead_millis: i64,
}

impl WallClock {
    fn new(ahead_millis: i64) -> Self {
        Self { ahead_millis }
    }

    /// Notes by how much it is ahead now, and returns by how much it was set back since the last note; None where it was not.
    fn set_back(&mut self, ahead_millis: i64) -> Option<Duration> {
        let before = std::mem::replace(&mut self.ahead_millis, ahead_millis);
        let by = u64::try_from(before.saturating_sub(ahead_millis)).map(Duration::from_millis).ok()?;
        (by >= IS_SET).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_and_one_that_is_kept_in_step_or_set_ahead_is_not() {
        let mut clock = WallClock::new(1_000_000_000);
        for ahead_millis in [999_990_000, 999_970_001, 1_003_600_000, 1_003_600_000] {
            assert_eq!(clock.set_back(ahead_millis), None, "{ahead_millis}");
        }
        assert_eq!(clock.set_back(1_000_000_000), Some(Duration::from_hours(1)));
        assert_eq!(clock.set_back(1_000_000_000), None, "once");
        assert_eq!(clock.set_back(999_970_000), Some(Duration::from_secs(30)));
    }
}
