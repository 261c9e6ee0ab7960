//! The calls of librdkafka that have no safe wrapper: administrative questions, the topic's id, offsets with any metadata.
//!
//! Everything made here is freed by a guard, on every path. Nothing borrowed from an event outlives it.
#![expect(unsafe_code, reason = "librdkafka's C calls")]

use std::ffi::{CStr, CString, c_char};
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientContext, TopicPartitionList};
use stockpipeline::layout::Epoch;

use super::KafkaError;
use super::admin::{NewTopic, TopicDescription};
use super::offsets::Committed;

mod configs;

pub(super) use configs::{describe_configs, set_configs};

/// Longest wait for an answer before the client's own events are served again.
pub(super) const SERVE_EVERY: Duration = Duration::from_millis(100);
const NO_ERROR: rd::rd_kafka_resp_err_t = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// What identifies one incarnation of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicIdentity {
    /// Id of the cluster.
    pub cluster_id: String,
    /// Id of the topic; None where the broker answers a zero id.
    pub topic_id: Option<String>,
}

impl TopicIdentity {
    /// Returns the epoch of a topic: by its id where the broker has one, else by its name.
    #[must_use]
    pub fn epoch(&self, topic: &str) -> Epoch {
        Epoch::of(&format!("{}/{}", self.cluster_id, self.topic_id.as_deref().unwrap_or(topic)))
    }
}

/// Returns the ids of a cluster and a topic.
///
/// Someone else must poll the client meanwhile where it authenticates with tokens; [`super::Admin::topic_id`] does that itself.
///
/// # Errors
/// [`KafkaError::TimedOut`] and [`KafkaError::Refused`]: no answer is never taken for no id.
pub fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<TopicIdentity, KafkaError> {
    identity(client, topic, timeout, &|| {})
}

pub(super) fn identity<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
    serve: &dyn Fn(),
) -> Result<TopicIdentity, KafkaError> {
    let question = Question::new("describe topic", topic, timeout);
    let described = describe_topic(client, &question, serve)?;
    let unknown = || question.refused(RDKafkaErrorCode::UnknownTopicOrPartition, "no such topic".to_owned());
    let topic_id = described.ok_or_else(unknown)?.topic_id;
    let cluster_id = cluster_id(client, timeout).ok_or_else(|| question.timed_out())?;
    Ok(TopicIdentity { cluster_id, topic_id })
}

/// One administrative question: what it is about and how long its answer may take.
pub(super) struct Question<'a> {
    act: &'static str,
    target: &'a str,
    timeout: Duration,
}

impl<'a> Question<'a> {
    pub(super) fn new(act: &'static str, target: &'a str, timeout: Duration) -> Self {
        Self { act, target, timeout }
    }

    fn timed_out(&self) -> KafkaError {
        let milliseconds = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        KafkaError::TimedOut { act: self.act, target: self.target.to_owned(), milliseconds }
    }

    fn refused(&self, code: RDKafkaErrorCode, message: String) -> KafkaError {
        match code {
            RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut => self.timed_out(),
            code => KafkaError::Refused { act: self.act, target: self.target.to_owned(), code, message },
        }
    }

    fn unprepared(&self, message: &str) -> KafkaError {
        KafkaError::Client { act: self.act, target: self.target.to_owned(), message: message.to_owned() }
    }

    fn text(&self, text: &str) -> Result<CString, KafkaError> {
        CString::new(text).map_err(|_| self.unprepared("a name holds a zero byte"))
    }

    /// Returns an error unless librdkafka's code says that there is none.
    fn checked(&self, code: rd::rd_kafka_resp_err_t, message: *const c_char) -> Result<(), KafkaError> {
        if code == NO_ERROR { Ok(()) } else { Err(self.refused(code.into(), text_of(message))) }
    }
}

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $destroy:path) => {
        $(#[$doc])*
        struct $name(*mut $raw);
        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the pointer was given by librdkafka to this guard alone and is freed once.
                unsafe { $destroy(self.0) }
            }
        }
    };
}

