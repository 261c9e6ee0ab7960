//! Takes records from Kafka in batches; the only file that consumes the data topic.
//!
//! The rebalance callback decides nothing: it sends an [`Event`], and librdkafka waits, heartbeats going on, until the
//! loop answers with [`Source::assign`] or [`Source::release`]. Each partition's queue is forwarded to one queue of
//! ours before it is assigned; [`Source::take`] empties that one with a single call a batch, and [`Source::poll`]
//! serves events only. Nothing here knows the ledger.

#![expect(unsafe_code, reason = "batch consumption exists only in librdkafka's C interface")]

mod context;
mod message;
mod observation;
mod signal;

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::contact::Contact;
use crate::kafka;

pub use context::{Event, SourceContext};
pub use message::Message;
use message::OVERHEAD_BYTES;
pub use observation::{Fetching, Observation, SilentBroker};
pub use signal::Signal;
use signal::signal;

/// Most messages one call takes.
const TAKE_MESSAGES: usize = 4096;

/// Share of what is fetched ahead that one answer of a broker may be: one in this many. It is compressed and becomes messages at once,
/// so that it takes several times as much memory, on top of what is queued.
const ANSWER_SHARE: usize = 16;
/// Bounds of an answer's bytes; the lower one is librdkafka's `message.max.bytes`, which it may not be below.
const ANSWER_BYTES: std::ops::RangeInclusive<usize> = 1_000_000..=8 << 20;

/// Messages of one Kafka partition, in offset order, as they came in a row.
pub struct Run {
    /// Kafka partition.
    pub partition: i32,
    /// The messages; never empty.
    pub messages: Vec<Message>,
    /// Bytes of memory that they hold, about.
    pub bytes: usize,
}

/// What one call took.
#[derive(Default)]
pub struct Taken {
    /// Records, in runs.
    pub runs: Vec<Run>,
    /// What else the queue held, in order behind the runs of its partition.
    pub signals: Vec<Signal>,
}

/// Where a partition's records are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Kafka partition.
    pub partition: i32,
    /// First offset to take.
    pub offset: i64,
    /// Leader epoch of the record before it, where it is known: the broker then tells whether the log was cut below.
    pub leader_epoch: Option<i32>,
}

/// The consumer of one sink.
pub struct Source {
    consumer: Arc<BaseConsumer<SourceContext>>,
    events: Receiver<Event>,
    queue: NonNull<rd::rd_kafka_queue_t>,
    slots: Vec<*mut rd::rd_kafka_message_t>,
    topic: String,
    topic_text: CString,
}

/// How a source joins.
pub struct Joining<'a> {
    /// Client settings: brokers, authentication.
    pub clients: ClientConfig,
    /// What every client's callbacks do.
    pub callbacks: kafka::Context,
    /// Topic.
    pub topic: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// Session time-out of the group.
    pub session_timeout: Duration,
    /// Bytes of memory that librdkafka may fetch ahead.
    pub fetch_ahead_bytes: usize,
    /// Told whenever a broker has answered.
    pub contact: Arc<Contact>,
}

/// A source that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The client's settings are wrong.
    #[error("failed to make a consumer of topic {topic:?}; look at spec.kafka")]
    Create {
        /// Topic.
        topic: String,
        /// librdkafka's reason.
        source: KafkaError,
    },
    /// A change of the assignment was refused.
    #[error("failed to change the assignment of topic {topic:?}, partitions {partitions:?}")]
    Assign {
        /// Topic.
        topic: String,
        /// Kafka partitions.
        partitions: Vec<i32>,
        /// librdkafka's reason.
        source: KafkaError,
    },
}

