//! What a worker has said last, kept packed until it says something else.

use jiff::Timestamp;
use stockpipeline::status::Status;

use super::pack::{Packed, Pattern};

/// By how much the clocks of two nodes may differ while they are kept, with the time that an answer takes.
const CLOCKS_AGREE_MILLIS: u64 = 10_000;

/// What a worker has said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Name of its pod.
    pub(crate) pod: Box<str>,
    /// When.
    pub(crate) at: Timestamp,
    /// Whether it is a sink.
    pub(crate) is_sink: bool,
    /// By how much its clock was ahead of ours at this answer, or at the first one that told of the loss in it.
    ahead_millis: i64,
    /// Its status.
    words: Packed,
}

impl Said {
    /// Returns what is remembered of an answer, after an earlier one of the same worker.
    pub(crate) fn new(pod: String, status: &Status, at: Timestamp, pattern: &Pattern, before: Option<&Self>) -> Self {
        let ahead_millis = status.said_millis.map_or(0, |said_millis| said_millis.saturating_sub(at.as_millisecond()));
        // A clock that is being set right must not give another date to what is dated already.
        let known = before.filter(|before| loss(status).is_some() && before.answer().as_ref().and_then(loss) == loss(status));
        let json = serde_json::to_vec(status).expect("a status has text keys only, so it is always JSON");
        Self {
            pod: pod.into_boxed_str(),
            at,
            is_sink: status.sink.is_some(),
            ahead_millis: known.map_or(ahead_millis, |known| known.ahead_millis),
            words: pattern.pack(&json),
        }
    }

    /// Returns its status. A loss in it is dated by our clock, as what acknowledges it is.
    pub(crate) fn status(&self) -> Option<Status> {
        let mut status = self.answer()?;
        if self.ahead_millis.unsigned_abs() > CLOCKS_AGREE_MILLIS
            && let Some(loss) = status.sink.as_mut().and_then(|sink| sink.data_loss.as_mut())
        {
            loss.at_millis = loss.at_millis.saturating_sub(self.ahead_millis);
        }
        Some(status)
    }

    fn answer(&self) -> Option<Status> {
        serde_json::from_slice(&self.words.unpack()).ok()
    }
}

/// Returns when a worker lost records, by its own clock.
fn loss(status: &Status) -> Option<i64> {
    Some(status.sink.as_ref()?.data_loss.as_ref()?.at_millis)
}

#[cfg(test)]
mod tests {
    use stockpipeline::status::{Class, Failure, Reason, Role};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A worker that has lost records a thousand seconds ago, and whose clock is ahead.
    fn lost(heard_at: Timestamp, ahead_millis: i64) -> Status {
        let said_millis = heard_at.as_millisecond().saturating_add(ahead_millis);
        let mut status = Status { said_millis: Some(said_millis), ..Status::starting(Role::Sink, "w", 0) };
        let at_millis = said_millis.saturating_sub(1_000_000);
        let loss = Failure { class: Class::User, reason: Reason::DataLoss, message: String::new(), at_millis };
        status.sink.as_mut().unwrap().data_loss = Some(loss);
        status
    }

    fn dated(said: &Said) -> i64 {
        loss(&said.status().unwrap()).unwrap()
    }

    #[test]
    fn a_loss_is_dated_by_our_clock_whatever_the_workers_is() {
        let (heard_at, pattern) = (at(1_700_000_000), Pattern::default());
        for (ahead_millis, expected_second) in
            [(0, 1_699_999_000), (9_000, 1_699_999_009), (3_600_000, 1_699_999_000), (-3_600_000, 1_699_999_000)]
        {
            let said = Said::new("w".to_owned(), &lost(heard_at, ahead_millis), heard_at, &pattern, None);
            assert_eq!(dated(&said), expected_second * 1_000, "{ahead_millis}");
        }
        // Whatever a pod says is no reason to end.
        dated(&Said::new("w".to_owned(), &lost(heard_at, i64::MIN), heard_at, &pattern, None));
    }

    #[test]
    fn a_loss_keeps_its_date_while_the_workers_clock_is_set_right() {
        let (pattern, first_at, later_at) = (Pattern::default(), at(1_700_000_000), at(1_700_000_060));
        let first = lost(first_at, 3_600_000);
        let later = Status { said_millis: Some(later_at.as_millisecond() + 1_800_000), ..first.clone() };
        let first = Said::new("w".to_owned(), &first, first_at, &pattern, None);
        let again = Said::new("w".to_owned(), &later, later_at, &pattern, Some(&first));
        assert_eq!(dated(&again), dated(&first));
        let another = Said::new("w".to_owned(), &lost(later_at, 1_800_000), later_at, &pattern, Some(&again));
        assert_eq!(dated(&another), later_at.as_millisecond() - 1_000_000);
    }
}
