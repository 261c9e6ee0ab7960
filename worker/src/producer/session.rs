//! One membership and one producer: the loop that answers the group, feeds rows and commits them.
//!
//! Order that matters: rows, then their progress records and offsets, then the commit; a revoked slot's rows are committed before it is given back;
//! an assignment's metadata is taken before anything is sent under it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::allowance::Allowance;
use super::failure::{Ended, Failure, lost, moved, renew, renewal};
use super::hold::Outstanding;
use super::report::{Report, Standing};
use super::sender::{Origin, Sender, Topics};
use super::setup::{self, Ground};
use super::{Context, Delivery, Identity, ProducerError, WhenDone, client_config, transaction};
use crate::feed::Schedule;
use crate::slots::Positions;
use crate::slots::group::{Event, Group, Joining};
use crate::slots::progress::Reader;
use crate::status::State;

mod commit;
mod feeding;
mod takeover;

use feeding::{Fed, Waiting};

/// Longest wait for an event of the group while there is nothing to do.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Shortest wait for a row that is not yet due: what comes due within it goes out together.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// Wait for room: in the local queue, or for what is not yet durable.
const ROOM_WAIT: Duration = Duration::from_millis(5);
/// How often the topic is looked at while nothing is committed, which looks at it too.
const GROUND_INTERVAL: Duration = Duration::from_secs(5);
/// Pause after a look-up or a batch that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long brokers that were all away may take to say that they are back. Far below the time-outs of session and heartbeat.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How often that is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What was sent since the last commit.
struct Batch {
    opened: Instant,
    records: u64,
    per_partition: Vec<u64>,
    /// Whether a transaction is open.
    has_begun: bool,
}

impl Batch {
    fn open(partitions: u32) -> Self {
        Self { opened: Instant::now(), records: 0, per_partition: vec![0; partitions as usize], has_begun: false }
    }
}

/// One membership and one producer.
pub(super) struct Session<'a> {
    context: &'a mut Context,
    ground: &'a Ground,
    identity: &'a Identity,
    allowance: &'a mut Allowance,
    group: Group,
    reader: Reader,
    sender: Sender,
    positions: Positions,
    /// Slots that were accepted and whose rows are not yet known.
    pending: BTreeSet<u32>,
    partitions: u32,
    /// Next row that the feed gives; None before it stands anywhere.
    cursor: Option<u64>,
    waiting: Option<Waiting>,
    batch: Option<Batch>,
    schedule: Schedule,
    started: Instant,
    /// Since when the group has moved on without us; nothing is sent before it assigns anew.
    stale_since: Option<Instant>,
    retry_at: Option<Instant>,
    asked_at: Option<Instant>,
    /// When the topic was last seen to be what it was.
    grounded: Instant,
    outstanding: Vec<Outstanding>,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Row behind the source's last one, once it was met.
    end: Option<u64>,
}

impl<'a> Session<'a> {
    /// Makes the clients and joins; None when it is told to stop before.
    pub(super) fn open(
        context: &'a mut Context,
        ground: &'a Ground,
        identity: &'a Identity,
        allowance: &'a mut Allowance,
    ) -> Result<Option<Self>, ProducerError> {
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
        Ok(Some(Self {
            positions: Positions::new(context.settings.slots),
            schedule: Schedule::of(&context.source),
            context,
            ground,
            identity,
            allowance,
            group,
            reader,
            sender,
            pending: BTreeSet::new(),
            partitions: ground.partitions,
            cursor: None,
            waiting: None,
            batch: None,
            started: Instant::now(),
            stale_since: None,
            retry_at: None,
            asked_at: None,
            grounded: Instant::now(),
            outstanding: (0..ground.partitions).map(|_| Outstanding::default()).collect(),
            key: Vec::new(),
            value: Vec::new(),
            end: None,
        }))
    }

