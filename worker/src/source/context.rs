//! What librdkafka's threads call, and what becomes of it: an event for the loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, TopicPartitionList};

use super::Observation;
use super::signal::is_refusal;
use crate::contact::Contact;
use crate::kafka;

/// What librdkafka's threads tell the loop.
#[derive(Debug)]
pub enum Event {
    /// The group gave us partitions; they deliver nothing before [`Source::assign`](super::Source::assign).
    Assigned(Vec<i32>),
    /// The group takes partitions back; it waits for [`Source::release`](super::Source::release).
    Revoked(Vec<i32>),
    /// Partitions are ours no longer: the membership was lost.
    Lost(Vec<i32>),
    /// A rebalance failed.
    RebalanceFailed(String),
    /// Something that librdkafka goes on after, such as an unreachable broker.
    Trouble {
        /// Whether the broker refused our credentials.
        authentication: bool,
        /// What librdkafka says.
        message: String,
    },
    /// Once a second: what librdkafka knows.
    Observed(Observation),
}

/// Callbacks of the consumer: everything becomes an event.
pub struct SourceContext {
    events: Mutex<Sender<Event>>,
    contact: Arc<Contact>,
    callbacks: kafka::Context,
    topic: String,
    closing: AtomicBool,
}

impl SourceContext {
    pub(super) fn new(events: Sender<Event>, contact: Arc<Contact>, callbacks: kafka::Context, topic: String) -> Self {
        Self { events: Mutex::new(events), contact, callbacks, topic, closing: AtomicBool::new(false) }
    }

    /// Notes that the loop has ended and released everything, so that rebalances are answered here.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Returns what the loop is told of an error, for which librdkafka, or the error itself, gives a reason.
    pub(super) fn trouble(&self, error: &KafkaError, reason: &str) -> Event {
        Event::Trouble { authentication: is_refusal(error), message: self.callbacks.scrub(reason) }
    }

    fn send(&self, event: Event) {
        let sender = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if sender.send(event).is_err() {
            tracing::debug!("an event of the consumer came after its loop had ended");
        }
    }
}

impl ClientContext for SourceContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.callbacks.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.callbacks.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let idle = statistics.brokers.values().filter(|b| b.state == "UP" && b.rxidle >= 0).map(|b| b.rxidle).min();
        if let Some(idle) = idle {
            self.contact.heard(statistics.ts, idle);
        }
        self.send(Event::Observed(Observation::of(&statistics, &self.topic)));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.send(self.trouble(&error, reason));
        self.callbacks.error(error, reason);
    }
}

impl ConsumerContext for SourceContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: rd::rd_kafka_resp_err_t, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect();
        match code {
            // The loop has ended and released everything; the close waits for these answers.
            _ if self.closing.load(Ordering::Acquire) => {
                if let Err(error) = consumer.unassign() {
                    tracing::debug!(%error, "failed to unassign while closing");
                }
            }
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.send(Event::Assigned(partitions)),
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if consumer.assignment_lost() => self.send(Event::Lost(partitions)),
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.send(Event::Revoked(partitions)),
            other => self.send(Event::RebalanceFailed(rdkafka::types::RDKafkaErrorCode::from(other).to_string())),
        }
    }
}
