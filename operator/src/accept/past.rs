//! What was in force of a resource, for whoever cleans up after it: also where the accepted specs have gone before it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;
use stockpipeline::operations::DeletionPolicy;

use super::{Spec, accepted, check, identity, last_accepted, revisions};
use crate::apply::ApplyError;
use crate::observe::Key;
use crate::reconcile::Look;
use crate::reconcile::controller::Shared;
use crate::reconcile::memory::Remembered;
use crate::resource::crd::StockPipeline;
use crate::resource::crd::report::StockPipelineStatus;
use crate::resource::identity::Identity;
use crate::status::reason::{Accepted, Reason};

/// What was in force of a resource that is being deleted.
pub(crate) enum Past {
    /// No spec ever was, so nothing was made.
    Nothing,
    /// A spec was, and what it has made, or what is to be done about that, can no longer be read.
    Unreadable,
    /// This spec, with the deletion policy that stands in the resource now, where that can be read.
    InForce(Box<Spec>, DeletionPolicy),
}

/// What a status tells of the spec that was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trace {
    /// None was.
    Nothing,
    /// The one that stands in the resource.
    Current,
    /// Another one, or nobody knows which.
    Another,
}

/// Returns what was in force of a resource that is being deleted.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn for_clean_up(look: &Look<'_>, memory: &mut Remembered) -> Result<Past, ApplyError> {
    let (shared, object) = (look.shared, look.object);
    let identity = identity(object);
    let generation = object.metadata.generation.unwrap_or(0);
    let written = Value::Object(object.spec.members.clone());
    let spec_hash = revisions::spec_hash(&written);
    let current = check(&shared.context.settings, &identity, written, generation).ok();
    let declared = |spec: &Spec| spec.pipeline.operations.deletion;
    let policy = current.as_ref().map(declared);
    let accepted = accepted_or_left_over(shared, &identity);
    let Some((newest, older)) = accepted.split_first() else {
        // A namespace that ends, or a deletion that takes dependants first, takes the revisions before the resource.
        return Ok(match (trace(look.known.as_ref(), generation), current.zip(policy)) {
            (Trace::Nothing, _) => Past::Nothing,
            (Trace::Current, Some((spec, policy))) => Past::InForce(Box::new(spec), policy),
            (Trace::Current, None) | (Trace::Another, _) => Past::Unreadable,
        });
    };
    let mut in_force = current.filter(|_| newest.spec_hash == spec_hash);
    if in_force.is_none() {
        in_force = last_accepted(shared, &identity, Some(newest), memory).await?.and_then(|last| last.spec);
    }
    // What an older one says is to be deleted is not what the newest one says.
    let Some(policy) = policy.or_else(|| in_force.as_ref().map(declared)) else { return Ok(Past::Unreadable) };
    for revision in older {
        if in_force.is_none() {
            in_force = last_accepted(shared, &identity, Some(revision), memory).await?.and_then(|last| last.spec);
        }
    }
    Ok(in_force.map_or(Past::Unreadable, |spec| Past::InForce(Box::new(spec), policy)))
}

/// Returns what a status tells of the spec that was in force, of a resource that has the operator's finalizer: that is there once a spec
/// is in force, or somebody else has put it there.
fn trace(status: Option<&StockPipelineStatus>, generation: i64) -> Trace {
    let Some((status, accepted)) = status.and_then(|status| Some((status, condition(&status.conditions)?))) else {
        return Trace::Another;
    };
    // The API server counts a deletion as a change of the spec.
    let is_of_current = accepted.observed_generation.is_some_and(|observed| observed.saturating_add(1) >= generation);
    match reason(accepted) {
        // What cannot be written down once the revisions are gone was in force before.
        Some(Accepted::Valid | Accepted::SecretNotFound | Accepted::RoleNotAllowed | Accepted::NotRecorded) if is_of_current => {
            Trace::Current
        }
        Some(Accepted::InvalidSpec | Accepted::UnsupportedChange | Accepted::ResourceConflict) if !has_made(status) => Trace::Nothing,
        Some(_) | None => Trace::Another,
    }
}

