//! Metrics of a sink.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;
use stockpipeline::plan::{SealReason, ZoneName};
use stockpipeline_program::clock::boottime_millis;

use super::{Registry, gauge_value};

/// Reasons whose series exist from the start.
const SEAL_REASONS: [SealReason; 8] = [
    SealReason::Bytes,
    SealReason::Records,
    SealReason::Interval,
    SealReason::Memory,
    SealReason::HivePartitions,
    SealReason::Revoked,
    SealReason::Shutdown,
    SealReason::EndOfSource,
];

/// What the bytes of the memory budget are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryClass {
    /// Messages that librdkafka has fetched and the sink has not taken.
    Fetched,
    /// Buffers of the open plans.
    Buffered,
    /// Sealed buffers, until their last object is encoded.
    Sealed,
    /// Encoded objects under way to S3.
    Uploading,
}

/// What a rebalance did to this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebalance {
    /// Partitions were given.
    Assigned,
    /// Partitions were taken back in order.
    Revoked,
    /// Partitions were lost: another worker may have them already.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ZoneLabel {
    zone: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Metrics of a sink.
#[derive(Debug, Clone)]
pub struct SinkMetrics {
    lag_records: Family<PartitionLabel, Gauge>,
    lag_seconds: Gauge<f64, AtomicU64>,
    last_commit: LastCommit,
    records: Family<ZoneLabel, Counter>,
    bytes: Family<ZoneLabel, Counter>,
    seals: Family<ReasonLabel, Counter>,
    object_bytes: Histogram,
    plan_replays: Counter,
    plans_adopted: Counter,
    memory_bytes: Family<ClassLabel, Gauge>,
    paused_partitions: Gauge,
    dead_letters: Family<ClassLabel, Counter>,
    late_records: Counter,
    unknown_fields: Counter,
    hive_partitions_per_plan: Histogram,
    rebalances: Family<KindLabel, Counter>,
    fetch_queue_messages: Gauge,
    throttle_seconds: Gauge<f64, AtomicU64>,
}

impl Default for SinkMetrics {
    fn default() -> Self {
        let metrics = Self {
            lag_records: Family::default(),
            lag_seconds: Gauge::default(),
            last_commit: LastCommit(Arc::new(AtomicU64::new(boottime_millis()))),
            records: Family::default(),
            bytes: Family::default(),
            seals: Family::default(),
            // 4 KiB to 1 GiB.
            object_bytes: Histogram::new(exponential_buckets(4096.0, 4.0, 10)),
            plan_replays: Counter::default(),
            plans_adopted: Counter::default(),
            memory_bytes: Family::default(),
            paused_partitions: Gauge::default(),
            dead_letters: Family::default(),
            late_records: Counter::default(),
            unknown_fields: Counter::default(),
            hive_partitions_per_plan: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]),
            rebalances: Family::default(),
            fetch_queue_messages: Gauge::default(),
            throttle_seconds: Gauge::default(),
        };
        metrics.create_closed_series();
        metrics
    }
}

