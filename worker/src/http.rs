//! The read-only endpoints of a worker: `/livez`, `/readyz`, `/status` and `/metrics`. They never echo configuration.
//!
//! One connection serves one request and lives for a few seconds at most. When all places are taken, the oldest connection
//! makes room: an honest client is done within milliseconds, so it is a slow one that goes, and it can't hold up a probe.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use stockpipeline::launch::{LIVEZ_PATH, METRICS_PATH, READYZ_PATH, STATUS_PATH};
use stockpipeline::status::Status;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::{boottime_millis, wall_millis};
use crate::metrics::{self, Registry};
use crate::status::{self, StatusCell};

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
    /// The limits of [`serve`].
    pub const DEFAULT: Self =
        Self { connections: 64, header_bytes: 16 * 1024, header_time: Duration::from_secs(5), connection_time: Duration::from_secs(10) };
}

/// What the endpoints read.
#[derive(Debug, Clone)]
struct Sources {
    status: StatusCell,
    registry: Arc<Registry>,
}

/// Serves the endpoints on a listener until the token is cancelled. Never fails: a client's error ends its connection only.
pub async fn serve(listener: TcpListener, status: StatusCell, registry: Arc<Registry>, shutdown: CancellationToken) {
    serve_within(Limits::DEFAULT, listener, status, registry, shutdown).await;
}

/// Serves the endpoints as [`serve`] does, within other limits.
pub async fn serve_within(limits: Limits, listener: TcpListener, status: StatusCell, registry: Arc<Registry>, shutdown: CancellationToken) {
    let router = router(Sources { status, registry });
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
        by_age.push_back(connections.spawn(connection(stream, router.clone(), limits)));
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, finish).await.is_err() {
        connections.shutdown().await;
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

async fn connection(stream: TcpStream, router: Router, limits: Limits) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(limits.connection_time, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %error, "a client's request failed"),
        Err(_elapsed) => debug!("a client was too slow"),
    }
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route(LIVEZ_PATH, get(live))
        .route(READYZ_PATH, get(ready))
        .route(STATUS_PATH, get(show_status))
        .route(METRICS_PATH, get(show_metrics))
        .with_state(sources)
}

async fn live(State(sources): State<Sources>) -> Response {
    verdict(status::live(sources.status.silent_millis(boottime_millis())))
}

/// A status that a standing loop has left behind says nothing about now, so readiness needs liveness.
async fn ready(State(sources): State<Sources>) -> Response {
    let live = status::live(sources.status.silent_millis(boottime_millis()));
    verdict(live.and_then(|()| status::ready(&sources.status.read(), wall_millis())))
}

fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn show_status(State(sources): State<Sources>) -> Response {
    let status = sources.status.read();
    Json(Status { said_millis: Some(wall_millis()), ..status.as_ref().clone() }).into_response()
}

async fn show_metrics(State(sources): State<Sources>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], sources.registry.render()).into_response()
}
