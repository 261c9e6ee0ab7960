//! Which spec is in force: the newest one that passes the check, changes nothing that it must not, and claims nothing of others. While
//! the current one does not, the one that was accepted last stays.

pub mod change;
pub mod claims;
mod last;
mod past;
pub(crate) mod revisions;

pub(crate) use last::Last;
pub(crate) use past::{Past, accepted_specs, for_clean_up, tells_in_force};

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{Api, ResourceExt};
use serde_json::Value;
use stockpipeline::Pipeline;
use stockpipeline::check::{FieldError, UnknownFields};
use stockpipeline::document::Document;

use crate::accept::change::{Bounds, Kept};
use crate::accept::claims::Claims;
use crate::accept::claims::registry::{Entry, Source};
use crate::accept::revisions::Contents;
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
    let generation = object.metadata.generation.unwrap_or(0);
    let written = Value::Object(object.spec.members.clone());
    let accepted = accepted(shared, &identity);
    let is_accepted = accepted.first().is_some_and(|newest| newest.spec_hash == revisions::spec_hash(&written));
    match check(&shared.context.settings, &identity, written.clone(), generation) {
        Ok(spec) if is_accepted => {
            if !shared.registry.is_in_force(&identity.uid, generation) {
                shared.registry.note(entry(object, &spec, true));
            }
            // Whose role is taken back keeps what runs: pods have roles of their own, and the catalogue refuses to take this one.
            Ok(match check_grants(&shared.context.settings, &identity, &spec.pipeline) {
                Ok(()) => in_force(spec),
                Err(refusal) => Acceptance { finding: refusal.finding(), in_force: Some(spec), retry: None },
            })
        }
        Ok(spec) => Box::pin(take(look, memory, applier, (spec, written, &accepted))).await,
        // A stricter operator: the spec before this one is not what runs, so nothing is brought about.
        Err(Refusal { reason, message }) if is_accepted => {
            let message = format!("{message}; it was accepted before, so what runs is left as it is until a spec passes");
            Ok(Acceptance { finding: Finding { reason, message }, in_force: None, retry: None })
        }
        Err(refusal) => {
            let last = last_accepted(shared, &identity, accepted.first(), memory).await?;
            Ok(Acceptance { finding: refusal.finding(), in_force: last.and_then(|last| last.spec), retry: None })
        }
    }
}

/// Puts a spec in force that passes the check, unless it follows on nothing that it may, or another pipeline is in its way.
async fn take(
    look: &Look<'_>,
    memory: &mut Remembered,
    applier: &mut Applier<'_>,
    (mut spec, written, accepted): (Spec, Value, &[revisions::Accepted]),
) -> Result<Acceptance, ApplyError> {
    let (shared, object) = (look.shared, look.object);
    let last = last_accepted(shared, &identity(object), accepted.first(), memory).await?;
    if let Some(last) = &last {
        spec.kept = last.kept_after(&spec.pipeline);
    }
    let considered = consider(shared, object, &spec, last.as_ref()).await?;
    let last = last.and_then(|last| last.spec);
    match considered {
        Ok(()) if look.is_read_only => Ok(in_force(spec)),
        Ok(()) => {
            let contents = Contents { spec: written, kept: spec.kept.clone(), bounds: Some(Bounds::of(&spec.pipeline)) };
            let revision = revisions::revision(&identity(object), spec.generation, &contents);
            if let Some((retry, message)) = record(look, memory, applier, (revision, accepted)).await? {
                let finding = Finding { reason: Accepted::NotRecorded, message };
                return Ok(Acceptance { finding, in_force: last, retry: Some(retry) });
            }
            Ok(in_force(spec))
        }
        Err(refusal) => Ok(Acceptance { finding: refusal.finding(), in_force: last, retry: None }),
    }
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
async fn consider(shared: &Shared, object: &StockPipeline, spec: &Spec, last: Option<&Last>) -> Result<Result<(), Refusal>, ApplyError> {
    if let Some(Err(refusal)) = last.map(|last| last.lets(&spec.pipeline)) {
        return Ok(Err(refusal));
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

/// Returns the accepted specs of a resource, the newest first.
fn accepted(shared: &Shared, identity: &Identity) -> Vec<revisions::Accepted> {
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let stored = shared.caches.revisions.all(&key);
    revisions::accepted(identity, stored.iter().map(AsRef::as_ref))
}

/// Notes what a resource claims that was not reconciled yet: what is in force of it, or else what it asks for. While its accepted specs
/// cannot be listed, its status tells which of the two it is: nobody takes over what may be at work.
///
/// # Errors
/// [`ApplyError`] when the API server does not give a revision.
pub(crate) async fn register(shared: &Shared, object: &StockPipeline) -> Result<(), ApplyError> {
    let identity = identity(object);
    let generation = object.metadata.generation.unwrap_or(0);
    let written = Value::Object(object.spec.members.clone());
    let accepted = accepted(shared, &identity);
    let is_accepted = accepted.first().is_some_and(|newest| newest.spec_hash == revisions::spec_hash(&written));
    let checked = check(&shared.context.settings, &identity, written, generation).ok();
    if !shared.has_listed(&identity.namespace) {
        if let Some(spec) = checked {
            let in_force = tells_in_force(object.status.as_ref());
            shared.registry.note(Entry { source: Source::Status, ..entry(object, &spec, in_force) });
        }
        return Ok(());
    }
    if let Some(spec) = checked.as_ref().filter(|_| is_accepted) {
        shared.registry.note(entry(object, spec, true));
        return Ok(());
    }
    // Where the newest one can no longer be read, the one before has claimed nearly the same.
    for revision in &accepted {
        let last = last_accepted(shared, &identity, Some(revision), &mut Remembered::default()).await?;
        if let Some(spec) = last.and_then(|last| last.spec) {
            shared.registry.note(entry(object, &spec, true));
            return Ok(());
        }
    }
    if let Some(spec) = checked {
        shared.registry.note(entry(object, &spec, false));
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
        source: Source::Revisions,
    }
}

/// Returns what a revision holds; None where there is none.
async fn last_accepted(
    shared: &Shared,
    identity: &Identity,
    accepted: Option<&revisions::Accepted>,
    memory: &mut Remembered,
) -> Result<Option<Last>, ApplyError> {
    let Some(accepted) = accepted else { return Ok(None) };
    let remembered = memory.last_accepted.as_ref().filter(|(name, _)| *name == accepted.name).map(|(_, contents)| Arc::clone(contents));
    let contents = if let Some(contents) = remembered {
        Some(contents)
    } else {
        let api: Api<ControllerRevision> = Api::namespaced(shared.context.client.clone(), &identity.namespace);
        let Some(revision) = shared.get(&api, &accepted.name).await? else { return Ok(None) };
        let contents = revisions::contents(revision).map(Arc::new);
        memory.last_accepted = contents.as_ref().map(|contents| (accepted.name.clone(), Arc::clone(contents)));
        contents
    };
    Ok(Some(Last::read(&shared.context.settings, identity, accepted, contents.as_deref())))
}

/// Writes down that a spec is in force, and returns what is in the way of that, for the status.
///
/// # Errors
/// [`ApplyError`] of what passes at once.
async fn record(
    look: &Look<'_>,
    memory: &mut Remembered,
    applier: &mut Applier<'_>,
    (revision, accepted): (ControllerRevision, &[revisions::Accepted]),
) -> Result<Option<(Retry, String)>, ApplyError> {
    if let Some(pause) = memory.unrecorded.as_ref().filter(|pause| pause.holds(&look.wish, look.now)) {
        return Ok(Some((pause.retry, pause.message.clone())));
    }
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
