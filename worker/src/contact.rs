//! When a broker was last heard from: a worker that was frozen or cut off must not write.
//!
//! On `CLOCK_BOOTTIME`, which goes on while a process is stopped or a machine sleeps. librdkafka's own words are of `CLOCK_MONOTONIC`, which
//! stands still while a machine sleeps: what lies before a sleep counts for nothing behind it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stockpipeline_program::clock::boottime_millis;

use crate::store::Gate;

/// How much more the clocks may differ before that counts as a sleep.
const SLEEP_MICROS: i64 = 1_000_000;

/// The last contact with a broker; shared by the consumer's callbacks and every write.
#[derive(Debug)]
pub struct Contact {
    last_millis: AtomicI64,
    /// How long the machine has slept, by the difference of both clocks.
    slept_micros: AtomicI64,
    /// Monotonic moment at which the last sleep was noticed.
    woken_micros: AtomicI64,
    limit: Duration,
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    boottime_millis: i64,
    monotonic_micros: i64,
}

impl Moment {
    fn now() -> Self {
        // In this order: a pause between both reads hides a sleep until the next word, and never makes one up.
        let boottime_millis = now_millis();
        Self { boottime_millis, monotonic_micros: monotonic_micros_now() }
    }

    fn slept_micros(self) -> i64 {
        self.boottime_millis * 1_000 - self.monotonic_micros
    }
}

impl Contact {
    /// Returns a contact of now; writes are allowed for `limit` after each contact.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self::at(Moment::now(), limit)
    }

    fn at(now: Moment, limit: Duration) -> Self {
        Self {
            last_millis: AtomicI64::new(now.boottime_millis),
            slept_micros: AtomicI64::new(now.slept_micros()),
            woken_micros: AtomicI64::new(i64::MIN),
            limit,
        }
    }

    /// Notes librdkafka's word of `monotonic_micros` that a broker was heard `idle_micros` before.
    ///
    /// The word may be read long after it was written, by a worker that was frozen in between: its age counts. One of before the machine slept
    /// does not count at all, since its age is unknown.
    pub fn heard(&self, monotonic_micros: i64, idle_micros: i64) {
        self.heard_at(Moment::now(), monotonic_micros, idle_micros);
    }

    fn heard_at(&self, now: Moment, monotonic_micros: i64, idle_micros: i64) {
        let slept = now.slept_micros();
        if slept - self.slept_micros.fetch_max(slept, Ordering::AcqRel) > SLEEP_MICROS {
            self.woken_micros.store(now.monotonic_micros, Ordering::Release);
        }
        let age_micros = now.monotonic_micros.saturating_sub(monotonic_micros).max(0) + idle_micros;
        if now.monotonic_micros.saturating_sub(age_micros) > self.woken_micros.load(Ordering::Acquire) {
            self.last_millis.fetch_max(now.boottime_millis - age_micros / 1000, Ordering::AcqRel);
        }
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

    #[test]
    fn a_word_of_before_the_machine_slept_is_no_contact() {
        let awake = Moment { boottime_millis: 10_000, monotonic_micros: 10_000_000 };
        let contact = Contact::at(awake, Duration::from_secs(5));
        let last = |contact: &Contact| contact.last_millis.load(Ordering::Acquire);
        contact.heard_at(Moment { boottime_millis: 11_000, monotonic_micros: 11_000_000 }, 10_900_000, 100_000);
        assert_eq!(last(&contact), 10_800);
        // Two hours later the monotonic clock says that a second has passed.
        let woken = Moment { boottime_millis: 7_212_000, monotonic_micros: 12_000_000 };
        contact.heard_at(woken, 11_900_000, 200_000);
        assert_eq!(last(&contact), 10_800);
        let next = Moment { boottime_millis: 7_213_000, monotonic_micros: 13_000_000 };
        contact.heard_at(next, 12_900_000, 1_000_000);
        assert_eq!(last(&contact), 10_800, "heard before it was noticed");
        contact.heard_at(next, 12_900_000, 100_000);
        assert_eq!(last(&contact), 7_212_800);
    }
}
