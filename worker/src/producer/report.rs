//! What the producer's loop says of itself: `/status`, metrics and the progress that others in the process watch.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockpipeline_program::clock::{boottime_millis, wall_millis};

use super::{Context, Outcome, ProducerError};
use crate::error::Class;
use crate::feed::FeedError;
use crate::metrics::TransactionOutcome;
use crate::slots::Positions;
use crate::status::{Failure, ProducerStatus, Reason, SlotStatus, State, Status, TopicReport};

/// How often `/status` is replaced while nothing changes its state.
const REPLACE_EVERY: Duration = Duration::from_secs(1);

/// The producer's own copy of its status.
pub(super) struct Report {
    status: Status,
    replaced: Instant,
    rows: u64,
}

/// How far the loop is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) state: State,
    pub(super) positions: &'a Positions,
    /// Next row of the source.
    pub(super) cursor: u64,
    /// Row behind the source's last one, once it was met.
    pub(super) end: Option<u64>,
    pub(super) queued: u64,
    /// Longest recent time for which a broker throttles the client.
    pub(super) throttle: Duration,
}

impl Report {
    pub(super) fn new(context: &Context) -> Self {
        let status = Status::clone(&context.status.read());
        Self { status, replaced: Instant::now(), rows: 0 }
    }

    /// Touches the heartbeat.
    pub(super) fn beat(context: &Context) {
        context.status.beat(boottime_millis());
    }

    /// Notes what was seen of the topic.
    pub(super) fn topic(&mut self, context: &Context, seen: TopicReport) {
        let is_answer = seen.partitions.is_some();
        if is_answer {
            self.answered(context);
        } else if !seen.message.is_empty() {
            let reason = match seen.state {
                crate::status::TopicState::AuthFailed => Reason::AuthFailed,
                crate::status::TopicState::NotFound => Reason::TopicNotFound,
                _ => Reason::BrokerUnreachable,
            };
            self.note(reason, &seen.message);
        }
        self.status.topic = Some(seen);
        self.replace(context);
    }

    /// Notes that Kafka answers.
    pub(super) fn succeeded(&mut self, context: &Context) {
        self.answered(context);
        self.status.paused = None;
        self.replace(context);
    }

    /// Notes that the slots topic does not fit; it is waited for.
    pub(super) fn misfit(&mut self, context: &Context, message: &str) {
        let failure = self.note(Reason::InvalidConfiguration, message);
        self.status.paused = Some(failure);
        self.replace(context);
    }

    /// Notes a failure that is tried again.
    pub(super) fn failed(&mut self, context: &Context, is_permission: bool, message: &str) {
        self.note(if is_permission { Reason::AuthFailed } else { Reason::BrokerUnreachable }, message);
        self.replace(context);
    }

    /// Notes that another member has taken this one's place.
    pub(super) fn fenced(&mut self, context: &Context, message: &str) {
        Self::transaction(context, TransactionOutcome::Fenced);
        self.note(Reason::Fenced, message);
        self.replace(context);
    }

    /// Notes rows that are acknowledged for good.
    pub(super) fn acknowledged(&mut self, context: &Context, per_partition: &[u64], waited: Duration) {
        let rows: u64 = per_partition.iter().sum();
        self.rows += rows;
        for (partition, rows) in context.progress.partitions.iter().zip(per_partition) {
            partition.produced.fetch_add(i64::try_from(*rows).unwrap_or(i64::MAX), Ordering::AcqRel);
        }
        context.metrics.acknowledged(rows);
        if rows > 0 {
            context.metrics.observe_delivery(waited.as_secs_f64());
        }
        self.answered(context);
    }

    /// Notes that Kafka does what it is asked for, and so ends what its clients have complained of.
    fn answered(&mut self, context: &Context) {
        context.clients.context().succeeded();
        self.status.kafka.succeeded(wall_millis());
    }

    /// Notes that the topic is looked at anew; nothing of what was seen of it holds.
    pub(super) fn moved(&mut self, context: &Context) {
        context.progress.produced_all.store(false, Ordering::Release);
        self.status.state = State::Joining;
        self.status.producer = None;
        self.replace(context);
    }

