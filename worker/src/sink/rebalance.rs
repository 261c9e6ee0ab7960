//! Partitions that come and go: look-up, assignment, give-back, loss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockpipeline::plan::SealReason;

use super::conductor::Conductor;
use super::lookup::{LookupError, Start, Watermarks};
use super::partition::{Partition, Phase};
use super::work::{Cause, Ticket, Work};
use super::{RELEASE_LIMIT, SinkError, ledger_reason};
use crate::batch::{Buffer, Limits};
use crate::error::line;
use crate::failpoint::Point;
use crate::metrics::Rebalance;
use crate::source::Placement;
use crate::status::Reason;

/// Pause before a result that has to wait for a release is looked at again.
const LATER: Duration = Duration::from_millis(50);

/// What to do about a log that was cut.
const CUT_REMEDY: &str = "make the topic again, which gives it a new epoch, or restore the log and bump spec.lifecycle.restartNonce";

/// Partitions that the group waits for.
pub(super) struct Release {
    partitions: Vec<i32>,
    deadline: Instant,
}

impl Conductor {
    /// Answers the group at once, so that nobody waits for us, and looks up each partition before it delivers anything.
    pub(super) fn assigned(&mut self, partitions: Vec<i32>) -> Result<(), SinkError> {
        tracing::info!(?partitions, "partitions are assigned");
        self.context.metrics.rebalanced(Rebalance::Assigned);
        self.report.joined();
        self.source.assign(&[]).map_err(SinkError::Source)?;
        self.seek_kept();
        for id in partitions {
            self.look_up(id);
        }
        Ok(())
    }

    /// Starts a partition's life anew at what the ledger says.
    fn look_up(&mut self, id: i32) {
        self.forget_work(id);
        self.generations += 1;
        let ticket = Ticket { partition: id, generation: self.generations };
        let mut looking = Partition::looking(id, ticket.generation, self.buffer(id), Instant::now());
        if let Some(before) = self.partitions.get(&id) {
            (looking.stops, looking.observed_end) = (before.stops, before.observed_end);
        }
        self.partitions.insert(id, looking);
        let (lookup, sender) = (self.lookup.clone(), self.sender.clone());
        self.spawn(id, async move {
            let result = lookup.start(id).await;
            super::rotation::report(&sender, Work::Looked(ticket, result));
        });
    }

    pub(super) fn looked(&mut self, ticket: Ticket, result: Result<Start, LookupError>) -> Result<(), SinkError> {
        if self.current(ticket).is_none() {
            return Ok(());
        }
        let start = match result {
            Ok(start) => start,
            Err(LookupError::TopicReplaced { topic }) => return Err(SinkError::TopicReplaced { topic }),
            Err(LookupError::Ledger { partition, source }) => {
                self.stop(partition, ledger_reason(&source), line(&source));
                return Ok(());
            }
        };
        let Watermarks { low, high } = start.watermarks;
        let seen = start.replay.as_ref().map_or(start.first, |plan| plan.last + 1);
        if high < seen {
            let message = format!("the topic's log ends at offset {high}, but the ledger has seen it up to {seen}; {CUT_REMEDY}");
            self.stop(ticket.partition, Reason::TopicTruncated, message);
            return Ok(());
        }
        let position = start.first.max(low);
        if low > start.known_end {
            self.report.data_loss(ticket.partition, start.known_end..low);
        }
        if start.replay.is_some() {
            self.context.failpoints.hit(Point::BeforeReplay);
            self.context.metrics.plan_replayed();
        }
        let buffer = match &start.replay {
            Some(plan) => Buffer::new(Arc::new(plan.rules.clone()), ticket.partition, Limits::NONE),
            None => self.buffer(ticket.partition),
        };
        let sealed_at_micros = start.finished.as_ref().map(|(plan, _)| plan.sealed_at_micros);
        let (draining, embedded) = (self.draining.is_some(), self.context.epoch.is_some());
        let Some(partition) = self.current(ticket) else { return Ok(()) };
        partition.start_range(start.first, buffer);
        partition.phase = Phase::Active;
        partition.next = position;
        partition.durable = start.first;
        partition.log_end = Some(high);
        partition.unanswered_at = None;
        partition.tail_known_at = start.read_at;
        let last_plan = start.replay.as_ref().or(start.finished.as_ref().map(|(plan, _)| plan));
        // A broker of this process has a log of its own at every start: epochs of its leaders say nothing.
        // Nor does the epoch of a record that the log has dropped.
        partition.unchecked_epoch = last_plan.and_then(|plan| plan.leader_epoch).filter(|_| !embedded && low <= start.first);
        partition.completed = start.finished;
        partition.replay_passed = start.replay.as_ref().is_some_and(|plan| position > plan.last);
        partition.replay = start.replay;
        partition.assigned = true;
        if draining {
            partition.stop_taking(SealReason::Shutdown);
        }
        let is_settled = partition.replay.is_none();
        tracing::info!(partition = ticket.partition, position, replay = !is_settled, "partition goes on");
        // Where records wait, what had stopped it may come again with the next plan.
        if is_settled && high <= position {
            self.report.heal(ticket.partition);
        }
        self.report.durable(ticket.partition, start.first);
        if let Some(sealed_at_micros) = sealed_at_micros {
            self.report.committed_before(sealed_at_micros / 1_000);
        }
        self.source.assign(&[Placement { partition: ticket.partition, offset: position, leader_epoch: None }]).map_err(SinkError::Source)
    }

