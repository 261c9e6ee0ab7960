//! The state of one Kafka partition that the sink owns. Pure: it does no I/O, the conductor acts on what it says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockpipeline::plan::{Plan, SealReason, ZoneName};

use super::silence::Silence;
use super::stall::Stall;
use crate::batch::{Buffer, Counts, Full};
use crate::source::{Message, Placement, Run};
use crate::status::Reason;

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its place in the ledger is being looked up.
    Looking,
    /// Records are taken.
    Active,
    /// The log start has overtaken the position; the watermarks are being asked for.
    Measuring,
    /// Nothing more is done for it until what was found is mended.
    Stopped(Reason),
}

/// The buffer of a partition, or a note that an encoder has it.
pub(super) enum Slot {
    Idle(Box<Buffer>),
    Busy {
        /// Memory of the buffer when the encoder got it.
        buffer_bytes: usize,
        /// Memory of the messages that go into it.
        filling_bytes: usize,
    },
}

/// A sealed range on its way to S3.
#[derive(Default)]
pub(super) struct Flight {
    /// Memory that it holds.
    pub(super) bytes: usize,
    /// Memory that an encoder adds to it; 0 once its bytes are made.
    pub(super) encoding_bytes: usize,
    /// Whether its bytes are made already.
    pub(super) encoded: bool,
    /// Kafka timestamp of its first record.
    pub(super) oldest_millis: Option<i64>,
    /// What was met in its records.
    pub(super) counts: Counts,
    /// Zone, rows and bytes of each object.
    pub(super) objects: Vec<(ZoneName, u64, usize)>,
}

/// What is known of a partition.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own: assigned, paused, replay passed, throttled, leaderless, marking"
)]
pub(super) struct Partition {
    pub(super) id: i32,
    /// Another one for every life of the partition: results of an older life are thrown away.
    pub(super) generation: u64,
    pub(super) phase: Phase,
    /// Whether librdkafka has it assigned.
    pub(super) assigned: bool,
    pub(super) paused: bool,
    /// Why nothing more is taken: the partition is given back, or the worker ends.
    pub(super) leaving: Option<SealReason>,
    /// First offset of the next plan.
    pub(super) first: i64,
    /// Offset of the next record to come from Kafka.
    pub(super) next: i64,
    pub(super) slot: Slot,
    /// Last offset in the buffer, with the leader epoch of that record.
    pub(super) buffered: Option<(i64, Option<i32>)>,
    /// When the buffer's first record came.
    pub(super) opened_at: Option<Instant>,
    /// Kafka timestamp of the first record that is buffered or pending.
    pub(super) oldest_millis: Option<i64>,
    pub(super) full: Option<Full>,
    /// Taken, not yet in the buffer.
    pub(super) pending: VecDeque<Message>,
    pub(super) pending_bytes: usize,
    pub(super) asked: Option<SealReason>,
    pub(super) flight: Option<Flight>,
    /// The plan that has to be executed again.
    pub(super) replay: Option<Arc<Plan>>,
    /// Whether a record behind the replayed plan's range, or the end of the partition, was met.
    pub(super) replay_passed: bool,
    /// Leader epoch of the last plan's end, until the broker was asked whether the log was cut below it.
    pub(super) unchecked_epoch: Option<i32>,
    /// Leader epoch of the record before `next`, where it is known: every seek says it, else the broker would not tell that the log was cut.
    pub(super) epoch: Option<i32>,
    /// When records were met that cannot be read; nothing is taken from then on.
    pub(super) blocked_at: Option<Instant>,
    /// Whether answers come and hold nothing.
    pub(super) stall: Stall,
    /// Whether this replay waits for another one, since both do not fit into memory.
    pub(super) throttled: bool,
    /// First offset that is not durable.
    pub(super) durable: i64,
    pub(super) log_end: Option<i64>,
    /// Where statistics said last that the log ends.
    pub(super) observed_end: Option<i64>,
    /// Why the broker gives us nothing of it, a right that we lack, and when it said so or was asked again. librdkafka tells it once for
    /// each start of fetching, so it is kept until something comes.
    pub(super) refused: Option<(String, Instant)>,
    /// Whether it has no leader; where its log ends is not known then.
    pub(super) leaderless: bool,
    /// Since when it is asked for in vain, and whom.
    pub(super) silence: Option<Silence>,
    /// When a broker has left a question without an answer, without which it cannot go on.
    pub(super) unanswered_at: Option<Instant>,
    /// Where the end of the partition was met last.
    pub(super) end: Option<i64>,
    /// Offset at which a gap behind the end was looked at once more.
    looked_at: Option<i64>,
    /// The last plan that was completed here, and whether its done mark is stored or on its way.
    pub(super) completed: Option<(Arc<Plan>, bool)>,
    pub(super) completed_at: Instant,
    /// Whether a done mark is on its way.
    pub(super) marking: bool,
    /// Boot time in milliseconds at which the end of the chain was known for certain.
    pub(super) tail_known_at: u64,
    pub(super) cleaned_up_at: Option<Instant>,
    /// When it was stopped.
    pub(super) stopped_at: Option<Instant>,
    /// How often it was stopped since it last completed a plan.
    pub(super) stops: u32,
}

