//! The life of a range: filled, sealed, encoded, planned and written, completed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use stockpipeline::plan::{PLAN_VERSION, Plan, PlannedObject, SealReason};
use stockpipeline_program::clock::{wall_micros, wall_millis};

use super::conductor::Conductor;
use super::deliver::{self, Beside};
use super::partition::{Flight, Partition, Phase, Slot};
use super::pool::{Encoded, Filled, Job, Origin};
use super::work::{Delivery, Ticket, Work};
use super::{SinkError, ledger_reason};
use crate::batch::Buffer;
use crate::error::line;
use crate::failpoint::Point;
use crate::ledger::{LedgerError, is_executable};
use crate::status::Reason;

/// After this long without a completed plan, the last one gets its done mark, so that the next owner need not look at its objects.
const IDLE_UNTIL_MARKED: Duration = Duration::from_mins(10);
/// How often a partition's expired plans are looked for.
const CLEAN_UP_EVERY: Duration = Duration::from_hours(1);

impl Conductor {
    /// Moves every partition on by what it is ready for.
    pub(super) fn rotate(&mut self) {
        let now = Instant::now();
        let ids: Vec<i32> = self.partitions.keys().copied().collect();
        for id in ids {
            self.end_of_source(id);
            self.seal(id, now);
            self.fill(id);
            self.ask_again(id, now);
            self.pace(id);
            self.mark_done(id, now);
            self.clean_up(id, now);
        }
    }

    /// Hands pending records to an encoder.
    fn fill(&mut self, id: i32) {
        let Some(partition) = self.partitions.get_mut(&id).filter(|partition| partition.can_fill()) else { return };
        let ticket = Ticket { partition: id, generation: partition.generation };
        let Some(buffer) = partition.take_buffer() else { return };
        let messages = std::mem::take(&mut partition.pending);
        partition.pending_bytes = 0;
        let until = partition.replay.as_ref().map(|plan| plan.last);
        self.pool.submit(Job::Fill { ticket, buffer, messages, until, counted: self.report.counted_letters(id) });
    }

    pub(super) fn filled(&mut self, ticket: Ticket, filled: Filled) {
        let now = Instant::now();
        let Some(partition) = self.current(ticket) else { return };
        if filled.last.is_some() {
            partition.buffered = filled.last;
            partition.opened_at.get_or_insert(now);
        }
        partition.slot = Slot::Idle(filled.buffer);
        partition.full = filled.full;
        partition.replay_passed |= filled.passed;
        partition.take_rest(filled.rest, filled.rest_bytes);
        let is_new = partition.replay.is_none();
        if let Some((last, _)) = filled.last.filter(|_| is_new) {
            self.report.letters_counted(ticket.partition, last);
            self.held |= self.report.dead_letters(&self.context, filled.new_letters, now);
        }
    }

    /// Seals the buffer where a limit, the clock, a request or a plan says so.
    fn seal(&mut self, id: i32, now: Instant) {
        let max_interval = self.context.pipeline.sink.rotation.max_interval;
        let Some(partition) = self.partitions.get(&id) else { return };
        let (plan, origin) = if partition.replay_is_ready() {
            let plan = partition.replay.as_deref().expect("a replay that is ready has its plan").clone();
            if !is_executable(&plan) {
                let message = format!(
                    "the plan at offset {} was sealed by a newer decoder ({}); upgrade this worker",
                    plan.first, plan.rules.decoder
                );
                self.stop(id, Reason::PlanVersionUnknown, message);
                return;
            }
            (plan, Origin::Replay)
        } else {
            let Some(reason) = partition.seal_reason(now, max_interval) else { return };
            let Some((last, leader_epoch)) = partition.buffered else { return };
            (self.new_plan(partition, last, leader_epoch, reason), Origin::New)
        };
        let replacement = self.buffer(id);
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let ticket = Ticket { partition: id, generation: partition.generation };
        let Some(buffer) = partition.take_buffer() else { return };
        let (bytes, encoding_bytes) = (buffer.memory_bytes(), buffer.encoding_bytes());
        let counts = buffer.counts().clone();
        partition.flight = Some(Flight { bytes, encoding_bytes, oldest_millis: partition.oldest_millis, counts, ..Flight::default() });
        partition.replay = None;
        partition.replay_passed = false;
        partition.start_range(plan.last + 1, replacement);
        self.pool.submit(Job::Encode { ticket, buffer, plan, origin });
    }

    fn new_plan(&self, partition: &Partition, last: i64, leader_epoch: Option<i32>, reason: SealReason) -> Plan {
        Plan {
            version: PLAN_VERSION,
            epoch: self.lookup.ledger.keys().epoch().clone(),
            partition: partition.id,
            first: partition.first,
            last,
            sealed_at_micros: wall_micros(),
            reason,
            worker: self.context.worker.clone(),
            leader_epoch,
            rules: (*self.context.rules).clone(),
            objects: Vec::new(),
        }
    }

