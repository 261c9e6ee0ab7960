//! Whether the controller moves: looks at pipelines end, or none is due. What `/livez` says of a process that leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stockpipeline_program::clock::boottime_millis;

use crate::observe::Key;

/// How often the controller says that it turns.
pub(crate) const TURN: Duration = Duration::from_secs(10);
/// Without a turn for this long the controller stands: nothing in it may block.
const UNTURNED_MILLIS: u64 = 60_000;
/// A look is cut short after a minute, so that one of those that are due ends within two.
const UNLOOKED_MILLIS: u64 = 180_000;

/// What is known of the controller's movement. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Beats>>);

#[derive(Debug, Default)]
struct Beats {
    /// Last turn, in milliseconds since boot; None before the controller starts.
    turned: Option<u64>,
    /// End of the last look.
    looked: u64,
    /// When each pipeline is looked at again; None for one that waits for a change.
    due: HashMap<Key, Option<u64>>,
}

impl Pulse {
    /// Returns whether the controller moves, or stands by, or why not; `now_millis` since boot.
    ///
    /// # Errors
    /// What has not happened, and for how long.
    pub fn check(&self, now_millis: u64) -> Result<(), String> {
        let beats = self.beats();
        let Some(turned) = beats.turned else { return Ok(()) };
        let unturned = now_millis.saturating_sub(turned);
        if unturned > UNTURNED_MILLIS {
            return Err(format!("the controller has not moved for {} s", unturned / 1_000));
        }
        let unlooked = now_millis.saturating_sub(beats.looked);
        let overdue = beats.due.values().flatten().filter(|due| now_millis.saturating_sub(**due) > UNLOOKED_MILLIS).count();
        if overdue > 0 && unlooked > UNLOOKED_MILLIS {
            return Err(format!("no pipeline has been looked at for {} s, and {overdue} should have been", unlooked / 1_000));
        }
        Ok(())
    }

    /// Notes that the controller moves.
    pub(crate) fn turned(&self) {
        let now = boottime_millis();
        let mut beats = self.beats();
        if beats.turned.replace(now).is_none() {
            beats.looked = now;
        }
    }

    /// Notes that a look has ended, and when the next one is.
    pub(crate) fn looked(&self, pipeline: Key, wait: Option<Duration>) {
        let now = boottime_millis();
        let due = wait.map(|wait| now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
        let mut beats = self.beats();
        beats.looked = now;
        beats.due.insert(pipeline, due);
    }

    /// Notes which pipelines there are: one that was never looked at is due, and one that is gone is not.
    pub(crate) fn are_there(&self, pipelines: impl IntoIterator<Item = Key>) {
        let now = boottime_millis();
        let mut beats = self.beats();
        let mut known = std::mem::take(&mut beats.due);
        beats.due = pipelines.into_iter().map(|key| known.remove_entry(&key).unwrap_or((key, Some(now)))).collect();
    }

    /// Returns which pipelines were to be looked at so long ago, and were not.
    pub(crate) fn overdue(&self, by: Duration) -> Vec<Key> {
        let (now, by) = (boottime_millis(), u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
        let beats = self.beats();
        let is_overdue = |due: &Option<u64>| due.is_some_and(|due| now.saturating_sub(due) > by);
        beats.due.iter().filter(|(_, due)| is_overdue(due)).map(|(key, _)| key.clone()).collect()
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "n".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn one_that_stands_by_is_alive_and_a_controller_that_stops_turning_is_not() {
        let pulse = Pulse::default();
        let now = boottime_millis();
        assert_eq!(pulse.check(now + 10 * UNTURNED_MILLIS), Ok(()));
        pulse.turned();
        let now = boottime_millis();
        assert_eq!(pulse.check(now), Ok(()));
        assert!(pulse.check(now + UNTURNED_MILLIS + 1).unwrap_err().contains("not moved"));
    }

    /// Returns what is said at a later time of a controller that still turns by then.
    fn later(pulse: &Pulse, millis: u64) -> Result<(), String> {
        let now = boottime_millis();
        pulse.beats().turned = Some(now + millis);
        pulse.check(now + millis)
    }

    #[test]
    fn looks_that_are_due_and_do_not_end_are_noticed_and_idleness_is_fine() {
        let pulse = Pulse::default();
        pulse.turned();
        assert_eq!(later(&pulse, 1_000_000), Ok(()), "there is nothing to look at");
        pulse.are_there([key("a"), key("disabled")]);
        pulse.looked(key("disabled"), None);
        assert_eq!(later(&pulse, UNLOOKED_MILLIS), Ok(()));
        assert!(later(&pulse, UNLOOKED_MILLIS + 1_000).unwrap_err().contains("1 should have been"));
        pulse.looked(key("a"), Some(Duration::from_mins(5)));
        assert_eq!(later(&pulse, 300_000 + UNLOOKED_MILLIS - 1_000), Ok(()));
        assert!(later(&pulse, 300_000 + UNLOOKED_MILLIS + 1_000).is_err());
        pulse.are_there([key("disabled")]);
        assert_eq!(later(&pulse, 1_000_000), Ok(()), "what is gone is not due");
        assert_eq!(pulse.overdue(Duration::ZERO), []);
        pulse.are_there([key("disabled"), key("new")]);
        pulse.beats().due.insert(key("new"), Some(boottime_millis() - 2_000));
        assert_eq!((pulse.overdue(Duration::from_secs(1)), pulse.overdue(Duration::from_mins(1))), (vec![key("new")], vec![]));
    }
}