    /// Runs until told to stop, until a finite source is done and that is the end, or until this producer is of no more use.
    pub(super) fn run(&mut self, report: &mut Report) -> Result<Ended, ProducerError> {
        loop {
            if self.context.shutdown.is_cancelled() {
                self.drain(report);
                return Ok(Ended::Stopped);
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
                    self.note_surrender();
                    return Ok(Ended::Renew(error));
                }
                Err(Failure::Moved) => {
                    if let Err(ended) = self.abort(report, &moved()) {
                        debug!(?ended, "the last batch is left to the coordinator");
                    }
                    return Ok(Ended::Moved);
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
        self.check_ground(report)?;
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
        if !self.reposition()? {
            self.show(report);
            return Ok(None);
        }
        let fed = self.feed_rows()?;
        if self.is_batch_due() || matches!(fed, Fed::End) {
            self.commit(report)?;
        }
        match fed {
            Fed::Turn => {}
            Fed::Wait(wait) => {
                let wait = wait.min(self.batch_left()).clamp(LEAST_WAIT, IDLE_WAIT);
                for event in self.group.poll(wait) {
                    self.answer(event, report)?;
                }
            }
            Fed::End => self.end = self.cursor,
        }
        self.show(report);
        Ok(if self.is_complete() && self.context.when_done == WhenDone::Return { Some(Ended::Completed) } else { None })
    }

    /// Returns whether every slot of ours is committed up to the source's end, which slots that come or go back can undo.
    fn is_complete(&self) -> bool {
        self.pending.is_empty() && self.end.is_some_and(|end| self.positions.has_reached(end))
    }

    /// Returns how long to wait for the group: not at all while there are rows to feed.
    fn idle_wait(&self) -> Duration {
        let is_idle = self.positions.is_empty() && self.pending.is_empty();
        if is_idle || self.is_complete() || self.stale_since.is_some() || self.retry_at.is_some() { IDLE_WAIT } else { Duration::ZERO }
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

    /// Looks at the topic when no commit has done so for a while. A broker that does not answer is asked again.
    fn check_ground(&mut self, report: &mut Report) -> Result<(), Failure> {
        if self.grounded.elapsed() < GROUND_INTERVAL {
            return Ok(());
        }
        Report::beat(self.context);
        self.grounded = Instant::now();
        match setup::is_same(self.context, &self.sender, self.ground) {
            Ok(true) => Ok(()),
            Ok(false) => {
                if self.context.delivery == Delivery::Idempotent {
                    // What was sent cannot be taken back, so it is noted.
                    self.commit(report)?;
                }
                Err(Failure::Moved)
            }
            Err(error) => {
                debug!(error = %error, "cannot look at the topic");
                Ok(())
            }
        }
    }

    fn is_batch_due(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.records >= self.allowance.records()) || self.batch_left().is_zero()
    }

    fn batch_left(&self) -> Duration {
        let interval = self.context.settings.transaction_interval;
        self.batch.as_ref().map_or(IDLE_WAIT, |batch| interval.saturating_sub(batch.opened.elapsed()))
    }

    /// Asks whether the brokers are back. A client says when the last one goes; that one is back shows in what it answers, and a
    /// producer that has nothing to send is answered nothing.
    fn look_for_brokers(&mut self, report: &mut Report) {
        let is_away = self.context.clients.trouble().is_some_and(|trouble| trouble.reason == crate::kafka::Reason::BrokerUnreachable);
        let is_asked = self.asked_at.is_some_and(|at| at.elapsed() < ASK_EVERY);
        if !is_away || is_asked || self.idle_wait().is_zero() {
            return;
        }
        self.asked_at = Some(Instant::now());
        if self.group.is_answered(ANSWER_WAIT) {
            report.succeeded(self.context);
        }
    }

    fn show(&mut self, report: &mut Report) {
        self.look_for_brokers(report);
        let state = if self.positions.is_empty() {
            if self.group.metadata().is_some() && self.pending.is_empty() { State::Idle } else { State::Joining }
        } else if self.is_complete() {
            State::Completed
        } else {
            State::Running
        };
        let (cursor, queued) = (self.cursor.unwrap_or(0), self.sender.queued());
        let standing = Standing { state, positions: &self.positions, cursor, end: self.end, queued, throttle: self.sender.throttle() };
        report.stands(self.context, &standing);
    }
}

/// Waits for a producer id; false when it is told to stop before.
fn start_transactions(context: &Context, sender: &Sender) -> bool {
    loop {
        if context.shutdown.is_cancelled() {
            return false;
        }
        context.status.beat(stockpipeline_program::clock::boottime_millis());
        match transaction::init(sender) {
            Ok(()) => return true,
            Err(error) => {
                warn!(error = %error, "transactions cannot be started; trying again");
                std::thread::sleep(RETRY_PAUSE);
            }
        }
    }
}
