//! The clocks of this machine. Called at the edges only; pure code takes the values.

use rustix::time::{ClockId, clock_gettime};

/// Returns milliseconds since boot, a stopped process's or suspended machine's sleep included. Never jumps; what the lease is measured with.
#[must_use]
pub(crate) fn boottime_millis() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    (time.tv_sec * 1_000 + time.tv_nsec / 1_000_000).unsigned_abs()
}

/// Returns milliseconds by which the wall clock, since 1970, is ahead of the time since boot: the same until somebody sets it, but for its
/// being kept in step.
#[must_use]
pub(crate) fn wall_ahead_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond().saturating_sub_unsigned(boottime_millis())
}