guard!(Queue, rd::rd_kafka_queue_t, rd::rd_kafka_queue_destroy);
guard!(Options, rd::rd_kafka_AdminOptions_t, rd::rd_kafka_AdminOptions_destroy);
guard!(Event, rd::rd_kafka_event_t, rd::rd_kafka_event_destroy);
guard!(Collection, rd::rd_kafka_TopicCollection_t, rd::rd_kafka_TopicCollection_destroy);
guard!(TopicSpec, rd::rd_kafka_NewTopic_t, rd::rd_kafka_NewTopic_destroy);
guard!(PartitionsSpec, rd::rd_kafka_NewPartitions_t, rd::rd_kafka_NewPartitions_destroy);
guard!(DeletionSpec, rd::rd_kafka_DeleteTopic_t, rd::rd_kafka_DeleteTopic_destroy);
guard!(Resource, rd::rd_kafka_ConfigResource_t, rd::rd_kafka_ConfigResource_destroy);

/// Sends a question and waits for its answer, serving the client's own events meanwhile.
fn ask<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    operation: rd::rd_kafka_admin_op_t,
    serve: &dyn Fn(),
    send: impl FnOnce(*mut rd::rd_kafka_t, *const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Event, KafkaError> {
    use rd::rd_kafka_admin_op_t::{RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, RD_KAFKA_ADMIN_OP_CREATETOPICS, RD_KAFKA_ADMIN_OP_DELETETOPICS};
    let native = client.native_ptr();
    let milliseconds = i32::try_from(question.timeout.as_millis()).unwrap_or(i32::MAX);
    let mut message = [0 as c_char; 256];
    // SAFETY: `native` lives as long as `client`; options and queue are freed by their guards after the answer or the deadline.
    let (options, queue) = unsafe {
        let options = Options(rd::rd_kafka_AdminOptions_new(native, operation));
        let set = rd::rd_kafka_AdminOptions_set_request_timeout(options.0, milliseconds, message.as_mut_ptr(), message.len());
        question.checked(set, message.as_ptr())?;
        if matches!(operation, RD_KAFKA_ADMIN_OP_CREATETOPICS | RD_KAFKA_ADMIN_OP_DELETETOPICS | RD_KAFKA_ADMIN_OP_CREATEPARTITIONS) {
            // The controller answers once the change has spread, not once it is noted.
            let set = rd::rd_kafka_AdminOptions_set_operation_timeout(options.0, milliseconds, message.as_mut_ptr(), message.len());
            question.checked(set, message.as_ptr())?;
        }
        (options, Queue(rd::rd_kafka_queue_new(native)))
    };
    send(native, options.0, queue.0);
    let deadline = Instant::now() + question.timeout + SERVE_EVERY;
    loop {
        serve();
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = i32::try_from(left.min(SERVE_EVERY).as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; a non-null event is freed by its guard.
        let event = unsafe { rd::rd_kafka_queue_poll(queue.0, wait) };
        if !event.is_null() {
            let event = Event(event);
            // SAFETY: the event is alive.
            let (code, message) = unsafe { (rd::rd_kafka_event_error(event.0), rd::rd_kafka_event_error_string(event.0)) };
            question.checked(code, message)?;
            return Ok(event);
        }
        if left.is_zero() {
            return Err(question.timed_out());
        }
    }
}

/// Returns what the broker says of a topic, or None when it has none of that name. Never makes it.
pub(super) fn describe_topic<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    serve: &dyn Fn(),
) -> Result<Option<TopicDescription>, KafkaError> {
    let name = question.text(question.target)?;
    let mut names = [name.as_ptr()];
    // SAFETY: the names are copied.
    let collection = Collection(unsafe { rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()) });
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: all pointers are alive during the call, which copies what it keeps.
    let event = ask(client, question, operation, serve, |native, options, queue| unsafe {
        rd::rd_kafka_DescribeTopics(native, collection.0, options, queue);
    })?;
    // SAFETY: everything read here belongs to the event, which outlives it.
    unsafe {
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(rd::rd_kafka_event_DescribeTopics_result(event.0), &raw mut count);
        if count == 0 || topics.is_null() {
            return Err(question.unprepared("an empty answer"));
        }
        let topic = *topics;
        let error = rd::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            match RDKafkaErrorCode::from(rd::rd_kafka_error_code(error)) {
                RDKafkaErrorCode::NoError => {}
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => return Ok(None),
                code => return Err(question.refused(code, text_of(rd::rd_kafka_error_string(error)))),
            }
        }
        Ok(Some(description_of(topic)))
    }
}

