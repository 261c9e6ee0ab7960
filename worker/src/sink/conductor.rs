//! The one loop that owns all state of a sink. It polls, decides and hands out work; it never blocks on I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use stockpipeline::plan::SealReason;
use stockpipeline_program::clock::boottime_millis;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::budget::Budget;
use super::lookup::Lookup;
use super::partition::{Partition, Phase};
use super::pool::Pool;
use super::rebalance::Release;
use super::report::Reporter;
use super::silence::Mutes;
use super::start::Started;
use super::work::{Cause, Ticket, Work};
use super::{Context, DRAIN_LIMIT, Outcome, SinkError};
use crate::failpoint::Point;
use crate::ledger::Hint;
use crate::source::{Event, Joining, Signal, Source};

/// Wait for records while nothing is on its way; also the longest delay of a time-based rotation.
const IDLE_WAIT: Duration = Duration::from_millis(20);
/// Wait for records while encoders or uploads may report at any moment.
const BUSY_WAIT: Duration = Duration::from_millis(2);
/// Share of the memory budget that fetched messages may take, and that records waiting for an encoder may take: one in this many.
const FETCHED_SHARE: usize = 8;
/// Upper bound of both.
const FETCHED_LIMIT_BYTES: usize = 64 << 20;

/// Time after which a partition that a broker refuses is fetched again.
const REFUSED_RESTS: Duration = Duration::from_secs(5);

/// The loop and everything it owns.
pub(super) struct Conductor {
    pub(super) context: Context,
    pub(super) runtime: Handle,
    pub(super) source: Source,
    pub(super) pool: Pool,
    pub(super) lookup: Lookup,
    pub(super) sender: Sender<Work>,
    pub(super) inbox: Receiver<Work>,
    pub(super) partitions: BTreeMap<i32, Partition>,
    /// Look-ups and deliveries under way, so that they can be cut short.
    pub(super) tasks: BTreeMap<i32, JoinHandle<()>>,
    pub(super) releases: Vec<Release>,
    pub(super) generations: u64,
    pub(super) budget: Budget,
    pub(super) report: Reporter,
    /// Until when the buffers may be stored after the sink was asked to stop.
    pub(super) draining: Option<Instant>,
    /// Whether nothing is taken until the worker starts anew.
    pub(super) held: bool,
    pub(super) topics_kept_at: Option<Instant>,
    /// When the topic's id was last asked for beside all decisions, and whether the answer is still to come.
    pub(super) topic_asked_at: Instant,
    pub(super) is_topic_asked: bool,
    pub(super) mutes: Mutes,
    waiting_limit_bytes: usize,
}

impl Conductor {
    pub(super) fn new(context: Context, runtime: Handle, started: Started) -> Result<Self, SinkError> {
        let (sender, inbox) = channel();
        let fetched_bytes = (context.memory_bytes / FETCHED_SHARE).clamp(1 << 20, FETCHED_LIMIT_BYTES);
        let pool = Pool::start(context.encoders, &sender).map_err(|source| SinkError::Threads { threads: context.encoders, source })?;
        let kafka = &context.pipeline.kafka;
        let source = Source::join(Joining {
            clients: context.clients.client_config(),
            callbacks: context.clients.context(),
            topic: &kafka.topic.name,
            group: &kafka.consumer_group,
            session_timeout: context.session_timeout,
            fetch_ahead_bytes: fetched_bytes,
            contact: Arc::clone(&context.contact),
        })
        .map_err(SinkError::Source)?;
        let lookup = Lookup {
            consumer: source.consumer(),
            topic: Arc::from(kafka.topic.name.as_str()),
            ledger: started.ledger,
            root: started.root,
            same_topic: Arc::default(),
            sender: sender.clone(),
            progress: context.progress.clone(),
        };
        Ok(Self {
            budget: Budget::new(context.memory_bytes),
            report: Reporter::new(&context, lookup.ledger.keys().epoch()),
            waiting_limit_bytes: fetched_bytes,
            runtime,
            source,
            pool,
            lookup,
            sender,
            inbox,
            partitions: BTreeMap::new(),
            tasks: BTreeMap::new(),
            releases: Vec::new(),
            generations: 0,
            draining: None,
            held: false,
            topics_kept_at: None,
            topic_asked_at: Instant::now(),
            is_topic_asked: false,
            mutes: Mutes::default(),
            context,
        })
    }

    /// Runs until the sink was asked to stop and has stored what it held.
    pub(super) fn run(mut self) -> Result<Outcome, SinkError> {
        loop {
            self.context.status.beat(boottime_millis());
            if self.draining.is_none() && self.context.shutdown.is_cancelled() {
                self.start_draining();
            }
            self.take();
            for event in self.source.poll() {
                self.apply(event)?;
            }
            while let Ok(work) = self.inbox.try_recv() {
                self.finish(work)?;
            }
            self.rotate();
            self.ask_refused();
            self.keep_topics();
            self.patrol()?;
            self.audit_partitions();
            self.relieve();
            self.settle_releases()?;
            self.report.publish(&self.context, &self.partitions, &self.budget, self.draining.is_some());
            if let Some(deadline) = self.draining
                && (self.is_drained() || Instant::now() >= deadline)
            {
                return self.end();
            }
        }
    }

