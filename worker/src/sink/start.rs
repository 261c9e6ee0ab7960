//! Everything before the first record: topic, epoch, the probe of the store and the ledger's root.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use stockpipeline::checked::StartFrom;
use stockpipeline::layout::{Epoch, LedgerKeys};
use stockpipeline::plan::{PLAN_VERSION, Root};
use stockpipeline_program::clock::{boottime_millis, wall_millis};
use tokio::runtime::Handle;

use super::Context;
use crate::error::Class;
use crate::kafka::{self, KafkaError, TopicIdentity};
use crate::ledger::{Hint, Ledger, LedgerError};
use crate::status::{Failure, Reason};
use crate::store::{Probe, StoreError};
use crate::topic;

/// Longest wait for one answer of a broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two questions to a broker that did not answer.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a wait for the store shows itself alive.
const BEAT: Duration = Duration::from_secs(1);

/// A start that is refused.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Kafka clients cannot be made.
    #[error("failed to make a kafka client")]
    Client(#[source] KafkaError),
    /// The ledger is gone.
    #[error(
        "the ledger {prefix:?} of epoch {epoch} is missing, but {evidence}: going on would store records twice. \
         Restore the ledger's objects, or set spec.sink.ledger.accept: \"{epoch}\" to start a new one"
    )]
    LedgerMissing {
        /// Prefix of the group's ledger.
        prefix: String,
        /// Epoch of the topic.
        epoch: String,
        /// What shows that there was one.
        evidence: String,
    },
    /// The store takes a second object of the same key.
    #[error(
        "the store ignores If-None-Match: a second PUT of {key:?} was not refused with 412. \
         Exactly-once delivery needs conditional writes; use Amazon S3 or a store that enforces them"
    )]
    ConditionalWritesUnsupported {
        /// Key of the probe.
        key: String,
    },
    /// The ledger cannot be read or written.
    #[error("failed to open the ledger")]
    Ledger(#[source] LedgerError),
    /// The store refused.
    #[error("failed to look at the bucket")]
    Store(#[source] StoreError),
}

impl StartError {
    /// Returns the class of the error.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Client(error) => error.class(),
            Self::LedgerMissing { .. } | Self::ConditionalWritesUnsupported { .. } => Class::User,
            Self::Ledger(_) | Self::Store(_) => Class::External,
        }
    }

    /// Returns the reason as status names it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Client(_) | Self::Store(_) => Reason::InvalidConfiguration,
            Self::LedgerMissing { .. } => Reason::LedgerMissing,
            Self::ConditionalWritesUnsupported { .. } => Reason::ConditionalWritesUnsupported,
            Self::Ledger(error) => super::ledger_reason(error),
        }
    }
}

/// What the loop starts from.
pub(super) struct Started {
    pub(super) ledger: Ledger,
    pub(super) root: Arc<Root>,
}

/// Prepares a sink; None when it was asked to stop meanwhile.
pub(super) fn start(context: &Context, runtime: &Handle) -> Result<Option<Started>, StartError> {
    let starter = Starter { context, runtime };
    let result = starter.start();
    if let Err(error) = &result {
        starter.show(|status| {
            status.fatal = Some(Failure {
                class: error.class(),
                reason: error.reason(),
                message: crate::error::line(error),
                at_millis: wall_millis(),
            });
        });
    }
    result
}

struct Starter<'a> {
    context: &'a Context,
    runtime: &'a Handle,
}

type Client = BaseConsumer<kafka::Context>;