    /// Sends an encoded range to S3, unless it is not what its plan lists.
    pub(super) fn encoded(&mut self, ticket: Ticket, encoded: Encoded) {
        let Encoded { mut plan, listed, bodies, origin } = encoded;
        let Some(partition) = self.current(ticket) else { return };
        if let Some(flight) = &mut partition.flight {
            flight.encoded = true;
            flight.encoding_bytes = 0;
            flight.bytes = bodies.iter().map(|body| body.bytes.len()).sum();
            flight.objects = bodies.iter().map(|body| (body.object.zone, body.object.rows, body.bytes.len())).collect();
        }
        let tail_known_at = partition.tail_known_at;
        let trusted_for = u64::try_from(self.context.tail_trusted_for.as_millis()).unwrap_or(u64::MAX);
        if matches!(origin, Origin::Replay) {
            let gone = missing_rows(&plan.objects, &listed);
            if let Some(gone @ 1..) = gone {
                self.report.compacted(&plan, gone);
            }
            if gone.is_none() {
                let message = format!(
                    "partition {}, offsets {} to {}: the plan lists {} but the records give {}; nothing was written. \
                     This is a bug or a plan that was changed by hand: keep the plan and the topic, and report both",
                    plan.partition,
                    plan.first,
                    plan.last,
                    summary(&listed),
                    summary(&plan.objects)
                );
                self.stop(ticket.partition, Reason::PlanMismatch, message);
                return;
            }
            plan.objects = listed;
        }
        let (lookup, sender) = (self.lookup.clone(), self.sender.clone());
        let announced = self.context.partitions.as_ref().map(|partitions| partitions.announce(&plan)).unwrap_or_default();
        let beside = Beside { failpoints: self.context.failpoints.clone(), announced };
        self.spawn(ticket.partition, async move {
            let ledger = &lookup.ledger;
            let result = match origin {
                _ if !lookup.is_same_topic().await => Ok(Delivery::TopicReplaced),
                Origin::Replay => deliver::write(ledger, plan, bodies, tail_known_at, beside).await,
                Origin::New => deliver::plan_and_write(ledger, plan, bodies, tail_known_at.saturating_add(trusted_for), beside).await,
            };
            report(&sender, Work::Delivered(ticket, result));
        });
    }

    pub(super) fn delivered(&mut self, ticket: Ticket, result: Result<Delivery, LedgerError>) -> Result<(), SinkError> {
        let Some(leaves) = self.current(ticket).map(|partition| partition.leaving.is_some()) else { return Ok(()) };
        match result {
            Ok(Delivery::Stored(plan, known_at)) => self.complete(ticket, &plan, known_at),
            Ok(Delivery::TopicReplaced) => return Err(SinkError::TopicReplaced { topic: self.context.pipeline.kafka.topic.name.clone() }),
            // Its next owner executes the plan.
            Ok(Delivery::Adopted(plan)) if leaves => {
                tracing::info!(
                    partition = plan.partition,
                    first = plan.first,
                    "another worker had decided this rotation; the next owner executes it"
                );
                self.let_go(ticket.partition);
            }
            Ok(Delivery::Adopted(plan)) if !self.releases.is_empty() => self.later(Work::Delivered(ticket, Ok(Delivery::Adopted(plan)))),
            Ok(Delivery::Adopted(plan)) => {
                tracing::info!(
                    partition = plan.partition,
                    first = plan.first,
                    last = plan.last,
                    worker = plan.worker,
                    "another worker had decided this rotation; executing its plan"
                );
                self.context.metrics.plan_adopted();
                return self.restart(ticket.partition);
            }
            Ok(Delivery::Overtaken(plan)) => {
                let message = format!(
                    "the chain of partition {} had gone on behind offset {} while this worker slept; its plan was withdrawn",
                    plan.partition, plan.first
                );
                self.stop(ticket.partition, Reason::Fenced, message);
            }
            Err(error) => self.stop(ticket.partition, ledger_reason(&error), line(&error)),
        }
        Ok(())
    }

    /// Notes that a range is durable. The group's offset comes after the objects, never before.
    fn complete(&mut self, ticket: Ticket, plan: &Arc<Plan>, known_at: u64) {
        let Some(partition) = self.current(ticket) else { return };
        let flight = partition.flight.take().unwrap_or_default();
        partition.stops = 0;
        partition.durable = partition.durable.max(plan.last + 1);
        partition.tail_known_at = known_at;
        partition.completed_at = Instant::now();
        partition.completed = Some((Arc::clone(plan), false));
        partition.settle_end();
        self.report.heal(ticket.partition);
        self.note_durable(ticket);
        self.context.failpoints.hit(Point::CommitSent);
        self.context.failpoints.hit(Point::Committed);
        self.report.completed(&self.context, plan, &flight);
    }

