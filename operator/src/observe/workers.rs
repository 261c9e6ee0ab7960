//! Reads what workers say of themselves: `GET /status` of each pod, side by side, each within its time and size. Decides nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use stockpipeline::launch::STATUS_PATH;
use stockpipeline::status::Status;
use tokio::sync::Semaphore;

use crate::error::chain;
use crate::metrics::Metrics;

/// Bytes of an answer: a sink with every partition of a large topic says less.
const MAX_BYTES: usize = 1 << 20;
/// Workers of one pipeline that are asked at one time.
const SIDE_BY_SIDE: usize = 8;
/// Workers of all pipelines that are asked at one time.
const AT_ONCE: usize = 64;

/// Time within which all workers of a pipeline are asked. What it does not suffice for is asked at the next look.
const ALL_WITHIN: Duration = Duration::from_secs(5);
/// Texts of each list of an answer that are kept: what is shown is less.
const TEXTS: usize = 100;

/// A worker to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of its pod.
    pub pod: String,
    /// Address of its pod.
    pub address: IpAddr,
}

/// What came of asking a worker.
#[derive(Debug)]
pub struct Answer {
    /// Name of its pod.
    pub pod: String,
    /// What it said.
    pub said: Result<Status, WorkerError>,
}

/// Why a worker's status is not known.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The worker did not answer, or not in time.
    #[error("failed to ask the worker: {0}")]
    Unreachable(String),
    /// It answered something else.
    #[error("the worker answered {0} in place of its status")]
    Refused(u16),
    /// Its answer is too long.
    #[error("the worker's answer has more than {MAX_BYTES} bytes")]
    TooLong,
    /// Its answer is no status.
    #[error("failed to read the worker's answer: {0}")]
    Unreadable(#[source] serde_json::Error),
}

/// Asks workers. Clones share the limit of how many are asked at once.
#[derive(Debug, Clone)]
pub struct Workers {
    http: reqwest::Client,
    port: u16,
    timeout: Duration,
    metrics: Metrics,
    at_once: Arc<Semaphore>,
}

impl Workers {
    /// Returns what asks workers at a port, each for at most `timeout`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(port: u16, timeout: Duration, metrics: Metrics) -> Result<Self, reqwest::Error> {
        // A pod's address leads to that pod alone: through no proxy, and no redirect is followed.
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A connection kept open to each of thousands of pods would take more than opening one now and then.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { http, port, timeout, metrics, at_once: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Asks one target after the other, as many as there is time for, and returns what came of each that was asked, by pod.
    pub async fn ask(&self, targets: Vec<Target>) -> Vec<Answer> {
        let mut answers: Vec<Answer> = futures::stream::iter(targets)
            .map(|target| async move {
                let said = self.ask_one(&target).await;
                Answer { pod: target.pod, said }
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .take_until(tokio::time::sleep(ALL_WITHIN))
            .collect()
            .await;
        answers.sort_by(|one, other| one.pod.cmp(&other.pod));
        answers
    }

    async fn ask_one(&self, target: &Target) -> Result<Status, WorkerError> {
        let _place = self.at_once.acquire().await.expect("the semaphore is never closed");
        let host = match target.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let started = Instant::now();
        let url = format!("http://{host}:{}{STATUS_PATH}", self.port);
        let limited = tokio::time::timeout(self.timeout, self.get(&url)).await;
        self.metrics.worker_status(started.elapsed().as_secs_f64());
        limited.map_err(|_| WorkerError::Unreachable("no answer in time".to_owned()))?
    }

    async fn get(&self, url: &str) -> Result<Status, WorkerError> {
        let unreachable = |error: reqwest::Error| WorkerError::Unreachable(chain(&error.without_url()));
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(WorkerError::Refused(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(WorkerError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map(bounded).map_err(WorkerError::Unreadable)
    }
}

/// Numbers take no more room than their JSON; texts do, many times over where there are many small ones.
fn bounded(mut status: Status) -> Status {
    if let Some(topic) = status.topic.as_mut() {
        topic.differences.truncate(TEXTS);
    }
    if let Some(sink) = status.sink.as_mut() {
        sink.catalog_missing.truncate(TEXTS);
        sink.tables.truncate(TEXTS);
    }
    status
}
