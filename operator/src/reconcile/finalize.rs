//! The end of a pipeline: workers first, then what the deletion policy names, then the finalizer. There is a finalizer only while there
//! is something to clean up; without one, the garbage collector does all there is to do.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use stockpipeline::document::{GROUP, KIND};
use stockpipeline::operations::DeletionPolicy;

use crate::accept::{self, Past, Spec, identity};
use crate::apply::{Applier, ApplyError};
use crate::catalog::decide::WantedCatalogue;
use crate::catalog::sync;
use crate::desired::{Children, CleanUp, Counts, Wanted, clean_up_name};
use crate::error::Retry;
use crate::observe::{Key, Seen};
use crate::reconcile::memory::Remembered;
use crate::reconcile::{Look, Looked, blocked};
use crate::resource::crd::StockPipeline;
use crate::resource::identity::{Identity, Role};
use crate::status::Deletion;
use crate::status::events;
use crate::status::publish::{self, Report};

/// Wait before the next look at something that ends by itself.
const SOON: Duration = Duration::from_secs(2);

/// What is said where nothing tells any more what was made.
const UNREADABLE: &str = "no accepted spec of the pipeline can be read any more, so what it has made is not known";

/// How far one part of a clean-up is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// No spec was ever in force.
    Nothing,
    /// Done, but for what was left: each with the reason.
    Done(Vec<String>),
    Running(String),
    Failed(Retry, String),
}

impl Part {
    fn of_error(error: &ApplyError) -> Self {
        let hint = if is_of_an_end(error) { "; a namespace that ends takes no Job: remove by hand what it was to remove" } else { "" };
        Self::Failed(error.retry(), format!("{error}{hint}"))
    }
}

/// Returns whether the API server takes an object no more since its namespace ends.
fn is_of_an_end(error: &ApplyError) -> bool {
    let ApplyError::Refused { source, .. } = error else { return false };
    let kube::Error::Api(status) = &**source else { return false };
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating")
}

fn finalizer() -> String {
    format!("{GROUP}/cleanup")
}

/// Returns what is deleted with a pipeline: data only with the annotation that allows it.
fn policy(look: &Look<'_>, declared: DeletionPolicy) -> DeletionPolicy {
    DeletionPolicy { data: declared.data && look.has("allow-data-deletion"), ..declared }
}

fn is_anything(policy: DeletionPolicy) -> bool {
    let DeletionPolicy { topic, tables, database, named_queries, data } = policy;
    topic || tables || database || named_queries || data
}

/// Makes sure that the finalizer is there exactly while there is something to clean up, before there is.
///
/// # Errors
/// [`ApplyError`] when the API server does not take it.
pub(crate) async fn keep_finalizer(look: &Look<'_>, spec: &Spec) -> Result<(), ApplyError> {
    let is_wanted = is_anything(policy(look, spec.pipeline.operations.deletion)) && !look.has("skip-cleanup");
    let is_there = look.object.finalizers().contains(&finalizer());
    if look.is_read_only || is_wanted == is_there {
        return Ok(());
    }
    let mut finalizers: Vec<String> = look.object.finalizers().iter().filter(|name| **name != finalizer()).cloned().collect();
    if is_wanted {
        finalizers.push(finalizer());
    }
    set_finalizers(look, &finalizers).await
}

/// Writes the finalizers over those that were seen, and over no others.
async fn set_finalizers(look: &Look<'_>, finalizers: &[String]) -> Result<(), ApplyError> {
    let (act, kind, name) = ("set the finalizers of", KIND, look.object.name_any());
    if look.shared.ending.is_cancelled() {
        return Err(ApplyError::Ending { kind, name });
    }
    let metadata = &look.object.metadata;
    let api: Api<StockPipeline> = Api::namespaced(look.shared.context.client.clone(), metadata.namespace.as_deref().unwrap_or_default());
    let body = json!({ "metadata": { "uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": finalizers } });
    look.shared.context.metrics.kubernetes_write(KIND);
    let patch = Patch::Merge(&body);
    let parameters = PatchParams::default();
    let request = api.patch(&name, &parameters, &patch);
    match tokio::time::timeout(look.shared.context.settings.timing.kubernetes_timeout, request).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
        Ok(Err(source)) => Err(ApplyError::Refused { act, kind, name, source: Box::new(source) }),
        Err(_) => Err(ApplyError::TimedOut { act, kind, name }),
    }
}

