//! The group on the slots topic: who feeds which slot. Nothing is consumed; the group only assigns.
//!
//! The rebalance callback sends an event and decides nothing. The loop answers with [`Group::accept`] or [`Group::release`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::ReplayId;
use crate::kafka::{Clients, Context, GroupMetadata, KafkaError, committed, refusal};

/// Least time between two heartbeats.
const LEAST_HEARTBEAT: Duration = Duration::from_millis(200);

/// What the group tells the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Slots are ours once they are accepted; the list may be empty.
    Assigned(Vec<u32>),
    /// Slots are to be given back; the group waits for [`Group::release`].
    Revoked(Vec<u32>),
    /// Slots are ours no longer; the membership was lost.
    Lost(Vec<u32>),
    /// A rebalance failed.
    Failed(String),
}

/// How a group is joined.
#[derive(Debug, Clone, Copy)]
pub struct Joining<'a> {
    /// Slots topic.
    pub topic: &'a str,
    /// Group.
    pub group: &'a str,
    /// Replay that the group's offsets belong to.
    pub replay: &'a ReplayId,
    /// Time without a heartbeat after which the slots move.
    pub session_timeout: Duration,
}

/// Membership in the group.
pub struct Group {
    consumer: BaseConsumer<GroupContext>,
    events: Receiver<Event>,
    topic: String,
    replay: ReplayId,
    metadata: Option<GroupMetadata>,
}

struct GroupContext {
    events: Mutex<Sender<Event>>,
    shared: Context,
    closing: AtomicBool,
}

impl ClientContext for GroupContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.shared.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.shared.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.shared.generate_oauth_token(config)
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: rd::rd_kafka_resp_err_t, list: &mut TopicPartitionList) {
        use rd::rd_kafka_resp_err_t::{RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS};
        if self.closing.load(Ordering::Acquire) {
            // The loop has ended; closing waits for this answer.
            if let Err(error) = consumer.unassign() {
                debug!(error = %error, "failed to unassign while closing");
            }
            return;
        }
        let slots: Vec<u32> = list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        let event = match code {
            RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Event::Assigned(slots),
            RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if consumer.assignment_lost() => Event::Lost(slots),
            RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => Event::Revoked(slots),
            other => Event::Failed(RDKafkaErrorCode::from(other).to_string()),
        };
        let sender = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.send(event).is_err() {
            debug!("an event of the slots' group came after its loop had ended");
        }
    }
}

