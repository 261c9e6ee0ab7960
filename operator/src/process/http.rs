//! The read-only endpoints of the operator: `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use stockpipeline::launch::{LIVEZ_PATH, METRICS_PATH, READYZ_PATH};
use stockpipeline_program::clock::boottime_millis;
use stockpipeline_program::http::{self, Limits, verdict};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::reconcile::pulse::Pulse;

/// The election's loop moves at least once in a lease's duration and some requests; longer means that it stands.
const SILENT_MILLIS: u64 = 60_000;
/// Without an answer of the API server for this long the process can do nothing.
const UNREACHED_MILLIS: u64 = 60_000;

/// What the process knows of itself: when the election last moved, when the API server last answered it, and whether the controller moves.
#[derive(Debug, Clone)]
pub struct Health {
    times: Arc<Times>,
    /// What the controller says of itself.
    pub pulse: Pulse,
}

#[derive(Debug)]
struct Times {
    /// Milliseconds since boot.
    beat: AtomicU64,
    /// Milliseconds since boot; 0 before the first answer.
    reached: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        let times = Times { beat: AtomicU64::new(boottime_millis()), reached: AtomicU64::new(0) };
        Self { times: Arc::new(times), pulse: Pulse::default() }
    }
}

impl Health {
    /// Notes that the election moves.
    pub fn beat(&self) {
        self.times.beat.store(boottime_millis(), Ordering::Release);
    }

    /// Notes that the API server has answered, and so that the election moves.
    pub fn reached(&self) {
        self.beat();
        self.times.reached.store(boottime_millis(), Ordering::Release);
    }

    /// Returns whether election and controller move, or why not; `now_millis` since boot.
    pub fn live(&self, now_millis: u64) -> Result<(), String> {
        let silent_millis = now_millis.saturating_sub(self.times.beat.load(Ordering::Acquire));
        if silent_millis > SILENT_MILLIS {
            return Err(format!("the election has not moved for {} s", silent_millis / 1_000));
        }
        self.pulse.check(now_millis)
    }

    /// Returns whether the process could lead at once, or why not. One that stands by is as ready as the one that leads.
    pub fn ready(&self, now_millis: u64) -> Result<(), String> {
        self.live(now_millis)?;
        match self.times.reached.load(Ordering::Acquire) {
            0 => Err("the API server has not answered yet".to_owned()),
            reached if now_millis.saturating_sub(reached) > UNREACHED_MILLIS => {
                Err(format!("the API server has not answered for {} s", (now_millis - reached) / 1_000))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone)]
struct Sources {
    health: Health,
    metrics: Metrics,
}

/// Serves the endpoints on a listener until the token is cancelled. Never fails: a client's error ends its connection only.
pub async fn serve(listener: TcpListener, health: Health, metrics: Metrics, shutdown: CancellationToken) {
    http::serve(Limits::DEFAULT, listener, router(Sources { health, metrics }), shutdown).await;
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route(LIVEZ_PATH, get(async |State(sources): State<Sources>| verdict(sources.health.live(boottime_millis()))))
        .route(READYZ_PATH, get(async |State(sources): State<Sources>| verdict(sources.health.ready(boottime_millis()))))
        .route(METRICS_PATH, get(show_metrics))
        .with_state(sources)
}

async fn show_metrics(State(sources): State<Sources>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], sources.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_live_while_the_election_moves_and_ready_while_the_api_server_answers() {
        let health = Health::default();
        let now = boottime_millis();
        assert_eq!(health.live(now), Ok(()));
        assert!(health.ready(now).is_err(), "nothing was reached yet");
        health.reached();
        let now = boottime_millis();
        assert_eq!(health.ready(now), Ok(()));
        assert!(health.ready(now + UNREACHED_MILLIS + 1).is_err());
        assert!(health.live(now + SILENT_MILLIS + 1).is_err());
        health.beat();
        assert_eq!(health.live(boottime_millis()), Ok(()));
        health.pulse.turned();
        let later = boottime_millis() + SILENT_MILLIS;
        assert_eq!(health.live(later), Ok(()), "both have moved within the time");
        health.times.beat.store(later + 1, Ordering::Release);
        assert!(health.live(later + 1_000).unwrap_err().contains("controller"), "a controller that stands is no life");
    }
}
