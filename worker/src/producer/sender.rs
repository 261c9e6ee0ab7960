//! Hands records to librdkafka: one call a record, headers built once, delivery reports for failures only.
//!
//! What is not reported as failed is delivered once [`Sender::flush`] says that nothing is left.
#![expect(unsafe_code, reason = "librdkafka's C calls: rdkafka's own path looks the topic up and builds the headers anew for each record")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::bindings as rd;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::statistics::Statistics;

use crate::kafka::{Clients, Context, KafkaError};

/// Header with the version of the declared columns, a blank, and the name of the source. One for both: librdkafka keeps a list of
/// each record's headers, and a second one costs both threads as much as compressing the record.
pub const ORIGIN_HEADER: &CStr = c"stockpipeline-origin";
/// Header with the line of a row that could not be parsed.
pub const LINE_HEADER: &CStr = c"stockpipeline-line";
/// Header that says why a row could not be parsed.
pub const PROBLEM_HEADER: &CStr = c"stockpipeline-problem";

/// Longest a flush waits before it serves the client's events again.
const SERVE_EVERY: Duration = Duration::from_millis(50);
/// How often librdkafka tells its statistics, of which throttling is taken.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(5);

/// Where records go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topics<'a> {
    pub(super) data: &'a str,
    pub(super) slots: &'a str,
}

/// What stands in the header of every record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) schema: &'a str,
    pub(super) source: &'a str,
}

/// One record of the data topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) partition: i32,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    /// Line and problem of a row that could not be parsed.
    pub(super) malformed: Option<(u64, &'static str)>,
}

/// Whether librdkafka has taken a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Queued,
    /// The local queue is full: serve the client and try again.
    Full,
}

/// A record that the broker will not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undelivered {
    pub(super) partition: i32,
    pub(super) code: RDKafkaErrorCode,
}

/// Callbacks of the producer: failures and throttling are noted, successes are not reported at all.
pub(super) struct Deliveries {
    shared: Context,
    has_failed: AtomicBool,
    first: Mutex<Option<Undelivered>>,
    throttle_millis: AtomicU64,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.shared.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.shared.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let throttles = statistics.brokers.values().filter_map(|broker| broker.throttle.as_ref());
        let longest = throttles.map(|window| window.max).max().unwrap_or(0);
        self.throttle_millis.store(u64::try_from(longest).unwrap_or(0), Ordering::Relaxed);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.shared.generate_oauth_token(config)
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        // What an abort purges is no failure of its own.
        if first.is_none() && !matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            *first = Some(Undelivered { partition: message.partition(), code });
            self.has_failed.store(true, Ordering::Release);
        }
    }
}

struct TopicHandle(NonNull<rd::rd_kafka_topic_t>);

