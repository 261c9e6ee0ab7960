//! Whether the workers of a role do their work: first what they say of themselves, then what their pods say, then how many are ready.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stockpipeline::Pipeline;
use stockpipeline::status::{Failure, Status};

use super::{Evidence, Lag, Obstacle, Trouble, WorkersSeen};
use crate::resource::crd::report::ComponentStatus;
use crate::resource::identity::{Identity, Role};
use crate::status::Finding;
use crate::status::reason::{Availability, Outlook, Reason};

/// For how long an outside system may fail before it is a finding: shorter trouble heals by itself and is nobody's news.
const FAILING: Duration = Duration::from_secs(30);
/// For how long a commit counts as recent, beyond two rotations.
const RECENT: Duration = Duration::from_mins(10);

pub(super) fn of_producers(evidence: &Evidence<'_>) -> Finding<Availability> {
    let workers = &evidence.producer;
    let Some(producer) = evidence.pipeline.and_then(|pipeline| pipeline.producer.as_ref()) else {
        let is_unknown = evidence.pipeline.is_none();
        return if is_unknown { not_accepted(workers) } else { finding(Availability::NotRequired, "others fill the topic") };
    };
    if let Some(found) = trouble(workers, evidence) {
        return found;
    }
    if all_slots_have_ended(workers.said, producer.slots) {
        return finding(Availability::Completed, "the source has been produced to its end");
    }
    updating(workers).unwrap_or_else(|| finding(Availability::MinimumReplicasAvailable, &summary(workers)))
}

/// Returns whether the producers say of every slot that a finite source has been produced to its end.
#[must_use]
pub fn has_completed(said: &[Status], pipeline: &Pipeline) -> bool {
    pipeline.producer.as_ref().is_some_and(|producer| all_slots_have_ended(said, producer.slots))
}

fn all_slots_have_ended(said: &[Status], slots: u32) -> bool {
    let told = said.iter().filter_map(|status| status.producer.as_ref()).flat_map(|producer| &producer.slots);
    let ended = told.filter(|slot| slot.completed).map(|slot| slot.slot).collect::<std::collections::BTreeSet<_>>().len();
    u32::try_from(ended).is_ok_and(|ended| ended >= slots)
}

pub(super) fn of_sinks(evidence: &Evidence<'_>, lag: Option<&Lag>) -> Finding<Availability> {
    let workers = &evidence.sink;
    let Some(pipeline) = evidence.pipeline else { return not_accepted(workers) };
    let lost = loss(evidence).map(|loss| finding(Availability::DataLoss, &loss.message));
    if let Some(found) = lost.or_else(|| trouble(workers, evidence)) {
        return found;
    }
    let rotation = pipeline.sink.rotation.max_interval;
    let limit = RECENT + rotation * 2;
    let age = |status: &Status, since: i64| age(status, since, evidence.now);
    let committed = workers.said.iter().filter_map(|status| age(status, status.sink.as_ref()?.last_commit_millis?)).min();
    let running = workers.said.iter().filter_map(|status| age(status, status.started_millis)).max();
    // A commit before the start says nothing of what runs: it may have stood still for long, as it was told to.
    let quiet = committed.into_iter().chain(running).min();
    let waits = lag.is_some_and(|lag| lag.total > 0);
    if quiet.is_some_and(|quiet| waits && quiet > limit) {
        let minutes = limit.as_secs() / 60;
        let message = format!("records are waiting and none was stored for more than {minutes} minutes; look at the sinks' logs");
        return finding(Availability::NoRecentCommit, &message);
    }
    if let Some(found) = updating(workers) {
        return found;
    }
    let has_committed = committed.is_some_and(|age| age <= limit);
    let reason = if has_committed { Availability::Committing } else { Availability::MinimumReplicasAvailable };
    finding(reason, &summary(workers))
}

/// What runs without a spec that can be read is nobody's to change.
fn not_accepted(workers: &WorkersSeen<'_>) -> Finding<Availability> {
    let replicas = workers.deployment.and_then(|deployment| deployment.spec.as_ref()?.replicas).unwrap_or(0);
    if replicas > 0 {
        let message = format!("no accepted spec can be read, so {} of {replicas} workers run on as they are", ready(workers.deployment));
        return finding(Availability::MinimumReplicasAvailable, &message);
    }
    finding(Availability::ScaledToZero, "no spec was accepted yet, so nothing runs")
}

