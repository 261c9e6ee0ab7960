//! Feeds the rows of the assigned slots into Kafka, exactly once where the broker has transactions.
//!
//! [`run`] blocks on a thread of its own. It makes the topics, joins the slots' group and feeds until it is told to stop; a producer that was fenced
//! or broke is made anew and joins again. It ends only for what no waiting heals.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use stockpipeline::checked;
use stockpipeline::layout::Epoch;
use stockpipeline::schema::Schema;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::Class;
use crate::failpoint::Failpoints;
use crate::feed::{Feed, FeedError};
use crate::kafka::{Clients, KafkaError, is_about_permission};
use crate::metrics::ProducerMetrics;
use crate::progress::Progress;
use crate::slots::{ProgressRecord, Replay, ReplayId, uri};
use crate::status::StatusCell;

mod allowance;
mod failure;
mod hold;
mod report;
mod sender;
mod session;
mod setup;
mod transaction;

pub use hold::HoldBack;
pub use sender::{LINE_HEADER, ORIGIN_HEADER, PROBLEM_HEADER};

use allowance::Allowance;
use failure::Ended;
use report::Report;
use session::Session;
use setup::Ground;

/// Time after which the coordinator aborts a dead producer's transaction; readers are held back that long.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a producer that broke is made anew.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// How records are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Rows and progress in transactions: each row exactly once.
    Transactional,
    /// Each row at least once, for a broker without transactions. A process that is killed leaves up to an interval's rows twice.
    Idempotent,
}

/// Who makes the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicDuty {
    /// The producer makes what is missing, as the pipeline says.
    Ensure,
    /// They are there, or will be: the producer waits.
    Given,
}

/// What happens when a finite source has been produced to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDone {
    /// [`run`] returns.
    Return,
    /// The producer stays in the group, idle and ready for other replicas' slots.
    Stay,
}

/// Everything that a producer works with.
pub struct Context {
    /// Clients of the brokers.
    pub clients: Clients,
    /// The opened source.
    pub feed: Feed,
    /// The source as the user wrote it.
    pub source: checked::Source,
    /// Declared columns.
    pub schema: Schema,
    /// Settings of the producer.
    pub settings: checked::Producer,
    /// The data topic.
    pub topic: checked::Topic,
    /// Consumer group of the sinks; the names of this producer's group and transactions start with it.
    pub consumer_group: String,
    /// Incarnation of the topic; asked of the broker without it.
    pub epoch: Option<Epoch>,
    /// How records are delivered.
    pub delivery: Delivery,
    /// Who makes the topics.
    pub topic_duty: TopicDuty,
    /// Holds production back by what is not durable, for the embedded broker.
    pub hold_back: Option<HoldBack>,
    /// Time without a heartbeat after which this replica's slots move.
    pub session_timeout: Duration,
    /// What happens at the end of a finite source.
    pub when_done: WhenDone,
    /// Progress shared with the sink and whoever watches.
    pub progress: Arc<Progress>,
    /// What `/status` says; replaced by this producer alone.
    pub status: StatusCell,
    /// Metrics.
    pub metrics: ProducerMetrics,
    /// Told when to stop.
    pub shutdown: CancellationToken,
    /// Crash points of tests.
    pub failpoints: Failpoints,
}

/// Why a producer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A finite source has been produced and acknowledged to its end.
    Completed,
    /// It was told to stop; everything that was sent is committed or aborted.
    Stopped,
}

/// What no waiting heals.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// The source cannot be read on.
    #[error("failed to read the source")]
    Feed(#[source] FeedError),
    /// The source has another content than the one that was produced under its name.
    #[error(
        "the content of {uri:?} has changed since its rows were produced to topic {topic:?} (fingerprint {found} in place of {expected}); \
         give the new content another name, or bring the old one back"
    )]
    SourceChanged {
        /// Name of the source.
        uri: String,
        /// Data topic.
        topic: String,
        /// Fingerprint of what was produced.
        expected: String,
        /// Fingerprint of what is there now.
        found: String,
    },
    /// Rows of the source are in the topic, and nothing says how far they were produced.
    #[error(
        "topic {topic:?} holds rows of {uri:?}, but neither topic {slots_topic:?} nor the producers' group says for every slot how far they were produced: \
         going on would produce rows once more. Restore the slots topic, or delete topic {topic:?} so that it is filled anew; \
         to have the rows twice, give the source another name"
    )]
    ProgressMissing {
        /// Data topic.
        topic: String,
        /// Slots topic.
        slots_topic: String,
        /// Name of the source.
        uri: String,
    },
    /// The broker refuses a record for what it is.
    #[error("the broker refuses a record of topic {topic:?}, partition {partition} ({code:?}); raise the topic's max.message.bytes")]
    RecordRefused {
        /// Data topic.
        topic: String,
        /// Kafka partition.
        partition: i32,
        /// The broker's code.
        code: rdkafka::error::RDKafkaErrorCode,
    },
    /// The clients cannot be made.
    #[error("failed to make the producer's clients")]
    Clients(#[source] KafkaError),
    /// The progress cannot be written.
    #[error("failed to write a progress record")]
    Progress(#[source] serde_json::Error),
}

impl ProducerError {
    /// Returns who can do something about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Feed(error) => error.class(),
            Self::SourceChanged { .. } | Self::ProgressMissing { .. } | Self::RecordRefused { .. } => Class::User,
            Self::Clients(error) => error.class(),
            Self::Progress(_) => Class::Bug,
        }
    }
}

