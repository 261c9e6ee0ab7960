//! From records on their way to rows that are committed for good, or taken back.
//!
//! Order that matters: rows, then progress records and offsets, then the commit; without transactions each step is delivered before the next.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tracing::{debug, warn};

use super::super::failure::{Ended, Failure, lost, moved, renew};
use super::super::report::Report;
use super::super::sender::Sent;
use super::super::{Delivery, ProducerError, setup, transaction, transaction_timeout};
use super::{Batch, IDLE_WAIT, RETRY_PAUSE, ROOM_WAIT, Session};
use crate::failpoint::Point;
use crate::kafka::{Remedy, TransactionError, is_about_permission};
use crate::metrics::TransactionOutcome;
use crate::slots::ProgressRecord;
use crate::slots::progress::key;

/// Longest a flush may take before its batch counts as failed.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for room once it is told to stop; what is not committed by then is produced again.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

impl Session<'_> {
    /// Commits what was sent and how far the feed has come. Nothing to say is fine.
    pub(super) fn commit(&mut self, report: &mut Report) -> Result<(), Failure> {
        let Some(cursor) = self.cursor else { return Ok(()) };
        let rows = self.positions.advanced(cursor);
        if self.batch.is_none() && rows.is_empty() {
            return Ok(());
        }
        if rows.is_empty() && self.batch.as_ref().is_none_or(|batch| batch.records == 0) {
            self.batch = None;
            return Ok(());
        }
        if rows.is_empty() {
            // Records without a slot's row would be committed unfenced.
            return Err(Failure::Abort(lost()));
        }
        let started = Instant::now();
        match self.context.delivery {
            Delivery::Transactional => {
                self.commit_transaction(&rows)?;
                Report::transaction(self.context, TransactionOutcome::Committed);
            }
            Delivery::Idempotent => self.note_progress(&rows)?,
        }
        let per_partition = self.batch.take().map(|batch| batch.per_partition).unwrap_or_default();
        self.positions.settle(&rows);
        let limit = self.limit();
        self.allowance.committed(started.elapsed(), limit);
        report.acknowledged(self.context, &per_partition, started.elapsed());
        Ok(())
    }

    fn commit_transaction(&mut self, rows: &[(u32, u64)]) -> Result<(), Failure> {
        if self.group.metadata().is_none() {
            return Err(Failure::Abort(lost()));
        }
        if self.batch.is_none() {
            self.batch = Some(Batch { opened: Instant::now(), records: 0, per_partition: Vec::new(), has_begun: false });
        }
        self.begin()?;
        self.send_progress(rows)?;
        self.context.failpoints.hit(Point::TransactionOpen);
        let offsets = self.group.offsets(rows).map_err(|error| renew("note rows", &error))?;
        let Some(metadata) = self.group.metadata() else { return Err(Failure::Abort(lost())) };
        // The offsets go to the coordinator while the records are still on their way.
        let added = transaction::add_offsets(&self.sender, &offsets, metadata);
        let delivered = added.and_then(|()| transaction::deliver(&self.sender, self.deadline()));
        self.check_deliveries()?;
        delivered?;
        // Each step may wait for as long as half of what the heartbeat allows.
        Report::beat(self.context);
        // Once the last record is there: what is committed went to the topic whose rows it counts, or to one that is gone.
        self.check_before_commit()?;
        Report::beat(self.context);
        transaction::commit(&self.sender, &self.context.failpoints)?;
        self.context.failpoints.hit(Point::TransactionCommitted);
        Ok(())
    }

    fn check_before_commit(&mut self) -> Result<(), Failure> {
        match setup::is_same(self.context, &self.sender, self.ground) {
            Ok(true) => {
                self.grounded = Instant::now();
                Ok(())
            }
            Ok(false) => Err(Failure::Moved),
            Err(error) => {
                let code = error.code().unwrap_or(RDKafkaErrorCode::OperationTimedOut);
                Err(Failure::Abort(TransactionError { act: "look at the topic", code, message: error.to_string(), remedy: Remedy::Abort }))
            }
        }
    }

    /// Returns how long a batch may take from its first row to its commit.
    fn limit(&self) -> Duration {
        match self.context.delivery {
            Delivery::Transactional => transaction_timeout(self.context),
            Delivery::Idempotent => FLUSH_TIMEOUT,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.batch.as_ref().map_or_else(Instant::now, |batch| batch.opened) + self.limit()
    }

    /// Notes that the open batch is not committed, so that the next one is smaller where that took too long.
    pub(super) fn note_surrender(&mut self) {
        if let Some(batch) = &self.batch {
            let (records, lasted, limit) = (batch.records, batch.opened.elapsed(), self.limit());
            self.allowance.gave_up(records, lasted, limit);
        }
    }

    /// Without transactions: everything is delivered, then the progress records, then the group's offsets.
    fn note_progress(&mut self, rows: &[(u32, u64)]) -> Result<(), Failure> {
        self.flush()?;
        self.send_progress(rows)?;
        self.flush()?;
        if let Err(error) = self.group.commit(rows) {
            // The records hold the same rows, and the larger wins.
            debug!(error = %error, "rows are not committed to the group");
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while !self.sender.flush(IDLE_WAIT) {
            self.check_deliveries()?;
            if Instant::now() > deadline {
                let (code, message) = (RDKafkaErrorCode::OperationTimedOut, "records are not acknowledged in time".to_owned());
                return Err(Failure::Abort(TransactionError { act: "deliver records", code, message, remedy: Remedy::Abort }));
            }
        }
        self.check_deliveries()
    }

    fn send_progress(&self, rows: &[(u32, u64)]) -> Result<(), Failure> {
        for (slot, row) in rows {
            let record = ProgressRecord { row: *row, ..self.identity.record.clone() };
            let value = serde_json::to_vec(&record).map_err(|error| Failure::Final(ProducerError::Progress(error)))?;
            self.queue_progress(*slot, key(&record.replay), &value)?;
        }
        Ok(())
    }

    /// Hands a progress record over, waiting for room in the local queue; not for long once it is told to stop.
    pub(super) fn queue_progress(&self, slot: u32, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let (begun, patience) = (Instant::now(), self.deadline().saturating_duration_since(Instant::now()));
        loop {
            match self.sender.send_progress(slot, key, value) {
                Ok(Sent::Queued) => return Ok(()),
                Ok(Sent::Full) => self.check_deliveries()?,
                Err(code) => return Err(self.refused(i32::try_from(slot).unwrap_or(i32::MAX), code)),
            }
            let patience = if self.context.shutdown.is_cancelled() { patience.min(LAST_PATIENCE) } else { patience };
            if begun.elapsed() >= patience {
                let (code, message) = (RDKafkaErrorCode::QueueFull, "the local queue stays full: brokers take no records".to_owned());
                return Err(Failure::Abort(TransactionError { act: "send progress", code, message, remedy: Remedy::Abort }));
            }
            Report::beat(self.context);
            self.sender.serve(ROOM_WAIT);
        }
    }

    /// Returns an error when the broker did not take a record.
    pub(super) fn check_deliveries(&self) -> Result<(), Failure> {
        match self.sender.failure() {
            None => Ok(()),
            Some(failure) => Err(self.refused(failure.partition, failure.code)),
        }
    }

    pub(super) fn refused(&self, partition: i32, code: RDKafkaErrorCode) -> Failure {
        if matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize | RDKafkaErrorCode::InvalidRecord) {
            return Failure::Final(ProducerError::RecordRefused { topic: self.context.topic.name.clone(), partition, code });
        }
        let remedy = match code {
            RDKafkaErrorCode::InvalidTimestamp => {
                "; the broker takes no record so far from its own clock: look at this node's clock, and at the broker's"
            }
            _ => "",
        };
        let message = format!("partition {partition}: {code}{remedy}");
        let remedy = if self.sender.is_broken() { Remedy::Renew } else { Remedy::Abort };
        Failure::from(TransactionError { act: "send a record", code, message, remedy })
    }

    /// Goes back to what is committed; Err when only a new producer can go on.
    pub(super) fn abort(&mut self, report: &mut Report, error: &TransactionError) -> Result<(), Ended> {
        self.note_surrender();
        Report::beat(self.context);
        let has_begun = self.batch.take().is_some_and(|batch| batch.has_begun);
        if has_begun {
            warn!(error = %error, "rows since the last commit are produced again");
            let aborted = match self.context.delivery {
                Delivery::Transactional => transaction::abort(&self.sender),
                Delivery::Idempotent => {
                    self.sender.flush(FLUSH_TIMEOUT);
                    self.sender.forget_failure();
                    Ok(())
                }
            };
            Report::transaction(self.context, TransactionOutcome::Aborted);
            if let Err(error) = aborted {
                return Err(Ended::Renew(TransactionError { remedy: Remedy::Renew, ..error }));
            }
        }
        if error.is_stale_membership() {
            self.stale_since.get_or_insert_with(Instant::now);
        } else {
            self.retry_at = Some(Instant::now() + RETRY_PAUSE);
            report.failed(self.context, is_about_permission(error.code), &error.to_string());
        }
        self.positions.rewind();
        self.waiting = None;
        // The feed may stand behind a row that was found and not sent.
        self.cursor = None;
        Ok(())
    }

    /// Ends what is open: commits it, or at least aborts it.
    pub(super) fn drain(&mut self, report: &mut Report) {
        report.draining(self.context);
        match self.commit(report) {
            Ok(()) => {}
            Err(Failure::Abort(error)) => {
                if let Err(ended) = self.abort(report, &error) {
                    debug!(?ended, "the last batch is left to the coordinator");
                }
            }
            Err(Failure::Renew(error)) => debug!(error = %error, "the last batch is left to the coordinator"),
            Err(Failure::Moved) => {
                if let Err(ended) = self.abort(report, &moved()) {
                    debug!(?ended, "the last batch is left to the coordinator");
                }
            }
            Err(Failure::Final(error)) => warn!(error = %error, "the last batch is not committed"),
        }
    }
}
