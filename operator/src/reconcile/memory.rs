//! What the operator remembers of each pipeline between two looks. All of it can be lost: the next look finds out again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::accept::revisions::Contents;
use crate::apply::Settled;
use crate::catalog::decide::CatalogReport;
use crate::desired::scaler::History;
use crate::error::Retry;
use crate::hash;
use crate::observe::{Key, Said};
use crate::resource::crd::report::StockPipelineStatus;

/// What is remembered of one pipeline.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Unique id of the resource that this is about.
    pub(crate) uid: String,
    /// What was applied.
    pub(crate) settled: Settled,
    /// What has failed, and until when it is left alone.
    pub(crate) pause: Option<Box<Pause>>,
    /// An accepted spec that could not be written down.
    pub(crate) unrecorded: Option<Box<Pause>>,
    /// The last look at the catalogue.
    pub(crate) catalogue: Option<Box<CatalogLook>>,
    /// The last accepted spec that is not the current one, by the name of its revision.
    pub(crate) last_accepted: Option<(String, Arc<Contents>)>,
    /// Recommended numbers of sinks.
    pub(crate) history: Option<History>,
    /// Since when the pipeline drains.
    pub(crate) draining_since: Option<Timestamp>,
    /// Since when no producer runs while the pipeline drains.
    pub(crate) no_producer_since: Option<Timestamp>,
    /// Since when every slot of a finite source is said to be produced to its end.
    pub(crate) completed_since: Option<Timestamp>,
    /// When workers were asked last.
    pub(crate) asked: Option<Timestamp>,
    /// Workers that have had their turn to be asked.
    pub(crate) turn: usize,
    /// What each pod's worker said last, by pod.
    pub(crate) said: Vec<Said>,
    /// The status that was written last, when, and as which version of the resource.
    pub(crate) written: Option<Written>,
    /// Failed attempts in a row to write the status.
    pub(crate) failures: u32,
}

/// A status that was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// When.
    pub(crate) at: Timestamp,
    /// As which version of the resource.
    pub(crate) resource_version: Option<String>,
    /// The status; None once the cache has it.
    pub(crate) status: Option<Box<StockPipelineStatus>>,
}

/// Something that has failed and is left alone for a while.
#[derive(Debug)]
pub(crate) struct Pause {
    /// Until when.
    pub(crate) until: Timestamp,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Class of the last one.
    pub(crate) retry: Retry,
    /// What it said.
    pub(crate) message: String,
    /// What was asked for by then: another wish ends the pause.
    pub(crate) wish: Wish,
}

/// What a user asks for: a change of it ends every wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Generation of the resource.
    pub(crate) generation: i64,
    /// The annotations that the operator reads.
    pub(crate) annotations: Vec<(String, String)>,
}

/// A look at the catalogue.
#[derive(Debug)]
pub(crate) struct CatalogLook {
    /// The annotations by then.
    pub(crate) annotations: Vec<(String, String)>,
    /// Hash of what was wanted, whatever the generation.
    pub(crate) wanted_hash: String,
    /// When to look again.
    pub(crate) next: Timestamp,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// What was found.
    pub(crate) report: CatalogReport,
}

/// What is remembered of all pipelines. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Remembered>>>>>);

impl Memory {
    /// Returns what is remembered of a pipeline.
    pub(crate) fn of(&self, key: &Key) -> Arc<tokio::sync::Mutex<Remembered>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key.clone()).or_default())
    }

    /// Forgets every pipeline that is gone, unless somebody is about to look at it: one lock a name keeps two looks apart.
    pub(crate) fn retain(&self, is_there: impl Fn(&Key) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|key, memory| is_there(key) || Arc::strong_count(memory) > 1);
    }
}

impl Remembered {
    /// Starts anew when the resource was deleted and made again.
    pub(crate) fn is_about(&mut self, uid: &str) {
        if self.uid != uid {
            *self = Self { uid: uid.to_owned(), ..Self::default() };
        }
    }

    /// Returns whether something that has failed is still left alone.
    pub(crate) fn is_paused(&self, wish: &Wish, now: Timestamp) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.holds(wish, now))
    }

    /// Notes a failure, after which the next attempt waits.
    pub(crate) fn failed(&mut self, wish: &Wish, retry: Retry, message: String, now: Timestamp) {
        self.pause = Some(Box::new(self.pause_after(self.pause.as_deref(), wish, (retry, message), now)));
    }

    /// Notes that an accepted spec could not be written down, after which the next attempt waits.
    pub(crate) fn not_recorded(&mut self, wish: &Wish, retry: Retry, message: String, now: Timestamp) {
        self.unrecorded = Some(Box::new(self.pause_after(self.unrecorded.as_deref(), wish, (retry, message), now)));
    }

    fn pause_after(&self, before: Option<&Pause>, wish: &Wish, (retry, message): (Retry, String), now: Timestamp) -> Pause {
        let failures = before.filter(|pause| pause.wish == *wish).map_or(0, |pause| pause.failures).saturating_add(1);
        let until = after(now, retry.delay(failures, self.chance(failures)));
        Pause { until, failures, retry, message, wish: wish.clone() }
    }

    /// Returns a number within 0..1 that spreads pipelines apart and is the same each time.
    pub(crate) fn chance(&self, salt: u32) -> f64 {
        let digits = hash::short(&format!("{}/{salt}", self.uid));
        digits
            .get(..8)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
    }
}

impl Pause {
    /// Returns whether it is still to be left alone.
    pub(crate) fn holds(&self, wish: &Wish, now: Timestamp) -> bool {
        self.until > now && self.wish == *wish
    }
}

/// Returns the time after a wait.
pub(crate) fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_failed_waits_longer_each_time_until_the_wish_changes() {
        let mut memory = Remembered { uid: "u".to_owned(), ..Remembered::default() };
        let wish = Wish { generation: 1, annotations: Vec::new() };
        memory.failed(&wish, Retry::User, "why".to_owned(), at(0));
        assert!(memory.is_paused(&wish, at(149)) && !memory.is_paused(&wish, at(301)));
        let other = Wish { generation: 2, ..wish.clone() };
        assert!(!memory.is_paused(&other, at(0)));
        memory.failed(&wish, Retry::Backoff, "why".to_owned(), at(0));
        assert_eq!(memory.pause.as_ref().map(|pause| pause.failures), Some(2));
        memory.failed(&other, Retry::Backoff, "why".to_owned(), at(0));
        assert_eq!(memory.pause.as_ref().map(|pause| pause.failures), Some(1));
    }

    #[test]
    fn a_resource_of_the_same_name_starts_anew() {
        let mut memory = Remembered { uid: "old".to_owned(), failures: 3, ..Remembered::default() };
        memory.is_about("old");
        assert_eq!(memory.failures, 3);
        memory.is_about("new");
        assert_eq!(memory.failures, 0);
    }

    #[test]
    fn chances_differ_and_stay() {
        let memory = |uid: &str| Remembered { uid: uid.to_owned(), ..Remembered::default() };
        let [a, b] = ["a", "b"].map(|uid| memory(uid).chance(1));
        assert!((0.0..=1.0).contains(&a) && (a - b).abs() > 1e-6 && (a - memory("a").chance(1)).abs() < 1e-12);
    }
}
