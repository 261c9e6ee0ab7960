//! When a broker was last heard from: a worker that was frozen or cut off must not write.
//!
//! On `CLOCK_BOOTTIME`, which goes on while a process is stopped or a machine sleeps.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::clock::boottime_millis;
use crate::store::Gate;

/// The last contact with a broker; shared by the consumer's callbacks and every write.
#[derive(Debug)]
pub struct Contact {
    last_millis: AtomicI64,
    limit: Duration,
}

impl Contact {
    /// Returns a contact of now; writes are allowed for `limit` after each contact.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { last_millis: AtomicI64::new(now_millis()), limit }
    }

    /// Notes librdkafka's word of `monotonic_micros` that a broker was heard `idle_micros` before.
    ///
    /// The word may be read long after it was written, by a worker that was frozen in between: its age counts.
    pub fn heard(&self, monotonic_micros: i64, idle_micros: i64) {
        let age_micros = monotonic_micros_now().saturating_sub(monotonic_micros).max(0) + idle_micros;
        self.last_millis.fetch_max(now_millis() - age_micros / 1000, Ordering::AcqRel);
    }

    /// Notes that now is fine: a broker has just answered, or nothing is owned that another worker could own as well.
    pub fn renew(&self) {
        self.last_millis.fetch_max(now_millis(), Ordering::AcqRel);
    }

    /// Returns the time since the last contact.
    #[must_use]
    pub fn age(&self) -> Duration {
        let millis = now_millis() - self.last_millis.load(Ordering::Acquire);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl Gate for Contact {
    fn open(&self) -> bool {
        self.age() <= self.limit
    }
}

fn now_millis() -> i64 {
    i64::try_from(boottime_millis()).unwrap_or(i64::MAX)
}

fn monotonic_micros_now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_read_late_is_no_new_contact() {
        let contact = Contact::new(Duration::from_secs(5));
        contact.last_millis.store(0, Ordering::Release);
        let minute_ago_micros = monotonic_micros_now() - 60_000_000;
        contact.heard(minute_ago_micros, 0);
        assert!(contact.age() >= Duration::from_secs(59), "{:?}", contact.age());
        assert!(!contact.open());
        contact.heard(monotonic_micros_now(), 1_000_000);
        assert!(contact.open());
    }
}
