//! The specs that were accepted: one owned `ControllerRevision` for each accepted generation, of which the newest few are kept.
//!
//! They say which spec is in force while a newer one is refused, also to an operator that has just started.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde_json::Value;
use stockpipeline::document::GROUP;

use crate::accept::change::{Bounds, Kept};
use crate::apply::{Ownership, ownership};
use crate::hash;
use crate::resource::identity::Identity;

/// Revisions that are kept: the one in force, and two to look back to.
const KEPT: usize = 3;

/// An accepted spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Generation of the resource.
    pub(crate) generation: i64,
    /// When the revision was made: a definition with another default changes a spec, and the generation stays.
    created: Option<Timestamp>,
    /// Hash of the spec.
    pub(crate) spec_hash: String,
    /// Name of the revision.
    pub(crate) name: String,
}

/// What a revision holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The spec, as it was written.
    pub(crate) spec: Value,
    /// What is kept of the specs before it.
    pub(crate) kept: Kept,
    /// What of it binds those after it; None where that cannot be read.
    pub(crate) bounds: Option<Bounds>,
}

/// Returns the hash by which a spec is known again, whole: whoever makes a spec with the hash of an accepted one goes around every
/// comparison with that. The order of its members does not count.
pub(crate) fn spec_hash(spec: &Value) -> String {
    hash::full(&crate::desired::sorted(spec.clone()).to_string())
}

/// Returns the accepted specs of a resource among revisions, the newest first.
pub(crate) fn accepted<'a>(identity: &Identity, revisions: impl IntoIterator<Item = &'a ControllerRevision>) -> Vec<Accepted> {
    let is_owned = |revision: &&ControllerRevision| revision.owner_references().iter().any(|owner| owner.uid == identity.uid);
    newest_first(revisions.into_iter().filter(is_owned))
}

/// Returns the specs of a resource's name that nobody owns any more, the newest first.
pub(crate) fn left_over<'a>(identity: &Identity, revisions: impl IntoIterator<Item = &'a ControllerRevision>) -> Vec<Accepted> {
    newest_first(revisions.into_iter().filter(|revision| matches!(ownership(identity, *revision), Ownership::Ours)))
}

fn newest_first<'a>(revisions: impl Iterator<Item = &'a ControllerRevision>) -> Vec<Accepted> {
    let accepted = revisions.filter_map(|revision| {
        let spec_hash = revision.annotations().get(&hash_annotation())?.clone();
        let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Some(Accepted { generation: revision.revision, created, spec_hash, name: revision.name_any() })
    });
    let mut found: Vec<Accepted> = accepted.collect();
    found.sort_by_key(|accepted| std::cmp::Reverse((accepted.generation, accepted.created)));
    found
}

/// Returns the revision of a spec that is being accepted. A generation that comes twice, as after a restored backup, gets another name
/// when its spec is another one.
pub(crate) fn revision(identity: &Identity, generation: i64, contents: &Contents) -> ControllerRevision {
    let Contents { spec, kept, bounds } = contents;
    let spec_hash = spec_hash(spec);
    let mut metadata = identity.metadata(name(identity, generation, &spec_hash), None);
    metadata.annotations = Some([(hash_annotation(), spec_hash)].into());
    let mut data = serde_json::json!({ "spec": spec });
    if !kept.is_empty() {
        data["kept"] = serde_json::json!(kept);
    }
    if let Some(bounds) = bounds {
        data["bounds"] = serde_json::json!(bounds);
    }
    ControllerRevision { metadata, data: Some(RawExtension(data)), revision: generation }
}

/// Returns what a revision holds; None where it holds no spec.
pub(crate) fn contents(revision: ControllerRevision) -> Option<Contents> {
    let RawExtension(mut data) = revision.data?;
    let kept = data.get_mut("kept").map(Value::take).and_then(|kept| serde_json::from_value(kept).ok());
    let bounds = data.get_mut("bounds").map(Value::take).and_then(|bounds| serde_json::from_value(bounds).ok());
    Some(Contents { spec: data.get_mut("spec")?.take(), kept: kept.unwrap_or_default(), bounds })
}

/// Returns those that are no longer kept.
pub(crate) fn outdated(accepted: &[Accepted]) -> impl Iterator<Item = &Accepted> {
    accepted.iter().skip(KEPT)
}

/// Returns the name of the revision of a spec.
pub(crate) fn name(identity: &Identity, generation: i64, spec_hash: &str) -> String {
    format!("{}-{generation}-{}", identity.name, spec_hash.get(..8).unwrap_or(spec_hash))
}

fn hash_annotation() -> String {
    format!("{GROUP}/spec-hash")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn identity(uid: &str) -> Identity {
        Identity { name: "x".repeat(45), namespace: "n".to_owned(), uid: uid.to_owned() }
    }

    fn of(us: &Identity, generation: i64, spec: &Value) -> ControllerRevision {
        revision(us, generation, &Contents { spec: spec.clone(), kept: Kept::new(), bounds: None })
    }

    #[test]
    fn the_newest_accepted_spec_comes_first_and_only_a_few_are_kept() {
        let us = identity("us");
        let mut revisions: Vec<ControllerRevision> =
            [3, 1, 12, 2].map(|generation| of(&us, generation, &json!({ "generation": generation }))).into();
        revisions.push(of(&identity("an earlier one"), 99, &json!({})));
        let found = accepted(&us, &revisions);
        assert_eq!(found.iter().map(|accepted| accepted.generation).collect::<Vec<_>>(), [12, 3, 2, 1]);
        assert_eq!(outdated(&found).map(|accepted| accepted.generation).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn of_two_accepted_specs_of_one_generation_the_later_one_comes_first() {
        let us = identity("us");
        let made = |spec: &Value, second: i64| {
            let mut revision = of(&us, 1, spec);
            revision.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
            revision
        };
        let specs = [json!({ "before": 1 }), json!({ "before": 1, "default": 2 })];
        // Whichever name the API server lists first.
        for [earlier, later] in [[&specs[0], &specs[1]], [&specs[1], &specs[0]]] {
            let revisions = [made(earlier, 1), made(later, 2)];
            let mut listed: Vec<&ControllerRevision> = revisions.iter().collect();
            for _ in 0..2 {
                assert_eq!(accepted(&us, listed.clone())[0].spec_hash, spec_hash(later));
                listed.reverse();
            }
        }
    }

    #[test]
    fn a_revision_gives_its_spec_back() {
        let written = json!({ "b": 1, "a": { "d": [1, 2], "c": null } });
        let kept = Kept::from([("spec.sink.raw.prefix".to_owned(), "raw".to_owned())]);
        for kept in [kept, Kept::new()] {
            let held = Contents { spec: written.clone(), kept, bounds: None };
            let revision = revision(&identity("us"), i64::MAX, &held);
            assert!(revision.name_any().len() <= 253);
            assert_eq!(contents(revision), Some(held));
        }
        assert_eq!(spec_hash(&written), spec_hash(&json!({ "a": { "c": null, "d": [1, 2] }, "b": 1 })));
        assert_eq!(spec_hash(&written).len(), 64, "nobody finds a second spec with the hash of an accepted one");
        assert_ne!(spec_hash(&written), spec_hash(&json!({ "a": { "c": null, "d": [2, 1] }, "b": 1 })));
    }
}
