//! When pipelines are looked at again. The one that is due for longest comes first: where there are more than can be looked at, all wait longer,
//! and none for ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::observe::Key;

/// Who is looked at when.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<Entries>,
    /// Something may be due earlier than before.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    order: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
}

impl Agenda {
    /// Puts a pipeline down for a moment, in place of any before; None takes it off.
    pub(super) fn set(&self, key: Key, at: Option<Instant>) {
        self.entries().set(key, at);
        self.changed.notify_one();
    }

    /// Puts a pipeline down that is not.
    pub(super) fn add(&self, key: Key, at: Instant) {
        let mut entries = self.entries();
        if !entries.due.contains_key(&key) {
            entries.set(key, Some(at));
            self.changed.notify_one();
        }
    }

    /// Takes off the pipeline that is due for longest; None while none is due.
    pub(super) fn next(&self, now: Instant) -> Option<Key> {
        self.entries().next(now)
    }

    /// Waits until a pipeline is due, or something has changed.
    pub(super) async fn wait(&self) {
        let first = self.entries().order.first().map(|(at, _)| *at);
        match first {
            Some(at) => drop(tokio::time::timeout_at(at.into(), self.changed.notified()).await),
            None => self.changed.notified().await,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn set(&mut self, key: Key, at: Option<Instant>) {
        if let Some((key, before)) = self.due.remove_entry(&key) {
            self.order.remove(&(before, key));
        }
        if let Some(at) = at {
            self.order.insert((at, key.clone()));
            self.due.insert(key, at);
        }
    }

    fn next(&mut self, now: Instant) -> Option<Key> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }
}

/// Returns the moment after a wait that may be as long as can be.
pub(super) fn moment(wait: Duration) -> Instant {
    const LONGEST: Duration = Duration::from_hours(24);
    Instant::now() + wait.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key { namespace: "n".to_owned(), name: format!("p{number}") }
    }

    #[test]
    fn each_is_looked_at_in_turn_where_there_are_more_than_can_be() {
        let (start, interval, mut entries) = (Instant::now(), Duration::from_secs(15), Entries::default());
        (0..100).for_each(|number| entries.set(key(number), Some(start)));
        let mut looks = HashMap::<Key, usize>::new();
        // One look a second: seven times too few.
        for second in 0..1_000 {
            let now = start + Duration::from_secs(second);
            let next = entries.next(now).unwrap();
            *looks.entry(next.clone()).or_default() += 1;
            entries.set(next, Some(now + interval));
        }
        assert!(looks.len() == 100 && looks.values().all(|looks| *looks == 10), "{looks:?}");
    }

    #[tokio::test]
    async fn an_earlier_moment_ends_a_longer_wait() {
        let agenda = Agenda::default();
        let now = Instant::now();
        agenda.set(key(1), Some(now + Duration::from_hours(1)));
        agenda.wait().await;
        let (waiting, ()) = (agenda.wait(), agenda.add(key(1), now));
        tokio::select! {
            () = waiting => panic!("who is on the agenda is not put down anew"),
            () = tokio::task::yield_now() => agenda.add(key(2), now),
        }
        agenda.wait().await;
        assert_eq!((agenda.next(now), agenda.next(now)), (Some(key(2)), None));
    }

    #[test]
    fn a_later_word_is_in_place_of_an_earlier_one_and_nobody_comes_before_its_time() {
        let (now, mut entries) = (Instant::now(), Entries::default());
        let second = Duration::from_secs(1);
        entries.set(key(1), Some(now));
        entries.set(key(1), Some(now + second));
        entries.set(key(2), Some(now));
        entries.set(key(2), None);
        assert_eq!(entries.next(now), None);
        assert_eq!(entries.next(now + second), Some(key(1)));
        assert_eq!((entries.next(now + second), entries.order.len(), entries.due.len()), (None, 0, 0));
    }
}
