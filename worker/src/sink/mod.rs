//! The sink: from a Kafka topic to the raw, processed and dead-letter zones, exactly once.
//!
//! | file | what it does |
//! |---|---|
//! | [`mod@self`] | what a sink needs, how it runs and ends |
//! | `start` | topic, epoch, probe and root: everything before the first record |
//! | `conductor` | the one loop that owns all state |
//! | `rebalance` | partitions that come and go |
//! | `rotation` | fill, seal, deliver, complete |
//! | `unreadable`, `stall` | partitions whose next records cannot be read |
//! | `silence` | partitions whose broker does not answer |
//! | `loss` | what is lost, each told once (pure) |
//! | `partition` | state of one Kafka partition (pure) |
//! | `patrol` | looks again at what has stopped, and whether the topic is the same |
//! | `keeper` | the topics, kept by the owner of partition 0 |
//! | `budget` | what to do about memory (pure) |
//! | `lookup` | where a partition goes on (I/O) |
//! | `question` | one answer for many |
//! | `deliver` | a sealed range to S3 (I/O) |
//! | `pool` | encoder threads |
//! | `work` | what threads and tasks report to the loop |
//! | `report`, `figures` | status and metrics |

mod budget;
mod conductor;
mod deliver;
mod figures;
mod keeper;
mod lookup;
mod loss;
mod partition;
mod patrol;
mod pool;
mod question;
mod rebalance;
mod report;
mod rotation;
mod silence;
mod stall;
mod start;
mod unreadable;
mod work;

use std::sync::Arc;
use std::time::Duration;

use stockpipeline::Pipeline;
use stockpipeline::layout::Epoch;
use stockpipeline::rules::Rules;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::contact::Contact;
use crate::error::Class;
use crate::failpoint::Failpoints;
use crate::kafka::Clients;
use crate::ledger::LedgerError;
use crate::metrics::SinkMetrics;
use crate::partitions::Partitions;
use crate::progress::Progress;
use crate::source::SourceError;
use crate::status::{Reason, StatusCell};
use crate::store::{Store, StoreError};

pub use start::StartError;

/// Default session time-out of the consumer group: how long a dead worker keeps its partitions.
///
/// An attempt of a write has to end within it, so it bounds the slowest link: 128 MiB in 25 s are 5 MiB/s.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long what is known of a chain's end is trusted, on a clock that goes on while a process is frozen. Half of the least
/// `sink.ledger.retain`: within it, clean-up cannot have removed a plan that this worker would race with, whatever the difference
/// between the clocks of its node and of S3 (which refuses one of more than 15 minutes).
pub const TAIL_TRUSTED_FOR: Duration = Duration::from_mins(30);
/// How long a sink may take to store what it holds when it is asked to stop; below the pod's grace period.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(100);
/// How long partitions that the group takes back may be held to store what is buffered; far below `max.poll.interval.ms`.
pub const RELEASE_LIMIT: Duration = Duration::from_mins(1);

/// How often the topic's id is asked for beside all decisions, and when a stopped partition is looked up anew, then each time twice as late up to
/// sixteen times: nothing else tells an idle sink that the topic was made again, or that what had stopped a partition was mended.
pub const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Returns the total time of one attempt of an S3 request: below the group's session time-out. A worker that is cut off starts no
/// attempt after a session time-out without a broker, so its last one ends less than two of them after it was heard. Nothing rests on
/// that but the number of useless writes: keys decide.
#[must_use]
pub fn attempt_timeout(session_timeout: Duration) -> Duration {
    session_timeout * 5 / 6
}

/// Everything a sink needs. Nothing else is read from anywhere.
pub struct Context {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// What records become; [`stockpipeline::checked::Sink::rules`] but for benchmarks.
    pub rules: Arc<Rules>,
    /// Kafka clients.
    pub clients: Clients,
    /// The bucket; its gate is `contact`.
    pub store: Store,
    /// Hive partitions in the catalogue, where the pipeline has one that is told of them.
    pub partitions: Option<Partitions>,
    /// When a broker was last heard from.
    pub contact: Arc<Contact>,
    /// Session time-out of the group, normally [`SESSION_TIMEOUT`].
    pub session_timeout: Duration,
    /// How long what is known of a chain's end is trusted, normally [`TAIL_TRUSTED_FOR`].
    pub tail_trusted_for: Duration,
    /// How often the topic's id and stopped partitions are looked at, normally [`LOOK_AGAIN`].
    pub look_again: Duration,
    /// Epoch for a broker that has no topic ids; asked from the broker without it.
    pub epoch: Option<Epoch>,
    /// Bytes that buffers, compressors, uploads and fetched messages may hold together.
    pub memory_bytes: usize,
    /// Threads that decode and encode.
    pub encoders: usize,
    /// Name of this worker, as plans carry it.
    pub worker: String,
    /// Progress shared with the producer of an embedded broker; only there.
    pub progress: Option<Arc<Progress>>,
    /// Metrics.
    pub metrics: SinkMetrics,
    /// Status.
    pub status: StatusCell,
    /// Asks the sink to store what it holds and to end.
    pub shutdown: CancellationToken,
    /// Crash points, in tests.
    pub failpoints: Failpoints,
}

/// How a sink ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether everything that was buffered is stored.
    pub drained: bool,
    /// Records made durable.
    pub records: u64,
}

/// A sink that has ended for a reason that does not heal.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The start was refused.
    #[error("failed to start the sink")]
    Start(#[source] StartError),
    /// The consumer refused.
    #[error("failed to consume")]
    Source(#[source] SourceError),
    /// The topic was deleted and made again under the running sink.
    #[error("the topic {topic:?} was deleted and made again; a new start gives it an epoch of its own")]
    TopicReplaced {
        /// Topic.
        topic: String,
    },
    /// Encoder threads could not be started.
    #[error("failed to start {threads} encoder threads")]
    Threads {
        /// Number of threads.
        threads: usize,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A partition was stopped and the worker was asked to end.
    #[error("partition {partition} is stopped: {reason}: {message}", reason = reason.label())]
    Stopped {
        /// Kafka partition.
        partition: i32,
        /// Why.
        reason: Reason,
        /// What was found and what to do.
        message: String,
    },
}

impl SinkError {
    /// Returns the class of the error.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Start(error) => error.class(),
            Self::Source(SourceError::Create { .. }) => Class::User,
            Self::Stopped { reason: Reason::PlanMismatch, .. } => Class::Bug,
            Self::Source(SourceError::Assign { .. }) | Self::Threads { .. } | Self::Stopped { .. } | Self::TopicReplaced { .. } => {
                Class::External
            }
        }
    }
}

/// Runs a sink on the calling thread until `shutdown`, or until it cannot go on. I/O runs on `runtime`.
///
/// # Errors
/// [`SinkError`]; what may heal is waited out and shows in the status instead.
pub fn run(context: Context, runtime: &Handle) -> Result<Outcome, SinkError> {
    let Some(started) = start::start(&context, runtime).map_err(SinkError::Start)? else {
        return Ok(Outcome { drained: true, records: 0 });
    };
    conductor::Conductor::new(context, runtime.clone(), started)?.run()
}

fn ledger_reason(error: &LedgerError) -> Reason {
    match error {
        LedgerError::PathCollision { .. } => Reason::PathCollision,
        LedgerError::Unreadable { .. } => Reason::PlanVersionUnknown,
        LedgerError::Vanished { .. } => Reason::Fenced,
        LedgerError::Store(StoreError::Refused { .. } | StoreError::GaveUp { .. }) => Reason::InvalidConfiguration,
    }
}