impl Starter<'_> {
    fn start(&self) -> Result<Option<Started>, StartError> {
        let Context { pipeline, clients, .. } = self.context;
        let mut config = clients.client_config();
        config.set("group.id", &pipeline.kafka.consumer_group).set("enable.auto.commit", "false");
        let client: Client = config
            .create_with_context(clients.context())
            .map_err(|error| StartError::Client(KafkaError::Setting { message: clients.scrub(&error.to_string()) }))?;
        let (identity, epoch) = if let Some(epoch) = &self.context.epoch {
            (None, epoch.clone())
        } else {
            let Some(identity) = self.identity(&client) else { return Ok(None) };
            let epoch = identity.epoch(&pipeline.kafka.topic.name);
            (Some(identity), epoch)
        };
        let keys = LedgerKeys::new(&pipeline.sink.ledger.prefix, &pipeline.kafka.consumer_group, &epoch);
        let ledger = Ledger::new(self.context.store.clone(), keys);
        let Some(root) = self.root(&client, &ledger, identity)? else { return Ok(None) };
        tracing::info!(topic = pipeline.kafka.topic.name, epoch = epoch.as_str(), partitions = root.starts.len(), "ledger opened");
        Ok(Some(Started { ledger, root: Arc::new(root) }))
    }

    /// Returns the topic's identity, making the topic where that is ours to do.
    fn identity(&self, client: &Client) -> Option<TopicIdentity> {
        self.topic()?;
        let pipeline = &self.context.pipeline;
        self.ask(client, "the topic's id", || kafka::topic_id(client.client(), &pipeline.kafka.topic.name, BROKER_TIMEOUT))
    }

    /// Waits until the topic is there, made by us or by whoever may.
    fn topic(&self) -> Option<()> {
        let Context { pipeline, clients, .. } = self.context;
        loop {
            self.context.status.beat(boottime_millis());
            let report = topic::ensure(clients, &pipeline.kafka.topic, super::keeper::slots_topic(pipeline));
            let usable = topic::is_usable(&report);
            if !usable {
                tracing::warn!(topic = report.name, state = ?report.state, "waiting for the topic");
            }
            self.show(|status| status.topic = Some(report));
            if usable {
                return Some(());
            }
            self.pause()?;
        }
    }

    fn root(&self, client: &Client, ledger: &Ledger, identity: Option<TopicIdentity>) -> Result<Option<Root>, StartError> {
        match self.wait(ledger.root()) {
            None => return Ok(None),
            Some(root) => {
                if let Some(root) = root.map_err(StartError::Ledger)? {
                    return Ok(Some(root));
                }
            }
        }
        let topic = &self.context.pipeline.kafka.topic.name;
        let partitions = self.ask(client, "the topic's partitions", || {
            let metadata = client.fetch_metadata(Some(topic), BROKER_TIMEOUT)?;
            let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
            // A topic that was made just now is not known to every broker yet.
            if count == 0 { Err(ClientError::MetadataFetch(rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition)) } else { Ok(count) }
        });
        let Some(partitions) = partitions else { return Ok(None) };
        let ids: Vec<i32> = (0..i32::try_from(partitions).unwrap_or(i32::MAX)).collect();
        let Some(marked) = self.ask(client, "the group's offsets", || marked_offsets(client, topic, &ids, ledger.keys().epoch())) else {
            return Ok(None);
        };
        let Some(checked) = self.check_new(ledger, &marked) else { return Ok(None) };
        checked?;
        let Some(starts) = self.ask(client, "the first offsets", || self.starts(client, &ids, &marked)) else { return Ok(None) };
        let root = Root {
            version: PLAN_VERSION,
            cluster_id: identity.as_ref().map(|identity| identity.cluster_id.clone()),
            topic_id: identity.and_then(|identity| identity.topic_id),
            topic: topic.clone(),
            starts,
        };
        self.wait(ledger.put_root(root)).transpose().map_err(StartError::Ledger)
    }

    /// Refuses a new ledger where there was one, and a store that does not enforce conditional writes.
    fn check_new(&self, ledger: &Ledger, marked: &BTreeMap<i32, i64>) -> Option<Result<(), StartError>> {
        let Context { pipeline, store, .. } = self.context;
        let epoch = ledger.keys().epoch().as_str().to_owned();
        let probe_key = format!("{}{epoch}/probe-{}", ledger.keys().group(), boottime_millis());
        let evidence = self.wait(async {
            if !marked.is_empty() {
                return Ok(Some(format!("the consumer group {:?} has committed offsets under it", pipeline.kafka.consumer_group)));
            }
            if ledger.group_is_known().await.map_err(StartError::Ledger)? {
                return Ok(None);
            }
            for prefix in self.zone_prefixes() {
                if !store.list(&format!("{prefix}/"), None, 1).await.map_err(StartError::Store)?.is_empty() {
                    return Ok(Some(format!("there are objects under {prefix:?}")));
                }
            }
            Ok(None)
        })?;
        let accepted = pipeline.sink.ledger.accept.as_deref() == Some(&epoch);
        match evidence {
            Err(error) => return Some(Err(error)),
            Ok(Some(evidence)) if !accepted => {
                // Another worker may have stored the root, and completed plans under it, since we looked for it.
                return match self.wait(ledger.root())? {
                    Ok(Some(_)) => Some(Ok(())),
                    Ok(None) => Some(Err(StartError::LedgerMissing { prefix: ledger.keys().group().to_owned(), epoch, evidence })),
                    Err(error) => Some(Err(StartError::Ledger(error))),
                };
            }
            Ok(_) => {}
        }
        match self.wait(store.probe(&probe_key))? {
            Ok(Probe::Conditional) => Some(Ok(())),
            Ok(Probe::Unconditional) => Some(Err(StartError::ConditionalWritesUnsupported { key: probe_key })),
            Err(error) => Some(Err(StartError::Store(error))),
        }
    }

    fn zone_prefixes(&self) -> Vec<&str> {
        let rules = &self.context.rules;
        let raw = rules.raw.as_ref().map(|zone| zone.prefix.as_str());
        let processed = rules.processed.as_ref().map(|zone| zone.prefix.as_str());
        raw.into_iter().chain(processed).chain([rules.dead_letters.prefix.as_str()]).collect()
    }

    /// Returns the first offset of each partition's chain: a marked one (of an accepted loss), else by `startFrom`. What the log has lost
    /// behind a mark is found, and told, when the partition is looked up.
    fn starts(&self, client: &Client, partitions: &[i32], marked: &BTreeMap<i32, i64>) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let topic = &self.context.pipeline.kafka.topic.name;
        let logs = kafka::logs(client, topic, partitions, BROKER_TIMEOUT)?;
        // Asked behind the ends of the logs: a record that comes between both questions lies behind an end that is started from.
        let from_times: BTreeMap<i32, Option<i64>> = match self.context.pipeline.sink.start_from {
            StartFrom::Timestamp(millis) => {
                let times: Vec<(i32, i64)> = partitions.iter().map(|&partition| (partition, millis)).collect();
                kafka::offsets_for_times(client, topic, &times, BROKER_TIMEOUT)?.into_iter().collect()
            }
            StartFrom::Earliest | StartFrom::Latest => BTreeMap::new(),
        };
        let start_from = self.context.pipeline.sink.start_from;
        let first = |(partition, log): (i32, (i64, i64))| {
            let found = from_times.get(&partition).copied().flatten();
            (partition, marked.get(&partition).copied().unwrap_or_else(|| unmarked_start(start_from, log, found)))
        };
        Ok(logs.into_iter().map(first).collect())
    }

    /// Asks a broker until it answers; None when the sink was asked to stop.
    fn ask<T, E: std::fmt::Display>(&self, client: &Client, what: &str, mut question: impl FnMut() -> Result<T, E>) -> Option<T> {
        loop {
            self.context.status.beat(boottime_millis());
            // Tokens are given in a client's poll alone, and without one no broker is connected to. Nothing is assigned: no record comes.
            if let Some(Err(error)) = client.poll(Duration::ZERO) {
                tracing::debug!(%error, "event of the client that starts the sink");
            }
            match question() {
                Ok(answer) => {
                    self.context.contact.renew();
                    self.show(|status| status.kafka.succeeded(wall_millis()));
                    return Some(answer);
                }
                Err(_) if self.context.shutdown.is_cancelled() => return None,
                Err(error) => {
                    tracing::warn!(%error, "failed to ask the brokers for {what}; asking again");
                    let failure = Failure {
                        class: Class::External,
                        reason: Reason::BrokerUnreachable,
                        message: self.context.clients.scrub(&format!("failed to ask for {what}: {error}")),
                        at_millis: wall_millis(),
                    };
                    self.show(|status| {
                        status.kafka.failed(failure.at_millis);
                        status.last_error = Some(failure);
                    });
                    self.pause()?;
                }
            }
        }
    }

    /// Waits a moment; None when the sink was asked to stop.
    fn pause(&self) -> Option<()> {
        let stopped = self.runtime.block_on(async { tokio::time::timeout(AGAIN, self.context.shutdown.cancelled()).await });
        stopped.is_err().then_some(())
    }

    /// Waits for the store, showing that the worker lives; None when the sink was asked to stop.
    fn wait<T>(&self, act: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            let mut act = std::pin::pin!(act);
            let mut beat = tokio::time::interval(BEAT);
            loop {
                tokio::select! {
                    done = &mut act => {
                        self.show(|status| if let Some(s3) = &mut status.s3 { s3.succeeded(wall_millis()) });
                        return Some(done);
                    }
                    () = self.context.shutdown.cancelled() => return None,
                    _ = beat.tick() => {
                        self.context.status.beat(boottime_millis());
                        // Nothing is owned yet that a successor could own as well: what is written here, whoever is first decides.
                        self.context.contact.renew();
                        self.show(|status| super::report::store_trouble(status, self.context.store.trouble()));
                    }
                }
            }
        })
    }

    fn show(&self, change: impl FnOnce(&mut crate::status::Status)) {
        let mut status = (*self.context.status.read()).clone();
        change(&mut status);
        self.context.status.replace(status);
    }
}

