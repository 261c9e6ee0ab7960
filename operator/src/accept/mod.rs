//! Which spec is in force: the newest one that passes the check, changes nothing that it must not, and claims nothing of others. While
//! the current one does not, the one that was accepted last stays.

pub mod change;
pub mod claims;
pub(crate) mod revisions;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{Api, ResourceExt};
use serde_json::Value;
use stockpipeline::Pipeline;
use stockpipeline::check::{FieldError, UnknownFields};
use stockpipeline::document::Document;
use stockpipeline::operations::DeletionPolicy;

use crate::accept::change::Kept;
use crate::accept::claims::Claims;
use crate::accept::claims::registry::Entry;
use crate::apply::{Applier, ApplyError};
use crate::catalog::aws::{CONTROL_PLANE_ROLE, CRAWLER_ROLE};
use crate::desired::{Children, Counts, Wanted};
use crate::error::Retry;
use crate::observe::Key;
use crate::reconcile::Look;
use crate::reconcile::controller::Shared;
use crate::reconcile::memory::Remembered;
use crate::resource::crd::StockPipeline;
use crate::resource::identity::Identity;
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
    /// What binds it of those before it.
    pub(crate) kept: Kept,
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
            // Whose role is taken back keeps what runs: pods have roles of their own, and the catalogue refuses to take this one.
            return Ok(match check_grants(&shared.context.settings, &identity, &spec.pipeline) {
                Ok(()) => in_force(spec),
                Err(refusal) => Acceptance { finding: refusal.finding(), in_force: Some(spec), retry: None },
            });
        }
        Ok(mut spec) => {
            let last = last_accepted(shared, &identity, accepted.first(), memory).await?;
            spec.kept = last.as_ref().map(|last| change::kept(&last.pipeline, &last.kept, &spec.pipeline)).unwrap_or_default();
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
    let warnings = warnings.iter().take(SHOWN).map(|warning| format!("{}: {}", warning.path, warning.message)).collect();
    Ok(Spec { document, pipeline, generation, warnings, kept: Kept::new() })
}

/// Checks that the operator's settings grant the roles that a spec names. What was accepted before runs on without.
pub(crate) fn check_grants(settings: &Settings, identity: &Identity, pipeline: &Pipeline) -> Result<(), Refusal> {
    let control_plane = &pipeline.operations.control_plane;
    let crawler = pipeline.operations.glue.as_ref().and_then(|glue| glue.crawler.as_ref());
    let named = [(CONTROL_PLANE_ROLE, control_plane.role_arn.as_ref()), (CRAWLER_ROLE, crawler.map(|crawler| &crawler.role_arn))];
    for (field, role) in named {
        let Some(role) = role.filter(|role| !settings.grants.role(&identity.namespace, role)) else { continue };
        let message = format!("{field} {role} is not granted to namespace {}; grant it in the operator's settings", identity.namespace);
        return Err(Refusal { reason: Accepted::RoleNotAllowed, message });
    }
    Ok(())
}

/// Compares a spec with the one that was accepted last, and with what others claim.
async fn consider(shared: &Shared, object: &StockPipeline, spec: &Spec, last: Option<&Spec>) -> Result<Result<(), Refusal>, ApplyError> {
    if let Some(last) = last {
        let errors = change::forbidden(&last.pipeline, &last.kept, &spec.pipeline);
        if !errors.is_empty() {
            return Ok(Err(Refusal::of(Accepted::UnsupportedChange, &errors)));
        }
    }
    if let Err(refusal) = check_grants(&shared.context.settings, &identity(object), &spec.pipeline) {
        return Ok(Err(refusal));
    }
    for other in shared.unregistered(object.metadata.uid.as_deref()) {
        register(shared, &other).await?;
    }
    let claimed = shared.registry.claim(entry(object, spec, false));
    Ok(claimed.map_err(|message| Refusal { reason: Accepted::ResourceConflict, message }))
}

