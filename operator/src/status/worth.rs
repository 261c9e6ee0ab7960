//! Whether a status is worth a write: transitions at once, numbers seldom, nothing at rest.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::report::{ComponentStatus, StockPipelineStatus};

/// How long numbers wait after any write.
const NUMBERS_EVERY: Duration = Duration::from_secs(30);
/// Hundredths by which a number has to move.
const MOVED_PERCENT: u64 = 20;
/// How far the time of the last commit may fall behind what is shown.
const COMMIT_BEHIND_SECONDS: i64 = 300;

/// Returns whether a status is worth a write over the one that was written last, `since` ago.
#[must_use]
pub fn is_worth_writing(written: Option<&StockPipelineStatus>, status: &StockPipelineStatus, since: Duration) -> bool {
    let Some(written) = written else { return true };
    if without_numbers(written) != without_numbers(status) {
        return true;
    }
    since >= NUMBERS_EVERY && (numbers_moved(written, status) || commit_moved(written, status) || messages(written) != messages(status))
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
