//! One membership and one producer: the loop that answers the group, feeds rows and commits them.
//!
//! Order that matters: rows, then their progress records and offsets, then the commit; a revoked slot's rows are committed before it is given back;
//! an assignment's metadata is taken before anything is sent under it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tracing::{debug, info, warn};

use super::hold::Outstanding;
use super::report::{Report, Standing};
use super::sender::{Origin, Outgoing, Sender, Sent, Topics};
use super::setup::Ground;
use super::{Context, Delivery, Identity, ProducerError, WhenDone, client_config, transaction};
use crate::feed::{Malformed, Schedule};
use crate::kafka::{KafkaError, Remedy, TransactionError, is_about_permission};
use crate::metrics::TransactionOutcome;
use crate::slots::group::{Event, Group, Joining};
use crate::slots::progress::{Reader, Search, SearchError, key};
use crate::slots::{Positions, ProgressRecord, key_hash};
use crate::status::State;

/// Rows between two looks at the group.
const ROWS_A_TURN: usize = 1_000;
/// Rows of one transaction, when they come faster than its interval.
const MAX_ROWS_A_BATCH: u64 = 1_000_000;
/// Longest wait for an event of the group while there is nothing to do.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Shortest wait for a row that is not yet due: what comes due within it goes out together.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// Wait for room: in the local queue, or for what is not yet durable.
const ROOM_WAIT: Duration = Duration::from_millis(5);
/// Longest look-up of where slots stand; a dead producer's transaction is aborted well within it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(25);
/// Pause after a look-up or a batch that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest a flush may take before its batch counts as failed.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// How often mounted secrets are compared.
const SECRETS_EVERY: Duration = Duration::from_secs(30);

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    Completed,
    Stopped,
    SecretsChanged,
    /// Only a new producer and a new membership go on.
    Renew(TransactionError),
}

/// Why a turn of the loop was left.
enum Failure {
    /// The open batch is not to be committed; its rows are produced again.
    Abort(TransactionError),
    /// See [`Ended::Renew`].
    Renew(TransactionError),
    /// What no waiting heals.
    Final(ProducerError),
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error.remedy {
            Remedy::Renew => Self::Renew(error),
            Remedy::Retry | Remedy::Abort => Self::Abort(error),
        }
    }
}

/// What feeding came to.
enum Fed {
    /// As many rows as one turn takes.
    Turn,
    /// Nothing can be sent for this long.
    Wait(Duration),
    /// The source has no more rows.
    End,
}

/// The row that was found and is not yet sent.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u64,
    line: u64,
    byte_offset: u64,
    hash: u32,
    event_time_micros: Option<i64>,
    malformed: Option<Malformed>,
    is_encoded: bool,
}

/// What was sent since the last commit.
struct Batch {
    opened: Instant,
    records: u64,
    per_partition: Vec<u64>,
    /// Whether a transaction is open.
    has_begun: bool,
}

/// One membership and one producer.
pub(super) struct Session<'a> {
    context: &'a mut Context,
    identity: &'a Identity,
    group: Group,
    reader: Reader,
    sender: Sender,
    positions: Positions,
    /// Slots that were accepted and whose rows are not yet known.
    pending: BTreeSet<u32>,
    partitions: u32,
    /// Next row that the feed gives; None before it stands anywhere.
    cursor: Option<u64>,
    byte_offset: u64,
    waiting: Option<Waiting>,
    batch: Option<Batch>,
    schedule: Schedule,
    started: Instant,
    /// Since when the group has moved on without us; nothing is sent before it assigns anew.
    stale_since: Option<Instant>,
    retry_at: Option<Instant>,
    secrets_at: Instant,
    outstanding: Vec<Outstanding>,
    key: Vec<u8>,
    value: Vec<u8>,
    has_ended: bool,
}

