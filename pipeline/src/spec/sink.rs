//! Spec: the sink, its zones, rotation and ledger.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{LEDGER_RETAIN, ROTATION_INTERVAL, TimeSpan, between, immutable, rules, straight};
use super::worker::SinkWorker;

/// Writes the topic to S3, every record exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// Where the first plans of a topic start; later changes move nothing. Default: Earliest.
    #[serde(default)]
    pub start_from: StartFrom,
    /// Bucket of all zones and the ledger.
    pub bucket: Bucket,
    /// Raw zone: every record as a JSON line. Default: none; `{}` takes every default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawZone>,
    /// Processed zone: typed rows, partitioned by columns.
    pub processed: ProcessedZone,
    /// When buffered records become objects, whichever comes first.
    #[serde(default)]
    pub rotation: Rotation,
    /// The record of what was written, from which any worker goes on.
    #[serde(default)]
    pub ledger: Ledger,
    /// What happens to records that fit no column.
    #[serde(default)]
    pub on_bad_record: OnBadRecord,
    /// The pods.
    #[serde(default)]
    pub worker: SinkWorker,
}

/// Where the first plans of a topic start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("(self.type == 'Timestamp') == has(self.timestamp)", "set timestamp exactly when type is Timestamp"),
])))]
pub struct StartFrom {
    /// Earliest: the first record that the broker still has; Latest: the end of the log; Timestamp: the first record that Kafka
    /// got at or after `timestamp`. Default: Earliest.
    #[serde(rename = "type")]
    pub start_type: StartType,
    /// RFC 3339. Set exactly when `type` is Timestamp. Example: `2024-01-02T00:00:00Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 40))]
    pub timestamp: Option<String>,
}

/// Kind of start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartType {
    /// The first record that the broker still has.
    #[default]
    Earliest,
    /// The end of the log.
    Latest,
    /// The first record that Kafka got at or after a time.
    Timestamp,
}

/// The bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Name. Immutable.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$"),
        extend("x-kubernetes-validations" = immutable("bucket.name"))
    )]
    pub name: String,
    /// KMS key that encrypts the objects. Default: the bucket's own encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+$"))]
    pub kms_key_arn: Option<String>,
}

/// Raw zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.prefix) == has(oldSelf.prefix) && (!has(self.prefix) || self.prefix == oldSelf.prefix)", "raw.prefix is immutable"),
    ("self.compression != 'Snappy'", "JSON lines are compressed with Zstd, Gzip or None"),
])))]
pub struct RawZone {
    /// Key prefix, without a slash at either end. Immutable. Default: `raw/` and `metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = PREFIX), extend("x-kubernetes-validations" = straight()))]
    pub prefix: Option<String>,
    /// Format of the objects. Default: JsonLines.
    pub format: RawFormat,
    /// Zstd, Gzip or None. Default: Zstd.
    pub compression: Compression,
}

/// Format of the raw zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RawFormat {
    /// One JSON object a line.
    #[default]
    JsonLines,
}

/// Processed zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.prefix) == has(oldSelf.prefix) && (!has(self.prefix) || self.prefix == oldSelf.prefix)", "processed.prefix is immutable"),
    ("self.format == 'Parquet' || self.compression != 'Snappy'", "JSON lines are compressed with Zstd, Gzip or None"),
])))]
pub struct ProcessedZone {
    /// Key prefix, without a slash at either end. Immutable. Default: `processed/` and `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = PREFIX), extend("x-kubernetes-validations" = straight()))]
    pub prefix: Option<String>,
    /// Parquet or JsonLines. Immutable. Default: Parquet.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = immutable("processed.format")))]
    pub format: ProcessedFormat,
    /// Zstd, Snappy (Parquet only), Gzip or None. Default: Zstd.
    #[serde(default)]
    pub compression: Compression,
    /// Hive partitions in path order, 1 to 8. Immutable.
    #[schemars(
        length(min = 1, max = 8),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            // Lists with keys are equal in any order, and the order is part of every path.
            "x-kubernetes-validations" = rules(&[
                ("self == oldSelf", "processed.partitionBy is immutable"),
                ("self.map(p, p.name) == oldSelf.map(p, p.name)", "processed.partitionBy keeps its order"),
            ])
        )
    )]
    pub partition_by: Vec<PartitionField>,
    /// Columns that the rows of a file are sorted by, at most 8; equal rows keep Kafka's order. Default: the key column and the
    /// event time; an empty list keeps Kafka's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub sort_by: Option<Vec<String>>,
}

