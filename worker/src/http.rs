//! The read-only endpoints of a worker: `/livez`, `/readyz`, `/status` and `/metrics`. They never echo configuration.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use stockpipeline::launch::{LIVEZ_PATH, METRICS_PATH, READYZ_PATH, STATUS_PATH};
use stockpipeline::status::Status;
use stockpipeline_program::clock::{boottime_millis, wall_millis};
use stockpipeline_program::http::{self, Limits, verdict};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Registry};
use crate::status::{self, StatusCell};

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
    http::serve(limits, listener, router(Sources { status, registry }), shutdown).await;
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

async fn show_status(State(sources): State<Sources>) -> Response {
    let status = sources.status.read();
    Json(Status { said_millis: Some(wall_millis()), ..status.as_ref().clone() }).into_response()
}

async fn show_metrics(State(sources): State<Sources>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], sources.registry.render()).into_response()
}
