//! Looks up where a partition has to go on: group offset, ledger, watermarks. I/O only; the conductor decides.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use stockpipeline::plan::{Plan, Root};
use stockpipeline_program::clock::boottime_millis;

use super::question::Question;
use super::rotation::report;
use super::work::Work;
use crate::kafka::{self, KafkaError};
use crate::ledger::{Hint, Ledger, LedgerError, Tail};
use crate::progress::{PartitionProgress, Progress};
use crate::source::SourceContext;

/// Longest wait for one answer of a broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two questions to a broker that did not answer.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a log that seems too short is looked at again.
const SETTLING: Duration = Duration::from_secs(10);
/// How long the group's offset is asked for.
const HINT_PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two looks at what an embedded broker has produced.
const PRODUCTION_POLL: Duration = Duration::from_millis(5);

/// Where a partition goes on.
pub(super) struct Start {
    /// First offset of the next plan.
    pub(super) first: i64,
    /// The plan that has to be executed first.
    pub(super) replay: Option<Arc<Plan>>,
    /// The plan that was found complete, and whether its done mark is stored.
    pub(super) finished: Option<(Arc<Plan>, bool)>,
    /// Offset up to which the log is known to have held nothing but control records behind `first`.
    pub(super) known_end: i64,
    /// Boot time in milliseconds before the ledger was read: what was read may be older than the moment it is handled.
    pub(super) read_at: u64,
    pub(super) watermarks: Watermarks,
}

/// The range of offsets that the broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watermarks {
    /// First offset.
    pub(super) low: i64,
    /// Offset behind the last one.
    pub(super) high: i64,
}

/// A look-up that cannot succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("failed to look up the end of the chain of partition {partition}")]
    Ledger {
        partition: i32,
        #[source]
        source: LedgerError,
    },
    #[error("the topic {topic:?} was deleted and made again; a new start gives it an epoch of its own")]
    TopicReplaced { topic: String },
}

/// What a look-up needs.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) consumer: Arc<BaseConsumer<SourceContext>>,
    pub(super) topic: Arc<str>,
    pub(super) ledger: Ledger,
    pub(super) root: Arc<Root>,
    /// Whether the topic is still the one of the root: one question for all partitions that wait for it.
    pub(super) same_topic: Arc<Question<bool>>,
    /// Told what a partition waits for.
    pub(super) sender: Sender<Work>,
    /// Present when the broker lives in this process: its log grows from nothing at every start.
    pub(super) progress: Option<Arc<Progress>>,
}

impl Lookup {
    /// Returns where a partition goes on. Waits for as long as broker or store need.
    pub(super) async fn start(&self, partition: i32) -> Result<Start, LookupError> {
        let hint = self.hint(partition).await;
        let read_at = boottime_millis();
        let tail = self.ledger.tail(partition, hint.as_ref()).await.map_err(|source| LookupError::Ledger { partition, source })?;
        let (first, replay, finished) = match tail {
            Tail::Empty => (self.root.start(partition), None, None),
            Tail::Finished { plan, marked } => (plan.last + 1, None, Some((Arc::new(*plan), marked))),
            Tail::Unfinished(plan) => (plan.first, Some(Arc::new(*plan)), None),
        };
        self.publish(partition, first);
        let needed = replay.as_ref().map_or(first, |plan| plan.last + 1);
        self.production(partition, needed).await;
        let hinted_end = hint.filter(|hint| hint.next == first).map(|hint| hint.end);
        let watermarks = self.settled_watermarks(partition, needed).await?;
        let known_end = match (hinted_end, &finished) {
            (Some(end), _) => end,
            // Where the group has forgotten it, the mark still knows; it is asked only when something seems to be gone.
            (None, Some((plan, true))) if watermarks.low > first => {
                self.ledger.done_end(plan).await.map_err(|source| LookupError::Ledger { partition, source })?.unwrap_or(first)
            }
            (None, _) => first,
        };
        Ok(Start { first, replay, finished, known_end, read_at, watermarks })
    }