impl Partition {
    pub(super) fn looking(id: i32, generation: u64, buffer: Buffer, now: Instant) -> Self {
        Self {
            id,
            generation,
            phase: Phase::Looking,
            assigned: false,
            paused: false,
            leaving: None,
            first: 0,
            next: 0,
            slot: Slot::Idle(Box::new(buffer)),
            buffered: None,
            opened_at: None,
            oldest_millis: None,
            full: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            asked: None,
            flight: None,
            replay: None,
            replay_passed: false,
            unchecked_epoch: None,
            epoch: None,
            blocked_at: None,
            stall: Stall::default(),
            throttled: false,
            durable: 0,
            log_end: None,
            observed_end: None,
            refused: None,
            leaderless: false,
            silence: None,
            unanswered_at: None,
            end: None,
            looked_at: None,
            completed: None,
            completed_at: now,
            marking: false,
            tail_known_at: 0,
            cleaned_up_at: None,
            stopped_at: None,
            stops: 0,
        }
    }

    /// Takes the records of a run that continue the partition, and drops what is not ours (any more).
    pub(super) fn accept(&mut self, run: Run) {
        self.refused = None;
        if !self.takes() {
            return;
        }
        self.pending.reserve(run.messages.len());
        // One question a run: the epochs of a log never fall.
        self.epoch = run.messages.last().filter(|last| last.offset() >= self.next).map_or(self.epoch, Message::leader_epoch);
        for message in run.messages {
            if message.offset() >= self.next {
                if self.oldest_millis.is_none() {
                    self.oldest_millis = message.record().timestamp_millis;
                }
                self.next = message.offset() + 1;
                self.pending_bytes += message.bytes();
                self.pending.push_back(message);
            }
        }
    }

    /// Notes that everything below `offset` was delivered to us and nothing more is there for now; returns whether that makes
    /// more of the log durable.
    pub(super) fn reached_end(&mut self, offset: i64) -> bool {
        self.refused = None;
        self.log_end = Some(self.log_end.unwrap_or(offset).max(offset));
        // A partition that leaves drops what it is given, so an end behind that is not one of what it has.
        if !self.takes() || offset < self.next {
            return false;
        }
        if self.replay.as_ref().is_some_and(|plan| offset > plan.last) {
            self.replay_passed = true;
        }
        self.end = Some(offset);
        self.settle_end()
    }

    /// Returns whether all that the log held when its end was met is durable.
    pub(super) fn is_through(&self) -> bool {
        let is_taken = self.phase == Phase::Active && self.replay.is_none() && self.is_drained();
        is_taken && self.end.is_some_and(|end| end <= self.durable)
    }

    /// Makes durable what lies between the last stored record and the end that was met behind it: transaction markers take
    /// offsets, too. Returns whether that makes more of the log durable.
    pub(super) fn settle_end(&mut self) -> bool {
        let Some(end) = self.end.filter(|end| *end >= self.next && *end > self.durable) else { return false };
        if self.replay.is_some() || !self.is_drained() {
            return false;
        }
        self.durable = end;
        true
    }

    /// Returns whether a run starts behind the end that was met, with offsets left out between. They may hold no record for us
    /// (aborted transactions, compaction), or librdkafka's position was moved past one: asked once for each such place.
    pub(super) fn skips_the_end(&mut self, run: &Run) -> bool {
        let gap = run.messages.first().is_some_and(|first| first.offset() > self.next);
        let suspicious = self.phase == Phase::Active && gap && self.end == Some(self.next) && self.looked_at != Some(self.next);
        if suspicious {
            self.looked_at = Some(self.next);
        }
        suspicious
    }

