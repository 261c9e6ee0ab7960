//! What has to be there before a producer can join: the topics, their partitions, the topic's incarnation. Waits for all of it, and looks
//! whether it is still so.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer;
use stockpipeline::layout::Epoch;
use tracing::warn;

use super::report::Report;
use super::sender::Sender;
use super::{Context, ProducerError, TopicDuty};
use crate::kafka::{self, Admin, KafkaError, is_about_permission};
use crate::topic::{self, SlotsTopic};

/// How long one question to the brokers may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a producer that works, whose open transaction must not time out meanwhile.
const GROUND_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// Pause between two looks at the shutdown.
const GLANCE: Duration = Duration::from_millis(50);

/// What a producer stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    /// Partitions of the data topic.
    pub(super) partitions: u32,
    /// Incarnation of the data topic.
    pub(super) epoch: Epoch,
}

/// Waits until the topics are there and known; None when it is told to stop before.
pub(super) fn prepare(context: &Context, report: &mut Report) -> Result<Option<Ground>, ProducerError> {
    let admin = context.clients.admin().map_err(ProducerError::Clients)?;
    loop {
        if context.shutdown.is_cancelled() {
            return Ok(None);
        }
        Report::beat(context);
        match look(context, &admin, report) {
            Ok(Some(ground)) => return Ok(Some(ground)),
            Ok(None) => {}
            Err(error) => {
                warn!(error = %error, "the topics cannot be looked at");
                report.failed(context, error.code().is_some_and(is_about_permission), &error.to_string());
            }
        }
        if wait(context, PAUSE) {
            return Ok(None);
        }
    }
}

/// Looks once; None when something is not there yet.
fn look(context: &Context, admin: &Admin, report: &mut Report) -> Result<Option<Ground>, KafkaError> {
    if context.topic_duty == TopicDuty::Ensure {
        let slots = SlotsTopic { name: &context.settings.slots_topic, slots: context.settings.slots };
        let seen = topic::ensure(&context.clients, &context.topic, Some(slots));
        let is_usable = topic::is_usable(&seen);
        report.topic(context, seen);
        if !is_usable {
            return Ok(None);
        }
    }
    let Some(count) = admin.partitions(&context.topic.name, REQUEST_TIMEOUT)? else { return Ok(missing(&context.topic.name)) };
    let Some(slots) = admin.partitions(&context.settings.slots_topic, REQUEST_TIMEOUT)? else {
        return Ok(missing(&context.settings.slots_topic));
    };
    if slots != context.settings.slots {
        let wanted = context.settings.slots;
        let message = format!(
            "slots topic {} has {slots} partitions in place of one for each of {wanted} slots; \
             set spec.producer.slotsTopic to a topic of {wanted} partitions",
            context.settings.slots_topic
        );
        warn!(message, "the slots topic does not fit");
        report.misfit(context, &message);
        return Ok(None);
    }
    // One that is ours is set right by the sink that keeps it, long before anything expires.
    if context.topic_duty == TopicDuty::Ensure
        && !context.topic.managed
        && let Some(message) = topic::slots_misfit(admin, &context.settings.slots_topic)?
    {
        warn!(message, "the slots topic does not fit");
        report.misfit(context, &message);
        return Ok(None);
    }
    let epoch = match &context.epoch {
        Some(epoch) => epoch.clone(),
        None => admin.topic_id(&context.topic.name, REQUEST_TIMEOUT)?.epoch(&context.topic.name),
    };
    report.succeeded(context);
    Ok(Some(Ground { partitions: count, epoch }))
}

/// Returns whether a producer stands on what it stood on when it joined: a topic that was deleted and made again is another one, to be filled from
/// the first row on, and one with more partitions wants its keys elsewhere.
pub(super) fn is_same(context: &Context, sender: &Sender, ground: &Ground) -> Result<bool, KafkaError> {
    let (topic, client) = (&context.topic.name, sender.producer().client());
    if kafka::partitions(client, topic, GROUND_TIMEOUT)? != Some(ground.partitions) {
        return Ok(false);
    }
    if context.epoch.is_some() {
        return Ok(true);
    }
    match kafka::topic_id(client, topic, GROUND_TIMEOUT) {
        Ok(identity) => Ok(identity.epoch(topic) == ground.epoch),
        Err(error) if error.code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(false),
        Err(error) => Err(error),
    }
}

fn missing(topic: &str) -> Option<Ground> {
    warn!(topic, "the topic is not there yet");
    None
}

/// Waits, and returns whether it was told to stop meanwhile.
pub(super) fn wait(context: &Context, pause: Duration) -> bool {
    let mut left = pause;
    while !left.is_zero() && !context.shutdown.is_cancelled() {
        let step = left.min(GLANCE);
        std::thread::sleep(step);
        left -= step;
        Report::beat(context);
    }
    context.shutdown.is_cancelled()
}