impl Source {
    /// Makes a consumer and joins the group.
    ///
    /// # Errors
    /// [`SourceError::Create`].
    pub fn join(joining: Joining<'_>) -> Result<Self, SourceError> {
        let topic = joining.topic.to_owned();
        let (sender, events) = channel();
        let context = SourceContext::new(sender, joining.contact, joining.callbacks, topic.clone());
        let created = |source| SourceError::Create { topic: topic.clone(), source };
        let mut config = joining.clients;
        let session_millis = joining.session_timeout.as_millis();
        // librdkafka counts payloads, or messages: half for what it counts and half for what it doesn't.
        let (queued_bytes, queued_messages) = (joining.fetch_ahead_bytes / 2, joining.fetch_ahead_bytes / 2 / OVERHEAD_BYTES);
        let answer_bytes = (joining.fetch_ahead_bytes / ANSWER_SHARE).clamp(*ANSWER_BYTES.start(), *ANSWER_BYTES.end());
        config
            .set("group.id", joining.group)
            .set("session.timeout.ms", session_millis.to_string())
            .set("heartbeat.interval.ms", (session_millis / 12).max(200).to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            // Else a damaged batch would become damaged records.
            .set("check.crcs", "true")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("fetch.queue.backoff.ms", "20")
            .set("queued.min.messages", queued_messages.clamp(1_000, 10_000_000).to_string())
            .set("queued.max.messages.kbytes", (queued_bytes / 1024).clamp(1024, 2_097_151).to_string())
            .set("fetch.max.bytes", answer_bytes.to_string())
            .set("statistics.interval.ms", "1000");
        let consumer: BaseConsumer<SourceContext> = config.create_with_context(context).map_err(created)?;
        consumer.subscribe(&[joining.topic]).map_err(created)?;
        // SAFETY: the client lives; the queue is destroyed in `drop`, before the client.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Ok(Self {
            consumer: Arc::new(consumer),
            events,
            queue: NonNull::new(queue).expect("rd_kafka_queue_new allocates or aborts"),
            slots: vec![std::ptr::null_mut(); TAKE_MESSAGES],
            topic_text: CString::new(joining.topic).expect("a checked topic name holds no NUL"),
            topic,
        })
    }

    /// Returns the consumer for look-ups (group offsets, watermarks) on other threads.
    #[must_use]
    pub fn consumer(&self) -> Arc<BaseConsumer<SourceContext>> {
        Arc::clone(&self.consumer)
    }

    /// Serves librdkafka's events and returns those that the loop has to act on.
    pub fn poll(&self) -> Vec<Event> {
        // A message cannot come: every queue is forwarded.
        let failure = self.consumer.poll(Duration::ZERO).and_then(Result::err);
        let failure = failure.map(|error| self.consumer.context().trouble(&error, &error.to_string()));
        self.events.try_iter().chain(failure).collect()
    }

    /// Assigns partitions at explicit offsets. An empty list answers the group, so that others may go on.
    ///
    /// # Errors
    /// [`SourceError::Assign`].
    pub fn assign(&self, placements: &[Placement]) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::with_capacity(placements.len());
        for &Placement { partition, offset, .. } in placements {
            self.forward(partition);
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|source| self.refused(vec![partition], source))?;
        }
        let partitions: Vec<i32> = placements.iter().map(|placement| placement.partition).collect();
        self.consumer.incremental_assign(&list).map_err(|source| self.refused(partitions.clone(), source))?;
        for &partition in &partitions {
            // Once more: the end of the assignment before this one may have undone it in the meantime.
            self.forward(partition);
        }
        // A pause outlives an assignment in librdkafka; what is assigned anew is to be fetched.
        self.resume_all(&partitions);
        Ok(())
    }

    /// Gives partitions back.
    ///
    /// # Errors
    /// [`SourceError::Assign`].
    pub fn release(&self, partitions: &[i32]) -> Result<(), SourceError> {
        let list = self.list(partitions);
        self.consumer.incremental_unassign(&list).map_err(|source| self.refused(partitions.to_vec(), source))
    }

    /// Stops fetching for partitions; what was fetched and not taken is fetched again on resume.
    pub fn pause(&self, partitions: &[i32]) {
        if let Err(error) = self.consumer.pause(&self.list(partitions)) {
            tracing::warn!(?partitions, %error, "failed to pause");
        }
    }

    /// Fetches again for a partition that was paused, from the placement on.
    ///
    /// The offset is said again because librdkafka's own may be wrong: taking the event of a partition's end moves its position
    /// behind the record that is still to come, and a pause keeps that position.
    pub fn resume(&self, placement: Placement) {
        // Without a wait: the seek stands in line before the resume.
        self.seek(&[placement]);
        self.resume_all(&[placement.partition]);
    }

    /// Fetches partitions again from where the loop stands, for the same reason: librdkafka pauses everything while it waits for
    /// the answer to a rebalance.
    ///
    /// With a leader epoch the broker is asked whether the log was cut below the position.
    pub fn seek(&self, placements: &[Placement]) {
        let mut list = TopicPartitionList::with_capacity(placements.len());
        for &Placement { partition, offset, leader_epoch } in placements {
            if let Err(error) = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset)) {
                tracing::warn!(partition, offset, %error, "failed to seek");
            } else if let Some(epoch) = leader_epoch {
                set_leader_epoch(&list, epoch);
            }
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.seek_partitions(list, Duration::ZERO) {
            tracing::warn!(?placements, %error, "failed to seek");
        }
    }

    fn resume_all(&self, partitions: &[i32]) {
        if partitions.is_empty() {
            return;
        }
        if let Err(error) = self.consumer.resume(&self.list(partitions)) {
            tracing::warn!(?partitions, %error, "failed to resume");
        }
    }

    /// Commits an offset with a note to the group, without waiting: it is advisory.
    pub fn commit(&self, partition: i32, offset: i64, note: &str) {
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&self.topic, partition);
        element.set_metadata(note);
        let result = element.set_offset(Offset::Offset(offset)).and_then(|()| self.consumer.commit(&list, CommitMode::Async));
        if let Err(error) = result {
            tracing::warn!(partition, offset, %error, "failed to commit the advisory offset");
        }
    }

    /// Takes what was fetched, waiting up to `wait` for the first of it.
    pub fn take(&mut self, wait: Duration) -> Taken {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives and `slots` has room for as many pointers as the call is told.
        let count = unsafe { rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis, self.slots.as_mut_ptr(), self.slots.len()) };
        let mut taken = Taken::default();
        for slot in self.slots.iter().take(usize::try_from(count).unwrap_or(0)) {
            let message = Message::owned(NonNull::new(*slot).expect("librdkafka fills as many slots as it says"));
            // Behind what cannot be read librdkafka goes on anywhere; nothing may be taken before that is.
            if taken.is_cut(message.raw().partition) {
                continue;
            }
            if message.raw().err == Code::RD_KAFKA_RESP_ERR_NO_ERROR { taken.add(message) } else { taken.signals.push(signal(&message)) }
        }
        taken
    }

    /// Leaves the group. Everything taken must have been dropped and released before.
    pub fn close(self) {
        self.consumer.context().close();
    }

    fn forward(&self, partition: i32) {
        // SAFETY: the client, the topic's name and our queue live; the partition's queue is a counted reference, given back here.
        unsafe {
            let queue = rd::rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), self.topic_text.as_ptr(), partition);
            if !queue.is_null() {
                rd::rd_kafka_queue_forward(queue, self.queue.as_ptr());
                rd::rd_kafka_queue_destroy(queue);
            }
        }
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        list
    }

    fn refused(&self, partitions: Vec<i32>, source: KafkaError) -> SourceError {
        SourceError::Assign { topic: self.topic.clone(), partitions, source }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.consumer.context().close();
        // SAFETY: nothing takes from the queue any more, and the client still lives.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

impl Taken {
    /// Returns whether something that cannot be read was met in a partition.
    fn is_cut(&self, id: i32) -> bool {
        self.signals.iter().any(|signal| matches!(signal, Signal::Unreadable { partition, .. } if *partition == id))
    }

    fn add(&mut self, message: Message) {
        let (partition, bytes) = (message.raw().partition, message.bytes());
        match self.runs.last_mut() {
            Some(run) if run.partition == partition => {
                run.bytes += bytes;
                run.messages.push(message);
            }
            _ => {
                let mut messages = Vec::with_capacity(TAKE_MESSAGES / 4);
                messages.push(message);
                self.runs.push(Run { partition, messages, bytes });
            }
        }
    }
}

/// Sets the leader epoch of the entry that was added last.
fn set_leader_epoch(list: &TopicPartitionList, epoch: i32) {
    // SAFETY: the list lives and has as many entries as it says; the last one was added by the caller.
    unsafe {
        let raw = list.ptr();
        if let Some(last) = usize::try_from((*raw).cnt).ok().and_then(|count| count.checked_sub(1)) {
            rd::rd_kafka_topic_partition_set_leader_epoch((*raw).elems.add(last), epoch);
        }
    }
}
