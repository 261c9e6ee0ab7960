//! The fifth step: one status, written only when it is worth it, and the events of what has changed.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::Event;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use stockpipeline::document::{API_VERSION, KIND};
use tracing::debug;

use crate::accept::Spec;
use crate::apply::ApplyError;
use crate::catalog::decide::CatalogReport;
use crate::catalog::sync;
use crate::reconcile::controller::Shared;
use crate::reconcile::memory::{Remembered, Written};
use crate::reconcile::{Look, Looked};
use crate::resource::crd::StockPipeline;
use crate::resource::crd::report::{AthenaStatus, GlueStatus, KafkaStatus, StockPipelineStatus};
use crate::resource::identity::{Identity, MANAGER, Role};
use crate::status::events;
use crate::status::findings::{self, Evidence};
use crate::status::reason::{Accepted, Availability, CatalogSynced, LagWithinBounds, Suspended, TopicReady};
use crate::status::{Deletion, Finding, Findings, Phase, Worth, conditions, phase, undecided, worth};

/// For how long the cache may not have what was written.
const CACHE_LAGS: Duration = Duration::from_secs(30);
/// How long an event may take: news that nobody takes are no reason to wait.
const EVENT_LIMIT: Duration = Duration::from_secs(5);

/// A status that may be worth writing.
#[derive(Debug)]
pub(crate) struct Report {
    status: StockPipelineStatus,
}

impl Report {
    /// Returns the status of a pipeline.
    pub(crate) fn of(look: &Look<'_>, identity: &Identity, evidence: Evidence<'_>, spec: Option<&Spec>, catalog: &CatalogReport) -> Self {
        let before = look.known.as_ref();
        let generation = look.object.metadata.generation.unwrap_or(0);
        let (sink, producer, pipeline) = (evidence.sink, evidence.producer, evidence.pipeline);
        let loss = findings::loss(&evidence);
        let findings = findings::findings(evidence);
        let wanted = spec.and_then(|spec| sync::wanted(look, spec));
        // A topic is what it was while nobody looks; its lag is not.
        let known = before.and_then(|status| status.kafka.clone()).map(|kafka| KafkaStatus { lag: None, ..kafka });
        let mut glue = wanted.as_ref().map(|wanted| catalog.glue_status(wanted, before.and_then(|status| status.glue.as_ref())));
        // A crawler that is still to go is nowhere else.
        let is_known = spec.is_none() || catalog.crawler.is_some();
        glue = glue.or_else(|| before.and_then(|status| status.glue.clone()).filter(|_| is_known));
        if let Some(glue) = glue.as_mut() {
            findings::count_partitions(glue, sink.said);
        }
        Self {
            status: StockPipelineStatus {
                observed_generation: Some(generation),
                phase: Some(phase(&findings).label().to_owned()),
                conditions: conditions(&findings, generation, look.reported(), look.now),
                producer: findings::component(identity, Role::Producer, &producer, pipeline),
                sink: findings::component(identity, Role::Sink, &sink, pipeline),
                kafka: findings::kafka_status(sink.said, pipeline, look.now).or(known),
                glue: glue.filter(is_told),
                athena: catalog
                    .athena
                    .clone()
                    .or_else(|| before.and_then(|status| status.athena.clone()))
                    .filter(|athena| *athena != AthenaStatus::default()),
                draining_since: None,
                data_lost_at: loss.map(|loss| Time(loss.at)),
                last_handled_reconcile_at: look.annotation("reconcile-requested-at").map(|value| value.chars().take(128).collect()),
            },
        }
    }

    /// Says since when the pipeline drains. Kubernetes keeps whole seconds; what is written must read back equal.
    pub(crate) fn draining_since(mut self, since: Option<Timestamp>) -> Self {
        self.status.draining_since = since.map(|since| Time(Timestamp::from_second(since.as_second()).unwrap_or(since)));
        self
    }

    /// Returns the status of a pipeline of which nothing could be decided, and why.
    pub(crate) fn undecided(look: &Look<'_>, why: &str) -> Self {
        let generation = look.object.metadata.generation.unwrap_or(0);
        let mut status = look.known.clone().unwrap_or_default();
        status.conditions = undecided(why, generation, look.reported(), look.now);
        status.phase.get_or_insert_with(|| Phase::Pending.label().to_owned());
        Self { status }
    }

    /// Returns the status of a pipeline that is being deleted. What was said of its spec stays as it is: where the revisions are gone,
    /// nothing else tells what was in force.
    pub(crate) fn deleting(look: &Look<'_>, deletion: Deletion) -> Self {
        let generation = look.object.metadata.generation.unwrap_or(0);
        let findings =
            Findings { deletion: Some(deletion), ..unknown(Finding { reason: Accepted::Valid, message: "being deleted".to_owned() }) };
        let is_verdict = |condition: &&Condition| condition.type_ == "Accepted";
        let verdict = look.reported().iter().find(is_verdict).cloned();
        let told = conditions(&findings, generation, look.reported(), look.now)
            .into_iter()
            .filter_map(|condition| if is_verdict(&&condition) { verdict.clone() } else { Some(condition) });
        let status = StockPipelineStatus {
            observed_generation: Some(generation),
            phase: Some(phase(&findings).label().to_owned()),
            conditions: told.collect(),
            ..look.known.clone().unwrap_or_default()
        };
        Self { status }
    }
}

fn is_told(glue: &GlueStatus) -> bool {
    !glue.tables.is_empty() || glue.drift_corrections > 0 || glue.crawler.is_some() || !glue.processed_table.is_empty()
}

