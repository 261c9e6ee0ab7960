//! One look at one pipeline, in five steps: observe, accept, desired, apply, status. Reads as a table of contents; the steps decide.
//!
//! | module | what it does |
//! |---|---|
//! | [`controller`] | decides who is looked at when |
//! | `gate` | when looks begin |
//! | `memory` | what is remembered between two looks |
//! | `lifecycle` | how many workers there should be right now |
//! | `finalize` | the end of a pipeline |
//! | [`pulse`] | whether looks end |

mod agenda;
pub mod controller;
pub(crate) mod finalize;
mod gate;
pub(crate) mod lifecycle;
pub(crate) mod memory;
pub mod pulse;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use stockpipeline::document::GROUP;

use crate::accept::{self, Acceptance, Spec};
use crate::apply::children::{self, Gate, InForce};
use crate::apply::{Applier, ApplyError, Change, Contest};
use crate::catalog::decide::CatalogReport;
use crate::catalog::sync;
use crate::desired::Counts;
use crate::error::Retry;
use crate::observe::{Seen, Stored};
use crate::reconcile::controller::Shared;
use crate::reconcile::lifecycle::Lifecycle;
use crate::reconcile::memory::{Remembered, Wish};
use crate::resource::crd::StockPipeline;
use crate::resource::crd::report::StockPipelineStatus;
use crate::resource::identity::Role;
use crate::status::events;
use crate::status::findings::{Evidence, Obstacle};
use crate::status::publish::{self, Report};
use crate::status::reason::{Accepted, CatalogSynced, Suspended};
use crate::status::{Deletion, Finding};

/// Annotations that the operator reads, without their group.
const ANNOTATIONS: [&str; 5] = ["reconcile", "reconcile-requested-at", "skip-cleanup", "allow-data-deletion", "read-only"];

/// Looks in a row that may fail before that is told: shorter trouble of the API server is nobody's news.
const FAILURES_UNTOLD: u32 = 2;

/// Why a look at a pipeline has failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server, where nothing can be said about it in the status.
    #[error("{0}")]
    Apply(#[source] ApplyError),
    /// It took too long.
    #[error("the reconcile took too long and was cut short")]
    TimedOut,
    /// A bug.
    #[error("the reconcile has panicked, which is a bug")]
    Panicked,
}

impl ReconcileError {
    /// Returns when to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Apply(error) => error.retry(),
            Self::TimedOut | Self::Panicked => Retry::Backoff,
        }
    }
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looked {
    /// What is still to be tried again.
    pub(crate) retry: Option<Retry>,
    /// When the next look is; None waits for a change.
    pub(crate) wait: Option<Duration>,
}

/// What every step of one look knows.
pub(crate) struct Look<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) object: &'a StockPipeline,
    /// The status that was written last, which the cache may not have yet.
    pub(crate) known: Option<StockPipelineStatus>,
    pub(crate) wish: Wish,
    pub(crate) is_read_only: bool,
    pub(crate) now: Timestamp,
}

impl Look<'_> {
    /// Returns the conditions that were reported last.
    pub(crate) fn reported(&self) -> &[Condition] {
        self.known.as_ref().map_or(&[], |status| &status.conditions)
    }

    /// Returns the value of one of the annotations.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        annotation(&self.object.metadata, name)
    }

    /// Returns whether an annotation says yes.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.annotation(name) == Some("true")
    }
}

/// Looks at a pipeline and brings it to what is declared, as far as it can be.
///
/// # Errors
/// [`ReconcileError`] when the API server takes not even a status.
pub(crate) async fn reconcile(object: &Stored, shared: &Shared, memory: &mut Remembered) -> Result<Looked, ReconcileError> {
    let now = Timestamp::now();
    let pipeline = match object.read() {
        Ok(pipeline) => pipeline,
        Err(error) => {
            let error = error.to_string();
            return publish::unreadable(shared, object.meta(), &error, memory, now).await.map_err(ReconcileError::Apply);
        }
    };
    let is_read_only = shared.context.settings.read_only || annotation(&pipeline.metadata, "read-only") == Some("true");
    publish::forget_written(&pipeline, memory, now);
    let known = publish::last_written(&pipeline, memory, now).cloned();
    let look = Look { shared, object: &pipeline, known, wish: wish(&pipeline.metadata), is_read_only, now };
    if pipeline.metadata.deletion_timestamp.is_some() {
        return Box::pin(finalize::finalize(&look, memory)).await.map_err(ReconcileError::Apply);
    }
    if look.annotation("reconcile") == Some("disabled") {
        return Ok(Looked { retry: None, wait: None });
    }
    Box::pin(keep(&look, memory)).await.map_err(ReconcileError::Apply)
}

/// What was done with what is in force.
struct Kept {
    counts: Counts,
    suspended: Finding<Suspended>,
    catalog: CatalogReport,
    gate: Gate,
    error: Option<Obstacle>,
    retry: Option<Retry>,
    changes: Vec<Change>,
    contests: Vec<Contest>,
}