    /// Takes records, unless there is no room for them; then waits for work to finish instead.
    fn take(&mut self) {
        // What waits for the store instead of an encoder is a batch a partition, within the budget, and no reason to hold up others.
        let waiting_bytes: usize =
            self.partitions.values().filter(|partition| !partition.should_pause()).map(Partition::waiting_bytes).sum();
        let stuck = self.budget.is_halted() || self.held || self.draining.is_some() || waiting_bytes > self.waiting_limit_bytes;
        if stuck {
            if let Ok(work) = self.inbox.recv_timeout(IDLE_WAIT)
                && self.sender.send(work).is_err()
            {
                tracing::debug!("the loop holds both ends of its inbox");
            }
            return;
        }
        let busy = self.partitions.values().any(|partition| !partition.is_idle() || partition.flight.is_some());
        let taken = self.source.take(if busy { BUSY_WAIT } else { IDLE_WAIT });
        // Partitions whose records are dropped here and fetched again: an end that was met behind those records is not reached yet.
        let mut again = Vec::new();
        for run in taken.runs {
            let Some(partition) = self.partitions.get_mut(&run.partition) else { continue };
            if again.contains(&partition.id) || partition.blocked_at.is_some() {
                continue;
            }
            if let Some(placement) = partition.check_the_log() {
                // What came before the broker's answer comes again.
                self.source.seek(&[placement]);
                again.push(partition.id);
                continue;
            }
            if partition.skips_the_end(&run) {
                self.source.seek(&[partition.placement()]);
                again.push(partition.id);
                continue;
            }
            partition.accept(run);
        }
        for signal in taken.signals {
            if !matches!(signal, Signal::End { partition, .. } | Signal::Unreadable { partition, .. } if again.contains(&partition)) {
                self.heed(signal);
            }
        }
    }

    fn heed(&mut self, signal: Signal) {
        match signal {
            Signal::End { partition, offset } => {
                let Some(partition) = self.partitions.get_mut(&partition) else { return };
                let has_more = partition.reached_end(offset);
                let ticket = Ticket { partition: partition.id, generation: partition.generation };
                if partition.is_through() {
                    self.report.heal(ticket.partition);
                }
                if has_more {
                    self.note_durable(ticket);
                }
            }
            // Where librdkafka goes on behind what it cannot read says nothing; it is told where to.
            Signal::OutOfRange { partition } | Signal::Truncated { partition } if self.is_blocked(partition) => {}
            Signal::OutOfRange { partition } => self.measure(partition, Cause::OutOfRange),
            Signal::Truncated { partition } => self.measure(partition, Cause::Truncated),
            Signal::Unreadable { partition, message } => self.block(partition, &message),
            Signal::Failed { partition, authentication, message } => {
                tracing::warn!(partition, message, "the consumer reports an error; librdkafka goes on");
                self.report.kafka_failed(&self.context, &message, authentication);
                if let Some(partition) = self.partitions.get_mut(&partition).filter(|_| authentication) {
                    partition.refused = Some((message, Instant::now()));
                }
            }
        }
    }

    /// Fetches anew, now and then, what a broker refuses: librdkafka then tells again that it is refused, or where the log ends.
    fn ask_refused(&mut self) {
        let now = Instant::now();
        for partition in self.partitions.values_mut().filter(|p| p.phase == Phase::Active && p.assigned && !p.paused) {
            let placement = partition.placement();
            if let Some((_, at)) = partition.refused.as_mut().filter(|(_, at)| now.duration_since(*at) >= REFUSED_RESTS) {
                *at = now;
                self.source.seek(&[placement]);
            }
        }
    }

    /// Tells the group and whoever watches how far a partition is durable. With the end that was met behind the last plan, the
    /// next owner does not miss the control records there once the retention has removed them.
    pub(super) fn note_durable(&mut self, ticket: Ticket) {
        let Some(partition) = self.partitions.get(&ticket.partition).filter(|p| p.generation == ticket.generation) else { return };
        if let Some((plan, _)) = partition.completed.as_ref().filter(|(plan, _)| plan.last + 1 == partition.first) {
            self.source.commit(partition.id, partition.first, &Hint::note(plan, partition.durable));
        }
        self.report.durable(partition.id, partition.durable);
    }

    fn apply(&mut self, event: Event) -> Result<(), SinkError> {
        match event {
            Event::Assigned(partitions) => self.assigned(partitions),
            Event::Revoked(partitions) => {
                self.revoked(partitions);
                Ok(())
            }
            Event::Lost(partitions) => self.lost(&partitions),
            Event::RebalanceFailed(message) => {
                tracing::warn!(message, "a rebalance failed; the group tries again");
                Ok(())
            }
            Event::Trouble { authentication, message } => {
                self.report.kafka_failed(&self.context, &message, authentication);
                Ok(())
            }
            Event::Observed(seen) => {
                for &(partition, end) in &seen.log_ends {
                    if let Some(partition) = self.partitions.get_mut(&partition) {
                        partition.observe_end(end);
                    }
                }
                for partition in self.partitions.values_mut() {
                    partition.leaderless = seen.leaderless.contains(&partition.id);
                }
                self.report.observed(&self.context, &seen);
                self.note_silence(&seen);
                self.block_stalled(&seen);
                Ok(())
            }
        }
    }

