//! Serves read-only endpoints to clients that may be slow or hostile.
//!
//! One connection serves one request and lives for a few seconds at most. When all places are taken, the oldest connection makes room: an
//! honest client is done within milliseconds, so it is a slow one that goes, and it can't hold up a probe.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Wait after a failed accept, such as one without a free file descriptor, so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long requests that are under way may take after the stop; a probe's answer takes milliseconds.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What one client may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time; one more ends the oldest.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// Time until the headers are complete.
    pub header_time: Duration,
    /// Time of a whole connection, the client's reading included.
    pub connection_time: Duration,
}

impl Limits {
    /// The limits of both programs.
    pub const DEFAULT: Self =
        Self { connections: 64, header_bytes: 16 * 1024, header_time: Duration::from_secs(5), connection_time: Duration::from_secs(10) };
}

/// Serves endpoints on a listener until the token is cancelled. Never fails: a client's error ends its connection only.
pub async fn serve(limits: Limits, listener: TcpListener, endpoints: Router, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut by_age = VecDeque::new();
    loop {
        let stream = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => stream,
                Err(error) => {
                    warn!(error = %error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        make_room(&mut by_age, limits.connections);
        by_age.push_back(connections.spawn(connection(stream, endpoints.clone(), limits)));
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, finish).await.is_err() {
        connections.shutdown().await;
    }
}

/// Returns the answer of a probe: 200, or 503 with the reason.
#[must_use]
pub fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

fn make_room(by_age: &mut VecDeque<AbortHandle>, most: usize) {
    by_age.retain(|connection| !connection.is_finished());
    while by_age.len() >= most {
        if let Some(oldest) = by_age.pop_front() {
            oldest.abort();
        }
    }
}

async fn connection(stream: TcpStream, endpoints: Router, limits: Limits) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(endpoints));
    match timeout(limits.connection_time, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %error, "a client's request failed"),
        Err(_elapsed) => debug!("a client was too slow"),
    }
}