/// # Safety
/// The description's event must be alive.
unsafe fn description_of(topic: *const rd::rd_kafka_TopicDescription_t) -> TopicDescription {
    // SAFETY: by the caller's promise all of this is alive; counts are written before they are read.
    unsafe {
        let mut partitions = 0;
        let first = rd::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let mut replicas = 0;
        if partitions > 0 && !first.is_null() {
            rd::rd_kafka_TopicPartitionInfo_replicas(*first, &raw mut replicas);
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let is_zero =
            id.is_null() || (rd::rd_kafka_Uuid_most_significant_bits(id) == 0 && rd::rd_kafka_Uuid_least_significant_bits(id) == 0);
        TopicDescription {
            topic_id: if is_zero { None } else { Some(text_of(rd::rd_kafka_Uuid_base64str(id))) },
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            replication_factor: i32::try_from(replicas).unwrap_or(i32::MAX),
        }
    }
}

/// Makes a topic; the code of a refusal is left to the caller.
pub(super) fn create_topic<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    topic: &NewTopic<'_>,
    serve: &dyn Fn(),
) -> Result<(), KafkaError> {
    let name = question.text(topic.name)?;
    let mut message = [0 as c_char; 256];
    // SAFETY: the name is copied; null says that the arguments are wrong.
    let spec = unsafe {
        let factor = topic.replication_factor.unwrap_or(-1);
        rd::rd_kafka_NewTopic_new(name.as_ptr(), topic.partitions, factor, message.as_mut_ptr(), message.len())
    };
    if spec.is_null() {
        return Err(question.refused(RDKafkaErrorCode::InvalidArgument, text_of(message.as_ptr())));
    }
    let spec = TopicSpec(spec);
    for (name, value) in topic.config {
        let (name, value) = (question.text(name)?, question.text(value)?);
        // SAFETY: both texts are copied.
        let set = unsafe { rd::rd_kafka_NewTopic_set_config(spec.0, name.as_ptr(), value.as_ptr()) };
        question.checked(set, std::ptr::null())?;
    }
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
    // SAFETY: all pointers are alive during the call, which copies what it keeps.
    let event = ask(client, question, operation, serve, |native, options, queue| unsafe {
        rd::rd_kafka_CreateTopics(native, [spec.0].as_mut_ptr(), 1, options, queue);
    })?;
    // SAFETY: the results belong to the event.
    unsafe {
        let mut count = 0;
        let results = rd::rd_kafka_CreateTopics_result_topics(rd::rd_kafka_event_CreateTopics_result(event.0), &raw mut count);
        topic_results(question, results, count)
    }
}