    /// Says again where every kept partition stands, after a rebalance was answered: librdkafka had paused them all meanwhile.
    fn seek_kept(&self) {
        let kept = self.partitions.values().filter(|p| p.assigned && !p.paused && p.phase == Phase::Active);
        let placements: Vec<Placement> = kept.map(Partition::placement).collect();
        self.source.seek(&placements);
    }

    /// Asks for the watermarks of a partition whose position the broker does not have, or no longer as it was.
    pub(super) fn measure(&mut self, id: i32, cause: Cause) {
        // One that leaves takes nothing any more; its next owner looks where the log starts.
        let measurable = |partition: &&mut Partition| partition.phase == Phase::Active && partition.leaving.is_none();
        let Some(partition) = self.partitions.get_mut(&id).filter(measurable) else { return };
        partition.phase = Phase::Measuring;
        let ticket = Ticket { partition: id, generation: partition.generation };
        let (lookup, sender) = (self.lookup.clone(), self.sender.clone());
        // Not among `tasks`: the delivery of what was sealed before goes on beside it.
        self.runtime.spawn(async move {
            let watermarks = lookup.watermarks(id).await;
            super::rotation::report(&sender, Work::Measured(ticket, cause, watermarks));
        });
    }

    pub(super) fn measured(&mut self, ticket: Ticket, cause: Cause, result: Result<Watermarks, LookupError>) -> Result<(), SinkError> {
        if !self.releases.is_empty() {
            // An assignment changed now would answer the group in place of the release.
            self.later(Work::Measured(ticket, cause, result));
            return Ok(());
        }
        let watermarks = match result {
            Ok(watermarks) => watermarks,
            Err(LookupError::TopicReplaced { topic }) => return Err(SinkError::TopicReplaced { topic }),
            Err(LookupError::Ledger { partition, source }) => {
                self.stop(partition, ledger_reason(&source), line(&source));
                return Ok(());
            }
        };
        let Some(partition) = self.current(ticket) else { return Ok(()) };
        let next = partition.next;
        if cause == Cause::Truncated {
            let message = format!("the broker has cut the log below what was read; {CUT_REMEDY}");
            self.stop(ticket.partition, Reason::TopicTruncated, message);
            return Ok(());
        }
        if watermarks.high < next {
            let message = format!("the topic's log ends at offset {}, but it was read up to {next}; {CUT_REMEDY}", watermarks.high);
            self.stop(ticket.partition, Reason::TopicTruncated, message);
            return Ok(());
        }
        partition.phase = Phase::Active;
        partition.paused = false;
        partition.unanswered_at = None;
        // It may also have been cut.
        partition.log_end = Some(watermarks.high);
        let (known_end, position) = (partition.known_end(), next.max(watermarks.low));
        partition.next = position;
        // The record before the position is gone, and with it what its leader says of the log; unless it was only asked for again.
        let epoch = partition.epoch.take();
        if partition.blocked_at.take().is_some() && position == next {
            partition.unchecked_epoch = partition.unchecked_epoch.or(epoch);
        }
        partition.replay_passed |= partition.replay.as_ref().is_some_and(|plan| position > plan.last);
        self.report.log_ends(ticket.partition, watermarks.high);
        if watermarks.low > known_end {
            self.report.data_loss(ticket.partition, known_end..watermarks.low);
        }
        self.source.release(&[ticket.partition]).map_err(SinkError::Source)?;
        self.source.assign(&[Placement { partition: ticket.partition, offset: position, leader_epoch: None }]).map_err(SinkError::Source)
    }

