//! What the sink says of itself: status, metrics and progress. It decides nothing but what is shown.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockpipeline::layout::Epoch;
use stockpipeline::plan::{Plan, ZoneName};
use stockpipeline_program::clock::{boottime_millis, wall_millis};

use super::budget::Budget;
use super::loss::Losses;
use super::partition::{Flight, Partition};
use super::unreadable::Unreadable;
use super::{Context, figures, silence};
use crate::error::Class;
use crate::source::Observation;
use crate::status::{Dependency, Failure, Reason, SinkStatus, State, Status, TopicReport};
use crate::store::Trouble;

/// How often the status is replaced.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// How long Kafka counts as failing after its client has reported trouble of the connection; the client repeats what lasts.
const TROUBLE_LASTS: Duration = Duration::from_secs(10);
/// How long memory may be used up before the status says so.
const HALTED_LIMIT: Duration = Duration::from_secs(20);
/// Window of the dead-letter rate.
const RATE_WINDOW: Duration = Duration::from_mins(1);

/// What the group says of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// It has never answered.
    Joining,
    /// It has answered with an assignment, an empty one included.
    Joined,
    /// It has ended our membership, and not answered since.
    Lost,
}

/// Collects what is shown.
pub(super) struct Reporter {
    published_at: Option<Instant>,
    epoch: String,
    kafka: Dependency,
    s3: Dependency,
    /// When Kafka last reported trouble.
    trouble_at: Option<Instant>,
    membership: Membership,
    topic: Option<TopicReport>,
    last_error: Option<Failure>,
    losses: Losses,
    held: Option<Failure>,
    halted_since: Option<Instant>,
    stopped: BTreeMap<i32, Failure>,
    /// Partitions that wait at records that cannot be read.
    unreadable: Unreadable,
    /// Dead letters of the last minute: when and how many.
    letters: VecDeque<(Instant, u64)>,
    /// Last offset of each partition that was looked at for dead letters, kept when the partition goes: its records may come again.
    counted: BTreeMap<i32, i64>,
    fetched_bytes: usize,
    committed_records: u64,
    dead_letters: u64,
    last_commit_millis: Option<i64>,
    durable: BTreeMap<i32, i64>,
    progress: Option<std::sync::Arc<crate::progress::Progress>>,
}

impl Reporter {
    pub(super) fn new(context: &Context, epoch: &Epoch) -> Self {
        let status = context.status.read();
        Self {
            published_at: None,
            epoch: epoch.as_str().to_owned(),
            kafka: status.kafka,
            s3: status.s3.unwrap_or_default(),
            trouble_at: None,
            membership: Membership::Joining,
            topic: status.topic.clone(),
            last_error: status.last_error.clone(),
            losses: Losses::default(),
            held: None,
            halted_since: None,
            stopped: BTreeMap::new(),
            unreadable: Unreadable::default(),
            letters: VecDeque::new(),
            counted: BTreeMap::new(),
            fetched_bytes: 0,
            committed_records: 0,
            dead_letters: 0,
            last_commit_millis: None,
            durable: BTreeMap::new(),
            progress: context.progress.clone(),
        }
    }

    pub(super) fn fetched_bytes(&self) -> usize {
        self.fetched_bytes
    }

    pub(super) fn committed_records(&self) -> u64 {
        self.committed_records
    }

    /// Returns the first partition that is stopped, and why.
    pub(super) fn stopped(&self) -> Option<(i32, Failure)> {
        self.stopped.iter().next().map(|(&partition, failure)| (partition, failure.clone()))
    }

    /// Notes the first offset of a partition that is not durable.
    pub(super) fn durable(&mut self, partition: i32, offset: i64) {
        self.durable.insert(partition, offset);
        let shared = self.progress.as_ref().zip(usize::try_from(partition).ok());
        if let Some(partition) = shared.and_then(|(progress, index)| progress.partitions.get(index)) {
            partition.durable.store(offset, Ordering::Release);
        }
    }

    pub(super) fn forget(&mut self, context: &Context, partition: i32) {
        self.durable.remove(&partition);
        self.stopped.remove(&partition);
        self.unreadable.forget(partition);
        context.metrics.forget_partition(partition);
    }

    pub(super) fn stop(&mut self, partition: i32, reason: Reason, message: String) {
        let class = if reason == Reason::PlanMismatch { Class::Bug } else { Class::External };
        self.stopped.insert(partition, Failure { class, reason, message, at_millis: wall_millis() });
        self.unreadable.forget(partition);
        self.published_at = None;
    }

    /// Notes that what comes next in a partition cannot be read. It is shown until the partition has gone on behind it, or the log ends before it.
    pub(super) fn unreadable(&mut self, context: &Context, partition: i32, offset: i64, detail: &str) {
        let topic = &context.pipeline.kafka.topic.name;
        if self.unreadable.met(topic, (partition, offset), detail, wall_millis()) {
            tracing::error!(topic, partition, offset, detail, "records cannot be read: the partition waits at them");
        }
        self.published_at = None;
    }

    /// Notes where the log of a partition ends, as a broker has just said.
    pub(super) fn log_ends(&mut self, partition: i32, end: i64) {
        self.unreadable.log_ends(partition, end);
    }

