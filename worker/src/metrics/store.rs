//! Metrics of S3 requests.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::Registry;

/// Upper bounds of a request's seconds: from a local server's answer to the longest attempt.
const REQUEST_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

/// Metrics of S3 requests.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabel, Histogram>,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self { requests: Family::default(), request_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)) }
    }
}

impl StoreMetrics {
    /// Returns metrics that the registry renders.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let series = &mut registry.series;
        series.register("s3_requests", "Attempts of S3 requests by operation and outcome", metrics.requests.clone());
        series.register_with_unit("s3_request", "Time of one attempt of an S3 request", Unit::Seconds, metrics.request_seconds.clone());
        metrics
    }

    /// Counts one attempt: its operation (`PutObject`), its outcome (`200`, `412`, `timeout`) and its time.
    /// Both labels are literals of the caller, so the series are bounded.
    pub fn observe(&self, operation: &'static str, code: &'static str, seconds: f64) {
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
        self.request_seconds.get_or_create(&OperationLabel { operation }).observe(seconds);
    }
}
