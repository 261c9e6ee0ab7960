//! From the source's rows to records on their way: finds rows, waits until they are due and there is room, sends them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::failure::Failure;
use super::super::sender::{Outgoing, Sent};
use super::super::{Delivery, ProducerError, transaction};
use super::{Batch, ROOM_WAIT, Session};
use crate::failpoint::Point;
use crate::feed::{Malformed, Sought};
use crate::slots::key_hash;

/// Rows between two looks at the group.
const ROWS_A_TURN: u64 = 1_000;
/// Rows that are passed between two looks at the group, on the way to the first row that is wanted.
const ROWS_A_STEP: u64 = 20_000;

/// What feeding came to.
pub(super) enum Fed {
    /// As many rows as one turn takes.
    Turn,
    /// Nothing can be sent for this long.
    Wait(Duration),
    /// The source has no more rows.
    End,
}

/// The row that was found and is not yet sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    number: u64,
    line: u64,
    hash: u32,
    event_time_micros: Option<i64>,
    malformed: Option<Malformed>,
    is_encoded: bool,
}

impl Session<'_> {
    /// Moves the feed to the first row that a slot wants, when that lies elsewhere. False while it is under way: a large file takes many steps.
    pub(super) fn reposition(&mut self) -> Result<bool, Failure> {
        let Some(start) = self.positions.start() else { return Ok(true) };
        // With a batch open the feed stands ahead of what is committed, and rightly so.
        if self.batch.is_some() || self.cursor.is_some_and(|cursor| cursor <= start) {
            return Ok(true);
        }
        self.waiting = None;
        self.cursor = None;
        let sought = self.context.feed.seek_within(start, ROWS_A_STEP).map_err(|error| Failure::Final(ProducerError::Feed(error)))?;
        match sought {
            Sought::Underway => Ok(false),
            Sought::Found | Sought::Beyond => {
                self.cursor = Some(start);
                Ok(true)
            }
        }
    }

    /// Sends up to a turn's rows.
    pub(super) fn feed_rows(&mut self) -> Result<Fed, Failure> {
        let now = if self.schedule.is_unlimited() { Duration::ZERO } else { self.started.elapsed() };
        let sent = self.batch.as_ref().map_or(0, |batch| batch.records);
        for _ in 0..ROWS_A_TURN.min(self.allowance.records().saturating_sub(sent)) {
            if self.waiting.is_none() && !self.find_row()? {
                return Ok(Fed::End);
            }
            if let Some(wait) = self.offer(now)? {
                return Ok(Fed::Wait(wait));
            }
        }
        Ok(Fed::Turn)
    }

    /// Finds the next row; false at the end of the source. A row of others' slots is passed and leaves nothing waiting.
    fn find_row(&mut self) -> Result<bool, Failure> {
        let head = self.context.feed.advance().map_err(|error| Failure::Final(ProducerError::Feed(error)))?;
        let Some(head) = head else { return Ok(false) };
        let partitions = self.partitions;
        self.batch.get_or_insert_with(|| Batch::open(partitions));
        let hash = key_hash(head.key);
        if !self.positions.wants(hash, head.number) {
            self.cursor = Some(head.number + 1);
            return Ok(true);
        }
        self.key.clear();
        self.key.extend_from_slice(head.key);
        self.waiting = Some(Waiting {
            number: head.number,
            line: head.line,
            hash,
            event_time_micros: head.event_time_micros,
            malformed: head.malformed,
            is_encoded: false,
        });
        Ok(true)
    }

    /// Sends the waiting row; returns how long to wait when it cannot go yet.
    fn offer(&mut self, now: Duration) -> Result<Option<Duration>, Failure> {
        let Some(row) = self.waiting.as_mut() else { return Ok(None) };
        if !self.positions.wants(row.hash, row.number) {
            // Its slot was given back meanwhile.
            self.cursor = Some(row.number + 1);
            self.waiting = None;
            return Ok(None);
        }
        if !self.schedule.is_unlimited() {
            let due = self.schedule.due(row.number, row.event_time_micros, now);
            if due > now {
                return Ok(Some(due.saturating_sub(now)));
            }
        }
        let partition = row.hash % self.partitions;
        if let Some(limit) = self.context.hold_back {
            let durable = self.context.progress.partitions.get(partition as usize).map_or(0, |it| it.durable.load(Ordering::Acquire));
            if self.outstanding[partition as usize].is_full(u64::try_from(durable).unwrap_or(0), limit) {
                return Ok(Some(ROOM_WAIT));
            }
        }
        if !row.is_encoded {
            self.value.clear();
            self.context.feed.encode(&mut self.value);
            row.is_encoded = true;
        }
        let row = *row;
        self.begin()?;
        let record = Outgoing {
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
            key: &self.key,
            value: &self.value,
            malformed: row.malformed.map(|problem| (row.line, problem.label())),
        };
        match self.sender.send(&record) {
            Ok(Sent::Queued) => {}
            Ok(Sent::Full) => {
                self.check_deliveries()?;
                self.sender.serve(ROOM_WAIT);
                return Ok(Some(Duration::ZERO));
            }
            Err(code) => return Err(self.refused(record.partition, code)),
        }
        let bytes = (self.key.len() + self.value.len()) as u64;
        if self.context.hold_back.is_some() {
            self.outstanding[partition as usize].sent(bytes);
        }
        if let Some(batch) = &mut self.batch {
            batch.records += 1;
            batch.per_partition[partition as usize] += 1;
        }
        self.cursor = Some(row.number + 1);
        self.waiting = None;
        Ok(None)
    }

    /// Opens a transaction with the first record of a batch. The row may have been found before the last batch was committed.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        let partitions = self.partitions;
        let batch = self.batch.get_or_insert_with(|| Batch::open(partitions));
        if !batch.has_begun {
            if self.context.delivery == Delivery::Transactional {
                self.context.failpoints.hit(Point::RecordsTaken);
                transaction::begin(&self.sender)?;
            }
            batch.has_begun = true;
        }
        Ok(())
    }
}
