//! The clocks of this machine. Called at the edges only; pure code takes the values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use stockpipeline::launch::WallClock;

/// How often the wall clock is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Returns milliseconds since boot, a suspended machine's sleep included. Never jumps; what fences and liveness measure with.
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

/// Waits until the wall clock is set back, and returns by how much.
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
