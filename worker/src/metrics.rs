//! All metrics of a worker: names, units and labels, in Prometheus' text format.
//!
//! Labels come from closed sets. Counters are bumped once a batch or a plan, never once a record, and nothing here
//! waits for I/O. Each struct is a handle: clones share the same series. A `Default` one is not registered anywhere.

mod partitions;
mod producer;
mod sink;
mod store;

pub use partitions::PartitionMetrics;
pub use producer::{ProducerMetrics, TransactionOutcome};
pub use sink::{MemoryClass, Rebalance, SinkMetrics};
pub use store::StoreMetrics;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry as Series;

/// Content type of [`Registry::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every series of a process, ready to be rendered. One a process; registering ends when it is shared with the endpoint.
pub struct Registry {
    series: Series,
}

impl Registry {
    /// Returns a registry that holds nothing but `stockpipeline_build_info`.
    #[must_use]
    pub fn new(role: &'static str) -> Self {
        let mut series = Series::with_prefix("stockpipeline");
        let labels = vec![("role", role), ("version", env!("CARGO_PKG_VERSION"))];
        series.register("build", "Role and version of this process", Info::new(labels));
        Self { series }
    }

    /// Returns the text of all series.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let written = encode(&mut text, &self.series);
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        text
    }

    /// Ends registering and returns the registry for the endpoint.
    #[must_use]
    pub fn share(self) -> Arc<Self> {
        Arc::new(self)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Registry")
    }
}

/// Returns a count as a gauge's value; what no counter of ours reaches is cut.
fn gauge_value(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
