//! Whether this process may write: the end of its lease, looked at right before each write to Kubernetes or AWS leaves the process.
//!
//! A request waits after it was made: for a token, for a connection. So its body looks again ([`Guarded`]) when the connection asks for
//! it, and what was sent of it by then is no whole request.
//!
//! A process that was stopped or suspended past its lease finds the fence shut when it wakes, whatever it was doing. Once shut by time or by
//! [`Fence::shut`] it never opens again: only a new process writes again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use axum::http::{Method, Request};
use http_body::{Frame, SizeHint};
use kube::client::Body;
use tower::BoxError;
use tower::filter::{FilterLayer, Predicate};

use stockpipeline_program::clock::boottime_millis;

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

    /// Returns a request's body that leaves only while the fence is open.
    pub fn guard<B>(&self, body: B) -> Guarded<B> {
        Guarded { body, fence: self.clone() }
    }

    /// Returns the layer in front of a Kubernetes client's connections that lets reads pass, and writes while the fence is open.
    #[must_use]
    pub fn layer(&self) -> FilterLayer<Self> {
        FilterLayer::new(self.clone())
    }
}

impl Predicate<Request<Body>> for Fence {
    type Request = Request<Guarded<Body>>;

    fn check(&mut self, request: Request<Body>) -> Result<Self::Request, BoxError> {
        if request.method() == Method::GET {
            return Ok(request.map(|body| Self::open().guard(body)));
        }
        Self::check(self)?;
        Ok(request.map(|body| self.guard(body)))
    }
}

/// A request's body behind a fence: once that is shut it fails in place of its next piece, and its connection is closed.
#[derive(Debug)]
pub struct Guarded<B> {
    body: B,
    fence: Fence,
}

impl<B> http_body::Body for Guarded<B>
where
    B: http_body::Body<Error: Into<BoxError>> + Unpin,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let piece = ready!(Pin::new(&mut self.body).poll_frame(context));
        // After the piece is there, which may take its time.
        Poll::Ready(piece.map(|piece| self.fence.check().map_err(BoxError::from).and_then(|()| piece.map_err(Into::into))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::error::chain;

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
            let request = Request::builder().method(method).body(Body::empty()).unwrap();
            assert_eq!(Predicate::check(&mut fence, request).is_ok(), passes, "{method}");
        }
    }

    #[tokio::test]
    async fn a_write_that_waited_for_its_connection_past_the_lease_stays_here() {
        for (method, leaves) in [("GET", true), ("PATCH", false)] {
            let fence = Fence::open();
            // In place of the connection, which takes the body when it stands.
            let connection = tower::service_fn(async |request: Request<Guarded<Body>>| {
                fence.shut();
                axum::body::to_bytes(axum::body::Body::new(request.into_body()), usize::MAX).await.map_err(BoxError::from)
            });
            let request = Request::builder().method(method).body(Body::from(b"{}".to_vec())).unwrap();
            let sent = fence.layer().layer(connection).oneshot(request).await;
            match sent {
                Ok(bytes) => assert!(leaves && bytes == "{}", "{method}"),
                Err(error) => assert!(!leaves && chain(&*error).contains(&Fenced.to_string()), "{method}: {error}"),
            }
        }
    }
}
