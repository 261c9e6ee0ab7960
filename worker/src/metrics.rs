//! All metrics of a worker.

/// Metrics of S3 requests.
#[derive(Debug, Clone, Default)]
pub struct StoreMetrics {}