async fn keep(look: &Look<'_>, memory: &mut Remembered) -> Result<Looked, ApplyError> {
    let (shared, now) = (look.shared, look.now);
    let identity = accept::identity(look.object);
    let mut seen = Seen::of(shared, &identity, now);
    seen.ask(shared, &identity, memory, now).await;

    let mut settled = std::mem::take(&mut memory.settled);
    let mut applier = Applier::new(shared, &identity, &mut settled, look.is_read_only);
    let acceptance = Box::pin(accept::judge(look, memory, &mut applier)).await;
    let kept = match &acceptance {
        Ok(Acceptance { in_force: Some(spec), .. }) => Some(Box::pin(bring_about(look, memory, &seen, spec, &mut applier)).await),
        Ok(Acceptance { in_force: None, .. }) | Err(_) => None,
    };
    let (changes, contests) = applier.into_parts();
    memory.settled = settled;
    let (Acceptance { finding, in_force, retry: unrecorded }, kept) = match (acceptance, kept.transpose()) {
        (Ok(acceptance), Ok(kept)) => (acceptance, kept),
        (Err(error), _) | (_, Err(error)) => return Err(undecided(look, memory, error).await),
    };
    let mut kept = kept.unwrap_or_else(Kept::nothing);
    (kept.changes, kept.contests) = (changes, contests);
    kept.retry = kept.retry.or(unrecorded);
    shared.context.metrics.drift_corrected(corrections(look, &kept));

    let declared_before = seen.sink.declared();
    seen.look_again(shared, &identity);
    let obstacle = kept.obstacle();
    let evidence = Evidence {
        now,
        pipeline: in_force.as_ref().map(|spec| &spec.pipeline),
        accepted: read_only_finding(look, finding, &kept.changes),
        catalog: kept.catalog.finding.clone(),
        suspended: kept.suspended.clone(),
        deletion: None,
        is_measured: in_force.as_ref().is_some_and(|spec| lifecycle::is_measured_to_the_end(look, memory, &seen, &spec.pipeline)),
        sink: seen.sink.workers(kept.counts.sinks, obstacle.0.as_ref()),
        producer: seen.producer.workers(kept.counts.producers, obstacle.1.as_ref()),
        reported: look.reported(),
        lost_at: look.known.as_ref().and_then(|status| status.data_lost_at.as_ref()).map(|at| at.0),
        acknowledged: look.annotation("reconcile-requested-at").and_then(|text| text.parse().ok()),
    };
    let report = Report::of(look, &identity, evidence, in_force.as_ref(), &kept.catalog).draining_since(memory.draining_since);
    let mut news = if look.is_read_only { Vec::new() } else { events::of_corrections(&kept.changes, &kept.catalog.changes) };
    news.extend(lifecycle::scaled(in_force.as_ref(), declared_before, seen.sink.declared()));
    let later = publish::publish(look, memory, report, news).await?;
    let wait = next_look(look, memory, kept.retry).min(later.unwrap_or(Duration::MAX));
    Ok(Looked { retry: kept.retry, wait: Some(wait) })
}

/// Says in the status what keeps anything from being decided, once that is more than a moment's trouble, and returns it.
async fn undecided(look: &Look<'_>, memory: &mut Remembered, error: ApplyError) -> ApplyError {
    let is_told = match error.retry() {
        Retry::Fast => false,
        Retry::Backoff => memory.failures >= FAILURES_UNTOLD,
        Retry::User | Retry::Terminal => true,
    };
    if is_told {
        let report = Report::undecided(look, &error.to_string());
        // An API server that takes no status either leaves the error as it is.
        if let Err(error) = publish::publish(look, memory, report, Vec::new()).await {
            tracing::debug!(error = %error, "failed to say what keeps a pipeline from being judged");
        }
    }
    error
}

/// Brings about what is in force: the catalogue first, then what runs.
async fn bring_about(
    look: &Look<'_>,
    memory: &mut Remembered,
    seen: &Seen,
    spec: &Spec,
    applier: &mut Applier<'_>,
) -> Result<Kept, ApplyError> {
    finalize::keep_finalizer(look, spec).await?;
    let catalog = sync::catalogue(look, memory, spec).await;
    let Lifecycle { counts, suspended } = lifecycle::decide(look, memory, seen, spec);
    let mut kept = Kept { counts, suspended, catalog, ..Kept::nothing() };
    if memory.is_paused(&look.wish, look.now) {
        let pause = memory.pause.as_ref().map(|pause| (pause.message.clone(), pause.retry));
        if let Some((message, retry)) = pause {
            (kept.error, kept.retry) = (obstacle(retry, message), Some(retry));
        }
        return Ok(kept);
    }
    match Box::pin(children::apply(look, seen, InForce { spec, counts, catalog: &kept.catalog }, applier)).await {
        Ok(gate) => {
            kept.gate = gate;
            memory.pause = None;
        }
        Err(error) => {
            let retry = error.retry();
            kept.retry = Some(retry);
            memory.failed(&look.wish, retry, error.to_string(), look.now);
            kept.error = obstacle(retry, error.to_string());
        }
    }
    Ok(kept)
}

