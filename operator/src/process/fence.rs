//! Whether this process may write: the end of its lease, looked at right before each write to Kubernetes or AWS leaves the process.
//!
//! A process that was stopped or suspended past its lease finds the fence shut when it wakes, whatever it was doing. Once shut by time or by
//! [`Fence::shut`] it never opens again: only a new process writes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::client::Body;
use tower::BoxError;
use tower::filter::{FilterLayer, Predicate};

use crate::clock::boottime_millis;

/// Not opened yet.
const UNOPENED: u64 = 0;
/// Shut for good.
const SHUT: u64 = 1;
/// Open without an end.
const ALWAYS: u64 = u64::MAX;

/// Whether this process may write. Clones are one fence.
#[derive(Debug, Clone)]
pub struct Fence {
    /// Milliseconds since boot at which it shuts.
    until: Arc<AtomicU64>,
}

/// This process may not write any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this process does not hold the lease any more, so it writes nothing; the process that holds it goes on")]
pub struct Fenced;

impl Fence {
    /// Returns a fence that is shut until it is opened.
    #[must_use]
    pub fn closed() -> Self {
        Self { until: Arc::new(AtomicU64::new(UNOPENED)) }
    }

    /// Returns a fence that is open for as long as the process lives: for a process that is alone.
    #[must_use]
    pub fn open() -> Self {
        Self { until: Arc::new(AtomicU64::new(ALWAYS)) }
    }

    /// Opens the fence, or keeps it open, until a time in milliseconds since boot.
    ///
    /// # Errors
    /// [`Fenced`] when it has shut before: then somebody else may write, and this process has to end.
    pub fn open_until(&self, until_millis: u64) -> Result<(), Fenced> {
        let now = boottime_millis();
        let extend = |current| (current == UNOPENED || current > now).then_some(until_millis.max(SHUT));
        self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, extend).map(|_before| ()).map_err(|_before| Fenced)
    }

    /// Shuts the fence for good.
    pub fn shut(&self) {
        self.until.store(SHUT, Ordering::Release);
    }

    /// Returns whether a write may leave now.
    ///
    /// # Errors
    /// [`Fenced`] when it may not.
    pub fn check(&self) -> Result<(), Fenced> {
        if self.until.load(Ordering::Acquire) > boottime_millis() { Ok(()) } else { Err(Fenced) }
    }

    /// Returns the layer of a Kubernetes client that lets reads pass, and writes while the fence is open.
    #[must_use]
    pub fn layer(&self) -> FilterLayer<Self> {
        FilterLayer::new(self.clone())
    }
}

impl Predicate<axum::http::Request<Body>> for Fence {
    type Request = axum::http::Request<Body>;

    fn check(&mut self, request: axum::http::Request<Body>) -> Result<axum::http::Request<Body>, BoxError> {
        if request.method() != axum::http::Method::GET {
            Self::check(self)?;
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn it_is_shut_until_it_is_opened() {
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(Fenced));
        assert_eq!(fence.open_until(boottime_millis() + HOUR), Ok(()));
        assert_eq!(fence.check(), Ok(()));
        assert_eq!(fence.clone().open_until(boottime_millis() + 2 * HOUR), Ok(()));
    }

    #[test]
    fn what_time_or_shutting_has_shut_never_opens_again() {
        let late = Fence::closed();
        assert_eq!(late.open_until(boottime_millis().saturating_sub(1)), Ok(()));
        let shut = Fence::open();
        shut.shut();
        for fence in [late, shut] {
            assert_eq!(fence.check(), Err(Fenced));
            assert_eq!(fence.open_until(boottime_millis() + HOUR), Err(Fenced));
            assert_eq!(fence.check(), Err(Fenced));
        }
    }

    #[test]
    fn reads_pass_and_writes_do_not() {
        let mut fence = Fence::closed();
        for (method, passes) in [("GET", true), ("PATCH", false), ("POST", false), ("PUT", false), ("DELETE", false)] {
            let request = axum::http::Request::builder().method(method).body(Body::empty()).unwrap();
            assert_eq!(Predicate::check(&mut fence, request).is_ok(), passes, "{method}");
        }
    }
}