/// Returns what is wrong with workers; None where enough of them do their work.
fn trouble(workers: &WorkersSeen<'_>, evidence: &Evidence<'_>) -> Option<Finding<Availability>> {
    if let Some(Obstacle::Refused(message)) = workers.obstacle {
        return Some(finding(Availability::ApplyFailed, message));
    }
    if workers.desired == 0 {
        return Some(finding(Availability::ScaledToZero, "none is wanted"));
    }
    if let Some(found) = own_words(workers.said, evidence.now) {
        return Some(found);
    }
    let ready = ready(workers.deployment);
    let is_overdue = workers.deployment.is_some_and(|deployment| is_rolling(deployment) && is_past_deadline(deployment));
    if ready >= required(workers.desired) && is_observed(workers.deployment) && !is_overdue {
        return None;
    }
    if let Some((reason, message)) = pod_trouble(workers) {
        return Some(finding(reason, &message));
    }
    if let Some(message) = workers.deployment.and_then(replica_failure) {
        return Some(finding(Availability::PodsRejected, &message));
    }
    Some(match workers.obstacle {
        Some(Obstacle::Waits(message)) => finding(Availability::RollingOut, message),
        Some(Obstacle::Refused(_)) | None if ready >= required(workers.desired) => finding(
            Availability::RollingOut,
            &format!("{} as declared before; the latest change has not reached them yet", summary(workers)),
        ),
        Some(Obstacle::Refused(_)) | None => finding(Availability::RollingOut, &summary(workers)),
    })
}

/// Returns what keeps a pod from being ready.
fn pod_trouble(workers: &WorkersSeen<'_>) -> Option<(Availability, String)> {
    workers.pods.iter().find_map(|pod| match &pod.trouble {
        Some(Trouble::Worker(reason, message)) => Some((*reason, format!("pod {}: {message}", pod.name))),
        Some(Trouble::SecretMissing(message)) => Some((Availability::RollingOut, format!("pod {}: {message}", pod.name))),
        None => None,
    })
}

/// Returns what is still to come where enough workers do their work; None where all are as declared.
fn updating(workers: &WorkersSeen<'_>) -> Option<Finding<Availability>> {
    if workers.desired == 0 {
        return None;
    }
    if let Some(Obstacle::Waits(message)) = workers.obstacle {
        return Some(finding(Availability::Updating, message));
    }
    let deployment = workers.deployment.filter(|deployment| is_rolling(deployment))?;
    let updated = deployment.status.as_ref().and_then(|status| status.updated_replicas).unwrap_or(0);
    let why = pod_trouble(workers).map(|(_, message)| message).or_else(|| replica_failure(deployment));
    let rest = why.map(|message| format!("; {message}")).unwrap_or_default();
    Some(finding(Availability::Updating, &format!("{updated} of {} are as declared, {}{rest}", workers.desired, summary(workers))))
}

/// Returns whether pods are still to be made or replaced.
pub(crate) fn is_rolling(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return true };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    status.observed_generation < deployment.metadata.generation || updated < wanted || status.replicas.unwrap_or(0) > updated
}

/// Returns whether pods of an older template may still run; new ones may still be missing.
pub(crate) fn has_former_pods(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let is_unseen = status.observed_generation < deployment.metadata.generation;
    let updated = if is_unseen { 0 } else { status.updated_replicas.unwrap_or(0) };
    pods(deployment) > updated
}

/// Returns how many pods of any template there are.
pub(crate) fn pods(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0)
}

/// Returns whether the Deployment's controller has seen no progress for as long as it waits for any.
fn is_past_deadline(deployment: &Deployment) -> bool {
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Progressing" && condition.status == "False")
}

/// Returns the worst that workers say of themselves: what only the user can change before what heals.
fn own_words(said: &[Status], now: Timestamp) -> Option<Finding<Availability>> {
    let failures = said.iter().filter_map(|status| Some((status, failure_of(status, now)?)));
    let mut found: Vec<(bool, Finding<Availability>)> = failures
        .filter_map(|(status, failure)| {
            let reason = Availability::of_failure(failure.reason)?;
            let heals = reason.meaning().outlook != Outlook::Stalled;
            Some((heals, finding(reason, &format!("{}: {}", status.worker, failure.message))))
        })
        .collect();
    found.sort_by_key(|(heals, _)| *heals);
    found.into_iter().next().map(|(_, found)| found)
}

/// Returns the failure that keeps a worker from its work. An error that is over, or has just begun, is none.
fn failure_of(status: &Status, now: Timestamp) -> Option<&Failure> {
    // Since when is unknown where the worker's clock was set back meanwhile.
    let fails = |since: Option<i64>| since.is_some_and(|since| age(status, since, now).is_none_or(|age| age >= FAILING));
    let is_failing = fails(status.kafka.failing_since_millis) || status.s3.is_some_and(|s3| fails(s3.failing_since_millis));
    let last = status.last_error.as_ref().filter(|_| is_failing);
    status.fatal.as_ref().or(status.paused.as_ref()).or(last)
}

/// What was lost and not yet acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The end of the second in which it was lost: Kubernetes keeps whole seconds, and so does an acknowledgement.
    pub at: Timestamp,
    /// What, and how to go on.
    pub message: String,
}

