//! Metrics of the catalogue's partitions.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Registry, gauge_value};

/// Codes of Glue that mean something to whoever looks at a dashboard; every other one is `other`.
const CODES: [&str; 12] = [
    "200",
    "timeout",
    "transport",
    "AccessDeniedException",
    "EntityNotFoundException",
    "ExpiredTokenException",
    "InternalServiceException",
    "InvalidInputException",
    "OperationTimeoutException",
    "ResourceNumberLimitExceededException",
    "ThrottlingException",
    "UnrecognizedClientException",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: &'static str,
}

/// Metrics of the catalogue's partitions.
#[derive(Debug, Clone, Default)]
pub struct PartitionMetrics {
    requests: Family<RequestLabels, Counter>,
    registered: Counter,
    missing: Gauge,
    dropped: Counter,
}

impl PartitionMetrics {
    /// Returns metrics that the registry renders.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let series = &mut registry.series;
        series.register("glue_requests", "Attempts of Glue requests by operation and outcome", metrics.requests.clone());
        series.register("catalog_partitions_registered", "Hive partitions that this worker has registered", metrics.registered.clone());
        series.register(
            "catalog_partitions_missing",
            "Hive partitions that are known to be missing in the catalogue",
            metrics.missing.clone(),
        );
        series.register(
            "catalog_partitions_dropped",
            "Plans or partitions that were left to the audit because too many waited",
            metrics.dropped.clone(),
        );
        metrics
    }

    /// Counts one attempt of a request: its operation, a literal of the caller, and `200`, AWS' code, `timeout` or `transport`.
    pub fn request(&self, operation: &'static str, code: &str) {
        let code = CODES.into_iter().find(|known| *known == code).unwrap_or("other");
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
    }

    /// Counts partitions that were registered.
    pub fn registered(&self, partitions: u64) {
        self.registered.inc_by(partitions);
    }

    /// Sets how many partitions are known to be missing.
    pub fn set_missing(&self, partitions: usize) {
        self.missing.set(gauge_value(partitions as u64));
    }

    /// Counts something that was left to the audit.
    pub fn dropped(&self) {
        self.dropped.inc();
    }
}
