//! Which spec is in force: the newest one that passes the check, changes nothing that it must not, and claims nothing of others. While
//! the current one does not, the one that was accepted last stays.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{Api, ResourceExt};
use serde_json::Value;
use stockpipeline::Pipeline;
use stockpipeline::check::{FieldError, UnknownFields};
use stockpipeline::document::Document;
use stockpipeline::operations::DeletionPolicy;

use crate::apply::{Applier, ApplyError};
use crate::change;
use crate::claims::Claims;
use crate::claims::registry::Entry;
use crate::controller::Shared;
use crate::crd::StockPipeline;
use crate::desired::{Children, Counts, Wanted};
use crate::error::Retry;
use crate::identity::Identity;
use crate::memory::Remembered;
use crate::observe::Key;
use crate::reconcile::Look;
use crate::revisions;
use crate::settings::Settings;
use crate::status::Finding;
use crate::status::reason::Accepted;

/// Errors of a spec that are shown; more help nobody at once.
const SHOWN: usize = 5;

/// A spec that can be in force.
#[derive(Debug)]
pub(crate) struct Spec {
    /// What workers are given.
    pub(crate) document: Document,
    /// The same, checked.
    pub(crate) pipeline: Pipeline,
    /// Generation of the resource that it came with.
    pub(crate) generation: i64,
    /// What is allowed in it and probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// What came of judging a resource.
#[derive(Debug)]
pub(crate) struct Acceptance {
    /// The condition.
    pub(crate) finding: Finding<Accepted>,
    /// What is in force; None where nothing ever was, or can be read any more.
    pub(crate) in_force: Option<Spec>,
    /// When to try again to write down what would be in force.
    pub(crate) retry: Option<Retry>,
}

/// Why a spec cannot be in force.
#[derive(Debug)]
pub(crate) struct Refusal {
    reason: Accepted,
    message: String,
}

/// Returns which spec of a resource is in force.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn judge(look: &Look<'_>, memory: &mut Remembered, applier: &mut Applier<'_>) -> Result<Acceptance, ApplyError> {
    let (shared, object) = (look.shared, look.object);
    let identity = identity(object);
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let generation = object.metadata.generation.unwrap_or(0);
    let written = Value::Object(object.spec.members.clone());
    let spec_hash = revisions::spec_hash(&written);
    let stored = shared.caches.revisions.all(&key);
    let accepted = revisions::accepted(&identity, stored.iter().map(AsRef::as_ref));
    let checked = check(&shared.context.settings, &identity, written.clone(), generation);
    let is_accepted = accepted.first().is_some_and(|newest| newest.spec_hash == spec_hash);
    let refusal = match checked {
        Ok(spec) if is_accepted => {
            if !shared.registry.is_in_force(&identity.uid, generation) {
                shared.registry.note(entry(object, &spec, true));
            }
            return Ok(in_force(spec));
        }
        Ok(spec) => {
            let last = last_accepted(shared, &identity, accepted.first(), memory).await?;
            match consider(shared, object, &spec, last.as_ref()).await? {
                Ok(()) if look.is_read_only => return Ok(in_force(spec)),
                Ok(()) => {
                    if let Some((retry, message)) = record(look, memory, applier, (&spec, &written), &accepted).await? {
                        let finding = Finding { reason: Accepted::NotRecorded, message };
                        return Ok(Acceptance { finding, in_force: last, retry: Some(retry) });
                    }
                    return Ok(in_force(spec));
                }
                Err(refusal) => return Ok(Acceptance { finding: refusal.finding(), in_force: last, retry: None }),
            }
        }
        Err(refusal) => refusal,
    };
    // An accepted spec that no longer passes is looked for among the older ones too.
    let newest = accepted.iter().find(|accepted| accepted.spec_hash != spec_hash);
    let last = last_accepted(shared, &identity, newest, memory).await?;
    Ok(Acceptance { finding: refusal.finding(), in_force: last, retry: None })
}