/// Findings of a pipeline of which nothing runs.
fn unknown(accepted: Finding<Accepted>) -> Findings {
    let nothing = || "nothing runs".to_owned();
    Findings {
        accepted,
        topic: Finding { reason: TopicReady::NotMeasured, message: nothing() },
        producer: Finding { reason: Availability::ScaledToZero, message: nothing() },
        sink: Finding { reason: Availability::ScaledToZero, message: nothing() },
        catalog: Finding { reason: CatalogSynced::NotRequired, message: nothing() },
        lag: Finding { reason: LagWithinBounds::NotMeasured, message: nothing() },
        is_all_stored: false,
        suspended: Finding { reason: Suspended::Running, message: nothing() },
        deletion: None,
    }
}

/// Writes a status if it is worth it, and then tells what has changed. Returns after which time the rest is worth a write.
///
/// # Errors
/// [`ApplyError`] when the API server does not take it.
pub(crate) async fn publish(
    look: &Look<'_>,
    memory: &mut Remembered,
    report: Report,
    news: Vec<Event>,
) -> Result<Option<Duration>, ApplyError> {
    let before = look.known.as_ref();
    let since = memory.written.as_ref().map_or(Duration::MAX, |written| age(look.now, written.at));
    let mut events = news;
    let later = match worth(before, &report.status, since) {
        Worth::Now => {
            write(look.shared, &look.object.metadata, &report.status, memory, look.now).await?;
            events.extend(events::of_transitions(look.reported(), &report.status.conditions));
            None
        }
        Worth::In(wait) => Some(wait),
        Worth::Nothing => None,
    };
    tell(look.shared, look.object, events).await;
    Ok(later)
}

/// Returns what stands in the status, also while the cache does not have our own last write yet.
pub(crate) fn last_written<'a>(object: &'a StockPipeline, memory: &'a Remembered, now: Timestamp) -> Option<&'a StockPipelineStatus> {
    let version = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let cached = version(object.metadata.resource_version.as_deref());
    let latest = memory.written.as_ref().filter(|written| {
        // For a moment only: after a restored backup, older versions are what there is.
        age(now, written.at) < CACHE_LAGS && cached < version(written.resource_version.as_deref())
    });
    latest.and_then(|written| written.status.as_deref()).or(object.status.as_ref())
}

/// Forgets what was written last once the cache has it.
pub(crate) fn forget_written(object: &StockPipeline, memory: &mut Remembered, now: Timestamp) {
    let is_in_cache =
        last_written(object, memory, now).zip(object.status.as_ref()).is_some_and(|(last, cached)| std::ptr::eq(last, cached));
    if let Some(written) = memory.written.as_mut().filter(|_| is_in_cache) {
        written.status = None;
    }
}

async fn write(
    shared: &Shared,
    metadata: &ObjectMeta,
    status: &StockPipelineStatus,
    memory: &mut Remembered,
    now: Timestamp,
) -> Result<(), ApplyError> {
    let (act, kind, name) = ("write the status of", KIND, metadata.name.clone().unwrap_or_default());
    if shared.ending.is_cancelled() {
        return Err(ApplyError::Ending { kind, name });
    }
    let api: Api<StockPipeline> = Api::namespaced(shared.context.client.clone(), metadata.namespace.as_deref().unwrap_or_default());
    // By its uid, so that a resource of the same name that was made meanwhile does not get it.
    let body = json!({ "apiVersion": API_VERSION, "kind": KIND, "metadata": { "name": name, "uid": metadata.uid }, "status": status });
    let parameters = PatchParams::apply(MANAGER).force();
    shared.context.metrics.kubernetes_write("StockPipelineStatus");
    let patch = Patch::Apply(&body);
    let request = api.patch_status(&name, &parameters, &patch);
    let limit = shared.context.settings.timing.kubernetes_timeout;
    let written = match tokio::time::timeout(limit, request).await {
        Ok(Ok(written)) => written,
        Ok(Err(source)) => return Err(ApplyError::Refused { act, kind, name, source: Box::new(source) }),
        Err(_) => return Err(ApplyError::TimedOut { act, kind, name }),
    };
    memory.written = Some(Written { at: now, resource_version: written.resource_version(), status: Some(Box::new(status.clone())) });
    Ok(())
}

/// An event that cannot be written is lost; the status says the same.
pub(crate) async fn tell(shared: &Shared, object: &StockPipeline, events: Vec<Event>) {
    let reference = object.object_ref(&());
    for event in events {
        if shared.ending.is_cancelled() {
            return;
        }
        shared.context.metrics.kubernetes_write("Event");
        match tokio::time::timeout(EVENT_LIMIT, shared.recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(reason = event.reason, error = %error, "failed to write an event"),
            Err(_) => debug!(reason = event.reason, "failed to write an event in time"),
        }
    }
}

/// Says in the status of a resource that cannot be read that it cannot.
///
/// # Errors
/// [`ApplyError`] when the API server does not take it.
pub(crate) async fn unreadable(
    shared: &Shared,
    metadata: &ObjectMeta,
    error: &str,
    memory: &mut Remembered,
    now: Timestamp,
) -> Result<Looked, ApplyError> {
    let generation = metadata.generation.unwrap_or(0);
    let message = format!("the stored resource cannot be read: {error}; apply it again");
    let findings = unknown(Finding { reason: Accepted::InvalidSpec, message });
    let before = memory.written.as_ref().and_then(|written| written.status.as_deref().cloned());
    let status = StockPipelineStatus {
        observed_generation: Some(generation),
        phase: Some(phase(&findings).label().to_owned()),
        conditions: conditions(&findings, generation, before.as_ref().map_or(&[], |status| &status.conditions), now),
        ..StockPipelineStatus::default()
    };
    if before.as_ref() != Some(&status) {
        write(shared, metadata, &status, memory, now).await?;
    }
    Ok(Looked { retry: None, wait: None })
}

fn age(now: Timestamp, since: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