impl<'a> Session<'a> {
    /// Makes the clients and joins; None when it is told to stop before.
    pub(super) fn open(context: &'a mut Context, ground: &Ground, identity: &'a Identity) -> Result<Option<Self>, ProducerError> {
        let topics = Topics { data: &context.topic.name, slots: &context.settings.slots_topic };
        let origin = Origin { schema: &identity.schema, source: &identity.record.uri };
        let sender = Sender::new(&context.clients, client_config(context), topics, origin).map_err(ProducerError::Clients)?;
        if context.delivery == Delivery::Transactional && !start_transactions(context, &sender) {
            return Ok(None);
        }
        let joining = Joining {
            topic: &context.settings.slots_topic,
            group: &identity.group,
            replay: &identity.record.replay,
            session_timeout: context.session_timeout,
        };
        let group = Group::join(&context.clients, &joining).map_err(ProducerError::Clients)?;
        let reader = Reader::new(&context.clients, &identity.group).map_err(ProducerError::Clients)?;
        let source_pace = super::pace(&context.source);
        Ok(Some(Self {
            positions: Positions::new(context.settings.slots),
            schedule: Schedule::new(source_pace),
            context,
            identity,
            group,
            reader,
            sender,
            pending: BTreeSet::new(),
            partitions: ground.partitions,
            cursor: None,
            byte_offset: 0,
            waiting: None,
            batch: None,
            started: Instant::now(),
            stale_since: None,
            retry_at: None,
            secrets_at: Instant::now() + SECRETS_EVERY,
            outstanding: (0..ground.partitions).map(|_| Outstanding::default()).collect(),
            key: Vec::new(),
            value: Vec::new(),
            has_ended: false,
        }))
    }

    /// Runs until told to stop, until a finite source is done and that is the end, or until this producer is of no more use.
    pub(super) fn run(&mut self, report: &mut Report) -> Result<Ended, ProducerError> {
        loop {
            if self.context.shutdown.is_cancelled() {
                self.drain(report);
                return Ok(Ended::Stopped);
            }
            if Instant::now() >= self.secrets_at {
                self.secrets_at = Instant::now() + SECRETS_EVERY;
                if self.context.clients.secrets_changed() {
                    info!("a mounted secret has changed; the producer drains");
                    self.drain(report);
                    return Ok(Ended::SecretsChanged);
                }
            }
            match self.turn(report) {
                Ok(None) => {}
                Ok(Some(ended)) => return Ok(ended),
                Err(Failure::Abort(error)) => {
                    if let Err(ended) = self.abort(report, &error) {
                        return Ok(ended);
                    }
                }
                Err(Failure::Renew(error)) => {
                    report.transaction(self.context, TransactionOutcome::Fenced);
                    report.fenced(self.context, &error.to_string());
                    return Ok(Ended::Renew(error));
                }
                Err(Failure::Final(error)) => {
                    self.drain(report);
                    return Err(error);
                }
            }
        }
    }