/// Format of the processed zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProcessedFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// One JSON object a line.
    JsonLines,
}

/// Compression of objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Compression {
    /// Zstandard.
    #[default]
    Zstd,
    /// Snappy; Parquet only.
    Snappy,
    /// gzip.
    Gzip,
    /// No compression.
    None,
}

/// One Hive partition key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionField {
    /// Name of the partition key in paths and tables; not a column's name. Example: `dt`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub name: String,
    /// How the value is made: year (`2024`), month (`2024-01`) or day (`2024-01-02`) of a Timestamp or Date, hour (`15`) of a
    /// Timestamp, identity, bucket(n), or truncate(n) of a String or whole number.
    #[schemars(
        length(min = 3, max = 32),
        regex(pattern = r"^(year|month|day|hour|identity|bucket\([1-9][0-9]{0,3}\)|truncate\([1-9][0-9]{0,8}\))$")
    )]
    pub transform: String,
    /// Column that the value is made from.
    #[schemars(length(min = 1, max = 128))]
    pub column: String,
    /// IANA zone in which the year, month, day or hour of a Timestamp is taken. Default: UTC.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

/// When buffered records become objects, whichever comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rotation {
    /// Bytes of keys and values of one Kafka partition, 1 MiB (1048576) to 1 GiB (1073741824). Default: 134217728 (128 MiB).
    #[schemars(range(min = 1_048_576, max = 1_073_741_824))]
    pub max_bytes: i64,
    /// Records of one Kafka partition, 1 to 100,000,000. Default: 1000000.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_records: i64,
    /// Time since the first buffered record. 1s to 24h. Default: 60s.
    #[schemars(extend("x-kubernetes-validations" = between(ROTATION_INTERVAL)))]
    pub max_interval: TimeSpan,
}

/// The ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ledger {
    /// Key prefix, without a slash at either end; outside every zone. Immutable. Default: `_stockpipeline`.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = PREFIX),
        extend("x-kubernetes-validations" = rules(&[
            ("self == oldSelf", "ledger.prefix is immutable"),
            ("!self.split('/').exists(s, s == '.' || s == '..')", "must not have . or .. between slashes"),
        ]))
    )]
    pub prefix: String,
    /// How long a plan is kept at least, 1h to 87600h. Default: 720h (30 days).
    #[schemars(extend("x-kubernetes-validations" = between(LEDGER_RETAIN)))]
    pub retain: TimeSpan,
    /// How many plans of each Kafka partition are kept at least, 1 to 1,000,000. Default: 100.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub retain_plans: i32,
    /// Epoch for which a missing ledger is accepted, as the message of `LedgerMissing` names it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 16, max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub accept: Option<String>,
}

/// What happens to records that fit no column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.prefix) == has(oldSelf.prefix) && (!has(self.prefix) || self.prefix == oldSelf.prefix)", "onBadRecord.prefix is immutable"),
    ("self.compression != 'Snappy'", "JSON lines are compressed with Zstd, Gzip or None"),
])))]
pub struct OnBadRecord {
    /// DeadLetter: the record goes to the dead-letter zone with its payload and the reason. Default: DeadLetter.
    pub action: BadRecordAction,
    /// Key prefix of the dead-letter zone, without a slash at either end. Immutable. Default: `dlq/` and `metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = PREFIX), extend("x-kubernetes-validations" = straight()))]
    pub prefix: Option<String>,
    /// Zstd, Gzip or None. Default: Zstd.
    pub compression: Compression,
    /// Dead letters a minute and worker above which it pauses and says so; 0 is no limit. Default: 0.
    #[schemars(range(min = 0))]
    pub halt_above_per_minute: i64,
}

/// What happens to a bad record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BadRecordAction {
    /// It goes to the dead-letter zone.
    #[default]
    DeadLetter,
}

/// Characters of a key prefix: those that need no escaping anywhere, no slash at either end, no empty segment.
const PREFIX: &str = r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$";

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 134_217_728, max_records: 1_000_000, max_interval: TimeSpan::of("60s") }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { prefix: "_stockpipeline".to_owned(), retain: TimeSpan::of("720h"), retain_plans: 100, accept: None }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}