    /// Stops taking records; what is in the buffer is still stored, what waits for it is read by the next owner.
    pub(super) fn stop_taking(&mut self, reason: SealReason) {
        self.leaving = Some(reason);
        self.drops(self.pending.len());
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Takes back what had no room in the buffer; a partition that leaves drops it.
    pub(super) fn take_rest(&mut self, mut rest: VecDeque<Message>, bytes: usize) {
        if self.leaving.is_some() {
            self.drops(rest.len());
            return;
        }
        rest.append(&mut self.pending);
        self.pending = rest;
        self.pending_bytes += bytes;
    }

    /// Notes that so many records are dropped that were taken: the end that was met lies behind them.
    fn drops(&mut self, records: usize) {
        if records > 0 {
            self.end = None;
        }
    }

    /// Returns where to fetch again with the leader epoch of the last plan's end, once: the broker then tells whether the log was cut
    /// below it, which librdkafka does not ask at an assignment. Every later placement says it, too, until a record has come.
    pub(super) fn check_the_log(&mut self) -> Option<Placement> {
        self.epoch = Some(self.unchecked_epoch.take()?);
        Some(self.placement())
    }

    /// Returns whether nothing is buffered, pending or on its way.
    pub(super) fn is_drained(&self) -> bool {
        self.buffered.is_none() && self.pending.is_empty() && self.flight.is_none() && self.is_idle()
    }

    /// Returns whether a partition that is leaving can be given back.
    pub(super) fn is_released(&self) -> bool {
        let stored = self.is_idle() && self.flight.is_none() && (self.buffered.is_none() || self.replay.is_some());
        let marked = self.completed.as_ref().is_none_or(|(_, marked)| *marked) && !self.marking;
        match self.phase {
            Phase::Looking | Phase::Stopped(_) => true,
            // What it has taken is still stored; the done mark is left to those who know where the log stands.
            Phase::Measuring => stored,
            Phase::Active => stored && marked,
        }
    }

    /// Returns whether no encoder has the buffer.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.slot, Slot::Idle(_))
    }

    /// Returns whether pending records can go into the buffer now.
    pub(super) fn can_fill(&self) -> bool {
        let room = self.full.is_none() && self.asked.is_none() && self.leaving.is_none();
        let replayed = self.replay.is_some() && self.replay_is_whole();
        self.phase == Phase::Active && self.is_idle() && !self.pending.is_empty() && room && !replayed
    }

    /// Returns why the buffer has to be sealed now, if it has to.
    pub(super) fn seal_reason(&self, now: Instant, max_interval: Duration) -> Option<SealReason> {
        let sealable = self.is_idle() && self.flight.is_none() && self.replay.is_none() && self.buffered.is_some();
        if !sealable || !matches!(self.phase, Phase::Active | Phase::Measuring) {
            return None;
        }
        if let Some(full) = self.full {
            return Some(match full {
                Full::Records => SealReason::Records,
                Full::Bytes => SealReason::Bytes,
                Full::HivePartitions => SealReason::HivePartitions,
            });
        }
        let expired = self.opened_at.is_some_and(|opened| now.duration_since(opened) >= max_interval);
        self.leaving.or(self.asked).or_else(|| expired.then_some(SealReason::Interval))
    }

    /// Returns whether everything of the replayed plan's range that Kafka has is in the buffer.
    pub(super) fn replay_is_ready(&self) -> bool {
        self.phase == Phase::Active && self.is_idle() && self.flight.is_none() && self.leaving.is_none() && self.replay_is_whole()
    }

    fn replay_is_whole(&self) -> bool {
        let Some(plan) = &self.replay else { return false };
        let whole = self.replay_passed || self.buffered.is_some_and(|(last, _)| last >= plan.last);
        whole && self.pending.front().is_none_or(|message| message.offset() > plan.last)
    }

    /// Returns whether fetching has to stop until the range on its way is stored.
    pub(super) fn should_pause(&self) -> bool {
        self.phase == Phase::Active && !self.pending.is_empty() && self.is_idle() && !self.can_fill()
    }

    /// Puts an empty buffer in place of the one that was taken out, for the range that starts at `first`.
    pub(super) fn start_range(&mut self, first: i64, buffer: Buffer) {
        self.first = first;
        self.slot = Slot::Idle(Box::new(buffer));
        self.buffered = None;
        self.opened_at = None;
        self.oldest_millis = self.pending.front().and_then(|message| message.record().timestamp_millis);
        self.full = None;
        self.asked = None;
        self.throttled = false;
    }