/// Returns the last loss that the user has not acknowledged. It stays one although the worker forgets it when it starts anew.
#[must_use]
pub fn loss(evidence: &Evidence<'_>) -> Option<Loss> {
    let label = Availability::DataLoss.meaning().label;
    let condition = evidence.reported.iter().find(|condition| condition.type_ == "SinkAvailable" && condition.reason == label);
    let before = condition
        .map(|condition| Loss { at: evidence.lost_at.unwrap_or(condition.last_transition_time.0), message: condition.message.clone() });
    let told = evidence.sink.said.iter().filter_map(|status| Some((status, status.sink.as_ref()?.data_loss.as_ref()?)));
    let told = told.map(|(status, loss)| Loss {
        at: Timestamp::from_second(loss.at_millis.div_euclid(1_000) + 1).unwrap_or(evidence.now),
        message: format!(
            "{}: {}; to go on, annotate the pipeline with stockpipeline.dev/reconcile-requested-at=\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"",
            status.worker, loss.message
        ),
    });
    // One of the future would cover what nobody has seen yet; it counts once its time has come.
    let acknowledged = evidence.acknowledged.filter(|acknowledged| *acknowledged <= evidence.now);
    let is_open = |loss: &Loss| acknowledged.is_none_or(|acknowledged| acknowledged < loss.at);
    before.into_iter().chain(told).filter(is_open).max_by_key(|loss| loss.at)
}

/// Returns how many have to be ready: one may be missing while they are replaced one by one, but never the only one.
fn required(desired: u32) -> u32 {
    desired.saturating_sub(1).max(1)
}

fn ready(deployment: Option<&Deployment>) -> u32 {
    let ready = deployment.and_then(|deployment| deployment.status.as_ref()?.ready_replicas);
    ready.and_then(|ready| u32::try_from(ready).ok()).unwrap_or(0)
}

/// Returns whether the Deployment's controller has seen what is declared.
fn is_observed(deployment: Option<&Deployment>) -> bool {
    deployment.is_some_and(|deployment| {
        let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
        deployment.metadata.generation.is_none() || observed >= deployment.metadata.generation
    })
}

fn replica_failure(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    failure.message.clone()
}

fn summary(workers: &WorkersSeen<'_>) -> String {
    format!("{} of {} ready", ready(workers.deployment), workers.desired)
}

/// Returns how long ago something was when a worker said it, by that worker's clock, which may be off; by ours where it does not tell its own.
/// None for what was in the future.
fn age(status: &Status, since_millis: i64, now: Timestamp) -> Option<Duration> {
    let said_millis = status.said_millis.unwrap_or(now.as_millisecond());
    u64::try_from(said_millis.saturating_sub(since_millis)).ok().map(Duration::from_millis)
}

fn finding(reason: Availability, message: &str) -> Finding<Availability> {
    Finding { reason, message: message.to_owned() }
}

/// Returns the status of a role's workers. `image` and `config_hash` are what is declared.
#[must_use]
pub fn component(identity: &Identity, role: Role, workers: &WorkersSeen<'_>, pipeline: Option<&Pipeline>) -> Option<ComponentStatus> {
    if role == Role::Producer && pipeline.is_none_or(|pipeline| pipeline.producer.is_none()) {
        return None;
    }
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let template = workers.deployment.and_then(|deployment| deployment.spec.as_ref()).map(|spec| &spec.template);
    let annotations = template.and_then(|template| template.metadata.as_ref()?.annotations.as_ref());
    let container = template.and_then(|template| template.spec.as_ref()?.containers.iter().find(|found| found.name == role.command()));
    let records = |status: &Status| match role {
        Role::Sink => status.sink.as_ref().map(|sink| sink.committed_records),
        Role::Producer => status.producer.as_ref().map(|producer| producer.rows),
    };
    let committed: Option<u64> = workers.said.iter().filter_map(records).reduce(u64::saturating_add);
    let last_commit = workers.said.iter().filter_map(|status| status.sink.as_ref()?.last_commit_millis).max();
    let ready = ready(workers.deployment);
    Some(ComponentStatus {
        desired: number(workers.desired),
        replicas: workers.deployment.and_then(|deployment| deployment.status.as_ref()?.replicas).unwrap_or(0),
        ready_replicas: number(ready),
        summary: format!("{ready}/{}", workers.desired),
        selector: identity.selector_text(role),
        config_hash: annotations.and_then(|found| found.get("stockpipeline.dev/config-hash")).cloned().unwrap_or_default(),
        image: container.and_then(|container| container.image.clone()).unwrap_or_default(),
        last_commit_time: last_commit.and_then(|millis| Timestamp::from_second(millis.div_euclid(1_000)).ok()).map(Time),
        committed_records: committed.map(|records| i64::try_from(records).unwrap_or(i64::MAX)),
    })
}