    fn turn(&mut self, report: &mut Report) -> Result<Option<Ended>, Failure> {
        let wait = self.idle_wait();
        for event in self.group.poll(wait) {
            self.answer(event, report)?;
        }
        self.sender.serve(Duration::ZERO);
        self.check_membership()?;
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            self.show(report);
            return Ok(None);
        }
        self.retry_at = None;
        self.take_over(report)?;
        if self.positions.is_empty() || self.stale_since.is_some() {
            self.show(report);
            return Ok(None);
        }
        self.reposition()?;
        let fed = self.feed_rows()?;
        if self.is_batch_due() || matches!(fed, Fed::End) {
            self.commit(report)?;
        }
        match fed {
            Fed::Turn => self.has_ended = false,
            Fed::Wait(wait) => {
                self.has_ended = false;
                let wait = wait.min(self.batch_left()).clamp(LEAST_WAIT, IDLE_WAIT);
                for event in self.group.poll(wait) {
                    self.answer(event, report)?;
                }
            }
            Fed::End => self.has_ended = true,
        }
        self.show(report);
        let is_done = self.has_ended && self.pending.is_empty() && self.context.when_done == WhenDone::Return;
        Ok(if is_done && !self.positions.is_empty() { Some(Ended::Completed) } else { None })
    }

    /// Returns how long to wait for the group: not at all while there are rows to feed.
    fn idle_wait(&self) -> Duration {
        let is_idle = self.positions.is_empty() && self.pending.is_empty();
        if is_idle || self.has_ended || self.stale_since.is_some() || self.retry_at.is_some() { IDLE_WAIT } else { Duration::ZERO }
    }

    fn answer(&mut self, event: Event, report: &mut Report) -> Result<(), Failure> {
        match event {
            Event::Assigned(slots) => {
                debug!(?slots, "slots are assigned");
                self.group.accept(&slots).map_err(|error| renew("accept slots", &error))?;
                self.stale_since = None;
                self.pending.extend(slots);
                // A new slot may lie behind the feed: what was sent is committed first, under the new generation.
                if self.pending.is_empty() { Ok(()) } else { self.commit(report) }
            }
            Event::Revoked(slots) => {
                debug!(?slots, "slots are given back");
                // Still ours until they are released, in the generation that asks for them.
                self.group.refresh();
                let committed = match self.commit(report) {
                    Err(Failure::Abort(error)) => self.abort(report, &error).map_err(renewal),
                    result => result,
                };
                self.give_up(&slots)?;
                committed
            }
            Event::Lost(slots) => {
                warn!(?slots, "slots are lost; what was sent of them is not committed");
                let error = lost();
                let aborted = self.abort(report, &error).map_err(renewal);
                self.give_up(&slots)?;
                aborted
            }
            Event::Failed(message) => {
                warn!(message, "a rebalance of the slots failed");
                Ok(())
            }
        }
    }

    fn give_up(&mut self, slots: &[u32]) -> Result<(), Failure> {
        for slot in slots {
            self.positions.drop(*slot);
            self.pending.remove(slot);
        }
        self.group.release(slots).map_err(|error| renew("give slots back", &error))
    }

    /// Asks for a new membership when the group has moved on and never assigned anew.
    fn check_membership(&self) -> Result<(), Failure> {
        match self.stale_since {
            Some(since) if since.elapsed() > self.context.session_timeout * 3 => Err(Failure::Renew(lost())),
            Some(_) | None => Ok(()),
        }
    }

    /// Looks up where accepted slots stand. A broker that does not answer is asked again later.
    fn take_over(&mut self, report: &mut Report) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.commit(report)?;
        let slots: Vec<u32> = self.pending.iter().copied().collect();
        let search = Search {
            topic: &self.context.settings.slots_topic,
            group: &self.identity.group,
            wanted: &self.identity.record,
            timeout: LOOKUP_TIMEOUT,
        };
        report.beat(self.context);
        let committed = self.group.committed(&slots, LOOKUP_TIMEOUT);
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => {
                self.retry_later(report, &error);
                return Ok(());
            }
        };
        report.beat(self.context);
        let found = match self.reader.find(&search, &slots, &self.context.shutdown) {
            Ok(found) => found,
            Err(SearchError::Cancelled { .. }) => return Ok(()),
            Err(SearchError::Kafka { source, .. }) => {
                self.retry_later(report, &source);
                return Ok(());
            }
        };
        for (slot, offset) in committed {
            let seen = found.get(&slot).cloned().unwrap_or_default();
            if let (None, Some(expected)) = (offset, seen.other_content) {
                return Err(Failure::Final(ProducerError::SourceChanged {
                    uri: self.identity.record.uri.clone(),
                    topic: self.context.topic.name.clone(),
                    expected,
                    found: self.identity.record.fingerprint.clone(),
                }));
            }
            let row = offset.max(seen.row).unwrap_or(0);
            self.positions.take(slot, row);
        }
        self.pending.clear();
        info!(?slots, start = self.positions.start(), "feeds slots");
        report.succeeded(self.context);
        Ok(())
    }

    fn retry_later(&mut self, report: &mut Report, error: &KafkaError) {
        warn!(error = %error, "cannot look up where slots stand; trying again");
        report.failed(self.context, error.code().is_some_and(is_about_permission), &error.to_string());
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
    }

    /// Moves the feed to the first row that a slot wants, when that lies elsewhere.
    fn reposition(&mut self) -> Result<(), Failure> {
        let Some(start) = self.positions.start() else { return Ok(()) };
        // With a batch open the feed stands ahead of what is committed, and rightly so.
        if self.batch.is_some() || self.cursor == Some(start) {
            return Ok(());
        }
        if self.cursor.is_some_and(|cursor| cursor < start) {
            return Ok(());
        }
        self.waiting = None;
        self.context.feed.seek(start).map_err(|error| Failure::Final(ProducerError::Feed(error)))?;
        self.cursor = Some(start);
        Ok(())
    }

    /// Sends up to a turn's rows.
    fn feed_rows(&mut self) -> Result<Fed, Failure> {
        let now = if self.schedule.is_unlimited() { Duration::ZERO } else { self.started.elapsed() };
        for _ in 0..ROWS_A_TURN {
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
        if self.batch.is_none() {
            self.batch =
                Some(Batch { opened: Instant::now(), records: 0, per_partition: vec![0; self.partitions as usize], has_begun: false });
        }
        let hash = key_hash(head.key);
        self.byte_offset = head.byte_offset;
        if !self.positions.wants(hash, head.number) {
            self.cursor = Some(head.number + 1);
            return Ok(true);
        }
        self.key.clear();
        self.key.extend_from_slice(head.key);
        self.waiting = Some(Waiting {
            number: head.number,
            line: head.line,
            byte_offset: head.byte_offset,
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
                return Ok(Some(due - now));
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
        self.byte_offset = row.byte_offset;
        self.cursor = Some(row.number + 1);
        self.waiting = None;
        Ok(None)
    }

    /// Opens a transaction with the first record of a batch.
    fn begin(&mut self) -> Result<(), Failure> {
        if let Some(batch) = &mut self.batch
            && !batch.has_begun
        {
            if self.context.delivery == Delivery::Transactional {
                transaction::begin(&self.sender)?;
            }
            batch.has_begun = true;
        }
        Ok(())
    }

    fn is_batch_due(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.records >= MAX_ROWS_A_BATCH) || self.batch_left().is_zero()
    }

    fn batch_left(&self) -> Duration {
        let interval = self.context.settings.transaction_interval;
        self.batch.as_ref().map_or(IDLE_WAIT, |batch| interval.saturating_sub(batch.opened.elapsed()))
    }

    /// Commits what was sent and how far the feed has come. Nothing to say is fine.
    fn commit(&mut self, report: &mut Report) -> Result<(), Failure> {
        let Some(cursor) = self.cursor else { return Ok(()) };
        let rows = self.positions.advanced(cursor);
        if self.batch.is_none() && rows.is_empty() {
            return Ok(());
        }
        if rows.is_empty() && self.batch.as_ref().is_none_or(|batch| batch.records == 0) {
            self.batch = None;
            return Ok(());
        }
        let started = Instant::now();
        match self.context.delivery {
            Delivery::Transactional => {
                self.commit_transaction(&rows)?;
                report.transaction(self.context, TransactionOutcome::Committed);
            }
            Delivery::Idempotent => self.note_progress(&rows)?,
        }
        let per_partition = self.batch.take().map(|batch| batch.per_partition).unwrap_or_default();
        self.positions.settle(&rows);
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
        let offsets = self.group.offsets(rows).map_err(|error| renew("note rows", &error))?;
        let Some(metadata) = self.group.metadata() else { return Err(Failure::Abort(lost())) };
        let committed = transaction::commit(&self.sender, &offsets, metadata);
        self.check_deliveries()?;
        committed.map_err(Failure::from)
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
            let record = ProgressRecord { row: *row, byte_offset: self.byte_offset, ..self.identity.record.clone() };
            let value = serde_json::to_vec(&record).map_err(|error| Failure::Final(ProducerError::Progress(error)))?;
            let deadline = Instant::now() + FLUSH_TIMEOUT;
            loop {
                match self.sender.send_progress(*slot, key(&record.replay), &value) {
                    Ok(Sent::Queued) => break,
                    Ok(Sent::Full) if Instant::now() < deadline => self.sender.serve(ROOM_WAIT),
                    Ok(Sent::Full) => return Err(Failure::Abort(lost())),
                    Err(code) => return Err(self.refused(i32::try_from(*slot).unwrap_or(i32::MAX), code)),
                }
            }
        }
        Ok(())
    }

    /// Returns an error when the broker did not take a record.
    fn check_deliveries(&self) -> Result<(), Failure> {
        match self.sender.failure() {
            None => Ok(()),
            Some(failure) => Err(self.refused(failure.partition, failure.code)),
        }
    }

    fn refused(&self, partition: i32, code: RDKafkaErrorCode) -> Failure {
        if matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize | RDKafkaErrorCode::InvalidRecord) {
            return Failure::Final(ProducerError::RecordRefused { topic: self.context.topic.name.clone(), partition, code });
        }
        let message = format!("partition {partition}: {code}");
        let remedy = if self.sender.is_broken() { Remedy::Renew } else { Remedy::Abort };
        Failure::from(TransactionError { act: "send a record", code, message, remedy })
    }

    /// Goes back to what is committed; Err when only a new producer can go on.
    fn abort(&mut self, report: &mut Report, error: &TransactionError) -> Result<(), Ended> {
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
            report.transaction(self.context, TransactionOutcome::Aborted);
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
    fn drain(&mut self, report: &mut Report) {
        report.draining(self.context);
        match self.commit(report) {
            Ok(()) => {}
            Err(Failure::Abort(error)) => {
                if let Err(ended) = self.abort(report, &error) {
                    debug!(?ended, "the last batch is left to the coordinator");
                }
            }
            Err(Failure::Renew(error)) => debug!(error = %error, "the last batch is left to the coordinator"),
            Err(Failure::Final(error)) => warn!(error = %error, "the last batch is not committed"),
        }
    }

    fn show(&mut self, report: &mut Report) {
        let state = if self.positions.is_empty() {
            if self.group.metadata().is_some() && self.pending.is_empty() { State::Idle } else { State::Joining }
        } else if self.has_ended && self.pending.is_empty() {
            State::Completed
        } else {
            State::Running
        };
        let standing = Standing { state, positions: &self.positions, cursor: self.cursor.unwrap_or(0), queued: self.sender.queued() };
        report.stands(self.context, &standing);
    }
}

/// Waits for a producer id; false when it is told to stop before.
fn start_transactions(context: &Context, sender: &Sender) -> bool {
    loop {
        if context.shutdown.is_cancelled() {
            return false;
        }
        context.status.beat(crate::clock::boottime_millis());
        match transaction::init(sender) {
            Ok(()) => return true,
            Err(error) => {
                warn!(error = %error, "transactions cannot be started; trying again");
                std::thread::sleep(RETRY_PAUSE);
            }
        }
    }
}

fn lost() -> TransactionError {
    let message = "the membership is lost or its generation is over".to_owned();
    TransactionError { act: "go on under the membership", code: RDKafkaErrorCode::IllegalGeneration, message, remedy: Remedy::Abort }
}

fn renew(act: &'static str, error: &KafkaError) -> Failure {
    let code = error.code().unwrap_or(RDKafkaErrorCode::Unknown);
    Failure::Renew(TransactionError { act, code, message: error.to_string(), remedy: Remedy::Renew })
}

fn renewal(ended: Ended) -> Failure {
    match ended {
        Ended::Renew(error) => Failure::Renew(error),
        Ended::Completed | Ended::Stopped | Ended::SecretsChanged => Failure::Renew(lost()),
    }
}
