//! The pipeline after checking: the only form that anything but the check itself reads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::operations::Operations;
use crate::rules::{LineCompression, PartitionField, ProcessedFormat, Rules};
use crate::schema::Schema;

/// A checked `StockPipeline`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, where the document names one.
    pub namespace: Option<String>,
    /// Region, endpoints and credentials of AWS.
    pub aws: Aws,
    /// Where the records come from.
    pub source: Source,
    /// Declared columns.
    pub schema: Schema,
    /// Brokers, topic and consumer group.
    pub kafka: Kafka,
    /// The producer; None for a topic that others fill.
    pub producer: Option<Producer>,
    /// The sink.
    pub sink: Sink,
    /// Glue database and tables, where the pipeline has a catalogue.
    pub glue: Option<Glue>,
    /// How it is run and catalogued.
    pub operations: Operations,
}

/// Region, endpoints and credentials of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// AWS region.
    pub region: String,
    /// Endpoint of S3; AWS's own without it.
    pub s3_endpoint: Option<String>,
    /// Endpoint of STS; AWS's own without it.
    pub sts_endpoint: Option<String>,
    /// Whether the bucket stands in the path instead of the host name.
    pub force_path_style: bool,
    /// Name of the Secret with `accessKeyId` and `secretAccessKey` (and `sessionToken`); the default credential chain without it.
    pub credentials_secret: Option<String>,
}

/// Where the records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Rows of a CSV file.
    CsvReplay(CsvReplay),
    /// A seeded random walk.
    Synthetic(Synthetic),
    /// A topic that others fill.
    ExternalTopic,
}

/// Rows of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvReplay {
    /// Where the file is.
    pub location: Location,
    /// Column names of a file without a header row.
    pub header: Option<Vec<String>>,
    /// Field delimiter.
    pub delimiter: u8,
    /// Texts that mean null, compared after trimming nothing.
    pub null_values: Vec<String>,
    /// Order of the rows.
    pub order: Order,
    /// How fast rows are produced.
    pub pace: Pace,
    /// Whether the file starts again at its end.
    pub repeat: bool,
    /// Seed of the random order.
    pub seed: u64,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A path of this machine; only for local runs.
    Path(String),
    /// An object of S3.
    S3 {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
    },
    /// An https:// (or, on loopback, http://) address.
    Http(String),
    /// A key of a `ConfigMap` in the pipeline's namespace.
    ConfigMap {
        /// Name of the `ConfigMap`.
        name: String,
        /// Key in it.
        key: String,
    },
}

/// Order of a file's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they stand in the file.
    File,
    /// By event time; ties keep the file's order.
    EventTime,
    /// A seeded permutation, another one each pass.
    Random,
}

/// How fast rows are produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the broker takes them.
    Unlimited,
    /// Rows a second over all replicas.
    RowsPerSecond(u32),
    /// Event time runs this many thousandths times as fast as the clock (1000 = real time).
    SpeedMillis(u64),
}

/// A seeded random walk of prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthetic {
    /// Symbols.
    pub symbols: Vec<String>,
    /// Rows a second over all replicas and symbols; as fast as possible without it.
    pub rows_per_second: Option<u32>,
    /// Seed.
    pub seed: u64,
    /// Rows in all; endless without it.
    pub rows: Option<u64>,
    /// Event time of the first row, microseconds since 1970.
    pub start_micros: i64,
}

/// Brokers, topic and consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port` of the brokers.
    pub bootstrap_servers: Vec<String>,
    /// How clients authenticate.
    pub auth: KafkaAuth,
    /// TLS, where it is on.
    pub tls: Option<KafkaTls>,
    /// The topic.
    pub topic: Topic,
    /// Consumer group of the sinks.
    pub consumer_group: String,
}

/// A key of a Secret (or `ConfigMap`) in the pipeline's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// How Kafka clients authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaAuth {
    /// Not at all.
    None,
    /// SASL SCRAM with user name and password.
    SaslScram {
        /// `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        mechanism: String,
        /// User name.
        username: KeyRef,
        /// Password.
        password: KeyRef,
    },
    /// Amazon MSK with IAM credentials.
    MskIam,
    /// A client certificate.
    MutualTls {
        /// Name of the Secret of type kubernetes.io/tls.
        certificate_secret: String,
    },
}

