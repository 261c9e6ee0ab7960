//! How fast a service of AWS is called: one bucket of tokens for all pipelines of an account, a region and a service.
//!
//! AWS does not tell its limits, and others use them up, too. So a bucket starts at a rate that is usual, halves it when AWS asks to slow
//! down, and wins it back bit by bit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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
        let rate = f64::from(per_second.max(1));
        Self(Arc::new(Mutex::new(Bucket {
            full_rate: rate,
            rate,
            tokens: rate * BURST_SECONDS,
            filled_at: Instant::now(),
            halved_at: None,
        })))
    }

    /// Waits for the turn of one request; returns false, and takes none, where it would come after the deadline. First come, first served.
    pub async fn turn(&self, deadline: Instant) -> bool {
        let now = Instant::now();
        let wait = {
            let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = bucket.reserve(now);
            if now + wait > deadline {
                bucket.tokens += 1.0;
                return false;
            }
            wait
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    /// Notes that AWS asked to slow down.
    pub fn throttled(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).halve(Instant::now());
    }

    /// Notes that AWS served a request.
    pub fn served(&self) {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.rate = (bucket.rate + bucket.full_rate * RECOVERY).min(bucket.full_rate);
    }

    /// Returns the requests per second that the bucket allows now.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rate
    }
}

impl Bucket {
    /// Takes a token and returns how long to wait for it.
    fn reserve(&mut self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + elapsed * self.rate).min(self.full_rate * BURST_SECONDS) - 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.rate) }
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

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_then_the_rate_counts() {
        let limiter = Limiter::new(10);
        let start = Instant::now();
        for _ in 0..10 {
            assert!(limiter.turn(soon()).await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            assert!(limiter.turn(soon()).await);
        }
        let elapsed = start.elapsed().as_secs_f64();
        assert!((1.9..2.2).contains(&elapsed), "{elapsed}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_is_not_taken() {
        let limiter = Limiter::new(1);
        assert!(limiter.turn(soon()).await);
        let start = Instant::now();
        assert!(!limiter.turn(start + Duration::from_millis(100)).await);
        assert!(limiter.turn(soon()).await);
        assert!(start.elapsed() <= Duration::from_millis(1_010), "the turn that was refused took no token");
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_rate_once_a_second_and_success_wins_it_back() {
        let limiter = Limiter::new(16);
        limiter.throttled();
        limiter.throttled();
        assert!((limiter.rate() - 8.0).abs() < 0.001);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            limiter.throttled();
        }
        assert!((limiter.rate() - SLOWEST_PER_SECOND).abs() < 0.001);
        for _ in 0..100 {
            limiter.served();
        }
        assert!((limiter.rate() - 16.0).abs() < 0.001);
    }

    #[tokio::test(start_paused = true)]
    async fn one_scope_has_one_bucket() {
        let limiters = Limiters::default();
        let scope = |region: &str| Scope { account: "own".to_owned(), region: region.to_owned(), service: "glue" };
        limiters.of(&scope("eu-central-1"), 16).throttled();
        assert!((limiters.of(&scope("eu-central-1"), 16).rate() - 8.0).abs() < 0.001);
        assert!((limiters.of(&scope("us-east-1"), 16).rate() - 16.0).abs() < 0.001);
    }
}