impl Group {
    /// Makes a consumer and joins the group.
    ///
    /// # Errors
    /// [`KafkaError::Setting`] or [`KafkaError::Refused`]; an unreachable broker is none.
    pub fn join(clients: &Clients, joining: &Joining<'_>) -> Result<Self, KafkaError> {
        let (sender, events) = channel();
        let context = GroupContext { events: Mutex::new(sender), shared: clients.context(), closing: AtomicBool::new(false) };
        let heartbeat = (joining.session_timeout / 12).max(LEAST_HEARTBEAT);
        let mut config = clients.client_config();
        config
            .set("group.id", joining.group)
            .set("session.timeout.ms", joining.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", heartbeat.as_millis().to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Asking for committed offsets then waits for transactions that are still being decided.
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error");
        let consumer: BaseConsumer<GroupContext> =
            config.create_with_context(context).map_err(|error| KafkaError::Setting { message: clients.scrub(&error.to_string()) })?;
        consumer.subscribe(&[joining.topic]).map_err(|error| refusal("subscribe to topic", joining.topic, &error))?;
        Ok(Self { consumer, events, topic: joining.topic.to_owned(), replay: joining.replay.clone(), metadata: None })
    }

    /// Serves the client for up to `wait` and returns what the loop has to act on.
    pub fn poll(&self, wait: Duration) -> Vec<Event> {
        match self.consumer.poll(wait) {
            // A record that was fetched before the pause took hold.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => debug!(error = %error, "event of the slots' group"),
        }
        self.events.try_iter().collect()
    }

    /// Accepts slots, and takes the metadata that fences this member's transactions: it is not refreshed before the next assignment.
    ///
    /// # Errors
    /// [`KafkaError::Refused`].
    pub fn accept(&mut self, slots: &[u32]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(slots.len());
        for slot in slots {
            let added = list.add_partition_offset(&self.topic, partition(*slot), Offset::End);
            added.map_err(|error| refusal("list partitions of topic", &self.topic, &error))?;
        }
        self.consumer.incremental_assign(&list).map_err(|error| refusal("accept partitions of topic", &self.topic, &error))?;
        // Nothing is to be fetched: the records are read once, elsewhere, when a slot is taken over.
        self.consumer.pause(&list).map_err(|error| refusal("pause partitions of topic", &self.topic, &error))?;
        self.refresh();
        Ok(())
    }

    /// Gives slots back.
    ///
    /// # Errors
    /// [`KafkaError::Refused`].
    pub fn release(&mut self, slots: &[u32]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(slots.len());
        for slot in slots {
            list.add_partition(&self.topic, partition(*slot));
        }
        self.consumer.incremental_unassign(&list).map_err(|error| refusal("give back partitions of topic", &self.topic, &error))
    }

    /// Takes the metadata anew. Only while a rebalance event of this member is being answered: what it then holds is still its own.
    pub fn refresh(&mut self) {
        self.metadata = GroupMetadata::of(&self.consumer);
    }

    /// Returns the member's metadata as it was when a rebalance event was last answered; None outside of the group.
    #[must_use]
    pub fn metadata(&self) -> Option<&GroupMetadata> {
        self.metadata.as_ref()
    }

    /// Returns whether a broker answers within a time.
    #[must_use]
    pub fn is_answered(&self, timeout: Duration) -> bool {
        self.consumer.fetch_metadata(Some(&self.topic), timeout).is_ok()
    }

    /// Returns the committed rows of slots, as far as this replay has committed any.
    ///
    /// # Errors
    /// As [`committed`].
    pub fn committed(&self, slots: &[u32], timeout: Duration) -> Result<Vec<(u32, Option<u64>)>, KafkaError> {
        let partitions: Vec<i32> = slots.iter().map(|slot| partition(*slot)).collect();
        let found = committed(&self.consumer, &self.topic, &partitions, timeout)?;
        let row = |offset: Option<(i64, String)>| match offset {
            Some((offset, metadata)) if metadata == self.replay.as_str() => u64::try_from(offset).ok(),
            Some((offset, metadata)) => {
                warn!(offset, metadata, "an offset of the slots' group was committed by something else and is not used");
                None
            }
            None => None,
        };
        Ok(slots.iter().copied().zip(found.into_iter().map(|committed| row(committed.offset))).collect())
    }

    /// Commits rows without a transaction. Blocks until the broker has answered.
    ///
    /// # Errors
    /// [`KafkaError::Refused`], also when the group has moved on without this member.
    pub fn commit(&self, rows: &[(u32, u64)]) -> Result<(), KafkaError> {
        let list = self.offsets(rows)?;
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| refusal("commit rows of topic", &self.topic, &error))
    }

    /// Returns rows as offsets of the slots' partitions, with the replay as their metadata.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] for a row beyond what an offset holds.
    pub fn offsets(&self, rows: &[(u32, u64)]) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(rows.len());
        for (slot, row) in rows {
            let mut element = list.add_partition(&self.topic, partition(*slot));
            element.set_metadata(self.replay.as_str());
            let set = element.set_offset(Offset::Offset(i64::try_from(*row).unwrap_or(i64::MAX)));
            set.map_err(|error| refusal("note rows of topic", &self.topic, &error))?;
        }
        Ok(list)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.consumer.context().closing.store(true, Ordering::Release);
    }
}

fn partition(slot: u32) -> i32 {
    i32::try_from(slot).unwrap_or(i32::MAX)
}