    /// Returns the memory held: buffer, pending records and what is on its way.
    pub(super) fn memory_bytes(&self) -> usize {
        self.buffer_bytes() + self.waiting_bytes() + self.flight.as_ref().map_or(0, |flight| flight.bytes)
    }

    /// Returns the memory of the buffer alone.
    pub(super) fn buffer_bytes(&self) -> usize {
        match &self.slot {
            Slot::Idle(buffer) => buffer.memory_bytes(),
            Slot::Busy { buffer_bytes, .. } => *buffer_bytes,
        }
    }

    /// Returns the memory of the messages that are not yet in the buffer, whether an encoder has them or not.
    pub(super) fn waiting_bytes(&self) -> usize {
        match &self.slot {
            Slot::Idle(_) => self.pending_bytes,
            Slot::Busy { filling_bytes, .. } => self.pending_bytes + filling_bytes,
        }
    }

    /// Returns the memory that an encoder will add to the sealed buffer that it has, or that waits for one.
    pub(super) fn encoding_bytes(&self) -> usize {
        self.flight.as_ref().map_or(0, |flight| flight.encoding_bytes)
    }

    /// Returns how many records are known to be in the log and not yet durable; None until it is known what is durable, and while nobody
    /// tells where the log ends.
    pub(super) fn lag(&self) -> Option<i64> {
        let is_silent = self.leaderless || self.silence.as_ref().is_some_and(|silence| silence.is_long);
        let is_told = self.phase != Phase::Looking && self.refused.is_none() && !is_silent;
        self.log_end.filter(|_| is_told).map(|end| (end - self.durable).max(0))
    }

    /// Notes where statistics say that the log ends. They say again what a broker told last, also after the log was cut below that, so only what
    /// they have not said before is news.
    pub(super) fn observe_end(&mut self, end: i64) {
        if self.observed_end.replace(end) != Some(end) {
            self.log_end = Some(end.max(self.log_end.unwrap_or(end)));
        }
    }

    /// Returns where fetching goes on.
    pub(super) fn placement(&self) -> Placement {
        Placement { partition: self.id, offset: self.next, leader_epoch: self.epoch }
    }

    /// Returns the first offset that the log may not lack: behind the last record that was taken, control records may be gone.
    pub(super) fn known_end(&self) -> i64 {
        self.end.filter(|end| *end >= self.next).unwrap_or(self.next)
    }

    /// Returns this partition in a new life, in which nothing more is done for it. What is durable stays known, so that its lag does.
    pub(super) fn stopped(&self, phase: Phase, generation: u64, buffer: Buffer, now: Instant) -> Self {
        let Self { assigned, durable, log_end, observed_end, leaving, leaderless, stops, .. } = *self;
        Self {
            phase,
            assigned,
            leaving,
            durable,
            log_end,
            observed_end,
            leaderless,
            stops,
            ..Self::looking(self.id, generation, buffer, now)
        }
    }