/// TLS of the Kafka connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTls {
    /// Private certificate authority; the system's own without it.
    pub ca: Option<KeyRef>,
}

/// The topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Whether workers make the topic and keep its partitions and configs, or only look.
    pub managed: bool,
    /// Partitions; None where the topic is only observed.
    pub partitions: Option<i32>,
    /// Replication factor; the broker's own default without it.
    pub replication_factor: Option<i32>,
    /// Topic configs.
    pub config: BTreeMap<String, String>,
}

/// The producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Slots: the units of work that Kafka's group protocol hands to replicas.
    pub slots: u32,
    /// Topic of the slots' progress.
    pub slots_topic: String,
    /// Index of the column whose text is the records' key.
    pub key_column: usize,
    /// How often a transaction is committed.
    pub transaction_interval: Duration,
    /// Producer configs (allow-listed).
    pub config: BTreeMap<String, String>,
}

/// The sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Where the first plans start.
    pub start_from: StartFrom,
    /// Bucket of all zones.
    pub bucket: String,
    /// KMS key of the objects; the bucket's own encryption without it.
    pub kms_key_arn: Option<String>,
    /// Raw zone.
    pub raw: Option<(String, LineCompression)>,
    /// Prefix of the processed zone.
    pub processed_prefix: String,
    /// Format of the processed zone.
    pub processed_format: ProcessedFormat,
    /// Hive partition fields of the processed zone.
    pub partition_by: Vec<PartitionField>,
    /// Indexes of the columns that rows are sorted by.
    pub sort_by: Vec<usize>,
    /// Dead-letter zone.
    pub dead_letters: (String, LineCompression),
    /// Dead letters a minute above which the sink pauses; 0 is no limit.
    pub halt_above_per_minute: u64,
    /// When a buffer is sealed.
    pub rotation: Rotation,
    /// The ledger.
    pub ledger: Ledger,
}

/// When a buffer is sealed, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of keys and payloads.
    pub max_bytes: u64,
    /// Records.
    pub max_records: u64,
    /// Wall clock since the first buffered record.
    pub max_interval: Duration,
}

/// The ledger of plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Key prefix, without a slash at either end.
    pub prefix: String,
    /// How long plans are kept at least.
    pub retain: Duration,
    /// How many plans of each partition are kept at least.
    pub retain_plans: u32,
    /// Epoch for which a missing ledger is accepted.
    pub accept: Option<String>,
}

/// Where the first plans of a topic start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// At the first offset that the broker still has.
    Earliest,
    /// At the end of the log.
    Latest,
    /// At the first record whose Kafka timestamp is not before this, milliseconds since 1970.
    Timestamp(i64),
}

/// Names in the Glue catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glue {
    /// Database.
    pub database: String,
    /// Table of the processed zone.
    pub processed_table: String,
    /// Table of the raw zone.
    pub raw_table: Option<String>,
    /// Table of the dead letters.
    pub dead_letters_table: Option<String>,
}

impl Sink {
    /// Returns the rules that records are decoded and laid out under today.
    #[must_use]
    pub fn rules(&self, topic: &str, schema: &Schema) -> Rules {
        use crate::rules::{DECODER_VERSION, DeadLetterZone, ProcessedZone, RawZone};
        Rules {
            decoder: DECODER_VERSION,
            topic: topic.to_owned(),
            schema: schema.clone(),
            raw: self.raw.as_ref().map(|(prefix, compression)| RawZone { prefix: prefix.clone(), compression: *compression }),
            processed: Some(ProcessedZone {
                prefix: self.processed_prefix.clone(),
                format: self.processed_format,
                partition_by: self.partition_by.clone(),
                sort_by: self.sort_by.clone(),
            }),
            dead_letters: DeadLetterZone { prefix: self.dead_letters.0.clone(), compression: self.dead_letters.1 },
        }
    }
}
