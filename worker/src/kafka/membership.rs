//! A consumer's membership as a transaction names it, and what a transaction's failure asks for.
#![expect(unsafe_code, reason = "librdkafka's C calls: rdkafka does not tell the generation, and without one nothing is fenced")]

use std::ffi::CStr;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};

/// Group, member and generation, as they were at one moment.
pub struct GroupMetadata(NonNull<rd::rd_kafka_consumer_group_metadata_t>);

// SAFETY: it is a copy that nothing else points to and that no call changes.
unsafe impl Send for GroupMetadata {}

impl GroupMetadata {
    /// Returns the membership of a consumer, or None while it is no member: a transaction without a generation would not be fenced.
    #[must_use]
    pub fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the client lives; the copy is freed by the guard.
        let metadata = unsafe { rd::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
        let metadata = Self(NonNull::new(metadata)?);
        (metadata.generation() >= 0).then_some(metadata)
    }

    /// Returns the generation.
    #[must_use]
    pub fn generation(&self) -> i32 {
        // SAFETY: the copy lives.
        unsafe { rd::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: the copy is ours and freed once.
        unsafe { rd::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}

/// What is to be done after a transaction's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The same call again.
    Retry,
    /// Abort, and produce the rows again.
    Abort,
    /// A new producer and a new membership; this producer is of no more use.
    Renew,
}

/// An act of a transaction that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("failed to {act}: {message} ({code:?})")]
pub struct TransactionError {
    /// The act, such as `commit transaction`.
    pub act: &'static str,
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
    /// What it says.
    pub message: String,
    /// What is to be done.
    pub remedy: Remedy,
}

impl TransactionError {
    /// Returns what rdkafka's error means for the transaction.
    #[must_use]
    pub fn of(act: &'static str, error: &ClientError) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let remedy = match error {
            ClientError::Transaction(error) => remedy(error.is_fatal(), error.is_retriable(), error.txn_requires_abort()),
            _ if code == RDKafkaErrorCode::OperationTimedOut => Remedy::Retry,
            _ => Remedy::Abort,
        };
        Self { act, code, message: error.to_string(), remedy }
    }

    /// Returns whether the broker has given this producer's place to another, or taken it away.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        let is_fenced =
            matches!(self.code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch);
        is_fenced || self.is_stale_membership()
    }

    /// Returns whether the group has moved on: this member's generation is no longer the group's.
    #[must_use]
    pub fn is_stale_membership(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::FencedInstanceId
        )
    }
}

fn remedy(is_fatal: bool, is_retriable: bool, requires_abort: bool) -> Remedy {
    match (is_fatal, requires_abort, is_retriable) {
        (false, true, _) => Remedy::Abort,
        (false, false, true) => Remedy::Retry,
        // Neither: a call in a state that does not allow it. Only a new producer's state is known.
        (true, _, _) | (false, false, false) => Remedy::Renew,
    }
}

/// Adds a group's offsets to the open transaction, under a membership: the broker refuses it once the group has another generation.
///
/// # Errors
/// [`TransactionError`] with what is to be done.
pub fn send_offsets<C: ClientContext>(
    client: &Client<C>,
    offsets: &TopicPartitionList,
    metadata: &GroupMetadata,
    timeout: Duration,
) -> Result<(), TransactionError> {
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: client, list and metadata live; the error is freed after it was read.
    unsafe {
        let error = rd::rd_kafka_send_offsets_to_transaction(client.native_ptr(), offsets.ptr(), metadata.0.as_ptr(), milliseconds);
        if error.is_null() {
            return Ok(());
        }
        let failure = TransactionError {
            act: "add rows to transaction",
            code: rd::rd_kafka_error_code(error).into(),
            message: CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
            remedy: remedy(
                rd::rd_kafka_error_is_fatal(error) != 0,
                rd::rd_kafka_error_is_retriable(error) != 0,
                rd::rd_kafka_error_txn_requires_abort(error) != 0,
            ),
        };
        rd::rd_kafka_error_destroy(error);
        Err(failure)
    }
}