    /// Counts a transaction's end.
    pub(super) fn transaction(context: &Context, outcome: TransactionOutcome) {
        context.metrics.transaction_ended(outcome);
    }

    /// Shows how far the loop is: at once when its state changes, else once a second.
    pub(super) fn stands(&mut self, context: &Context, standing: &Standing<'_>) {
        Self::beat(context);
        context.progress.rows_read.store(standing.cursor, Ordering::Relaxed);
        if let Some(bytes) = context.feed.bytes_read() {
            context.progress.bytes_read.store(bytes.read, Ordering::Relaxed);
            context.progress.bytes_total.store(bytes.total, Ordering::Relaxed);
        }
        let is_complete = standing.state == State::Completed;
        if is_complete {
            // Those who wait for the end must see the last acknowledged rows first; release makes them visible.
            context.progress.produced_all.store(true, Ordering::Release);
        }
        if self.status.state == standing.state && self.replaced.elapsed() < REPLACE_EVERY {
            return;
        }
        if let Some(total) = context.feed.rows_total() {
            context.progress.rows_total.store(total, Ordering::Relaxed);
        }
        if let Some(trouble) = context.clients.trouble() {
            let reason = match trouble.reason {
                crate::kafka::Reason::AuthFailed => Reason::AuthFailed,
                crate::kafka::Reason::BrokerUnreachable => Reason::BrokerUnreachable,
            };
            self.note(reason, &trouble.message);
        }
        context.metrics.set_source_position(standing.cursor);
        context.metrics.set_queue_messages(standing.queued);
        context.metrics.set_throttle_seconds(standing.throttle.as_secs_f64());
        self.status.state = standing.state;
        self.status.producer = Some(ProducerStatus {
            slots: standing
                .positions
                .owned()
                .map(|(slot, row)| SlotStatus { slot, row, completed: standing.end.is_some_and(|end| row >= end) })
                .collect(),
            source_position: standing.cursor,
            source_rows: context.feed.rows_total(),
            rows: self.rows,
            malformed: context.feed.counts().malformed.iter().sum(),
            completed: is_complete,
        });
        self.replace(context);
    }

    /// Shows that the loop finishes what it has.
    pub(super) fn draining(&mut self, context: &Context) {
        self.status.state = State::Draining;
        self.replace(context);
    }

    /// Shows how the producer ended.
    pub(super) fn ended(&mut self, context: &Context, result: &Result<Outcome, ProducerError>) {
        match result {
            Ok(Outcome::Completed) => self.status.state = State::Completed,
            Ok(Outcome::Stopped) => self.status.state = State::Draining,
            Err(error) => self.status.fatal = Some(self.note(reason_of(error), &full_text(error))),
        }
        self.replace(context);
    }

    fn note(&mut self, reason: Reason, message: &str) -> Failure {
        let now = wall_millis();
        let class = match reason {
            Reason::AuthFailed | Reason::TopicNotFound | Reason::InvalidConfiguration | Reason::SourceChanged | Reason::ProgressMissing => {
                Class::User
            }
            _ => Class::External,
        };
        let failure = Failure { class, reason, message: message.to_owned(), at_millis: now };
        if matches!(reason, Reason::AuthFailed | Reason::BrokerUnreachable | Reason::TopicNotFound) {
            self.status.kafka.failed(now);
        }
        self.status.last_error = Some(failure.clone());
        failure
    }

    fn replace(&mut self, context: &Context) {
        self.replaced = Instant::now();
        context.status.replace(self.status.clone());
        Self::beat(context);
    }
}

fn reason_of(error: &ProducerError) -> Reason {
    match error {
        ProducerError::Feed(FeedError::MemoryBudget { .. }) | ProducerError::RecordRefused { .. } => Reason::RecordBudgetExceeded,
        ProducerError::Feed(FeedError::Changed { .. }) | ProducerError::SourceChanged { .. } => Reason::SourceChanged,
        ProducerError::ProgressMissing { .. } => Reason::ProgressMissing,
        ProducerError::Feed(_) => Reason::SourceUnreachable,
        ProducerError::Clients(_) => Reason::InvalidConfiguration,
        ProducerError::Progress(_) => Reason::Bug,
    }
}

/// Returns an error with its causes on one line.
fn full_text(error: &ProducerError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
