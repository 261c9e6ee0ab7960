//! The loop around every request: tries for ever with full jitter, asks the gate before each attempt of a write, and keeps
//! the board of what calls are waiting for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_s3::Client;

use super::failure::{Failure, Pace, Reason};
use super::{Store, StoreError, Trouble};

/// First bound of the pause after what heals by itself.
const SOON: Duration = Duration::from_millis(100);
/// Last bound of the pause after what heals by itself: long enough to let a throttled prefix recover.
const SOON_CAP: Duration = Duration::from_secs(20);
/// First bound of the pause where somebody has to act.
const SLOW: Duration = Duration::from_secs(1);
/// Last bound of the pause where somebody has to act: short enough that the healed worker goes on within the minute.
const SLOW_CAP: Duration = Duration::from_secs(30);
/// Bounds of the pause after a 409.
const NOW: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// 409s in a row from which on they are a trouble and no longer a race.
const CONFLICTS: u32 = 8;
/// How often a closed gate is looked at.
const GATE_POLL: Duration = Duration::from_millis(100);

/// Whether a request changes the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
}

/// What a call does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act<'a> {
    pub(super) operation: &'static str,
    pub(super) key: &'a str,
    pub(super) effect: Effect,
}

/// What an attempt gives: its value and the outcome label of the metrics.
pub(super) type Attempt<T> = Result<(T, &'static str), Failure>;

impl Store {
    /// Makes attempts until one succeeds, is refused, or `give_up_after` has passed. Dropping the future ends it.
    pub(super) async fn run<T, A>(&self, act: Act<'_>, attempt: impl Fn(Client) -> A) -> Result<T, StoreError>
    where
        A: Future<Output = Attempt<T>>,
    {
        let inner = &*self.inner;
        let mut call = Call { store: self, act, started: Instant::now(), waiting: inner.troubles.enter() };
        let mut failures = 0_u32;
        loop {
            call.pass_gate().await?;
            let begun = Instant::now();
            let limit = inner.settings.attempt_timeout;
            let outcome = tokio::time::timeout(limit, attempt(inner.clients.current()))
                .await
                .unwrap_or_else(|_| Err(Failure::new(Reason::Timeout, "timeout", &format!("no answer within {} s", limit.as_secs_f32()))));
            let label = outcome.as_ref().map_or_else(|failure| failure.outcome, |(_, label)| label);
            inner.metrics.observe(act.operation, label, begun.elapsed().as_secs_f64());
            let failure = match outcome {
                Ok((value, _)) => {
                    call.waiting.succeed();
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            // A plain 403 too: the answer to a HEAD doesn't say that the keys are unknown.
            if matches!(failure.reason, Reason::BadCredentials | Reason::AccessDenied) {
                inner.clients.refresh();
            }
            let Some(bound) = pause_bound(failure.reason.pace(), failures) else {
                let message = call.named(&failure.message);
                return Err(StoreError::Refused { operation: act.operation, key: act.key.to_owned(), message });
            };
            failures += 1;
            if failure.reason != Reason::Conflict || failures >= CONFLICTS {
                call.report(failure.reason.label(), &failure.message);
            }
            call.pause(inner.jitter.below(bound), &failure.message).await?;
        }
    }
}

/// One call on its way through attempts.
struct Call<'a> {
    store: &'a Store,
    act: Act<'a>,
    started: Instant,
    waiting: Waiting<'a>,
}

impl Call<'_> {
    async fn pass_gate(&mut self) -> Result<(), StoreError> {
        let Some(gate) = self.store.inner.gate.as_ref().filter(|_| self.act.effect == Effect::Write) else { return Ok(()) };
        while !gate.open() {
            let message = "no broker has answered for long, so another worker may own the partition; waiting for the broker";
            self.report("Stale", message);
            let pause = GATE_POLL + self.store.inner.jitter.below(GATE_POLL);
            self.pause(pause, message).await?;
        }
        Ok(())
    }

    /// Returns a message with the names that are needed to act on it.
    fn named(&self, message: &str) -> String {
        let Act { operation, key, .. } = self.act;
        format!("{operation} of s3://{}/{key}: {message}", self.store.inner.settings.bucket)
    }

    fn report(&self, reason: &'static str, message: &str) {
        let Act { operation, key, .. } = self.act;
        let message = self.named(message);
        if self.waiting.fail(reason, &message) {
            tracing::warn!(reason, operation, key, message, "s3 request failed, trying again");
        }
    }

    async fn pause(&self, pause: Duration, message: &str) -> Result<(), StoreError> {
        let spent = self.started.elapsed();
        if self.store.inner.settings.give_up_after.is_some_and(|limit| spent + pause >= limit) {
            let (operation, key) = (self.act.operation, self.act.key.to_owned());
            return Err(StoreError::GaveUp { operation, key, seconds: spent.as_secs(), message: self.named(message) });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Returns the bound of the jitter before the next attempt, or None when there must be none.
fn pause_bound(pace: Pace, failures: u32) -> Option<Duration> {
    let (first, cap) = match pace {
        Pace::Now => NOW,
        Pace::Soon => (SOON, SOON_CAP),
        Pace::Slow => (SLOW, SLOW_CAP),
        Pace::Never => return None,
    };
    Some(first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(cap))
}

/// Random pauses, so that workers that failed together don't come back together.
#[derive(Debug)]
pub(super) struct Jitter(AtomicU64);

impl Jitter {
    pub(super) fn new() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let seed = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default() ^ (u64::from(std::process::id()) << 32);
        Self(AtomicU64::new(seed | 1))
    }

    /// Returns the next random number (xorshift; nothing secret hangs on it).
    pub(super) fn next(&self) -> u64 {
        let step = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        step(self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(step(x))).unwrap_or(1))
    }

    /// Returns a pause below a bound.
    pub(super) fn below(&self, bound: Duration) -> Duration {
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.next() % micros)
    }
}

/// What the calls of a store are waiting for.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    board: Mutex<Board>,
}

#[derive(Debug, Default)]
struct Board {
    next: u64,
    waiting: BTreeMap<u64, Trouble>,
    /// Of a call that was given up or dropped while it waited: it stands until any call succeeds.
    left: Option<Trouble>,
}

impl Troubles {
    /// Returns the oldest trouble.
    pub(super) fn oldest(&self) -> Option<Trouble> {
        let board = self.board();
        board.waiting.values().chain(&board.left).min_by_key(|trouble| trouble.since_millis).cloned()
    }

    fn enter(&self) -> Waiting<'_> {
        let mut board = self.board();
        board.next += 1;
        Waiting { troubles: self, id: board.next }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's place on the board; when the call ends without success, its trouble stays until another call succeeds.
#[derive(Debug)]
struct Waiting<'a> {
    troubles: &'a Troubles,
    id: u64,
}

impl Waiting<'_> {
    /// Puts a trouble on the board; true when it is another one than the call had.
    fn fail(&self, reason: &'static str, message: &str) -> bool {
        let mut board = self.troubles.board();
        let before = board.waiting.get(&self.id);
        let since_millis = before.map_or_else(now_millis, |trouble| trouble.since_millis);
        let is_new = before.is_none_or(|trouble| trouble.message != message);
        board.waiting.insert(self.id, Trouble { reason, message: message.to_owned(), since_millis });
        is_new
    }

    fn succeed(&mut self) {
        let mut board = self.troubles.board();
        board.waiting.remove(&self.id);
        board.left = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut board = self.troubles.board();
        if let Some(trouble) = board.waiting.remove(&self.id) {
            board.left.get_or_insert(trouble);
        }
    }
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_cap_and_never_overflow() {
        let bounds = |pace| [0, 1, 4, 40].map(|failures| pause_bound(pace, failures).map(|bound| bound.as_millis()));
        assert_eq!(bounds(Pace::Now), [Some(20), Some(40), Some(320), Some(1_000)]);
        assert_eq!(bounds(Pace::Soon), [Some(100), Some(200), Some(1_600), Some(20_000)]);
        assert_eq!(bounds(Pace::Slow), [Some(1_000), Some(2_000), Some(16_000), Some(30_000)]);
        assert_eq!(bounds(Pace::Never), [None; 4]);
    }

    #[test]
    fn jitter_stays_below_its_bound_and_moves() {
        let jitter = Jitter::new();
        let bound = Duration::from_millis(100);
        let pauses: Vec<Duration> = (0..100).map(|_| jitter.below(bound)).collect();
        assert!(pauses.iter().all(|pause| *pause < bound));
        assert!(pauses.iter().any(|pause| *pause > bound / 2) && pauses.iter().any(|pause| *pause < bound / 2));
        assert_eq!(jitter.below(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn trouble_of_a_waiting_call_survives_the_success_of_another() {
        let troubles = Troubles::default();
        let denied = troubles.enter();
        denied.fail("AccessDenied", "denied");
        troubles.enter().succeed();
        assert_eq!(troubles.oldest().map(|trouble| trouble.reason), Some("AccessDenied"));
        drop(denied);
        assert_eq!(troubles.oldest().map(|trouble| trouble.reason), Some("AccessDenied"), "given up, and nothing has succeeded since");
        troubles.enter().succeed();
        assert_eq!(troubles.oldest(), None);
    }
}
