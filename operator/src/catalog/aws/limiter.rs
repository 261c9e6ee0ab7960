//! How fast a service of AWS is called: one bucket of tokens for all pipelines of an account, a region and a service.
//!
//! AWS does not tell its limits, and others use them up, too. So a bucket starts at a rate that is usual, halves it when AWS asks to slow
//! down, and wins it back bit by bit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Slowest rate that throttling leads to, so that work goes on.
const SLOWEST_PER_SECOND: f64 = 1.0;
/// Share of the full rate that each success wins back.
const RECOVERY: f64 = 0.01;
/// Shortest time between two halvings: the answers to what was sent at the old rate come in together.
const HALVING_PAUSE: Duration = Duration::from_secs(1);
/// Seconds of the full rate that may be spent at once.
const BURST_SECONDS: f64 = 1.0;
/// Buckets that are kept; far more than an operator has accounts and regions.
const MAX_BUCKETS: usize = 256;

/// What a bucket is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Account or endpoint.
    pub account: String,
    /// Region.
    pub region: String,
    /// Service.
    pub service: &'static str,
}

/// All buckets of the operator.
#[derive(Debug, Clone, Default)]
pub struct Limiters(Arc<Mutex<HashMap<Scope, Limiter>>>);

/// The bucket of one scope; clones share it.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Mutex<Bucket>>);

#[derive(Debug)]
struct Bucket {
    full_rate: f64,
    rate: f64,
    /// Negative while more was promised than is there.
    tokens: f64,
    filled_at: Instant,
    halved_at: Option<Instant>,
}

impl Limiters {
    /// Returns the bucket of a scope, which starts full at `per_second`.
    #[must_use]
    pub fn of(&self, scope: &Scope, per_second: u32) -> Limiter {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = buckets.get(scope) {
            return limiter.clone();
        }
        if buckets.len() >= MAX_BUCKETS {
            // Whoever still needs one of them gets a full one.
            buckets.clear();
        }
        let limiter = Limiter::new(per_second);
        buckets.insert(scope.clone(), limiter.clone());
        limiter
    }
}

impl Limiter {
    /// Returns a full bucket.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self(Arc::new(Mutex::new(Bucket::new(per_second, Instant::now()))))
    }

    /// Waits for the turn of one request; returns false, and takes none, where it would come after the deadline. First come, first served.
    pub async fn turn(&self, deadline: Instant) -> bool {
        let Some(wait) = self.bucket().reserve(Instant::now(), deadline) else { return false };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    /// Notes that AWS asked to slow down.
    pub fn throttled(&self) {
        self.bucket().halve(Instant::now());
    }

    /// Notes that AWS served a request.
    pub fn served(&self) {
        self.bucket().recover();
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn new(per_second: u32, now: Instant) -> Self {
        let rate = f64::from(per_second.max(1));
        Self { full_rate: rate, rate, tokens: rate * BURST_SECONDS, filled_at: now, halved_at: None }
    }

    /// Takes a token and returns how long to wait for it; None, and no token is taken, where that would be after the deadline.
    fn reserve(&mut self, now: Instant, deadline: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + elapsed * self.rate).min(self.full_rate * BURST_SECONDS);
        let left = self.tokens - 1.0;
        let wait = if left >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-left / self.rate) };
        if now + wait > deadline {
            return None;
        }
        self.tokens = left;
        Some(wait)
    }

    fn recover(&mut self) {
        self.rate = (self.rate + self.full_rate * RECOVERY).min(self.full_rate);
    }

    fn halve(&mut self, now: Instant) {
        if self.halved_at.is_some_and(|halved| now.saturating_duration_since(halved) < HALVING_PAUSE) {
            return;
        }
        self.halved_at = Some(now);
        self.rate = (self.rate / 2.0).max(SLOWEST_PER_SECOND);
        // What was saved up is not spent against a service that is busy.
        self.tokens = self.tokens.min(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(wait: Duration) -> u128 {
        wait.as_millis()
    }

    #[test]
    fn a_burst_is_free_and_then_the_rate_counts() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, now);
        assert!((0..10).all(|_| bucket.reserve(now, now + HALVING_PAUSE) == Some(Duration::ZERO)));
        let soon = now + Duration::from_hours(1);
        let waits: Vec<u128> = (0..3).map(|_| millis(bucket.reserve(now, soon).unwrap())).collect();
        assert_eq!(waits, [100, 200, 300]);
        let later = now + Duration::from_millis(300);
        assert_eq!(millis(bucket.reserve(later, soon).unwrap()), 100, "what was promised is paid back first");
        let much_later = now + Duration::from_mins(1);
        let free = (0..20).filter(|_| bucket.reserve(much_later, soon) == Some(Duration::ZERO)).count();
        assert_eq!(free, 10, "no more than a burst is saved up");
    }

    #[test]
    fn a_turn_that_comes_too_late_is_not_taken() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1, now);
        assert_eq!(bucket.reserve(now, now), Some(Duration::ZERO));
        for _ in 0..10 {
            assert_eq!(bucket.reserve(now, now + Duration::from_millis(999)), None);
        }
        assert_eq!(bucket.reserve(now, now + Duration::from_secs(1)).map(millis), Some(1_000));
    }

    #[test]
    fn throttling_halves_the_rate_once_a_second_and_success_wins_it_back() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(16, now);
        let is = |bucket: &Bucket, rate: f64| (bucket.rate - rate).abs() < 0.001;
        bucket.halve(now);
        bucket.halve(now);
        assert!(is(&bucket, 8.0), "{bucket:?}");
        for _ in 0..10 {
            now += HALVING_PAUSE;
            bucket.halve(now);
        }
        assert!(is(&bucket, SLOWEST_PER_SECOND), "{bucket:?}");
        for _ in 0..100 {
            bucket.recover();
        }
        assert!(is(&bucket, 16.0), "{bucket:?}");
    }

    #[test]
    fn one_scope_has_one_bucket_and_there_are_only_so_many() {
        let limiters = Limiters::default();
        let scope = |region: &str| Scope { account: "own".to_owned(), region: region.to_owned(), service: "glue" };
        limiters.of(&scope("eu-central-1"), 16).throttled();
        let rate = |region: &str| limiters.of(&scope(region), 16).0.lock().unwrap().rate;
        assert!((rate("eu-central-1") - 8.0).abs() < 0.001);
        assert!((rate("us-east-1") - 16.0).abs() < 0.001);
        for number in 0..2 * MAX_BUCKETS {
            drop(limiters.of(&scope(&number.to_string()), 16));
        }
        assert!(limiters.0.lock().unwrap().len() <= MAX_BUCKETS);
    }
}
