//! Transactions of one sender, each call with a deadline and its remedy.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::producer::Producer;
use tracing::debug;

use super::sender::Sender;
use crate::failpoint::{Failpoints, Point};
use crate::kafka::{GroupMetadata, Remedy, TransactionError, send_offsets};

/// Longest single call into librdkafka.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest a commit or an abort is tried again before a new producer is the better way.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for the client's events while a call is under way.
const SERVE_EVERY: Duration = Duration::from_millis(20);

/// Asks the coordinator for a producer id. To be called again after [`Remedy::Retry`].
pub(super) fn init(sender: &Sender) -> Result<(), TransactionError> {
    let producer = sender.producer();
    served(sender, || producer.init_transactions(CALL_TIMEOUT)).map_err(|error| TransactionError::of("start transactions", &error))
}

/// Opens a transaction.
pub(super) fn begin(sender: &Sender) -> Result<(), TransactionError> {
    sender.producer().begin_transaction().map_err(|error| TransactionError::of("begin transaction", &error))
}

/// Adds the group's rows to the open transaction.
///
/// As in what follows, the transaction is still open after an error other than [`Remedy::Renew`] and must be aborted. Retries are done.
pub(super) fn add_offsets(sender: &Sender, offsets: &TopicPartitionList, metadata: &GroupMetadata) -> Result<(), TransactionError> {
    patiently(Instant::now() + PATIENCE, || send_offsets(sender.producer().client(), offsets, metadata, CALL_TIMEOUT))
}

/// Waits until the brokers have every record of the open transaction, until the coordinator would have ended it.
pub(super) fn deliver(sender: &Sender, deadline: Instant) -> Result<(), TransactionError> {
    if !sender.flush(deadline.saturating_duration_since(Instant::now())) {
        let code = rdkafka::error::RDKafkaErrorCode::OperationTimedOut;
        let message = "records are not acknowledged in time".to_owned();
        return Err(TransactionError { act: "deliver records", code, message, remedy: Remedy::Abort });
    }
    if let Some(failure) = sender.failure() {
        let message = format!("a record of partition {} was not taken", failure.partition);
        return Err(TransactionError { act: "deliver records", code: failure.code, message, remedy: Remedy::Abort });
    }
    Ok(())
}

/// Commits the open transaction, whose records are delivered.
pub(super) fn commit(sender: &Sender, failpoints: &Failpoints) -> Result<(), TransactionError> {
    failpoints.hit(Point::TransactionCommitting);
    let producer = sender.producer();
    patiently(Instant::now() + PATIENCE, || {
        let committed = served(sender, || producer.commit_transaction(CALL_TIMEOUT));
        committed.map_err(|error| TransactionError::of("commit transaction", &error))
    })
}

/// Aborts the open transaction; its records will never be seen.
pub(super) fn abort(sender: &Sender) -> Result<(), TransactionError> {
    let producer = sender.producer();
    let aborted = patiently(Instant::now() + PATIENCE, || {
        let aborted = served(sender, || producer.abort_transaction(CALL_TIMEOUT));
        aborted.map_err(|error| TransactionError::of("abort transaction", &error))
    });
    sender.serve(Duration::ZERO);
    sender.forget_failure();
    aborted
}

/// Calls again while that is the remedy; when time is up a new producer is.
fn patiently(deadline: Instant, call: impl Fn() -> Result<(), TransactionError>) -> Result<(), TransactionError> {
    loop {
        match call() {
            Err(error) if error.remedy == Remedy::Retry => {
                debug!(error = %error, "trying again");
                if Instant::now() >= deadline {
                    return Err(TransactionError { remedy: Remedy::Renew, ..error });
                }
                std::thread::sleep(SERVE_EVERY);
            }
            result => return result,
        }
    }
}

/// Serves the client's events while a call blocks: an abort waits until its purged records were reported.
fn served<T: Send>(sender: &Sender, call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let calling = scope.spawn(call);
        while !calling.is_finished() {
            sender.serve(SERVE_EVERY);
        }
        calling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
