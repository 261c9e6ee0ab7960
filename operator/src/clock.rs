//! The clocks of this machine. Called at the edges only; pure code takes the values.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use stockpipeline::launch::WallClock;

/// How often the wall clock is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Returns milliseconds since boot, a stopped process's or suspended machine's sleep included. Never jumps; what the lease is measured with.
#[must_use]
pub(crate) fn boottime_millis() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    (time.tv_sec * 1_000 + time.tv_nsec / 1_000_000).unsigned_abs()
}

/// Waits until the wall clock is set back, and returns by how much.
pub(crate) async fn set_back() -> Duration {
    let ahead_millis = || Timestamp::now().as_millisecond().saturating_sub_unsigned(boottime_millis());
    let mut clock = WallClock::new(ahead_millis());
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        if let Some(by) = clock.set_back(ahead_millis()) {
            return by;
        }
    }
}
