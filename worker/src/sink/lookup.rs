//! Looks up where a partition has to go on: group offset, ledger, watermarks. I/O only; the conductor decides.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use stockpipeline::plan::{Plan, Root};

use crate::kafka::{self, KafkaError};
use crate::ledger::{Hint, Ledger, LedgerError, Tail};
use crate::progress::{PartitionProgress, Progress};
use crate::source::SourceContext;

/// Longest wait for one answer of a broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two questions to a broker that did not answer.
const AGAIN: Duration = Duration::from_millis(250);
/// Pause between two looks at what an embedded broker has produced.
const PRODUCTION_POLL: Duration = Duration::from_millis(5);

/// Where a partition goes on.
pub(super) struct Start {
    /// First offset of the next plan.
    pub(super) first: i64,
    /// The plan that has to be executed first.
    pub(super) replay: Option<Arc<Plan>>,
    /// The plan that was found complete.
    pub(super) finished: Option<Arc<Plan>>,
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
}

/// What a look-up needs.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) consumer: Arc<BaseConsumer<SourceContext>>,
    pub(super) topic: Arc<str>,
    pub(super) ledger: Ledger,
    pub(super) root: Arc<Root>,
    /// Present when the broker lives in this process: its log grows from nothing at every start.
    pub(super) progress: Option<Arc<Progress>>,
}

impl Lookup {
    /// Returns where a partition goes on. Waits for as long as broker or store need.
    pub(super) async fn start(&self, partition: i32) -> Result<Start, LookupError> {
        let hint = self.hint(partition).await;
        let tail = self.ledger.tail(partition, hint.as_ref()).await.map_err(|source| LookupError::Ledger { partition, source })?;
        let (first, replay, finished) = match tail {
            Tail::Empty => (self.root.start(partition), None, None),
            Tail::Finished(plan) => (plan.last + 1, None, Some(Arc::new(*plan))),
            Tail::Unfinished(plan) => (plan.first, Some(Arc::new(*plan)), None),
        };
        self.publish(partition, first);
        let needed = replay.as_ref().map_or(first, |plan| plan.last + 1);
        self.production(partition, needed).await;
        Ok(Start { first, replay, finished, watermarks: self.watermarks(partition).await })
    }

    /// Returns the watermarks of a partition, as soon as a broker tells them.
    pub(super) async fn watermarks(&self, partition: i32) -> Watermarks {
        let topic = Arc::clone(&self.topic);
        let (low, high) =
            self.ask("watermarks", move |consumer| kafka::watermarks(consumer.client(), &topic, partition, BROKER_TIMEOUT)).await;
        Watermarks { low, high }
    }

    /// Returns what the group's offset says about the ledger.
    async fn hint(&self, partition: i32) -> Option<Hint> {
        let topic = Arc::clone(&self.topic);
        let committed =
            self.ask("the group's offset", move |consumer| kafka::committed(consumer, &topic, &[partition], BROKER_TIMEOUT)).await;
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