impl SinkMetrics {
    /// Returns metrics that the registry renders.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register_delivery(registry);
        metrics.register_state(registry);
        metrics
    }

    /// A series that exists from the start lets a query see its first increment.
    fn create_closed_series(&self) {
        for zone in [ZoneName::Raw, ZoneName::Processed, ZoneName::DeadLetters] {
            let label = ZoneLabel { zone: zone.label() };
            self.records.get_or_create(&label).inc_by(0);
            self.bytes.get_or_create(&label).inc_by(0);
        }
        for reason in SEAL_REASONS {
            self.seals.get_or_create(&ReasonLabel { reason: reason.label() }).inc_by(0);
        }
        for class in [MemoryClass::Fetched, MemoryClass::Buffered, MemoryClass::Sealed, MemoryClass::Uploading] {
            self.memory_bytes.get_or_create(&ClassLabel { class: class.label() }).set(0);
        }
        for kind in [Rebalance::Assigned, Rebalance::Revoked, Rebalance::Lost] {
            self.rebalances.get_or_create(&KindLabel { kind: kind.label() }).inc_by(0);
        }
    }

    fn register_delivery(&self, registry: &mut Registry) {
        let series = &mut registry.series;
        series.register("lag_records", "Records of a Kafka partition that are not yet durable in S3", self.lag_records.clone());
        series.register_with_unit(
            "lag",
            "Age of the oldest record that is not yet durable in S3, by its Kafka timestamp",
            Unit::Seconds,
            self.lag_seconds.clone(),
        );
        series.register_collector(Box::new(self.last_commit.clone()));
        series.register("records", "Rows or lines stored, by zone", self.records.clone());
        series.register("bytes", "Bytes of the objects stored, by zone", self.bytes.clone());
        series.register("seals", "Rotations by what caused them", self.seals.clone());
        series.register_with_unit("object", "Size of the objects stored", Unit::Bytes, self.object_bytes.clone());
        series.register("plan_replays", "Plans whose offsets were read again to finish them", self.plan_replays.clone());
        series.register("plans_adopted", "Plans of another worker that this one has adopted", self.plans_adopted.clone());
        series.register("dead_letters", "Records that have no place in the processed zone, by class", self.dead_letters.clone());
        series.register("late_records", "Rows a day or more older than the newest one of their buffer", self.late_records.clone());
        series.register("unknown_fields", "Fields that no column takes", self.unknown_fields.clone());
    }

    fn register_state(&self, registry: &mut Registry) {
        let series = &mut registry.series;
        series.register_with_unit("memory", "Memory in use by what it is for", Unit::Bytes, self.memory_bytes.clone());
        series.register("paused_partitions", "Kafka partitions that are not being fetched", self.paused_partitions.clone());
        series.register("hive_partitions_per_plan", "Hive partitions that one plan touches", self.hive_partitions_per_plan.clone());
        series.register("rebalances", "Changes of this worker's assignment", self.rebalances.clone());
        series.register("fetch_queue_messages", "Messages in the Kafka client's fetch queues", self.fetch_queue_messages.clone());
        series.register_with_unit(
            "throttle",
            "Longest time for which a broker throttles this client, as last reported",
            Unit::Seconds,
            self.throttle_seconds.clone(),
        );
    }

    /// Sets how many records of a Kafka partition are not yet durable.
    pub fn set_lag_records(&self, partition: i32, records: u64) {
        self.lag_records.get_or_create(&PartitionLabel { partition }).set(gauge_value(records));
    }

    /// Removes the series of a Kafka partition that this worker has given back, or whose lag is not known.
    pub fn forget_partition(&self, partition: i32) {
        self.lag_records.remove(&PartitionLabel { partition });
    }

    /// Sets the age of the oldest record that is not yet durable; 0 when all are.
    pub fn set_lag_seconds(&self, seconds: f64) {
        self.lag_seconds.set(seconds);
    }

    /// Marks a completed plan; `seconds_since_last_commit` counts from here, before that from the start.
    pub fn committed(&self, now_boottime_millis: u64) {
        self.last_commit.0.store(now_boottime_millis, Ordering::Relaxed);
    }

    /// Counts one object of a plan that is stored.
    pub fn object_stored(&self, zone: ZoneName, rows: u64, bytes: u64) {
        let label = ZoneLabel { zone: zone.label() };
        self.records.get_or_create(&label).inc_by(rows);
        self.bytes.get_or_create(&label).inc_by(bytes);
        #[expect(clippy::cast_precision_loss, reason = "a histogram's sum is a float")]
        self.object_bytes.observe(bytes as f64);
    }

    /// Counts a rotation and the Hive partitions that it touches.
    pub fn sealed(&self, reason: SealReason, hive_partitions: usize) {
        self.seals.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
        #[expect(clippy::cast_precision_loss, reason = "a histogram's sum is a float")]
        self.hive_partitions_per_plan.observe(hive_partitions as f64);
    }

    /// Counts a plan whose offsets are read again.
    pub fn plan_replayed(&self) {
        self.plan_replays.inc();
    }

    /// Counts a plan of another worker that was adopted.
    pub fn plan_adopted(&self) {
        self.plans_adopted.inc();
    }

    /// Sets the bytes in use for one purpose.
    pub fn set_memory_bytes(&self, class: MemoryClass, bytes: u64) {
        self.memory_bytes.get_or_create(&ClassLabel { class: class.label() }).set(gauge_value(bytes));
    }

    /// Sets how many Kafka partitions are paused.
    pub fn set_paused_partitions(&self, partitions: usize) {
        self.paused_partitions.set(gauge_value(partitions as u64));
    }

    /// Counts the dead letters of a plan by class (`decode`'s closed set of labels).
    pub fn dead_letters(&self, by_class: &BTreeMap<&'static str, u64>) {
        for (&class, &letters) in by_class {
            self.dead_letters.get_or_create(&ClassLabel { class }).inc_by(letters);
        }
    }

    /// Counts rows that came late.
    pub fn late_records(&self, rows: u64) {
        self.late_records.inc_by(rows);
    }

    /// Counts fields that no column takes.
    pub fn unknown_fields(&self, fields: u64) {
        self.unknown_fields.inc_by(fields);
    }

    /// Counts a change of the assignment.
    pub fn rebalanced(&self, kind: Rebalance) {
        self.rebalances.get_or_create(&KindLabel { kind: kind.label() }).inc();
    }

    /// Sets how many messages wait in the client's fetch queues.
    pub fn set_fetch_queue_messages(&self, messages: u64) {
        self.fetch_queue_messages.set(gauge_value(messages));
    }

    /// Sets for how long a broker throttles this client.
    pub fn set_throttle_seconds(&self, seconds: f64) {
        self.throttle_seconds.set(seconds);
    }
}

/// Time of the last commit; the seconds since then are counted when the metrics are read, so that they grow although the loop stands.
#[derive(Clone)]
struct LastCommit(Arc<AtomicU64>);

impl fmt::Debug for LastCommit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LastCommit")
    }
}

impl Collector for LastCommit {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let millis = boottime_millis().saturating_sub(self.0.load(Ordering::Relaxed));
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since boot are far below 2^53")]
        let seconds = ConstGauge::new(millis as f64 / 1000.0);
        let help = "Time since the last completed plan, or since the start";
        seconds.encode(encoder.encode_descriptor("seconds_since_last_commit", help, None, MetricType::Gauge)?)
    }
}

impl MemoryClass {
    /// Returns the label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Buffered => "buffered",
            Self::Sealed => "sealed",
            Self::Uploading => "uploading",
        }
    }
}

impl Rebalance {
    /// Returns the label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Revoked => "revoked",
            Self::Lost => "lost",
        }
    }
}