    /// Stores what is buffered of partitions that the group takes back, before it gets them.
    pub(super) fn revoked(&mut self, partitions: Vec<i32>) {
        tracing::info!(?partitions, "partitions are taken back: storing what is buffered");
        self.context.failpoints.hit(Point::InRevoke);
        self.context.metrics.rebalanced(Rebalance::Revoked);
        for id in &partitions {
            if let Some(partition) = self.partitions.get_mut(id) {
                partition.stop_taking(SealReason::Revoked);
            }
        }
        self.releases.push(Release { partitions, deadline: Instant::now() + RELEASE_LIMIT });
    }

    /// Gives partitions back that have nothing left to store, or for which there is no more time.
    pub(super) fn settle_releases(&mut self) -> Result<(), SinkError> {
        let now = Instant::now();
        for release in std::mem::take(&mut self.releases) {
            let ready = release.partitions.iter().filter_map(|id| self.partitions.get(id)).all(Partition::is_released);
            if !ready && now < release.deadline {
                self.releases.push(release);
                continue;
            }
            if ready {
                self.context.failpoints.hit(Point::RevokeWritten);
            } else {
                tracing::warn!(partitions = ?release.partitions, "given back before all was stored; the next owner reads it again");
            }
            self.give_back(&release.partitions)?;
        }
        Ok(())
    }

    /// Forgets partitions that are ours no longer: whoever owns them reads again what was not stored.
    pub(super) fn lost(&mut self, partitions: &[i32]) -> Result<(), SinkError> {
        tracing::warn!(?partitions, "partitions are lost: the membership of the group has ended");
        self.context.metrics.rebalanced(Rebalance::Lost);
        self.report.lost();
        let mut gone = partitions.to_vec();
        gone.extend(self.releases.drain(..).flat_map(|release| release.partitions));
        gone.sort_unstable();
        gone.dedup();
        self.give_back(&gone)
    }

    fn give_back(&mut self, partitions: &[i32]) -> Result<(), SinkError> {
        let assigned: Vec<i32> =
            partitions.iter().copied().filter(|id| self.partitions.get(id).is_some_and(|partition| partition.assigned)).collect();
        for &id in partitions {
            self.forget_work(id);
            self.partitions.remove(&id);
            self.report.forget(&self.context, id);
        }
        self.source.release(&assigned).map_err(SinkError::Source)?;
        self.seek_kept();
        Ok(())
    }

    /// Executes a plan that another worker has decided in place of ours: everything buffered of its range is read again.
    pub(super) fn restart(&mut self, id: i32) -> Result<(), SinkError> {
        if self.partitions.get(&id).is_some_and(|partition| partition.assigned) {
            self.source.release(&[id]).map_err(SinkError::Source)?;
        }
        self.look_up(id);
        Ok(())
    }

    /// Stops a partition until what was found is mended; the others go on. It is looked up anew, less and less often.
    pub(super) fn stop(&mut self, id: i32, reason: Reason, message: String) {
        tracing::error!(partition = id, reason = reason.label(), message, "partition is stopped");
        self.forget_work(id);
        self.generations += 1;
        let (generation, buffer) = (self.generations, self.buffer(id));
        if let Some(partition) = self.partitions.get_mut(&id) {
            *partition = partition.stopped(Phase::Stopped(reason), generation, buffer, Instant::now());
            partition.stopped_at = Some(Instant::now());
            partition.stops = partition.stops.saturating_add(1);
            if partition.assigned {
                self.source.pause(&[id]);
            }
        }
        self.report.stop(id, reason, message);
    }

    /// Forgets what a partition holds that is given back: its next owner reads it again.
    pub(super) fn let_go(&mut self, id: i32) {
        self.generations += 1;
        let (generation, buffer) = (self.generations, self.buffer(id));
        if let Some(partition) = self.partitions.get_mut(&id) {
            *partition = partition.stopped(Phase::Looking, generation, buffer, Instant::now());
        }
    }

    /// Brings a result up again a little later.
    pub(super) fn later(&self, work: Work) {
        let sender = self.sender.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(LATER).await;
            super::rotation::report(&sender, work);
        });
    }

    pub(super) fn buffer(&self, partition: i32) -> Buffer {
        let rotation = self.context.pipeline.sink.rotation;
        let limits = Limits {
            max_records: rotation.max_records,
            max_bytes: rotation.max_bytes,
            max_hive_partitions: crate::batch::MAX_HIVE_PARTITIONS,
        };
        Buffer::new(Arc::clone(&self.context.rules), partition, limits)
    }

    fn forget_work(&mut self, id: i32) {
        if let Some(task) = self.tasks.remove(&id) {
            task.abort();
        }
    }

    pub(super) fn spawn(&mut self, id: i32, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.insert(id, self.runtime.spawn(work));
    }
}