/// Cleans up after a pipeline that is being deleted, as far as it goes at this look.
///
/// # Errors
/// [`ApplyError`] when the API server takes neither status nor finalizer.
pub(crate) async fn finalize(look: &Look<'_>, memory: &mut Remembered) -> Result<Looked, ApplyError> {
    let identity = identity(look.object);
    if !look.object.finalizers().contains(&finalizer()) {
        look.shared.registry.release(&identity.uid);
        return Ok(Looked { retry: None, wait: None });
    }
    if look.has("skip-cleanup") {
        return let_go(look, &identity, "clean-up was skipped, as the annotation asks for; what is left is left").await;
    }
    let mut settled = std::mem::take(&mut memory.settled);
    let mut applier = Applier::new(look.shared, &identity, &mut settled, look.is_read_only);
    let parts = Box::pin(clean_up(look, memory, &identity, &mut applier)).await;
    memory.settled = settled;
    let parts = match parts {
        Ok(parts) => parts,
        Err(error) => vec![Part::of_error(&error)],
    };
    let failed = failed(&parts);
    let running = parts.iter().find_map(|part| match part {
        Part::Running(message) => Some(message.clone()),
        Part::Nothing | Part::Done(_) | Part::Failed(..) => None,
    });
    let Some(message) = failed.as_ref().map(|(_, message)| message.clone()).or(running) else {
        return let_go(look, &identity, &done(&parts)).await;
    };
    let deletion = if is_overdue(look) { blocked(&message) } else { Deletion::CleaningUp };
    publish::publish(look, memory, Report::deleting(look, deletion), Vec::new()).await?;
    let Some((retry, message)) = failed else { return Ok(Looked { retry: None, wait: Some(SOON) }) };
    if !memory.is_paused(&look.wish, look.now) {
        memory.failed(&look.wish, retry, message, look.now);
    }
    let until = memory.pause.as_ref().map_or(look.now, |pause| pause.until);
    let wait = Duration::try_from(until.duration_since(look.now)).unwrap_or_default().max(SOON);
    Ok(Looked { retry: Some(retry), wait: Some(wait.min(before_deadline(look))) })
}

/// Returns the first failure, and when the soonest of all is tried again: what nobody can do holds up nothing else.
fn failed(parts: &[Part]) -> Option<(Retry, String)> {
    let failures = parts.iter().filter_map(|part| match part {
        Part::Failed(retry, message) => Some((*retry, message.clone())),
        Part::Nothing | Part::Done(_) | Part::Running(_) => None,
    });
    failures.reduce(|(first, message), (other, _)| (first.min(other), message))
}

/// Says what was done in a clean-up that is at its end.
fn done(parts: &[Part]) -> String {
    let mut left = Vec::new();
    for part in parts {
        match part {
            Part::Nothing => return "no spec was ever in force, so nothing is removed".to_owned(),
            Part::Done(kept) => left.extend(kept.iter().map(String::as_str)),
            Part::Running(_) | Part::Failed(..) => {}
        }
    }
    let rest = if left.is_empty() { String::new() } else { format!(", but for this: {}", left.join("; ")) };
    format!("what the deletion policy names is removed{rest}")
}

async fn let_go(look: &Look<'_>, identity: &Identity, note: &str) -> Result<Looked, ApplyError> {
    let finalizers: Vec<String> = look.object.finalizers().iter().filter(|name| **name != finalizer()).cloned().collect();
    publish::tell(look.shared, look.object, vec![events::cleaned_up(note)]).await;
    set_finalizers(look, &finalizers).await?;
    look.shared.registry.release(&identity.uid);
    Ok(Looked { retry: None, wait: None })
}

fn overdue_in(look: &Look<'_>) -> jiff::SignedDuration {
    let deadline = look.shared.context.settings.timing.cleanup_deadline;
    let started = look.object.metadata.deletion_timestamp.as_ref().map_or(look.now, |time| time.0);
    jiff::SignedDuration::try_from(deadline).unwrap_or(jiff::SignedDuration::MAX) - look.now.duration_since(started)
}

fn is_overdue(look: &Look<'_>) -> bool {
    !overdue_in(look).is_positive()
}

/// The status has to say in time that the deadline has passed, however long the wait is.
fn before_deadline(look: &Look<'_>) -> Duration {
    Duration::try_from(overdue_in(look)).ok().filter(|rest| !rest.is_zero()).unwrap_or(Duration::MAX)
}

