//! Whether a status is worth a write: transitions at once, steps on the way and numbers seldom, nothing at rest.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::resource::crd::report::{ComponentStatus, StockPipelineStatus};

/// How long a step on the way waits after any write: most arrive within that time, and only that they have is news.
const STEPS_EVERY: Duration = Duration::from_secs(10);
/// How long numbers wait after any write.
const NUMBERS_EVERY: Duration = Duration::from_secs(30);
/// Hundredths by which a number has to move.
const MOVED_PERCENT: u64 = 20;
/// How far the time of the last commit may fall behind what is shown.
const COMMIT_BEHIND_SECONDS: i64 = 300;

/// When a status is worth a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// At once.
    Now,
    /// After this time, unless something changes until then.
    In(Duration),
    /// Never: it says what stands there already, or numbers that have hardly moved.
    Nothing,
}

/// Returns when a status is worth a write over the one that was written last, `since` ago.
#[must_use]
pub fn worth(written: Option<&StockPipelineStatus>, status: &StockPipelineStatus, since: Duration) -> Worth {
    let Some(written) = written else { return Worth::Now };
    if without_numbers(written) != without_numbers(status) {
        return if since < STEPS_EVERY && is_step(written, status) { Worth::In(STEPS_EVERY.saturating_sub(since)) } else { Worth::Now };
    }
    let has_moved = numbers_moved(written, status) || commit_moved(written, status) || messages(written) != messages(status);
    if has_moved && since >= NUMBERS_EVERY { Worth::Now } else { Worth::Nothing }
}

/// Returns whether a pipeline is still on its way as before, and all that has changed is that more of it has arrived.
fn is_step(written: &StockPipelineStatus, status: &StockPipelineStatus) -> bool {
    let is_same_way = written.observed_generation == status.observed_generation && written.phase == status.phase;
    let is_under_way = |status: &StockPipelineStatus| holds(status, "Reconciling") && !holds(status, "Ready");
    // What was claimed or made is nowhere else.
    let remembers_the_same = written.athena == status.athena && written.glue == status.glue;
    is_same_way
        && is_under_way(written)
        && is_under_way(status)
        && remembers_the_same
        && status.conditions.iter().all(|now| has_arrived(written, now))
}

/// Returns whether a condition is as it was, or holds by now. Ready and Reconciling name what is still waited for.
fn has_arrived(written: &StockPipelineStatus, now: &Condition) -> bool {
    let is_same = |before: &&Condition| before.type_ == now.type_ && before.status == now.status && before.reason == now.reason;
    matches!(now.type_.as_str(), "Ready" | "Reconciling")
        || now.status == "True"
        || written.conditions.iter().any(|before| is_same(&before))
}

fn holds(status: &StockPipelineStatus, type_: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// What conditions say for people often holds a number.
fn messages(status: &StockPipelineStatus) -> Vec<&str> {
    status.conditions.iter().map(|condition| condition.message.as_str()).collect()
}

/// Numbers become 0 and messages empty; one that appears or goes is a transition.
fn without_numbers(status: &StockPipelineStatus) -> StockPipelineStatus {
    let mut plain = status.clone();
    // What a user waits to read is told at once.
    plain.conditions.iter_mut().filter(|condition| condition.type_ != "Stalled").for_each(|condition| condition.message.clear());
    for component in [plain.producer.as_mut(), plain.sink.as_mut()].into_iter().flatten() {
        component.last_commit_time = None;
        component.committed_records = component.committed_records.map(|_| 0);
    }
    if let Some(lag) = plain.kafka.as_mut().and_then(|kafka| kafka.lag.as_mut()) {
        (lag.total, lag.max_partition, lag.measured_at) = (0, 0, None);
    }
    for table in plain.glue.iter_mut().flat_map(|glue| &mut glue.tables) {
        table.partitions = table.partitions.map(|_| 0);
        table.last_partition = None;
    }
    plain
}

fn numbers_moved(written: &StockPipelineStatus, status: &StockPipelineStatus) -> bool {
    let (before, after) = (numbers(written), numbers(status));
    before.len() != after.len() || before.into_iter().zip(after).any(|(before, after)| has_moved(before, after))
}

fn numbers(status: &StockPipelineStatus) -> Vec<i64> {
    let components = [&status.producer, &status.sink].into_iter().flatten();
    let mut numbers: Vec<i64> = components.filter_map(|component| component.committed_records).collect();
    if let Some(lag) = status.kafka.as_ref().and_then(|kafka| kafka.lag.as_ref()) {
        numbers.extend([lag.total, lag.max_partition]);
    }
    numbers.extend(status.glue.iter().flat_map(|glue| &glue.tables).filter_map(|table| table.partitions));
    numbers
}

fn has_moved(before: i64, after: i64) -> bool {
    let moved = u128::from(before.abs_diff(after)) * 100;
    moved > u128::from(before.unsigned_abs()) * u128::from(MOVED_PERCENT)
}

fn commit_moved(written: &StockPipelineStatus, status: &StockPipelineStatus) -> bool {
    let time = |component: &Option<ComponentStatus>| component.as_ref().and_then(|component| component.last_commit_time.clone());
    let seconds = |time: Time| time.0.as_second();
    match (time(&written.sink), time(&status.sink)) {
        (Some(before), Some(after)) => seconds(after) - seconds(before) >= COMMIT_BEHIND_SECONDS,
        (None, after) => after.is_some(),
        (Some(_), None) => false,
    }
}