fn in_force(spec: Spec) -> Acceptance {
    let first = format!("the spec of generation {} is in force", spec.generation);
    let notes = spec.warnings.iter().map(|warning| format!("note {warning}"));
    let message = std::iter::once(first).chain(notes).collect::<Vec<_>>().join("; ");
    Acceptance { finding: Finding { reason: Accepted::Valid, message }, in_force: Some(spec), retry: None }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Refusal {
    fn finding(self) -> Finding<Accepted> {
        Finding { reason: self.reason, message: self.message }
    }

    fn of(reason: Accepted, errors: &[FieldError]) -> Self {
        let shown: Vec<String> = errors.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = errors.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        Self { reason, message: format!("{}{rest}", shown.join("; ")) }
    }
}

/// Checks a spec as far as it can be judged alone.
pub(crate) fn check(settings: &Settings, identity: &Identity, spec: Value, generation: i64) -> Result<Spec, Refusal> {
    let document = Document::new(&identity.name, Some(&identity.namespace), spec);
    let refuse = |errors: Vec<FieldError>| Refusal::of(Accepted::InvalidSpec, &errors);
    let (pipeline, warnings) = Pipeline::check(&document, UnknownFields::Warn).map_err(refuse)?;
    let counts = Counts::default();
    Children::of(&Wanted { identity, document: &document, pipeline: &pipeline, settings, counts }).map_err(refuse)?;
    let control_plane = &pipeline.operations.control_plane;
    if let Some(role) = control_plane.role_arn.as_ref().filter(|role| !settings.grants.role(&identity.namespace, role)) {
        let namespace = &identity.namespace;
        let message =
            format!("spec.aws.controlPlaneRoleArn {role} is not granted to namespace {namespace}; grant it in the operator's settings");
        return Err(Refusal { reason: Accepted::RoleNotAllowed, message });
    }
    let warnings = warnings.iter().take(SHOWN).map(|warning| format!("{}: {}", warning.path, warning.message)).collect();
    Ok(Spec { document, pipeline, generation, warnings })
}

/// Compares a spec with the one that was accepted last, and with what others claim.
async fn consider(shared: &Shared, object: &StockPipeline, spec: &Spec, last: Option<&Spec>) -> Result<Result<(), Refusal>, ApplyError> {
    if let Some(last) = last {
        let errors = change::forbidden(&last.pipeline, &spec.pipeline);
        if !errors.is_empty() {
            return Ok(Err(Refusal::of(Accepted::UnsupportedChange, &errors)));
        }
    }
    for other in shared.unregistered(object.metadata.uid.as_deref()) {
        register(shared, &other).await?;
    }
    let claimed = shared.registry.claim(entry(object, spec, false));
    Ok(claimed.map_err(|message| Refusal { reason: Accepted::ResourceConflict, message }))
}

/// Returns what was in force of a resource that is being deleted, with the deletion policy that stands in it now, where that can be read.
/// A spec that never was in force has made nothing.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn for_clean_up(
    shared: &Shared,
    object: &StockPipeline,
    memory: &mut Remembered,
) -> Result<Option<(Spec, DeletionPolicy)>, ApplyError> {
    let identity = identity(object);
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let generation = object.metadata.generation.unwrap_or(0);
    let written = Value::Object(object.spec.members.clone());
    let spec_hash = revisions::spec_hash(&written);
    let current = check(&shared.context.settings, &identity, written, generation).ok();
    let policy = current.as_ref().map(|spec| spec.pipeline.operations.deletion);
    let stored = shared.caches.revisions.all(&key);
    let accepted = revisions::accepted(&identity, stored.iter().map(AsRef::as_ref));
    let in_force = match (current, accepted.first()) {
        (Some(spec), Some(newest)) if newest.spec_hash == spec_hash => Some(spec),
        (_, newest) => last_accepted(shared, &identity, newest, memory).await?,
    };
    Ok(in_force.map(|spec| {
        let policy = policy.unwrap_or(spec.pipeline.operations.deletion);
        (spec, policy)
    }))
}

