//! From what was observed to findings: which reason of its closed list each condition has, and why.
//!
//! Pure: Deployments, pods and the workers' own words come in, and the time. Whoever reads them decides nothing.
//!
//! | module | what it judges |
//! |---|---|
//! | `pods` | why a pod is not ready |
//! | `availability` | whether the workers of a role do their work |
//! | `records` | topic and lag, as the sinks report them |

mod availability;
mod pods;
mod records;
#[cfg(test)]
mod tests;

pub use availability::{Loss, component, has_completed, loss};
pub(crate) use availability::{has_former_pods, is_rolling, pods};
pub use pods::{PodFacts, Trouble};
pub use records::{Lag, count_partitions, kafka_status, lag};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stockpipeline::Pipeline;
use stockpipeline::operations::Scaling;
use stockpipeline::status::Status;

use crate::status::reason::{Accepted, CatalogSynced, Suspended};
use crate::status::{Deletion, Finding, Findings};

/// Everything that findings are made from.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The time.
    pub now: Timestamp,
    /// The pipeline that is in force; None where no spec was ever accepted.
    pub pipeline: Option<&'a Pipeline>,
    /// Whether the newest spec is in force.
    pub accepted: Finding<Accepted>,
    /// Glue and Athena.
    pub catalog: Finding<CatalogSynced>,
    /// Whether the pipeline stands still.
    pub suspended: Finding<Suspended>,
    /// How far its deletion is.
    pub deletion: Option<Deletion>,
    /// Whether the sinks have measured what is waiting since the last record of a finite source was sent.
    pub is_measured: bool,
    /// The sinks.
    pub sink: WorkersSeen<'a>,
    /// The producers.
    pub producer: WorkersSeen<'a>,
    /// What was reported before.
    pub reported: &'a [Condition],
    /// When what was reported as lost was lost, where that is known.
    pub lost_at: Option<Timestamp>,
    /// Up to when the user has acknowledged what was lost.
    pub acknowledged: Option<Timestamp>,
}

/// What was seen of the workers of one role.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkersSeen<'a> {
    /// How many there should be.
    pub desired: u32,
    /// Their Deployment.
    pub deployment: Option<&'a Deployment>,
    /// Their pods.
    pub pods: &'a [PodFacts],
    /// What they say of themselves.
    pub said: &'a [Status],
    /// What keeps them from being as declared.
    pub obstacle: Option<&'a Obstacle>,
}

/// What keeps workers from being as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// They wait for something that comes first.
    Waits(String),
    /// The API server or somebody else's object is in the way.
    Refused(String),
}

/// Returns the findings.
#[must_use]
pub fn findings(evidence: Evidence<'_>) -> Findings {
    let secret = [&evidence.sink, &evidence.producer].into_iter().flat_map(|workers| workers.pods).find_map(|pod| match &pod.trouble {
        Some(Trouble::SecretMissing(message)) => Some(format!("pod {}: {message}; make the Secret, and the pod goes on", pod.name)),
        Some(Trouble::Worker(..)) | None => None,
    });
    let accepted = match (evidence.accepted.reason, secret) {
        (Accepted::Valid, Some(message)) => Finding { reason: Accepted::SecretNotFound, message },
        (Accepted::InvalidSpec | Accepted::UnsupportedChange, _) if evidence.pipeline.is_some() => {
            let message = format!("{}; until then the spec that was accepted last stays in force", evidence.accepted.message);
            Finding { reason: evidence.accepted.reason, message }
        }
        _ => evidence.accepted.clone(),
    };
    let lag = records::lag(evidence.sink.said, evidence.pipeline);
    Findings {
        topic: records::topic(&evidence.sink),
        lag: records::within_bounds(lag.as_ref(), &evidence),
        is_all_stored: evidence.is_measured && lag.as_ref().is_some_and(|lag| lag.total == 0),
        sink: availability::of_sinks(&evidence, lag.as_ref()),
        producer: availability::of_producers(&evidence),
        catalog: with_missing(evidence.catalog, evidence.sink.said),
        accepted,
        suspended: evidence.suspended,
        deletion: evidence.deletion,
    }
}

/// What the sinks miss in the catalogue is not in sync, whatever the tables look like.
fn with_missing(catalog: Finding<CatalogSynced>, said: &[Status]) -> Finding<CatalogSynced> {
    let missing: Vec<&str> =
        said.iter().filter_map(|status| status.sink.as_ref()).flat_map(|sink| &sink.catalog_missing).map(String::as_str).collect();
    match catalog.reason {
        CatalogSynced::InSync | CatalogSynced::DriftCorrected if !missing.is_empty() => {
            let shown = missing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            Finding { reason: CatalogSynced::Creating, message: format!("the sinks miss {} in the catalogue: {shown}", missing.len()) }
        }
        CatalogSynced::InSync
        | CatalogSynced::DriftCorrected
        | CatalogSynced::Creating
        | CatalogSynced::DriftReported
        | CatalogSynced::AccessDenied
        | CatalogSynced::NotFound
        | CatalogSynced::Unavailable
        | CatalogSynced::InvalidInput
        | CatalogSynced::Throttled
        | CatalogSynced::AlreadyExists
        | CatalogSynced::ConcurrentModification
        | CatalogSynced::UnrestrictedChange
        | CatalogSynced::QueryDefinitionFailed
        | CatalogSynced::NotRequired => catalog,
    }
}

/// Returns how many records waiting are within bounds for a number of sinks.
fn target(scaling: &Scaling, sinks: u32) -> u64 {
    /// Records that one sink is worth where the pipeline does not say: the default of scaling by lag.
    const RECORDS: u64 = 10_000;
    let each = match scaling {
        Scaling::Fixed | Scaling::External => RECORDS,
        Scaling::Lag(settings) => settings.target_lag_per_replica,
    };
    each.saturating_mul(sinks.max(1).into())
}