/// Returns whether a status tells that the spec which stands in the resource is in force, for whoever cannot list the accepted ones. One
/// that was changed since has claimed nearly the same.
pub(crate) fn tells_in_force(status: Option<&StockPipelineStatus>) -> bool {
    let Some((status, accepted)) = status.and_then(|status| Some((status, condition(&status.conditions)?))) else { return false };
    match reason(accepted) {
        Some(Accepted::Valid | Accepted::SecretNotFound | Accepted::NotRecorded) => true,
        // Of something new, or of what runs: a change that is refused leaves the last spec at work.
        Some(Accepted::RoleNotAllowed | Accepted::Undecided | Accepted::InvalidSpec | Accepted::UnsupportedChange) | None => {
            has_made(status)
        }
        // What it asks for is another's.
        Some(Accepted::ResourceConflict) => false,
    }
}

fn reason(accepted: &Condition) -> Option<Accepted> {
    Accepted::ALL.into_iter().find(|reason| reason.meaning().label == accepted.reason)
}

fn condition(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == "Accepted")
}

/// Returns whether a status names something that a spec in force has made.
fn has_made(status: &StockPipelineStatus) -> bool {
    let runs = status.sink.as_ref().is_some_and(|sink| !sink.config_hash.is_empty());
    runs || status.kafka.is_some() || status.glue.is_some() || status.athena.is_some()
}

/// Returns every accepted spec of a resource that is kept and can be read, the newest first.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn accepted_specs(shared: &Shared, object: &StockPipeline, memory: &mut Remembered) -> Result<Vec<Spec>, ApplyError> {
    let identity = identity(object);
    let mut specs = Vec::new();
    for revision in accepted_or_left_over(shared, &identity) {
        specs.extend(last_accepted(shared, &identity, Some(&revision), memory).await?.and_then(|last| last.spec));
    }
    Ok(specs)
}

/// Returns the accepted specs of a resource; where it has none, those that deleting a pipeline of its name without its children has left.
fn accepted_or_left_over(shared: &Shared, identity: &Identity) -> Vec<revisions::Accepted> {
    let accepted = accepted(shared, identity);
    if !accepted.is_empty() {
        return accepted;
    }
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let stored = shared.caches.revisions.all(&key);
    revisions::left_over(identity, stored.iter().map(AsRef::as_ref))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(reason: Accepted, observed: i64, made: &Value) -> StockPipelineStatus {
        let mut status = json!({ "conditions": [{
            "type": "Accepted", "status": "", "reason": reason.meaning().label, "message": "", "observedGeneration": observed,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] });
        status.as_object_mut().unwrap().extend(made.as_object().unwrap().clone());
        serde_json::from_value(status).unwrap()
    }

    fn told(reason: Accepted, observed: i64, made: &Value) -> Trace {
        trace(Some(&status(reason, observed, made)), 7)
    }

    #[test]
    fn a_status_tells_what_may_be_at_work_where_accepted_specs_cannot_be_listed() {
        for reason in Accepted::ALL {
            let expected = match reason {
                Accepted::Valid | Accepted::SecretNotFound | Accepted::NotRecorded => (true, true),
                Accepted::RoleNotAllowed | Accepted::Undecided | Accepted::InvalidSpec | Accepted::UnsupportedChange => (false, true),
                Accepted::ResourceConflict => (false, false),
            };
            let tells = |made: Value| tells_in_force(Some(&status(reason, 1, &made)));
            assert_eq!((tells(json!({})), tells(json!({ "athena": {} }))), expected, "{reason:?}");
        }
        assert!(!tells_in_force(None), "nobody has judged it");
    }

    #[test]
    fn a_status_tells_which_spec_was_in_force_and_says_nothing_only_where_nothing_was_made() {
        let (nothing, tables) = (json!({}), json!({ "athena": {} }));
        for reason in Accepted::ALL {
            let (before, after) = match reason {
                Accepted::Valid | Accepted::SecretNotFound | Accepted::RoleNotAllowed | Accepted::NotRecorded => {
                    (Trace::Current, Trace::Current)
                }
                Accepted::Undecided => (Trace::Another, Trace::Another),
                Accepted::InvalidSpec | Accepted::UnsupportedChange | Accepted::ResourceConflict => (Trace::Nothing, Trace::Another),
            };
            // The deletion itself is one generation.
            for observed in [6, 7] {
                assert_eq!((told(reason, observed, &nothing), told(reason, observed, &tables)), (before, after), "{reason:?}");
            }
            assert_ne!(told(reason, 5, &tables), Trace::Current, "{reason:?}: nobody has judged what stands there now");
        }
        assert_eq!(trace(None, 1), Trace::Another, "the finalizer was set, and the status was not written");
    }
}