/// Notes what a resource claims that was not reconciled yet: what is in force of it, or else what it asks for.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn register(shared: &Shared, object: &StockPipeline) -> Result<(), ApplyError> {
    let identity = identity(object);
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let generation = object.metadata.generation.unwrap_or(0);
    let written = Value::Object(object.spec.members.clone());
    let stored = shared.caches.revisions.all(&key);
    let accepted = revisions::accepted(&identity, stored.iter().map(AsRef::as_ref));
    let is_accepted = accepted.first().is_some_and(|newest| newest.spec_hash == revisions::spec_hash(&written));
    if !is_accepted && let Some(last) = last_accepted(shared, &identity, accepted.first(), &mut Remembered::default()).await? {
        shared.registry.note(entry(object, &last, true));
    } else if let Ok(spec) = check(&shared.context.settings, &identity, written, generation) {
        shared.registry.note(entry(object, &spec, is_accepted));
    }
    Ok(())
}

fn entry(object: &StockPipeline, spec: &Spec, in_force: bool) -> Entry {
    Entry {
        identity: identity(object),
        created: object.metadata.creation_timestamp.as_ref().map_or(jiff::Timestamp::MAX, |time| time.0),
        generation: spec.generation,
        in_force,
        claims: Claims::of(&spec.pipeline),
    }
}

/// Returns the spec of a revision; None where there is none, or it no longer passes the check.
async fn last_accepted(
    shared: &Shared,
    identity: &Identity,
    accepted: Option<&revisions::Accepted>,
    memory: &mut Remembered,
) -> Result<Option<Spec>, ApplyError> {
    let Some(accepted) = accepted else { return Ok(None) };
    let remembered = memory.last_accepted.as_ref().filter(|(name, _)| *name == accepted.name).map(|(_, spec)| Arc::clone(spec));
    let spec = if let Some(spec) = remembered {
        spec
    } else {
        let api: Api<ControllerRevision> = Api::namespaced(shared.context.client.clone(), &identity.namespace);
        let Some(spec) = shared.get(&api, &accepted.name).await?.and_then(revisions::spec) else { return Ok(None) };
        let spec = Arc::new(spec);
        memory.last_accepted = Some((accepted.name.clone(), Arc::clone(&spec)));
        spec
    };
    Ok(check(&shared.context.settings, identity, (*spec).clone(), accepted.generation).ok())
}

/// Writes down that a spec is in force, and returns what is in the way of that, for the status.
///
/// # Errors
/// [`ApplyError`] of what passes at once.
async fn record(
    look: &Look<'_>,
    memory: &mut Remembered,
    applier: &mut Applier<'_>,
    (spec, written): (&Spec, &Value),
    accepted: &[revisions::Accepted],
) -> Result<Option<(Retry, String)>, ApplyError> {
    if let Some(pause) = memory.unrecorded.as_ref().filter(|pause| pause.holds(&look.wish, look.now)) {
        return Ok(Some((pause.retry, pause.message.clone())));
    }
    let revision = revisions::revision(&identity(look.object), spec.generation, written);
    if let Err(error) = applier.keep(revision).await {
        let retry = error.retry();
        if retry == Retry::Fast {
            return Err(error);
        }
        let message = format!("the spec passes, and is in force once it is written down: {error}");
        memory.not_recorded(&look.wish, retry, message.clone(), look.now);
        return Ok(Some((retry, message)));
    }
    memory.unrecorded = None;
    for outdated in revisions::outdated(accepted) {
        applier.drop::<ControllerRevision>(&outdated.name).await?;
    }
    Ok(None)
}

/// Returns the identity of a resource.
pub(crate) fn identity(object: &StockPipeline) -> Identity {
    Identity { name: object.name_any(), namespace: object.namespace().unwrap_or_default(), uid: object.uid().unwrap_or_default() }
}
