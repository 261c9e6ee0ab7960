//! What a worker's `/status` says: the types of its JSON, which the workers write and the operator reads.
//!
//! Nothing here holds configuration or credentials, and messages are scrubbed by whoever makes them.

mod reason;

pub use reason::{Class, Failure, Reason};

use serde::{Deserialize, Serialize};

/// Everything a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Which of the two kinds of worker this is.
    pub role: Role,
    /// Name of the worker: its pod's name.
    pub worker: String,
    /// Version of this program.
    pub version: String,
    /// When this was said, by the worker's own clock, milliseconds since 1970: what its other moments are compared with. None while it is only
    /// kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_millis: Option<i64>,
    /// When the process started, milliseconds since 1970.
    pub started_millis: i64,
    /// How far the worker is.
    pub state: State,
    /// The data topic, as this worker last saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicReport>,
    /// How Kafka answers.
    pub kafka: Dependency,
    /// How S3 answers; None where the worker does not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<Dependency>,
    /// The last error, healed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
    /// Why the worker has stopped for good; it does not heal by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fatal: Option<Failure>,
    /// Why the worker, or one of its partitions, takes nothing at present; it goes on when the reason is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Failure>,
    /// What only a sink says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkStatus>,
    /// What only a producer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<ProducerStatus>,
}

/// The two kinds of worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Feeds rows into Kafka.
    Producer,
    /// Writes records to S3.
    Sink,
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Reading its configuration, making the topic, probing the store.
    Starting,
    /// Waiting for the group to give it partitions or slots.
    Joining,
    /// At work.
    Running,
    /// A member of the group that has nothing to do: there are more replicas than partitions or slots.
    Idle,
    /// Finishing what it has before it ends.
    Draining,
    /// A finite source has been produced to its end.
    Completed,
}

/// What a worker has seen of the data topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicReport {
    /// Name.
    pub name: String,
    /// Kafka's topic id, where the broker has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Number of partitions; None while there is no such topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Replication factor, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    /// How the topic compares with what the pipeline asks for.
    pub state: TopicState,
    /// Settings that differ and are not, or cannot be, changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<TopicDifference>,
    /// What is wrong and the way out, scrubbed of secrets; empty where nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When this was seen, milliseconds since 1970.
    pub checked_millis: i64,
}

/// How a topic compares with what the pipeline asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicState {
    /// As asked for.
    InSync,
    /// Being made.
    Creating,
    /// Settings differ and were not changed.
    ConfigDrift,
    /// There are other numbers of partitions or replicas than asked for, and they can't be changed.
    PartitionMismatch,
    /// There is no such topic and this worker does not make it.
    NotFound,
    /// Kafka refuses the credentials or the access.
    AuthFailed,
    /// No broker answers.
    BrokerUnreachable,
    /// Only looked at, never changed.
    Observed,
    /// Not yet looked at.
    NotMeasured,
}

/// A setting of a topic that is not as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicDifference {
    /// Name of the setting, such as `retention.ms` or `partitions`.
    pub name: String,
    /// What the pipeline asks for.
    pub desired: String,
    /// What the topic has.
    pub actual: String,
}

/// How an outside system answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// The last success, milliseconds since 1970; None before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_millis: Option<i64>,
    /// Since when every act has failed, milliseconds since 1970; None while the last one succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since_millis: Option<i64>,
}

/// What only a sink says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// Incarnation of the topic, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The Kafka partitions that this worker owns, in order.
    pub partitions: Vec<PartitionStatus>,
    /// When a plan was last completed, milliseconds since 1970; of those that were found completed at the start, when the newest was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit_millis: Option<i64>,
    /// Records made durable since the process started.
    pub committed_records: u64,
    /// Dead letters written since the process started.
    pub dead_letters: u64,
    /// Offsets that the broker dropped before they were stored; stays until the worker starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_loss: Option<Failure>,
    /// What the catalogue lacks for what is being written: tables, partitions, with the reason and the way out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub catalog_missing: Vec<String>,
    /// The tables whose partitions this worker registers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TablePartitions>,
}

/// The registered partitions of a table, as one sink knows them. The owner of Kafka partition 0 looks at all of them once a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TablePartitions {
    /// Database and table, such as `market_data.us_equities`.
    pub table: String,
    /// Number of partitions: what the last look at all of them found, and what this sink has registered since; None before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u64>,
    /// The last of them in path order, such as `dt=2024-05-01/hour=13`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// When they were last compared with what is stored, milliseconds since 1970; None where this sink has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited_millis: Option<i64>,
}

/// One Kafka partition of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// Kafka partition.
    pub partition: i32,
    /// First offset that is not yet durable.
    pub durable: i64,
    /// End of the log (or the last stable offset), where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    /// Records that are not yet durable, where the end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// What is being done with the partition.
    pub state: PartitionState,
    /// Whether fetching is paused.
    pub paused: bool,
}

/// What a sink does with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionState {
    /// The end of its chain of plans is being looked for.
    Resuming,
    /// An unfinished plan is being executed from Kafka.
    Replaying,
    /// Records are being buffered.
    Buffering,
    /// A plan is being written.
    Writing,
    /// Being given back to the group.
    Releasing,
    /// Stopped by a fatal reason, or at records that cannot be read.
    Stopped,
}

/// What only a producer says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerStatus {
    /// The slots that this worker feeds, in order.
    pub slots: Vec<SlotStatus>,
    /// Rows of the source that this worker has passed.
    pub source_position: u64,
    /// Rows of the source in all, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_rows: Option<u64>,
    /// Records that the broker has acknowledged since the process started.
    pub rows: u64,
    /// Rows that could not be parsed and went on as their raw text.
    pub malformed: u64,
    /// Whether a finite source has been produced to its end by all slots of this worker.
    pub completed: bool,
}

/// One slot of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// Slot.
    pub slot: u32,
    /// Committed row of the source: where a successor goes on.
    pub row: u64,
    /// Whether the source has ended for this slot.
    pub completed: bool,
}

impl Status {
    /// Returns the status of a worker that has just started.
    #[must_use]
    pub fn starting(role: Role, worker: impl Into<String>, started_millis: i64) -> Self {
        let (sink, producer) = match role {
            Role::Sink => (Some(SinkStatus::default()), None),
            Role::Producer => (None, Some(ProducerStatus::default())),
        };
        Self {
            role,
            worker: worker.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            said_millis: None,
            started_millis,
            state: State::Starting,
            topic: None,
            kafka: Dependency::default(),
            s3: sink.as_ref().map(|_| Dependency::default()),
            last_error: None,
            fatal: None,
            paused: None,
            sink,
            producer,
        }
    }
}

impl Dependency {
    /// Notes a success.
    pub fn succeeded(&mut self, now_millis: i64) {
        self.last_success_millis = Some(now_millis);
        self.failing_since_millis = None;
    }

    /// Notes a failure; the first one in a row counts.
    pub fn failed(&mut self, now_millis: i64) {
        self.failing_since_millis.get_or_insert(now_millis);
    }
}