    /// Notes that a partition goes on that may have been stopped.
    pub(super) fn heal(&mut self, partition: i32) {
        if self.stopped.remove(&partition).is_some() {
            tracing::info!(partition, "what had stopped the partition is gone");
            self.published_at = None;
        }
    }

    /// Notes offsets that the broker dropped before they were stored.
    pub(super) fn data_loss(&mut self, partition: i32, offsets: Range<i64>) {
        let Range { start: from, end: to } = offsets;
        if self.losses.dropped(partition, offsets, wall_millis()) {
            tracing::error!(partition, from, to, "offsets are gone before they were stored");
            self.published_at = None;
        }
    }

    /// Notes rows of a plan that the broker no longer has.
    pub(super) fn compacted(&mut self, plan: &Plan, rows: u64) {
        if self.losses.compacted(plan, rows, wall_millis()) {
            tracing::error!(
                partition = plan.partition,
                first = plan.first,
                last = plan.last,
                rows,
                "rows of a plan are gone from the topic"
            );
            self.published_at = None;
        }
    }

    pub(super) fn topic(&mut self, report: TopicReport) {
        self.topic = Some(report);
    }

    pub(super) fn kafka_failed(&mut self, context: &Context, message: &str, authentication: bool) {
        let (class, reason) = if authentication { (Class::User, Reason::AuthFailed) } else { (Class::External, Reason::BrokerUnreachable) };
        let failure = Failure { class, reason, message: context.clients.scrub(message), at_millis: wall_millis() };
        self.kafka.failed(failure.at_millis);
        self.trouble_at = Some(Instant::now());
        self.last_error = Some(failure);
    }

    pub(super) fn observed(&mut self, context: &Context, seen: &Observation) {
        self.fetched_bytes = usize::try_from(seen.fetched_bytes).unwrap_or(usize::MAX);
        context.metrics.set_fetch_queue_messages(u64::try_from(seen.fetched_messages).unwrap_or(0));
        context.metrics.set_throttle_seconds(seen.throttle.as_secs_f64());
    }

    /// Returns the last offset of a partition whose dead letters are counted.
    pub(super) fn counted_letters(&self, partition: i32) -> Option<i64> {
        self.counted.get(&partition).copied()
    }

    /// Notes up to which offset the dead letters of a partition are counted.
    pub(super) fn letters_counted(&mut self, partition: i32, last: i64) {
        let counted = self.counted.entry(partition).or_insert(last);
        *counted = last.max(*counted);
    }