async fn clean_up(
    look: &Look<'_>,
    memory: &mut Remembered,
    identity: &Identity,
    applier: &mut Applier<'_>,
) -> Result<Vec<Part>, ApplyError> {
    if look.is_read_only {
        return Ok(vec![Part::Running("nothing is removed, since this is read-only".to_owned())]);
    }
    let (spec, declared) = match accept::for_clean_up(look, memory).await? {
        Past::Nothing => return Ok(vec![Part::Nothing]),
        Past::Unreadable => return Ok(vec![Part::Failed(Retry::User, UNREADABLE.to_owned())]),
        Past::InForce(spec, declared) => (*spec, declared),
    };
    let policy = policy(look, declared);
    // A worker that still writes would put back what is being removed.
    for role in [Role::Producer, Role::Sink] {
        applier.drop::<k8s_openapi::api::apps::v1::Deployment>(&identity.role_name(role)).await?;
    }
    let seen = Seen::of(look.shared, identity, look.now);
    let left = seen.sink.left.saturating_add(seen.producer.left);
    if seen.sink.deployment.is_some() || seen.producer.deployment.is_some() || left > 0 {
        return Ok(vec![Part::Running(format!("{left} workers are still to end"))]);
    }
    let mut parts = Vec::new();
    for (what, is_wanted) in [(CleanUp::Topic, policy.topic), (CleanUp::Data, policy.data)] {
        if is_wanted {
            // One that cannot be made keeps nothing else from being removed.
            let part = job(look, memory, &spec, what, applier).await;
            parts.push(part.unwrap_or_else(|error| Part::of_error(&error)));
        }
    }
    if policy.tables || policy.database || policy.named_queries {
        let earlier = accept::accepted_specs(look.shared, look.object, memory).await?;
        parts.push(catalogue(look, memory, std::iter::once(&spec).chain(&earlier), policy).await);
    }
    if parts.iter().all(|part| matches!(part, Part::Done(_))) {
        for what in CleanUp::ALL {
            applier.drop::<Job>(&clean_up_name(identity, what)).await?;
        }
    }
    Ok(parts)
}

/// Makes a Job, or looks at what has become of it. One that has failed is made again after a wait.
async fn job(look: &Look<'_>, memory: &Remembered, spec: &Spec, what: CleanUp, applier: &mut Applier<'_>) -> Result<Part, ApplyError> {
    let identity = identity(look.object);
    let name = clean_up_name(&identity, what);
    let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    if let Some(job) = look.shared.caches.jobs.get(&key, &name).filter(|job| job.metadata.deletion_timestamp.is_none()) {
        return match ended(&job) {
            None => Ok(Part::Running(format!("job {name} runs"))),
            Some(Ok(())) => Ok(outcome(look, &key, what, &name)),
            Some(Err(message)) => {
                if !memory.is_paused(&look.wish, look.now) && memory.pause.is_some() {
                    applier.drop::<Job>(&name).await?;
                }
                Ok(Part::Failed(Retry::Backoff, format!("job {name} has failed: {}", words(look, &key, what).unwrap_or(message))))
            }
        };
    }
    let settings = &look.shared.context.settings;
    let wanted = Wanted { identity: &identity, document: &spec.document, pipeline: &spec.pipeline, settings, counts: Counts::default() };
    let (Ok(children), Ok(job)) = (Children::of(&wanted), what.job(&wanted)) else {
        return Ok(Part::Failed(Retry::Terminal, format!("job {name} cannot be made from the spec")));
    };
    let (config, account, policy) = children.for_clean_up();
    applier.keep(config).await?;
    if let Some(account) = account {
        applier.keep(account).await?;
    }
    if let Some(policy) = policy {
        applier.keep(policy).await?;
    }
    applier.keep(job).await?;
    Ok(Part::Running(format!("job {name} starts")))
}

/// Returns how a Job has ended; None while it runs.
fn ended(job: &Job) -> Option<Result<(), String>> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().filter(|condition| condition.status == "True").find_map(|condition| match condition.type_.as_str() {
        "Complete" | "SuccessCriteriaMet" => Some(Ok(())),
        "Failed" => Some(Err(condition.message.clone().unwrap_or_else(|| "without a message".to_owned()))),
        _ => None,
    })
}

