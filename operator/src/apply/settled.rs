//! What is remembered of the objects that were applied.

use serde_json::Value;

use super::contest::Corrections;
use super::difference;
use crate::hash;

/// What was declared and what the API server made of it, where the two will never be equal: a quantity in another spelling, say.
///
/// By kind and name, hashes of both. Whoever finds the same pair again has nothing to write. Beside it, what was set right lately.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    objects: Vec<SettledObject>,
    pub(super) corrections: Corrections,
}

/// Hashes of an object's kind and name, of its declaration, and of what became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SettledObject {
    place: u64,
    declared: u64,
    live: u64,
}

impl SettledObject {
    pub(super) fn of(place: &str, declared: &str, live: Value) -> Self {
        let number = hash::number;
        Self { place: number(place), declared: number(declared), live: number(&difference::settled(live).to_string()) }
    }
}

impl Settled {
    pub(super) fn knows(&self, place: &str) -> bool {
        let place = hash::number(place);
        self.objects.iter().any(|known| known.place == place)
    }

    pub(super) fn has(&self, object: SettledObject) -> bool {
        self.objects.contains(&object)
    }

    pub(super) fn put(&mut self, object: SettledObject) {
        match self.objects.iter_mut().find(|known| known.place == object.place) {
            Some(known) => *known = object,
            None => self.objects.push(object),
        }
    }

    pub(super) fn forget(&mut self, place: &str) {
        let place = hash::number(place);
        self.objects.retain(|known| known.place != place);
    }
}