impl TopicHandle {
    fn new(producer: &BaseProducer<Deliveries>, name: &str) -> Result<Self, KafkaError> {
        let unusable = |message: &str| KafkaError::Setting { message: format!("topic {name:?}: {message}") };
        let text = CString::new(name).map_err(|_| unusable("the name holds a zero byte"))?;
        // SAFETY: the client lives; the name is copied; no topic settings are handed over.
        let handle = unsafe { rd::rd_kafka_topic_new(producer.client().native_ptr(), text.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(handle).map(Self).ok_or_else(|| unusable("refused by librdkafka"))
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and given back once, before the client ends.
        unsafe { rd::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

struct HeaderList(NonNull<rd::rd_kafka_headers_t>);

impl HeaderList {
    fn new(origin: Origin<'_>) -> Self {
        // SAFETY: the call allocates or ends the process.
        let list = unsafe { rd::rd_kafka_headers_new(1) };
        let list = Self(NonNull::new(list).expect("rd_kafka_headers_new allocates or ends the process"));
        list.add(ORIGIN_HEADER, format!("{} {}", origin.schema, origin.source).as_bytes());
        list
    }

    fn copy(&self) -> Self {
        // SAFETY: the list lives; the copy is a new list.
        let copy = unsafe { rd::rd_kafka_headers_copy(self.0.as_ptr()) };
        Self(NonNull::new(copy).expect("rd_kafka_headers_copy allocates or ends the process"))
    }

    fn add(&self, name: &CStr, value: &[u8]) {
        let size = isize::try_from(value.len()).expect("no slice is longer than isize::MAX");
        // SAFETY: name and value are copied; -1 says that the name ends with a zero byte.
        let added = unsafe { rd::rd_kafka_header_add(self.0.as_ptr(), name.as_ptr(), -1, value.as_ptr().cast::<c_void>(), size) };
        debug_assert_eq!(added, rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "a new list is not read-only");
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        // SAFETY: the list is ours and freed once.
        unsafe { rd::rd_kafka_headers_destroy(self.0.as_ptr()) }
    }
}

/// A producer of the data topic and of the slots topic.
pub(super) struct Sender {
    // Dropped in this order: handles are given back before the client ends.
    data: TopicHandle,
    slots: TopicHandle,
    headers: HeaderList,
    producer: BaseProducer<Deliveries>,
}

// SAFETY: librdkafka's handles may be used and freed on any thread; the header list is only read and copied.
unsafe impl Send for Sender {}

impl Sender {
    /// Makes the producer. `config` has everything but what every producer of ours needs.
    pub(super) fn new(clients: &Clients, mut config: ClientConfig, topics: Topics<'_>, origin: Origin<'_>) -> Result<Self, KafkaError> {
        config.set("enable.idempotence", "true").set("acks", "all").set("delivery.report.only.error", "true");
        config.set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string());
        let context = Deliveries {
            shared: clients.context(),
            has_failed: AtomicBool::new(false),
            first: Mutex::new(None),
            throttle_millis: AtomicU64::new(0),
        };
        let created = config.create_with_context(context);
        let producer: BaseProducer<Deliveries> =
            created.map_err(|error| KafkaError::Setting { message: clients.scrub(&error.to_string()) })?;
        Ok(Self {
            data: TopicHandle::new(&producer, topics.data)?,
            slots: TopicHandle::new(&producer, topics.slots)?,
            headers: HeaderList::new(origin),
            producer,
        })
    }

    /// Returns the client.
    pub(super) fn producer(&self) -> &BaseProducer<Deliveries> {
        &self.producer
    }

    /// Hands over a record of the data topic.
    pub(super) fn send(&self, record: &Outgoing<'_>) -> Result<Sent, RDKafkaErrorCode> {
        let headers = self.headers.copy();
        if let Some((line, problem)) = record.malformed {
            headers.add(LINE_HEADER, line.to_string().as_bytes());
            headers.add(PROBLEM_HEADER, problem.as_bytes());
        }
        self.produce(&self.data, record, Some(headers))
    }

    /// Hands over a progress record of a slot.
    pub(super) fn send_progress(&self, slot: u32, key: &[u8], value: &[u8]) -> Result<Sent, RDKafkaErrorCode> {
        let partition = i32::try_from(slot).unwrap_or(i32::MAX);
        self.produce(&self.slots, &Outgoing { partition, key, value, malformed: None }, None)
    }

    fn produce(&self, topic: &TopicHandle, record: &Outgoing<'_>, headers: Option<HeaderList>) -> Result<Sent, RDKafkaErrorCode> {
        use rd::rd_kafka_vtype_t::{
            RD_KAFKA_VTYPE_END, RD_KAFKA_VTYPE_HEADERS, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_PARTITION,
            RD_KAFKA_VTYPE_RKT, RD_KAFKA_VTYPE_VALUE,
        };
        let list = headers.as_ref().map_or(std::ptr::null_mut(), |headers| headers.0.as_ptr());
        // SAFETY: client and topic live; each argument has the type that its tag asks for; key and value are copied by the call.
        let code = unsafe {
            rd::rd_kafka_producev(
                self.producer.client().native_ptr(),
                RD_KAFKA_VTYPE_RKT,
                topic.0.as_ptr(),
                RD_KAFKA_VTYPE_PARTITION,
                record.partition,
                RD_KAFKA_VTYPE_MSGFLAGS,
                rd::RD_KAFKA_MSG_F_COPY,
                RD_KAFKA_VTYPE_VALUE,
                record.value.as_ptr(),
                record.value.len(),
                RD_KAFKA_VTYPE_KEY,
                record.key.as_ptr(),
                record.key.len(),
                RD_KAFKA_VTYPE_HEADERS,
                list,
                RD_KAFKA_VTYPE_END,
            )
        };
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => {
                // The list belongs to the record now.
                std::mem::forget(headers);
                Ok(Sent::Queued)
            }
            RDKafkaErrorCode::QueueFull => Ok(Sent::Full),
            code => Err(code),
        }
    }

    /// Serves logs, failures and token refreshes, waiting up to `wait` for one.
    pub(super) fn serve(&self, wait: Duration) {
        self.producer.poll(wait);
    }

    /// Returns the first record that the broker did not take since the last [`Sender::forget_failure`].
    pub(super) fn failure(&self) -> Option<Undelivered> {
        let deliveries = self.producer.context();
        if !deliveries.has_failed.load(Ordering::Acquire) {
            return None;
        }
        *deliveries.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether librdkafka has given this producer up.
    pub(super) fn is_broken(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }

    /// Forgets failures, once what failed will be produced again.
    pub(super) fn forget_failure(&self) {
        let deliveries = self.producer.context();
        *deliveries.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
        deliveries.has_failed.store(false, Ordering::Release);
    }

    /// Returns records that were handed over and are neither delivered nor failed.
    pub(super) fn queued(&self) -> u64 {
        u64::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Returns the longest time for which a broker has throttled this client recently.
    pub(super) fn throttle(&self) -> Duration {
        Duration::from_millis(self.producer.context().throttle_millis.load(Ordering::Relaxed))
    }

    /// Waits until nothing is queued, without lingering; false when that takes longer than `timeout`.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = i32::try_from(left.min(SERVE_EVERY).as_millis()).unwrap_or(0);
            // SAFETY: the client lives. Successes are not reported, so that nobody has to serve events for them meanwhile.
            let flushed = unsafe { rd::rd_kafka_flush(self.producer.client().native_ptr(), wait) };
            self.serve(Duration::ZERO);
            if flushed == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && self.queued() == 0 {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}