/// Returns what a Job that has succeeded has left, as its pod said. What is not known is not called removed.
fn outcome(look: &Look<'_>, key: &Key, what: CleanUp, name: &str) -> Part {
    if what == CleanUp::Topic {
        return Part::Done(Vec::new());
    }
    let mut may_say_more = false;
    for pod in look.shared.caches.pods.all(key) {
        let is_of_job = pod.owner_references().iter().any(|owner| owner.kind == "Job" && owner.name == name);
        let Some(status) = pod.status.as_ref().filter(|_| is_of_job) else { continue };
        let containers = status.container_statuses.iter().flatten().filter(|container| container.name == what.command());
        let ended = containers.filter_map(|container| container.state.as_ref()?.terminated.as_ref()).find(|ended| ended.exit_code == 0);
        if let Some(ended) = ended {
            let said: String = ended.message.as_deref().unwrap_or_default().trim().chars().take(400).collect();
            return Part::Done(if said.is_empty() { Vec::new() } else { vec![said] });
        }
        may_say_more |= !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    }
    if may_say_more {
        return Part::Running(format!("job {name} has ended, and its pod is still to say what it left"));
    }
    Part::Done(vec![format!("what job {name} left is not known, since its pod is gone")])
}

/// Returns what a pod of a Job said at its end.
fn words(look: &Look<'_>, key: &Key, what: CleanUp) -> Option<String> {
    look.shared.caches.pods.all(key).iter().find_map(|pod| {
        let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
        let container = containers.iter().find(|container| container.name == what.command())?;
        let message = container.state.as_ref()?.terminated.as_ref()?.message.as_ref()?;
        Some(message.trim().chars().take(400).collect())
    })
}

/// Removes what the policy names of Glue and Athena: also what an earlier spec has made and the last one no longer has.
async fn catalogue(look: &Look<'_>, memory: &Remembered, specs: impl Iterator<Item = &Spec>, policy: DeletionPolicy) -> Part {
    let Some(wanted) = specs.filter_map(|spec| sync::wanted(look, spec)).reduce(with_tables) else { return Part::Done(Vec::new()) };
    let Some(catalogue) = &look.shared.context.catalogue else {
        return Part::Failed(Retry::User, "this operator has no access to AWS".to_owned());
    };
    if let Some(pause) = memory.pause.as_ref().filter(|_| memory.is_paused(&look.wish, look.now)) {
        return Part::Failed(pause.retry, pause.message.clone());
    }
    match catalogue.remove(&wanted, &sync::state(look, memory), policy).await {
        Ok(removal) => Part::Done(removal.kept),
        Err(error) => Part::Failed(error.retry(), error.to_string()),
    }
}

/// Adds the tables of an earlier catalogue that the later one does not have. They are reached as the later one's are.
fn with_tables(mut later: WantedCatalogue, earlier: WantedCatalogue) -> WantedCatalogue {
    for table in earlier.tables {
        let is_known = later.tables.iter().any(|known| known.database == table.database && known.input.name == table.input.name);
        if !is_known {
            later.tables.push(table);
        }
    }
    later
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(reason: &str) -> ApplyError {
        let status: Status = serde_json::from_value(json!({
            "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no new content",
            "details": { "causes": [{ "reason": reason, "message": "it is being terminated", "field": "metadata.namespace" }] },
        }))
        .unwrap();
        let source = Box::new(kube::Error::Api(Box::new(status)));
        ApplyError::Refused { act: "apply", kind: "Job", name: "demo-delete-topic".to_owned(), source }
    }

    #[test]
    fn a_job_that_an_ending_namespace_does_not_take_is_left_to_people() {
        for (reason, is_told) in [("NamespaceTerminating", true), ("FieldValueForbidden", false)] {
            let Part::Failed(retry, message) = Part::of_error(&refused(reason)) else { panic!("it has failed") };
            assert_eq!((retry, message.contains("remove by hand")), (Retry::User, is_told), "{message}");
        }
    }

    #[test]
    fn what_nobody_can_do_makes_nothing_else_wait() {
        let part = |retry: Retry, text: &str| Part::Failed(retry, text.to_owned());
        let parts = [Part::Done(Vec::new()), part(Retry::User, "job"), Part::Running("r".to_owned()), part(Retry::Backoff, "table")];
        assert_eq!(failed(&parts), Some((Retry::Backoff, "job".to_owned())));
        assert_eq!(failed(&parts[..1]), None);
    }

    #[test]
    fn what_is_left_is_told_with_its_reason() {
        assert_eq!(done(&[]), "what the deletion policy names is removed");
        let parts = [Part::Done(Vec::new()), Part::Done(vec!["database m holds other tables".to_owned()])];
        assert_eq!(done(&parts), "what the deletion policy names is removed, but for this: database m holds other tables");
        assert_eq!(done(&[Part::Nothing]), "no spec was ever in force, so nothing is removed");
    }
}