/// What a replay is, once the topic's incarnation is known.
pub(crate) struct Identity {
    /// Group of the replicas.
    pub(crate) group: String,
    /// What progress records say, apart from the row.
    pub(crate) record: ProgressRecord,
    /// Version of the declared columns, as it stands in the header.
    pub(crate) schema: String,
}

/// Produces until it is told to stop, or until a finite source is done and that is to be the end.
///
/// # Errors
/// [`ProducerError`] for what no waiting heals. An unreachable broker or a refused permission is waited for.
pub fn run(mut context: Context) -> Result<Outcome, ProducerError> {
    let mut report = Report::new(&context);
    let result = produce(&mut context, &mut report);
    report.ended(&context, &result);
    result
}

fn produce(context: &mut Context, report: &mut Report) -> Result<Outcome, ProducerError> {
    if context.delivery == Delivery::Idempotent {
        warn!("the broker has no transactions: rows that were sent and not yet noted are produced again after a kill");
    }
    loop {
        let Some(ground) = setup::prepare(context, report)? else { return Ok(Outcome::Stopped) };
        if let Some(outcome) = produce_on(&ground, context, report)? {
            return Ok(outcome);
        }
        warn!(topic = context.topic.name, "the topic was made again, or has other partitions; the producer starts anew");
        report.moved(context);
        if setup::wait(context, RENEWAL_PAUSE) {
            return Ok(Outcome::Stopped);
        }
    }
}

/// Produces to the topic as it is; None once it is another one or has other partitions.
fn produce_on(ground: &Ground, context: &mut Context, report: &mut Report) -> Result<Option<Outcome>, ProducerError> {
    let identity = identity(context, ground);
    info!(group = identity.group, uri = identity.record.uri, partitions = ground.partitions, "producer starts");
    let mut allowance = Allowance::new();
    loop {
        let ended = match Session::open(context, ground, &identity, &mut allowance)? {
            Some(mut session) => session.run(report)?,
            None => Ended::Stopped,
        };
        match ended {
            Ended::Completed => return Ok(Some(Outcome::Completed)),
            Ended::Stopped => return Ok(Some(Outcome::Stopped)),
            Ended::Moved => return Ok(None),
            Ended::Renew(failure) => {
                warn!(error = %failure, "the producer is made anew and joins again");
                if failure.is_fenced() {
                    report.fenced(context, &failure.to_string());
                } else {
                    report.failed(context, is_about_permission(failure.code), &failure.to_string());
                }
                if setup::wait(context, RENEWAL_PAUSE) {
                    return Ok(Some(Outcome::Stopped));
                }
            }
        }
    }
}

fn identity(context: &Context, ground: &Ground) -> Identity {
    let columns = &context.schema.columns;
    let fingerprint = context.feed.fingerprint();
    let id = ReplayId::of(&Replay {
        epoch: &ground.epoch,
        source: &context.source,
        fingerprint,
        // The feed, which is open, needs both columns.
        key_field: &columns[context.settings.key_column].from,
        event_time: &columns[context.schema.event_time],
        slots: context.settings.slots,
    });
    // The digits of an epoch are those of a hash, whatever the text.
    let schema = serde_json::to_string(&context.schema).map_or_else(|_| String::new(), |text| Epoch::of(&text).as_str().to_owned());
    Identity {
        group: id.group(&context.consumer_group),
        record: ProgressRecord {
            replay: id,
            epoch: ground.epoch.clone(),
            uri: uri(&context.source, fingerprint),
            fingerprint: fingerprint.to_owned(),
            row: 0,
        },
        schema,
    }
}

/// Returns the time after which the coordinator aborts a transaction of this producer.
fn transaction_timeout(context: &Context) -> Duration {
    TRANSACTION_TIMEOUT.max(context.settings.transaction_interval * 2)
}

/// Returns the settings of a producer client.
fn client_config(context: &Context) -> ClientConfig {
    let mut config = context.clients.client_config();
    config
        // A third less work a record than zstd; what is kept for long is compressed by the sink.
        .set("compression.type", "lz4")
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("partitioner", "murmur2");
    for (name, value) in &context.settings.config {
        config.set(name, value);
    }
    match context.delivery {
        Delivery::Transactional => {
            // A name of its own each time: what fences is the group's generation, and no two replicas can fence each other by name.
            let id = format!("{}-{:016x}", context.consumer_group, RandomState::new().hash_one(std::process::id()));
            config.set("transactional.id", id).set("transaction.timeout.ms", transaction_timeout(context).as_millis().to_string());
        }
        // A record waits for its broker as long as it takes; nothing is dropped.
        Delivery::Idempotent => {
            config.set("message.timeout.ms", "0");
        }
    }
    config
}