    fn finish(&mut self, work: Work) -> Result<(), SinkError> {
        match work {
            Work::Looked(ticket, result) => self.looked(ticket, result),
            Work::Measured(ticket, cause, result) => self.measured(ticket, cause, result),
            Work::Filled(ticket, filled) => {
                self.filled(ticket, filled);
                Ok(())
            }
            Work::Encoded(ticket, encoded) => {
                self.encoded(ticket, encoded);
                Ok(())
            }
            Work::Delivered(ticket, result) => self.delivered(ticket, result),
            Work::TopicsKept(report) => {
                self.report.topic(report);
                Ok(())
            }
            Work::TopicSeen { is_same } => self.topic_seen(is_same),
            Work::Unanswered { partition } => {
                if let Some(partition) = self.partitions.get_mut(&partition) {
                    partition.unanswered_at = Some(Instant::now());
                }
                Ok(())
            }
            Work::Marked(ticket) => {
                if let Some(partition) = self.current(ticket) {
                    partition.marking = false;
                }
                Ok(())
            }
        }
    }

    /// Seals the largest buffers under memory pressure.
    fn relieve(&mut self) {
        let encoding = self.encoding_bytes();
        let used = self.report.fetched_bytes() + encoding + self.partitions.values().map(Partition::memory_bytes).sum::<usize>();
        let sealed: usize = self
            .partitions
            .values()
            .map(|p| if p.asked.is_some() { p.buffer_bytes() } else { 0 } + p.flight.as_ref().map_or(0, |flight| flight.bytes))
            .sum();
        let leaving = encoding + sealed;
        let relief =
            self.partitions.values().any(|p| p.flight.is_some() || p.asked.is_some() || (p.replay.is_none() && p.buffered.is_some()));
        self.budget.observe(used, relief);
        self.throttle_replays(used, relief);
        let mut excess = self.budget.excess_bytes(used, leaving);
        while excess > 0 {
            let sealable = |p: &&mut Partition| p.phase == Phase::Active && p.asked.is_none() && p.replay.is_none() && p.buffered.is_some();
            let Some(largest) = self.partitions.values_mut().filter(sealable).max_by_key(|p| p.buffer_bytes()) else { return };
            largest.asked = Some(SealReason::Memory);
            excess = excess.saturating_sub(largest.buffer_bytes().max(1));
        }
    }

    /// Returns the memory that the encoders add to the sealed buffers that they have at a time.
    fn encoding_bytes(&self) -> usize {
        let (mut sealed, mut largest) = (0, 0);
        for bytes in self.partitions.values().map(Partition::encoding_bytes).filter(|bytes| *bytes > 0) {
            sealed += 1;
            largest = largest.max(bytes);
        }
        largest * self.context.encoders.min(sealed)
    }

    /// Lets one replay at a time come to its end where all of them do not fit into memory together: none can be sealed early.
    fn throttle_replays(&mut self, used_bytes: usize, relief: bool) {
        let exceeded = self.budget.is_exceeded(used_bytes) && !relief;
        let mut replays = self.partitions.values_mut().filter(|p| p.replay.is_some() && p.assigned);
        if let Some(first) = replays.next() {
            first.throttled = false;
        }
        for other in replays {
            other.throttled |= exceeded;
        }
    }

    fn start_draining(&mut self) {
        tracing::info!("asked to stop: storing what is buffered");
        self.context.failpoints.hit(Point::Draining);
        self.draining = Some(Instant::now() + DRAIN_LIMIT);
        for partition in self.partitions.values_mut() {
            partition.stop_taking(SealReason::Shutdown);
        }
    }

    fn is_drained(&self) -> bool {
        self.partitions.values().all(super::partition::Partition::is_released)
    }

    fn end(mut self) -> Result<Outcome, SinkError> {
        let drained = self.is_drained();
        let stopped = self.report.stopped();
        for (_, task) in std::mem::take(&mut self.tasks) {
            task.abort();
        }
        let assigned: Vec<i32> = self.partitions.values().filter(|partition| partition.assigned).map(|partition| partition.id).collect();
        let (records, source) = (self.report.committed_records(), self.source);
        // Every message has to be gone before the consumer is.
        drop((self.partitions, self.pool, self.inbox, self.lookup));
        source.release(&assigned).map_err(SinkError::Source)?;
        source.close();
        match stopped {
            Some((partition, failure)) => Err(SinkError::Stopped { partition, reason: failure.reason, message: failure.message }),
            None => Ok(Outcome { drained, records }),
        }
    }

    /// Returns the partition that some work belongs to, unless it has gone on without it.
    pub(super) fn current(&mut self, ticket: Ticket) -> Option<&mut Partition> {
        self.partitions.get_mut(&ticket.partition).filter(|partition| partition.generation == ticket.generation)
    }
}