    /// Returns the Kafka timestamp of the oldest record that was taken and is not durable.
    pub(super) fn oldest_millis(&self) -> Option<i64> {
        self.flight.as_ref().and_then(|flight| flight.oldest_millis).or(self.oldest_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Limits;
    use crate::batch::tests::{PARQUET, rules};

    /// A partition that has taken everything up to `next`, of which nothing is buffered.
    fn at(next: i64) -> Partition {
        let buffer = Buffer::new(Arc::new(rules(PARQUET)), 0, Limits::NONE);
        let mut partition = Partition::looking(0, 1, buffer, Instant::now());
        partition.phase = Phase::Active;
        (partition.first, partition.next, partition.durable) = (next, next, next);
        partition
    }

    #[test]
    fn an_end_behind_control_records_makes_them_durable() {
        let mut partition = at(10);
        assert!(partition.reached_end(12));
        assert_eq!((partition.durable, partition.known_end(), partition.lag()), (12, 12, Some(0)));
        assert!(partition.is_through());
    }

    #[test]
    fn a_partition_that_leaves_calls_nothing_durable_that_it_drops() {
        let mut partition = at(10);
        partition.stop_taking(SealReason::Revoked);
        // Records 10 to 14 come, are dropped, and the end behind them is met.
        assert!(!partition.reached_end(15));
        assert!(!partition.settle_end());
        assert_eq!((partition.durable, partition.lag()), (10, Some(5)));
    }

    #[test]
    fn a_partition_that_leaves_keeps_the_end_of_what_it_has_taken() {
        let mut partition = at(10);
        partition.flight = Some(Flight::default());
        assert!(!partition.reached_end(12));
        assert!(!partition.is_through(), "what it has taken is on its way");
        partition.stop_taking(SealReason::Revoked);
        partition.flight = None;
        assert!(partition.settle_end());
        assert_eq!(partition.durable, 12);
    }

    #[test]
    fn a_partition_that_leaves_forgets_the_end_behind_what_an_encoder_gives_back() {
        let mut partition = at(10);
        partition.slot = Slot::Busy { buffer_bytes: 0, filling_bytes: 0 };
        assert!(!partition.reached_end(10));
        partition.next = 15;
        assert!(!partition.reached_end(15));
        partition.stop_taking(SealReason::Shutdown);
        // A limit of the rotation falls within what the encoder has; the records behind it are read by the next owner.
        partition.drops(5);
        partition.slot = Slot::Idle(Box::new(Buffer::new(Arc::new(rules(PARQUET)), 0, Limits::NONE)));
        assert!(!partition.settle_end());
        assert_eq!((partition.durable, partition.lag()), (10, Some(5)));
    }

    #[test]
    fn a_partition_that_is_measured_is_held_until_what_it_has_is_stored() {
        let mut partition = at(10);
        partition.phase = Phase::Measuring;
        partition.stop_taking(SealReason::Revoked);
        assert!(partition.is_released());
        partition.buffered = Some((12, None));
        assert!(!partition.is_released());
        partition.buffered = None;
        partition.flight = Some(Flight::default());
        assert!(!partition.is_released());
        partition.flight = None;
        partition.slot = Slot::Busy { buffer_bytes: 0, filling_bytes: 0 };
        assert!(!partition.is_released());
    }

    #[test]
    fn every_placement_says_the_epoch_of_the_last_plan_until_a_record_has_come() {
        let mut partition = at(10);
        assert_eq!((partition.check_the_log(), partition.placement().leader_epoch), (None, None));
        partition.unchecked_epoch = Some(3);
        let expected = Placement { partition: 0, offset: 10, leader_epoch: Some(3) };
        assert_eq!(partition.check_the_log(), Some(expected));
        assert_eq!(partition.check_the_log(), None, "once");
        // A rebalance, or a pause, comes before the broker's answer.
        assert_eq!(partition.placement(), expected);
    }

    #[test]
    fn lag_is_unknown_while_nobody_tells_where_the_log_ends() {
        let mut partition = at(10);
        partition.log_end = Some(30);
        partition.leaderless = true;
        assert_eq!(partition.lag(), None);
        partition.leaderless = false;
        partition.refused = Some(("TopicAuthorizationFailed".to_owned(), Instant::now()));
        assert_eq!(partition.lag(), None);
        partition.reached_end(30);
        assert!(partition.refused.is_none());
        assert_eq!(partition.lag(), Some(0));
    }

    #[test]
    fn an_end_that_statistics_say_again_is_no_news_of_a_log_that_was_cut() {
        let mut partition = at(10);
        partition.observe_end(30);
        assert_eq!(partition.lag(), Some(20));
        // What a broker answers when it is asked.
        partition.log_end = Some(10);
        partition.observe_end(30);
        let buffer = Buffer::new(Arc::new(rules(PARQUET)), 0, Limits::NONE);
        partition = partition.stopped(Phase::Active, 2, buffer, Instant::now());
        partition.observe_end(30);
        assert_eq!(partition.lag(), Some(0));
        partition.observe_end(10);
        assert_eq!(partition.lag(), Some(0));
        partition.observe_end(12);
        assert_eq!(partition.lag(), Some(2));
    }

    #[test]
    fn lag_is_unknown_until_it_is_known_what_is_durable_and_stays_known_when_the_partition_stops() {
        let mut partition = at(10);
        partition.log_end = Some(30);
        let buffer = || Buffer::new(Arc::new(rules(PARQUET)), 0, Limits::NONE);
        let looking = partition.stopped(Phase::Looking, 2, buffer(), Instant::now());
        assert_eq!(looking.lag(), None);
        let stopped = partition.stopped(Phase::Stopped(Reason::PlanMismatch), 3, buffer(), Instant::now());
        assert_eq!((stopped.durable, stopped.lag()), (10, Some(20)));
    }
}
