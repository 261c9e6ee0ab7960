//! The Kubernetes objects of a pipeline, from the checked pipeline alone.
//!
//! Pure: the same pipeline, settings and counts give the same objects, byte for byte. What is not in [`Children`] should not be there:
//! the operator prunes it. Nothing here reads the cluster; only [`scaler`] decides how many workers there are.
//!
//! | module | what it makes |
//! |---|---|
//! | `clean_up` | the Jobs that remove what a deletion policy names |
//! | `document` | the document that workers read, and its hash |
//! | `pod` | the pod template |
//! | `mounts` | the document, Secrets and `ConfigMaps` as files |
//! | `placement` | which nodes the pods may use |
//! | `network` | the network policy |
//! | [`scaler`] | how many workers there should be |
//! | `kubernetes` | Kubernetes' own JSON forms, read strictly |

mod clean_up;
mod document;
mod kubernetes;
mod mounts;
mod network;
mod placement;
mod pod;
pub mod scaler;
#[cfg(test)]
mod tests;

pub use clean_up::{CleanUp, clean_up_name};

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use stockpipeline::Pipeline;
use stockpipeline::check::FieldError;
use stockpipeline::checked::{Location, Source};
use stockpipeline::document::Document;
use stockpipeline::operations::Worker;

use crate::resource::identity::{Identity, Role};
use crate::settings::Settings;

/// Old ReplicaSets that are kept: the last one tells what a roll has changed.
const REVISIONS: i32 = 2;

/// What the objects of a pipeline are made from.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The resource.
    pub identity: &'a Identity,
    /// What its user wrote, accepted by the check.
    pub document: &'a Document,
    /// The same, checked.
    pub pipeline: &'a Pipeline,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// How many workers there should be.
    pub counts: Counts,
}

/// How many workers there should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Producers.
    pub producers: u32,
    /// Sinks.
    pub sinks: u32,
}

/// Returns a value whose members stand in the order of their names.
pub(crate) fn sorted(mut value: serde_json::Value) -> serde_json::Value {
    document::sort(&mut value);
    value
}

/// Puts the producers' document as it stands in the live object into the one that is declared.
pub(crate) fn keep_producer_document(declared: &mut ConfigMap, live: &ConfigMap) {
    let (Some(declared), Some(live)) = (&mut declared.data, &live.data) else { return };
    if let Some(document) = live.get(mounts::PRODUCER_DOCUMENT) {
        declared.insert(mounts::PRODUCER_DOCUMENT.to_owned(), document.clone());
    }
}

/// Every object that a pipeline should have, in the order in which they are applied: what pods need before the pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// The document that workers read.
    pub config: ConfigMap,
    /// Service account of the workers for which the pipeline names none; None where it names one for each.
    pub service_account: Option<ServiceAccount>,
    /// Network policy of all pods, those of a clean-up among them; None where the operator makes none.
    pub network_policy: Option<NetworkPolicy>,
    /// What belongs to the sinks, which start first.
    pub sink: Workers,
    /// What belongs to the producers; None for a topic that others fill.
    pub producer: Option<Workers>,
}

/// Every object of one role.
#[derive(Debug, Clone, PartialEq)]
pub struct Workers {
    /// The pods.
    pub deployment: Deployment,
    /// Disruption budget; None for a single pod, which it would only pin to its node.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Hash of what the workers are configured with.
    pub config_hash: String,
}

impl Children {
    /// Returns the objects of a pipeline.
    ///
    /// # Errors
    /// Each [`FieldError`] that the check cannot see, since it is about running in a cluster: always the user's.
    pub fn of(wanted: &Wanted<'_>) -> Result<Self, Vec<FieldError>> {
        let rendered = document::for_workers(wanted.document);
        let operations = &wanted.pipeline.operations;
        let mut errors: Vec<FieldError> = reject_local_paths(wanted.pipeline).into_iter().collect();
        let mut keep = |built: Result<Workers, FieldError>| built.map_err(|error| errors.push(error)).ok();
        let sink = keep(workers(wanted, Role::Sink, &operations.sink_worker, &rendered));
        let producer = operations.producer_worker.as_ref().and_then(|worker| keep(workers(wanted, Role::Producer, worker, &rendered)));
        let roles: &[Role] = if producer.is_some() { &[Role::Sink, Role::Producer] } else { &[Role::Sink] };
        match sink {
            Some(sink) if errors.is_empty() => Ok(Self {
                config: config_map(wanted.identity, &rendered, roles),
                service_account: service_account(wanted),
                network_policy: network_policy(wanted),
                sink,
                producer,
            }),
            Some(_) | None => Err(errors),
        }
    }
}

fn reject_local_paths(pipeline: &Pipeline) -> Option<FieldError> {
    let Source::CsvReplay(replay) = &pipeline.source else { return None };
    let Location::Path(_) = &replay.location else { return None };
    let reason = "is a path of one machine, which no pod can read".to_owned();
    Some(kubernetes::refuse("spec.source.csvReplay.uri", reason, "use s3://, https:// or configMapRef"))
}

/// One document for each role, so that they need not get a new one at the same time.
fn config_map(identity: &Identity, rendered: &Document, roles: &[Role]) -> ConfigMap {
    ConfigMap {
        metadata: identity.metadata(identity.config_name(), None),
        data: Some(roles.iter().map(|role| (mounts::document_key(*role), rendered.to_yaml())).collect()),
        ..ConfigMap::default()
    }
}

/// One for all roles: an account without a token of its own differs in nothing but its name.
fn service_account(wanted: &Wanted<'_>) -> Option<ServiceAccount> {
    let operations = &wanted.pipeline.operations;
    let mut workers = std::iter::once(&operations.sink_worker).chain(&operations.producer_worker);
    workers.any(|worker| worker.service_account.is_none()).then(|| ServiceAccount {
        metadata: wanted.identity.metadata(wanted.identity.workers_name(), None),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

fn network_policy(wanted: &Wanted<'_>) -> Option<NetworkPolicy> {
    let settings = wanted.settings.network.as_ref()?;
    Some(network::policy(wanted.identity, wanted.pipeline, settings))
}

fn workers(wanted: &Wanted<'_>, role: Role, worker: &Worker, rendered: &Document) -> Result<Workers, FieldError> {
    let &Wanted { identity, pipeline, settings, counts, .. } = wanted;
    let replicas = match role {
        Role::Producer => counts.producers,
        Role::Sink => counts.sinks,
    };
    let config_hash = document::config_hash(rendered, role);
    let template = pod::Template { identity, pipeline, settings, role, worker, config_hash: &config_hash }.build()?;
    let deployment = Deployment {
        metadata: identity.metadata(identity.role_name(role), Some(role)),
        spec: Some(DeploymentSpec {
            replicas: Some(count(replicas)),
            revision_history_limit: Some(REVISIONS),
            selector: identity.selector(role),
            strategy: Some(one_by_one()),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    let disruption_budget = (replicas > 1).then(|| budget(identity, role, worker.max_unavailable));
    Ok(Workers { deployment, disruption_budget, config_hash })
}

/// One pod goes before its successor comes: a surplus member would take partitions or slots twice, and each move costs a replay.
fn one_by_one() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment { max_surge: Some(IntOrString::Int(0)), max_unavailable: Some(IntOrString::Int(1)) }),
    }
}

fn budget(identity: &Identity, role: Role, max_unavailable: u32) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: identity.metadata(identity.role_name(role), Some(role)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(count(max_unavailable))),
            selector: Some(identity.selector(role)),
            // A worker that is not ready protects nothing, and must not keep a node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
