//! Metrics of a producer.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::{Registry, gauge_value};

/// Upper bounds of the seconds from handing a record over to its acknowledgement.
const DELIVERY_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Committed.
    Committed,
    /// Aborted; its rows are produced again.
    Aborted,
    /// Refused because another producer has taken over.
    Fenced,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Metrics of a producer.
#[derive(Debug, Clone)]
pub struct ProducerMetrics {
    records: Counter,
    transactions: Family<OutcomeLabel, Counter>,
    source_position: Gauge,
    delivery_seconds: Histogram,
    queue_messages: Gauge,
    throttle_seconds: Gauge<f64, AtomicU64>,
}

impl Default for ProducerMetrics {
    fn default() -> Self {
        let metrics = Self {
            records: Counter::default(),
            transactions: Family::default(),
            source_position: Gauge::default(),
            delivery_seconds: Histogram::new(DELIVERY_SECONDS),
            queue_messages: Gauge::default(),
            throttle_seconds: Gauge::default(),
        };
        // A series that exists from the start lets a query see its first increment.
        for outcome in TransactionOutcome::ALL {
            metrics.transactions.get_or_create(&OutcomeLabel { outcome: outcome.label() }).inc_by(0);
        }
        metrics
    }
}

impl ProducerMetrics {
    /// Returns metrics that the registry renders.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let series = &mut registry.series;
        series.register("records", "Records that the broker has acknowledged", metrics.records.clone());
        series.register("transactions", "Kafka transactions by how they ended", metrics.transactions.clone());
        series.register("source_position", "Rows of the source that this producer has passed", metrics.source_position.clone());
        series.register_with_unit(
            "delivery",
            "Time from handing a record to the client until the broker's acknowledgement",
            Unit::Seconds,
            metrics.delivery_seconds.clone(),
        );
        series.register("queue_messages", "Records in the Kafka client's queue", metrics.queue_messages.clone());
        series.register_with_unit(
            "throttle",
            "Longest time for which a broker throttles this client, as last reported",
            Unit::Seconds,
            metrics.throttle_seconds.clone(),
        );
        metrics
    }

    /// Counts records that the broker has acknowledged.
    pub fn acknowledged(&self, records: u64) {
        self.records.inc_by(records);
    }

    /// Counts a transaction.
    pub fn transaction_ended(&self, outcome: TransactionOutcome) {
        self.transactions.get_or_create(&OutcomeLabel { outcome: outcome.label() }).inc();
    }

    /// Sets how many rows of the source have been passed.
    pub fn set_source_position(&self, rows: u64) {
        self.source_position.set(gauge_value(rows));
    }

    /// Records how long one record took to be acknowledged; a sample a batch is enough.
    pub fn observe_delivery(&self, seconds: f64) {
        self.delivery_seconds.observe(seconds);
    }

    /// Sets how many records wait in the client's queue.
    pub fn set_queue_messages(&self, messages: u64) {
        self.queue_messages.set(gauge_value(messages));
    }

    /// Sets for how long a broker throttles this client.
    pub fn set_throttle_seconds(&self, seconds: f64) {
        self.throttle_seconds.set(seconds);
    }
}

impl TransactionOutcome {
    const ALL: [Self; 3] = [Self::Committed, Self::Aborted, Self::Fenced];

    /// Returns the label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Fenced => "fenced",
        }
    }
}