/// Somebody else was faster: that is no news, and the next look is near.
fn obstacle(retry: Retry, message: String) -> Option<Obstacle> {
    (retry != Retry::Fast).then_some(Obstacle::Refused(message))
}

impl Kept {
    /// Returns what holds while no accepted spec can be read, or none ever was.
    fn nothing() -> Self {
        Self {
            counts: Counts::default(),
            suspended: Finding { reason: Suspended::Running, message: "nothing is in force".to_owned() },
            catalog: CatalogReport {
                finding: Finding { reason: CatalogSynced::NotRequired, message: "no spec is in force".to_owned() },
                ..CatalogReport::not_required()
            },
            gate: Gate::Open,
            error: None,
            retry: None,
            changes: Vec::new(),
            contests: Vec::new(),
        }
    }

    /// Returns what others insist on about one role.
    fn contested(&self, role: Role) -> Option<Obstacle> {
        let contest = self.contests.iter().find(|contest| contest.role.is_none_or(|about| about == role))?;
        Some(Obstacle::Refused(contest.message()))
    }

    /// Returns what keeps sinks and producers from being as declared.
    fn obstacle(&self) -> (Option<Obstacle>, Option<Obstacle>) {
        if self.error.is_some() {
            return (self.error.clone(), self.error.clone());
        }
        if !self.contests.is_empty() {
            return (self.contested(Role::Sink), self.contested(Role::Producer));
        }
        match &self.gate {
            Gate::Open => (None, None),
            Gate::Producers(why) => (None, Some(Obstacle::Waits(why.clone()))),
            Gate::All(why) => (Some(Obstacle::Waits(why.clone())), Some(Obstacle::Waits(why.clone()))),
        }
    }
}

/// Returns how much of what others had changed was set right; one who only looks sets nothing right.
fn corrections(look: &Look<'_>, kept: &Kept) -> u64 {
    if look.is_read_only {
        return 0;
    }
    let objects = kept.changes.iter().filter(|change| change.act == crate::apply::Act::Correct).count();
    u64::try_from(objects).unwrap_or(u64::MAX).saturating_add(u64::try_from(kept.catalog.corrections).unwrap_or(0))
}

/// Says what would be done by an operator, or for a pipeline, that only looks.
fn read_only_finding(look: &Look<'_>, finding: Finding<Accepted>, changes: &[Change]) -> Finding<Accepted> {
    if !look.is_read_only || finding.reason != Accepted::Valid {
        return finding;
    }
    let changes: Vec<String> = changes.iter().map(|change| format!("{} {} {}", change.act.label(), change.kind, change.name)).collect();
    let plan = if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") };
    Finding { reason: finding.reason, message: format!("{}; read-only: left undone: {plan}", finding.message) }
}

/// Returns the wait before the next look: the workers' status is read at each, and whatever has failed may be due earlier.
fn next_look(look: &Look<'_>, memory: &Remembered, retry: Option<Retry>) -> Duration {
    let interval = look.shared.context.settings.timing.status_interval;
    let spread = interval.mul_f64(0.9 + 0.2 * memory.chance(0));
    let until = |at: Timestamp| Duration::try_from(at.duration_since(look.now)).unwrap_or_default();
    let pauses =
        [&memory.pause, &memory.unrecorded].map(|pause| pause.as_ref().filter(|_| retry.is_some()).map(|pause| until(pause.until)));
    let catalogue = memory.catalogue.as_ref().map(|look| until(look.next));
    // What was due at this look and was not done has nothing in force to be done for, so the next one would not do it either.
    let due = pauses.into_iter().chain([catalogue]).flatten().filter(|wait| !wait.is_zero());
    due.fold(spread, Duration::min).max(Duration::from_millis(50))
}

fn wish(metadata: &ObjectMeta) -> Wish {
    let annotations = ANNOTATIONS.iter().filter_map(|name| Some(((*name).to_owned(), annotation(metadata, name)?.to_owned())));
    Wish { generation: metadata.generation.unwrap_or(0), annotations: annotations.collect() }
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(&format!("{GROUP}/{name}")).map(String::as_str)
}

/// Returns the conditions that stand in a resource's status.
pub(crate) fn reported(object: &StockPipeline) -> &[Condition] {
    object.status.as_ref().map_or(&[], |status| &status.conditions)
}

/// Returns how far a deletion is as a finding.
pub(crate) fn blocked(message: &str) -> Deletion {
    Deletion::Blocked(format!(
        "{message}; repair it, or annotate the pipeline with {GROUP}/skip-cleanup=true to leave what is left as it is"
    ))
}