    /// Notes new dead letters; true when their rate is above the pipeline's limit.
    pub(super) fn dead_letters(&mut self, context: &Context, new: u64, now: Instant) -> bool {
        if new > 0 {
            self.letters.push_back((now, new));
        }
        while self.letters.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            self.letters.pop_front();
        }
        let limit = context.pipeline.sink.halt_above_per_minute;
        let rate: u64 = self.letters.iter().map(|(_, letters)| letters).sum();
        if limit == 0 || rate <= limit || self.held.is_some() {
            return self.held.is_some();
        }
        let message = format!(
            "{rate} dead letters within a minute, above spec.sink.onBadRecord.haltAbovePerMinute of {limit}: nothing more is taken. \
             Look at the dead-letter zone; raise the limit or bump spec.lifecycle.restartNonce to go on"
        );
        tracing::error!(rate, limit, "too many dead letters: nothing more is taken");
        self.held = Some(Failure { class: Class::User, reason: Reason::DeadLetterRateExceeded, message, at_millis: wall_millis() });
        self.published_at = None;
        true
    }

    /// Notes when a plan was sealed that was found completed: its commit came soon after.
    pub(super) fn committed_before(&mut self, sealed_at_millis: i64) {
        self.last_commit_millis = self.last_commit_millis.max(Some(sealed_at_millis));
    }

    pub(super) fn completed(&mut self, context: &Context, plan: &Plan, flight: &Flight) {
        let records = |zone| flight.objects.iter().filter(|object| object.0 == zone).map(|object| object.1).sum::<u64>();
        // A benchmark of the raw path alone has no rows.
        self.committed_records += (records(ZoneName::Processed) + records(ZoneName::DeadLetters)).max(records(ZoneName::Raw));
        self.dead_letters += records(ZoneName::DeadLetters);
        self.last_commit_millis = Some(wall_millis());
        context.metrics.dead_letters(&flight.counts.dead_letters);
        context.metrics.late_records(flight.counts.late_rows);
        context.metrics.unknown_fields(flight.counts.unknown_fields);
        let hive = flight.objects.iter().filter(|object| object.0 == ZoneName::Processed).count();
        context.metrics.sealed(plan.reason, hive);
        for &(zone, rows, bytes) in &flight.objects {
            context.metrics.object_stored(zone, rows, bytes as u64);
        }
        context.metrics.committed(boottime_millis());
    }

    /// Publishes metrics and status, about once a second and at each transition.
    pub(super) fn publish(&mut self, context: &Context, partitions: &BTreeMap<i32, Partition>, budget: &Budget, draining: bool) {
        let now = Instant::now();
        if self.published_at.is_some_and(|at| now.duration_since(at) < PUBLISH_EVERY) {
            return;
        }
        self.published_at = Some(now);
        let now_millis = wall_millis();
        let troubled = self.trouble_at.is_some_and(|at| now.duration_since(at) < TROUBLE_LASTS);
        let refused = partitions.values().find_map(|partition| partition.refused.as_ref());
        if let Some((message, _)) = refused {
            self.kafka_failed(context, &format!("the brokers refuse records of the topic: {message}; allow READ on it"), true);
        } else if context.contact.age() < context.session_timeout && !troubled {
            context.clients.context().succeeded();
            self.kafka.succeeded(now_millis);
        }
        self.unreadable.passed(partitions);
        figures::gauges(context, partitions, now_millis, self.fetched_bytes);
        let pressure = self.memory_pressure(budget, now, now_millis);
        let mut status = Status {
            state: self.state(partitions, draining),
            topic: self.topic.clone(),
            kafka: self.kafka,
            s3: Some(self.s3),
            last_error: self.last_error.clone(),
            fatal: self.stopped.values().next().cloned(),
            paused: self.paused(context, partitions, pressure),
            sink: Some(self.sink_status(context, partitions)),
            ..(*context.status.read()).clone()
        };
        store_trouble(&mut status, context.store.trouble());
        self.s3 = status.s3.unwrap_or_default();
        self.last_error.clone_from(&status.last_error);
        context.status.replace(status);
    }

    fn paused(&self, context: &Context, partitions: &BTreeMap<i32, Partition>, pressure: Option<Failure>) -> Option<Failure> {
        let held = self.held.as_ref().or(self.unreadable.first()).cloned();
        held.or_else(|| self.silence(context, partitions)).or(pressure)
    }

    /// Returns why brokers have not answered for long: they refuse us, if one has said so since then.
    fn silence(&self, context: &Context, partitions: &BTreeMap<i32, Partition>) -> Option<Failure> {
        let failure = silence::failure(&context.pipeline.kafka.topic.name, context.session_timeout, partitions)?;
        let refusal = self.last_error.as_ref().filter(|error| error.reason == Reason::AuthFailed && error.at_millis >= failure.at_millis);
        Some(refusal.cloned().unwrap_or(failure))
    }

    /// Says that memory is used up, once that has lasted: a sink that catches up meets its budget now and then.
    fn memory_pressure(&mut self, budget: &Budget, now: Instant, now_millis: i64) -> Option<Failure> {
        if !budget.is_halted() {
            self.halted_since = None;
            return None;
        }
        let since = *self.halted_since.get_or_insert(now);
        (now.duration_since(since) >= HALTED_LIMIT).then(|| Failure {
            class: Class::External,
            reason: Reason::MemoryPressure,
            message: "the memory budget is used up by what waits for s3; nothing more is taken until some of it is stored".to_owned(),
            at_millis: now_millis,
        })
    }

    /// Notes that the group has answered with an assignment, an empty one included.
    pub(super) fn joined(&mut self) {
        self.membership = Membership::Joined;
        self.published_at = None;
    }

    /// Notes that the group has ended the membership; nothing is consumed until it answers again.
    pub(super) fn lost(&mut self) {
        self.membership = Membership::Lost;
        self.published_at = None;
    }

    /// Returns whether the group has ever answered with an assignment.
    pub(super) fn has_joined(&self) -> bool {
        self.membership != Membership::Joining
    }

    fn state(&self, partitions: &BTreeMap<i32, Partition>, draining: bool) -> State {
        match self.membership {
            _ if draining => State::Draining,
            Membership::Joining | Membership::Lost => State::Joining,
            Membership::Joined if partitions.is_empty() => State::Idle,
            Membership::Joined => State::Running,
        }
    }

    fn sink_status(&self, context: &Context, partitions: &BTreeMap<i32, Partition>) -> SinkStatus {
        let (catalog_missing, tables) = context.partitions.as_ref().map(crate::partitions::Partitions::report).unwrap_or_default();
        SinkStatus {
            epoch: Some(self.epoch.clone()),
            partitions: partitions.values().map(figures::of_partition).collect(),
            last_commit_millis: self.last_commit_millis,
            committed_records: self.committed_records,
            dead_letters: self.dead_letters,
            data_loss: self.losses.last().cloned(),
            catalog_missing,
            tables,
        }
    }
}

/// Shows in a status what the store is waiting for.
pub(super) fn store_trouble(status: &mut Status, trouble: Option<Trouble>) {
    let Some(s3) = &mut status.s3 else { return };
    match trouble {
        None => s3.succeeded(wall_millis()),
        Some(trouble) => {
            s3.failed(trouble.since_millis);
            let reason = Reason::from_label(trouble.reason).unwrap_or(Reason::Unavailable);
            let class = if matches!(reason, Reason::AccessDenied | Reason::NoSuchBucket | Reason::KeyUnusable) {
                Class::User
            } else {
                Class::External
            };
            status.last_error = Some(Failure { class, reason, message: trouble.message, at_millis: wall_millis() });
        }
    }
}