    /// Returns the watermarks, asking again for a while where the log seems to end below what the ledger has seen: a new
    /// leader may not know its high watermark yet.
    async fn settled_watermarks(&self, partition: i32, needed: i64) -> Result<Watermarks, LookupError> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let watermarks = self.watermarks(partition).await?;
            if watermarks.high >= needed || Instant::now() >= deadline {
                return Ok(watermarks);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Returns the watermarks of a partition, as soon as a broker tells them.
    ///
    /// # Errors
    /// [`LookupError::TopicReplaced`] when the topic is not the one that the ledger belongs to any more.
    pub(super) async fn watermarks(&self, partition: i32) -> Result<Watermarks, LookupError> {
        if !self.is_same_topic().await {
            return Err(LookupError::TopicReplaced { topic: self.topic.to_string() });
        }
        let topic = Arc::clone(&self.topic);
        let sender = self.sender.clone();
        let question = move |consumer: &BaseConsumer<SourceContext>| {
            let answer = kafka::watermarks(consumer.client(), &topic, partition, BROKER_TIMEOUT);
            if answer.is_err() {
                report(&sender, Work::Unanswered { partition });
            }
            answer
        };
        let (low, high) = self.ask("watermarks", question).await;
        Ok(Watermarks { low, high })
    }

    /// Returns whether the topic is still the one that the ledger belongs to; waits for as long as the brokers need. Records that were
    /// taken before this call are of that topic: a consumer goes on in a topic that was made again as if nothing had happened.
    pub(super) async fn is_same_topic(&self) -> bool {
        let Some(known) = &self.root.topic_id else { return true };
        let send = || async {
            let topic = Arc::clone(&self.topic);
            let identity = self.ask("the topic's id", move |consumer| kafka::topic_id(consumer.client(), &topic, BROKER_TIMEOUT)).await;
            identity.topic_id.as_ref() == Some(known)
        };
        self.same_topic.ask(send).await
    }

    /// Returns what the group's offset says about the ledger.
    async fn hint(&self, partition: i32) -> Option<Hint> {
        let topic = Arc::clone(&self.topic);
        let question = move |consumer: &BaseConsumer<SourceContext>| kafka::committed(consumer, &topic, &[partition], BROKER_TIMEOUT);
        // Advisory: where the group does not tell it, the ledger is paged through.
        let committed = tokio::time::timeout(HINT_PATIENCE, self.ask("the group's offset", question)).await.ok()?;
        let (offset, note) = committed.into_iter().next()?.offset?;
        Hint::read(offset, &note)
    }

    /// Tells the producer of an embedded broker what is durable already, before it is waited for: it holds back by that.
    fn publish(&self, partition: i32, first: i64) {
        if let Some(partition) = self.shared(partition) {
            partition.durable.store(first, Ordering::Release);
        }
    }

    fn shared(&self, partition: i32) -> Option<&PartitionProgress> {
        self.progress.as_ref()?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// Waits until an embedded broker has produced what the ledger has seen before.
    async fn production(&self, partition: i32, needed: i64) {
        let Some(partition) = self.shared(partition) else { return };
        while partition.produced.load(Ordering::Acquire) < needed {
            tokio::time::sleep(PRODUCTION_POLL).await;
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        question: impl Fn(&BaseConsumer<SourceContext>) -> Result<T, KafkaError> + Send + Sync + 'static,
    ) -> T {
        let question = Arc::new(question);
        loop {
            let (consumer, question) = (Arc::clone(&self.consumer), Arc::clone(&question));
            match tokio::task::spawn_blocking(move || question(&consumer)).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => tracing::warn!(%error, "failed to ask the brokers for {what}; asking again"),
                Err(error) => tracing::warn!(%error, "the question for {what} was cut short; asking again"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
