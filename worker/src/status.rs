//! The worker's own status: the cell its loop writes and its endpoint reads, and the verdicts of readiness and liveness. The types
//! of its JSON are the contract's.
//!
//! The loop that owns the state replaces the whole [`Status`] about once a second and touches the heartbeat each time it comes round.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use stockpipeline::status::{
    Dependency, Failure, PartitionState, PartitionStatus, ProducerStatus, Reason, Role, SinkStatus, SlotStatus, State, Status,
    TablePartitions, TopicDifference, TopicReport, TopicState,
};

/// How long the loop may stand still before the worker is restarted. Above any single wait of the loop, also at a tenth of a CPU.
pub const HEARTBEAT_LIMIT_MILLIS: u64 = 60_000;
/// How long S3 or Kafka may fail before the worker is not ready: a throttled minute's first seconds pass, and the operator still hears within a minute.
pub const FAILING_LIMIT_MILLIS: i64 = 20_000;

/// Returns whether a worker can do its work, or one line that says why not.
///
/// # Errors
/// The reason: a fatal one, a pause, a state without assignment, or an outside system that fails for longer than its limit.
pub fn ready(status: &Status, now_millis: i64) -> Result<(), String> {
    if let Some(failure) = status.fatal.as_ref().or(status.paused.as_ref()) {
        return Err(failure.line());
    }
    match status.state {
        State::Starting => return Err("starting".to_owned()),
        State::Joining => return Err("waiting for an assignment".to_owned()),
        State::Draining => return Err("draining".to_owned()),
        State::Running | State::Idle | State::Completed => {}
    }
    let verdicts = [verdict(status.kafka, "kafka", now_millis), status.s3.map_or(Ok(()), |s3| verdict(s3, "s3", now_millis))];
    for answer in verdicts {
        answer.map_err(|reason| match &status.last_error {
            Some(failure) => format!("{reason}: {}", failure.line()),
            None => reason,
        })?;
    }
    Ok(())
}

/// Returns whether an outside system answers, or one line that says since when it does not.
fn verdict(dependency: Dependency, system: &str, now_millis: i64) -> Result<(), String> {
    match (dependency.failing_since_millis, dependency.last_success_millis) {
        // The clock was set back since then.
        (Some(since), _) if now_millis < since => Err(format!("{system} is failing")),
        (Some(since), _) if now_millis - since > FAILING_LIMIT_MILLIS => {
            Err(format!("{system} has been failing for {} s", (now_millis - since) / 1_000))
        }
        (_, None) => Err(format!("{system} has not answered yet")),
        (_, Some(_)) => Ok(()),
    }
}

/// Returns whether the loop moves, or one line that says for how long it has not.
///
/// # Errors
/// The loop has been silent for longer than [`HEARTBEAT_LIMIT_MILLIS`].
pub fn live(silent_millis: u64) -> Result<(), String> {
    if silent_millis > HEARTBEAT_LIMIT_MILLIS {
        return Err(format!("the loop has not moved for {} s", silent_millis / 1_000));
    }
    Ok(())
}

/// The status of a process, shared between its loop and its endpoint. Clones are the same cell.
#[derive(Debug, Clone)]
pub struct StatusCell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    status: Mutex<Arc<Status>>,
    heartbeat_millis: AtomicU64,
}

impl StatusCell {
    /// Returns a cell whose heartbeat starts now, so that a slow start has the whole limit.
    #[must_use]
    pub fn new(status: Status, now_boottime_millis: u64) -> Self {
        Self { shared: Arc::new(Shared { status: Mutex::new(Arc::new(status)), heartbeat_millis: AtomicU64::new(now_boottime_millis) }) }
    }

    /// Returns the status as it was last replaced.
    #[must_use]
    pub fn read(&self) -> Arc<Status> {
        Arc::clone(&self.shared.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the status. Only the loop that owns the state does this, about once a second and at each transition.
    pub fn replace(&self, status: Status) {
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(status);
    }

    /// Touches the heartbeat; cheap enough for every turn of a loop.
    pub fn beat(&self, now_boottime_millis: u64) {
        self.shared.heartbeat_millis.store(now_boottime_millis, Ordering::Relaxed);
    }

    /// Returns for how long the heartbeat has not been touched.
    #[must_use]
    pub fn silent_millis(&self, now_boottime_millis: u64) -> u64 {
        now_boottime_millis.saturating_sub(self.shared.heartbeat_millis.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