    /// Seals the rest of a finite source whose producer lives in this process.
    fn end_of_source(&mut self, id: i32) {
        let Some(progress) = &self.context.progress else { return };
        if !progress.produced_all.load(Ordering::Acquire) {
            return;
        }
        let produced =
            usize::try_from(id).ok().and_then(|index| progress.partitions.get(index)).map(|p| p.produced.load(Ordering::Acquire));
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if produced.is_some_and(|produced| partition.next >= produced) && partition.pending.is_empty() && partition.buffered.is_some() {
            partition.asked.get_or_insert(SealReason::EndOfSource);
        }
    }

    /// Stops and starts fetching, so that a partition that waits for S3 holds no more than one batch of records.
    fn pace(&mut self, id: i32) {
        let Some(partition) = self.partitions.get_mut(&id).filter(|partition| partition.assigned) else { return };
        if (partition.should_pause() || partition.throttled) && !partition.paused {
            partition.paused = true;
            self.source.pause(&[id]);
        } else if partition.paused && !partition.throttled && partition.takes() && partition.pending.is_empty() {
            partition.paused = false;
            self.source.resume(partition.placement());
        }
    }

    /// Marks the last plan as done before the partition goes, and when it has been idle for long.
    fn mark_done(&mut self, id: i32, now: Instant) {
        let Some(partition) = self.partitions.get_mut(&id).filter(|partition| partition.phase == Phase::Active) else { return };
        let due = partition.leaving.is_some() || now.duration_since(partition.completed_at) >= IDLE_UNTIL_MARKED;
        let stored = partition.flight.is_none() && partition.is_idle() && partition.buffered.is_none();
        if !due || !stored || partition.marking {
            return;
        }
        let ticket = Ticket { partition: id, generation: partition.generation };
        let Some((plan, marked @ false)) = &mut partition.completed else { return };
        *marked = true;
        let (plan, end) = (Arc::clone(plan), partition.durable);
        partition.marking = true;
        let (ledger, sender) = (self.lookup.ledger.clone(), self.sender.clone());
        self.spawn(id, async move {
            // A missing mark costs the next owner a few HEADs, nothing else.
            if let Err(error) = ledger.mark_done(&plan, end).await {
                tracing::warn!(partition = plan.partition, error = line(&error), "failed to mark a plan as done");
            }
            report(&sender, Work::Marked(ticket));
        });
    }

    /// Deletes expired plans, now and then, beside everything else.
    fn clean_up(&mut self, id: i32, now: Instant) {
        let Some(partition) = self.partitions.get_mut(&id).filter(|p| p.phase == Phase::Active && p.leaving.is_none()) else { return };
        let due = partition.cleaned_up_at.is_none_or(|at| now.duration_since(at) >= CLEAN_UP_EVERY);
        if !due || partition.completed.is_none() {
            return;
        }
        partition.cleaned_up_at = Some(now);
        let (ledger, rules) = (self.lookup.ledger.clone(), self.context.pipeline.sink.ledger.clone());
        let failpoints = self.context.failpoints.clone();
        self.runtime.spawn(async move {
            failpoints.hit(Point::BeforeCleanUp);
            match ledger.clean_up(id, wall_millis(), rules.retain, rules.retain_plans as usize).await {
                Ok(0) => {}
                Ok(plans) => tracing::info!(partition = id, plans, "expired plans deleted"),
                Err(error) => tracing::warn!(partition = id, error = line(&error), "failed to delete expired plans"),
            }
        });
    }
}

impl Partition {
    /// Takes the buffer out; None while an encoder has it.
    fn take_buffer(&mut self) -> Option<Box<Buffer>> {
        let now_busy = Slot::Busy { buffer_bytes: self.buffer_bytes(), filling_bytes: self.pending_bytes };
        match std::mem::replace(&mut self.slot, now_busy) {
            Slot::Idle(buffer) => Some(buffer),
            busy @ Slot::Busy { .. } => {
                self.slot = busy;
                None
            }
        }
    }
}

/// Sends a result to the loop, which may have ended meanwhile.
pub(super) fn report(sender: &Sender<Work>, work: Work) {
    if sender.send(work).is_err() {
        tracing::debug!("work ended after its loop");
    }
}

/// Returns how many of the listed rows the records no longer give, where records that are gone (compaction) explain every
/// difference: what is computed is listed, with no more rows. None where they don't.
fn missing_rows(computed: &[PlannedObject], listed: &[PlannedObject]) -> Option<u64> {
    let rows = |objects: &[PlannedObject]| objects.iter().map(|object| object.rows).sum::<u64>();
    let explained = computed.iter().all(|object| {
        let planned = listed.iter().find(|planned| planned.key == object.key && planned.zone == object.zone);
        planned.is_some_and(|planned| object.rows <= planned.rows)
    });
    explained.then(|| rows(listed).saturating_sub(rows(computed)))
}

fn summary(objects: &[PlannedObject]) -> String {
    format!("{} objects with {} rows", objects.len(), objects.iter().map(|object| object.rows).sum::<u64>())
}