/// What was in force of a resource that is being deleted.
pub(crate) enum Past {
    /// No spec ever was, so nothing was made.
    Nothing,
    /// A spec was, and none of those that are kept can be read any more.
    Unreadable,
    /// This spec, with the deletion policy that stands in the resource now, where that can be read.
    InForce(Box<Spec>, DeletionPolicy),
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
    let policy = current.as_ref().map(|spec| spec.pipeline.operations.deletion);
    let accepted = accepted_or_left_over(shared, &identity);
    if accepted.is_empty() {
        // A namespace that ends takes the revisions first; the status still tells whether a spec was in force.
        let was_accepted = look.reported().iter().any(|condition| condition.type_ == "Accepted" && condition.status == "True");
        return Ok(current.filter(|_| was_accepted).map_or(Past::Nothing, |spec| {
            let policy = spec.pipeline.operations.deletion;
            Past::InForce(Box::new(spec), policy)
        }));
    }
    let mut in_force = current.filter(|_| accepted.first().is_some_and(|newest| newest.spec_hash == spec_hash));
    for revision in &accepted {
        if in_force.is_none() {
            in_force = last_accepted(shared, &identity, Some(revision), memory).await?;
        }
    }
    Ok(in_force.map_or(Past::Unreadable, |spec| {
        let policy = policy.unwrap_or(spec.pipeline.operations.deletion);
        Past::InForce(Box::new(spec), policy)
    }))
}

/// Returns the newest spec of a resource that was accepted and had a catalogue, of those that are kept.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn last_catalogued(shared: &Shared, object: &StockPipeline) -> Result<Option<Spec>, ApplyError> {
    let identity = identity(object);
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let stored = shared.caches.revisions.all(&key);
    for accepted in revisions::accepted(&identity, stored.iter().map(AsRef::as_ref)) {
        let spec = last_accepted(shared, &identity, Some(&accepted), &mut Remembered::default()).await?;
        if let Some(spec) = spec.filter(|spec| spec.pipeline.glue.is_some()) {
            return Ok(Some(spec));
        }
    }
    Ok(None)
}

/// Returns every accepted spec of a resource that is kept and can be read, the newest first.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn accepted_specs(shared: &Shared, object: &StockPipeline, memory: &mut Remembered) -> Result<Vec<Spec>, ApplyError> {
    let identity = identity(object);
    let mut specs = Vec::new();
    for revision in accepted_or_left_over(shared, &identity) {
        specs.extend(last_accepted(shared, &identity, Some(&revision), memory).await?);
    }
    Ok(specs)
}

/// Returns the accepted specs of a resource; where it has none, those that deleting a pipeline of its name without its children has left.
fn accepted_or_left_over(shared: &Shared, identity: &Identity) -> Vec<revisions::Accepted> {
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let stored = shared.caches.revisions.all(&key);
    let accepted = revisions::accepted(identity, stored.iter().map(AsRef::as_ref));
    if accepted.is_empty() { revisions::left_over(identity, stored.iter().map(AsRef::as_ref)) } else { accepted }
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
        let Some(spec) = shared.get(&api, &accepted.name).await?.and_then(revisions::contents) else { return Ok(None) };
        let spec = Arc::new(spec);
        memory.last_accepted = Some((accepted.name.clone(), Arc::clone(&spec)));
        spec
    };
    Ok(read(&shared.context.settings, identity, accepted.generation, (*spec).clone()))
}

/// Returns the spec that a revision holds; None where it no longer passes the check.
pub(crate) fn read(settings: &Settings, identity: &Identity, generation: i64, (spec, kept): (Value, Kept)) -> Option<Spec> {
    let spec = check(settings, identity, spec, generation).ok()?;
    Some(Spec { kept, ..spec })
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
    let revision = revisions::revision(&identity(look.object), spec.generation, written, &spec.kept);
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