/// Returns the group's offsets that carry our mark of this epoch.
fn marked_offsets(client: &Client, topic: &str, partitions: &[i32], epoch: &Epoch) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let committed = kafka::committed(client, topic, partitions, BROKER_TIMEOUT)?;
    let marked = committed.into_iter().filter_map(|committed| {
        let (offset, note) = committed.offset?;
        let hint = Hint::read(offset, &note).filter(|hint| hint.epoch == epoch.as_str())?;
        Some((committed.partition, hint.next))
    });
    Ok(marked.collect())
}

/// Returns where a partition starts whose log reaches from `low` to `high`; `found` is the first record of the wanted time that there was
/// when the broker was asked, behind them.
fn unmarked_start(start_from: StartFrom, (low, high): (i64, i64), found: Option<i64>) -> i64 {
    match start_from {
        StartFrom::Earliest => low,
        StartFrom::Latest => high,
        StartFrom::Timestamp(_) => found.unwrap_or(high).max(low),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_by_time_is_the_record_found_or_the_end_as_it_was_before() {
        let at = |found| unmarked_start(StartFrom::Timestamp(1), (5, 9), found);
        assert_eq!((at(Some(7)), at(Some(12)), at(Some(3)), at(None)), (7, 12, 5, 9));
        assert_eq!((unmarked_start(StartFrom::Earliest, (5, 9), None), unmarked_start(StartFrom::Latest, (5, 9), None)), (5, 9));
    }
}