/// Raises a topic's number of partitions.
pub(super) fn create_partitions<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    total: i32,
    serve: &dyn Fn(),
) -> Result<(), KafkaError> {
    let name = question.text(question.target)?;
    let total = usize::try_from(total).map_err(|_| question.unprepared("a negative number of partitions"))?;
    let mut message = [0 as c_char; 256];
    // SAFETY: the name is copied; null says that the arguments are wrong.
    let spec = unsafe { rd::rd_kafka_NewPartitions_new(name.as_ptr(), total, message.as_mut_ptr(), message.len()) };
    if spec.is_null() {
        return Err(question.refused(RDKafkaErrorCode::InvalidArgument, text_of(message.as_ptr())));
    }
    let spec = PartitionsSpec(spec);
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS;
    // SAFETY: all pointers are alive during the call, which copies what it keeps.
    let event = ask(client, question, operation, serve, |native, options, queue| unsafe {
        rd::rd_kafka_CreatePartitions(native, [spec.0].as_mut_ptr(), 1, options, queue);
    })?;
    // SAFETY: the results belong to the event.
    unsafe {
        let mut count = 0;
        let results = rd::rd_kafka_CreatePartitions_result_topics(rd::rd_kafka_event_CreatePartitions_result(event.0), &raw mut count);
        topic_results(question, results, count)
    }
}

/// Deletes a topic.
pub(super) fn delete_topic<C: ClientContext>(client: &Client<C>, question: &Question<'_>, serve: &dyn Fn()) -> Result<(), KafkaError> {
    let name = question.text(question.target)?;
    // SAFETY: the name is copied.
    let spec = DeletionSpec(unsafe { rd::rd_kafka_DeleteTopic_new(name.as_ptr()) });
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS;
    // SAFETY: all pointers are alive during the call, which copies what it keeps.
    let event = ask(client, question, operation, serve, |native, options, queue| unsafe {
        rd::rd_kafka_DeleteTopics(native, [spec.0].as_mut_ptr(), 1, options, queue);
    })?;
    // SAFETY: the results belong to the event.
    unsafe {
        let mut count = 0;
        let results = rd::rd_kafka_DeleteTopics_result_topics(rd::rd_kafka_event_DeleteTopics_result(event.0), &raw mut count);
        topic_results(question, results, count)
    }
}

/// # Safety
/// The results' event must be alive.
unsafe fn topic_results(question: &Question<'_>, results: *mut *const rd::rd_kafka_topic_result_t, count: usize) -> Result<(), KafkaError> {
    if count == 0 || results.is_null() {
        return Err(question.unprepared("an empty answer"));
    }
    // SAFETY: there is at least one result, alive by the caller's promise.
    unsafe { question.checked(rd::rd_kafka_topic_result_error(*results), rd::rd_kafka_topic_result_error_string(*results)) }
}

/// Returns the cluster's id, or None when no broker tells it in time.
pub(super) fn cluster_id<C: ClientContext>(client: &Client<C>, timeout: Duration) -> Option<String> {
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the text is ours and freed by the library that made it.
    unsafe {
        let text = rd::rd_kafka_clusterid(client.native_ptr(), milliseconds);
        if text.is_null() {
            return None;
        }
        let id = text_of(text);
        rd::rd_kafka_mem_free(client.native_ptr(), text.cast());
        Some(id)
    }
}

/// Returns the offsets of a list; metadata that is not text, which another program wrote, is read as far as it is.
pub(super) fn committed_of(list: &TopicPartitionList) -> Result<Vec<Committed>, RDKafkaErrorCode> {
    let mut all = Vec::with_capacity(list.count());
    // SAFETY: the list is alive and holds `cnt` elements; metadata is null or of the length beside it.
    unsafe {
        let list = &*list.ptr();
        for index in 0..usize::try_from(list.cnt).unwrap_or(0) {
            let element = &*list.elems.add(index);
            if element.err != NO_ERROR {
                return Err(element.err.into());
            }
            let metadata = if element.metadata.is_null() {
                String::new()
            } else {
                String::from_utf8_lossy(std::slice::from_raw_parts(element.metadata.cast(), element.metadata_size)).into_owned()
            };
            let offset = if element.offset >= 0 { Some((element.offset, metadata)) } else { None };
            all.push(Committed { partition: element.partition, offset });
        }
    }
    Ok(all)
}

/// Copies a text of librdkafka; null is an empty one.
fn text_of(text: *const c_char) -> String {
    // SAFETY: librdkafka's texts end with a zero byte and are alive during this call.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text).to_string_lossy().into_owned() } }
}
