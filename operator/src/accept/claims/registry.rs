//! Who claims what, of all pipelines that this operator sees: decided by one at a time, so that two never get the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::{Claimant, Claims, conflict};
use crate::resource::identity::Identity;

/// What one pipeline claims.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The resource.
    pub(crate) identity: Identity,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Generation of the spec.
    pub(crate) generation: i64,
    /// Whether it is in force.
    pub(crate) in_force: bool,
    /// What it claims.
    pub(crate) claims: Claims,
    /// What says all this.
    pub(crate) source: Source,
}

/// What tells whether the claims of a pipeline are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its accepted specs.
    Revisions,
    /// Its status, since they cannot be listed.
    Status,
}

/// All claims, by the pipelines' unique ids. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<String, Box<Entry>>>>);

impl Registry {
    /// Puts a claim in force unless another one stands in its way, and returns what does.
    pub(crate) fn claim(&self, mut entry: Entry) -> Result<(), String> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = conflict(entry.claimant(), entries.values().map(|entry| entry.claimant())) {
            let uid = entry.identity.uid.clone();
            // What is in force of it stays; else it waits with what it asks for.
            match entries.get_mut(&uid) {
                Some(known) if known.in_force => {}
                Some(known) => **known = entry,
                None => drop(entries.insert(uid, Box::new(entry))),
            }
            return Err(message);
        }
        entry.in_force = true;
        entries.insert(entry.identity.uid.clone(), Box::new(entry));
        Ok(())
    }

    /// Notes a claim that is in force, or asks to be, without a judgement.
    pub(crate) fn note(&self, entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(entry.identity.uid.clone(), Box::new(entry));
    }

    /// Returns what the known claim of a pipeline comes from.
    pub(crate) fn source(&self, uid: &str) -> Option<Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).map(|entry| entry.source)
    }

    /// Returns whether the claims of a generation are in force.
    pub(crate) fn is_in_force(&self, uid: &str, generation: i64) -> bool {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(uid).is_some_and(|entry| entry.in_force && entry.generation == generation)
    }

    /// Keeps the claims of pipelines that there are.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| is_there(uid));
    }

    /// Gives up what a pipeline claims.
    pub(crate) fn release(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

impl Entry {
    fn claimant(&self) -> Claimant<'_> {
        Claimant { identity: &self.identity, created: self.created, in_force: self.in_force, claims: &self.claims }
    }
}
