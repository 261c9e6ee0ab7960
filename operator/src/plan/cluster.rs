//! Dry runs of the resource and its children, and the sinks' word on the topic. Every write asks for nothing to be stored.

use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use stockpipeline::document::Document;
use stockpipeline::launch::STATUS_PATH;
use stockpipeline::operations::DesiredState;
use stockpipeline::status::{Status, TopicReport};

use super::difference::{LAST_APPLIED, fields, three_way};
use super::{Act, ObjectChange, PlanError, objection};
use crate::accept::{self, Spec};
use crate::apply::children::{columns_hash, note_columns};
use crate::apply::{Ownership, declaration, foreign, hash_annotation, ownership};
use crate::desired::scaler::{self, Drain, History, Observed};
use crate::desired::{Children, Counts, Wanted};
use crate::reconcile::reported;
use crate::resource::crd::StockPipeline;
use crate::resource::identity::{Identity, MANAGER, Role};
use crate::settings::Settings;

/// Sinks that are asked for the topic.
const ASKED: usize = 3;
/// How long a sink's answer through the API server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// One pipeline's place in a cluster.
pub(super) struct Cluster<'a> {
    /// The API server.
    pub(super) client: &'a Client,
    /// The pipeline's namespace.
    pub(super) namespace: &'a str,
    /// The pipeline's name.
    pub(super) name: &'a str,
}

/// What a dry run of the resource says.
pub(super) struct DryRun {
    /// What would change.
    pub(super) change: ObjectChange,
    /// The resource as it is.
    pub(super) live: Option<StockPipeline>,
    /// The resource as it would be; None where the API server refuses it.
    pub(super) after: Option<StockPipeline>,
    /// Why the API server refuses it.
    pub(super) problem: Option<String>,
}

/// A child as it is declared.
struct Declared {
    resource: ApiResource,
    object: Value,
}

impl Cluster<'_> {
    /// Returns the resource's name for people.
    pub(super) fn object(&self) -> String {
        format!("StockPipeline {}/{}", self.namespace, self.name)
    }

    /// Applies a document for nobody to see.
    pub(super) async fn dry_run(&self, document: &Document, field_manager: &str) -> Result<DryRun, PlanError> {
        let pipelines: Api<StockPipeline> = Api::namespaced(self.client.clone(), self.namespace);
        let live = pipelines.get_opt(self.name).await.map_err(|source| PlanError::request("read", self.object(), source))?;
        let mut given = Value::Object(document.body().clone());
        given["metadata"]["namespace"] = self.namespace.into();
        let last_applied = live.as_ref().and_then(|live| live.annotations().get(LAST_APPLIED));
        let last_applied: Option<Value> = last_applied.and_then(|text| serde_json::from_str(text).ok());
        let answer = if let Some(last) = last_applied {
            let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
            pipelines.patch(self.name, &parameters, &Patch::Merge(three_way(&last, &given))).await
        } else {
            let parameters = PatchParams { dry_run: true, force: true, ..PatchParams::apply(field_manager) };
            pipelines.patch(self.name, &parameters, &Patch::Apply(&given)).await
        };
        let change = |act, fields| ObjectChange { object: self.object(), act, restarts_pods: false, fields };
        let after = match answer {
            Ok(after) => after,
            Err(error) => {
                let problem = Some(objection("apply", &self.object(), error)?);
                return Ok(DryRun { change: change(Act::None, Vec::new()), live, after: None, problem });
            }
        };
        let change = match &live {
            None => change(Act::Create, Vec::new()),
            Some(live) => {
                let fields = fields(&json(live), &json(&after));
                change(if fields.is_empty() { Act::None } else { Act::Update }, fields)
            }
        };
        let leaving = live.as_ref().is_some_and(|live| live.metadata.deletion_timestamp.is_some());
        let problem = leaving.then(|| format!("{} is being deleted; wait until it is gone", self.object()));
        Ok(DryRun { change, live, after: Some(after).filter(|_| problem.is_none()), problem })
    }

    /// Returns what the operator would do to the children, and what is in its way.
    pub(super) async fn children(
        &self,
        settings: &Settings,
        live: Option<&StockPipeline>,
        after: &StockPipeline,
        spec: &Spec,
    ) -> Result<(Vec<ObjectChange>, Vec<String>), PlanError> {
        let identity = accept::identity(after);
        let sinks: Option<Deployment> = self.find(&identity.role_name(Role::Sink)).await?;
        let counts = counts(live, sinks.as_ref(), spec);
        let wanted = Wanted { identity: &identity, document: &spec.document, pipeline: &spec.pipeline, settings, counts };
        let children = match Children::of(&wanted) {
            Ok(children) => children,
            Err(errors) => return Ok((Vec::new(), errors.iter().map(ToString::to_string).collect())),
        };
        let declared = declared(children, spec);
        let (mut changes, mut problems) = (Vec::new(), Vec::new());
        for outcome in try_join_all(declared.iter().map(|child| self.child(&identity, child))).await? {
            match outcome {
                Ok(change) => changes.extend(change),
                Err(problem) => problems.push(problem),
            }
        }
        changes.extend(self.dropped(&identity, &declared).await?);
        Ok((changes, problems))
    }

    /// Applies a child for nobody to see.
    async fn child(&self, identity: &Identity, child: &Declared) -> Result<Result<Option<ObjectChange>, String>, PlanError> {
        let name = child.object["metadata"]["name"].as_str().unwrap_or_default();
        let object = format!("{} {name}", child.resource.kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), self.namespace, &child.resource);
        let live = api.get_opt(name).await.map_err(|source| PlanError::request("read", object.clone(), source))?;
        match live.as_ref().map(|live| ownership(identity, live)) {
            Some(Ownership::Foreign(owner)) => {
                return Ok(Err(format!("{object} is there and belongs to {owner}; delete it, or rename the pipeline")));
            }
            Some(Ownership::Earlier) => {
                return Ok(Err(format!("{object} belongs to a deleted pipeline of this name; wait until it is gone")));
            }
            Some(Ownership::Ours) | None => {}
        }
        let parameters = PatchParams { dry_run: true, force: true, ..PatchParams::apply(MANAGER) };
        let after = match api.patch(name, &parameters, &Patch::Apply(&child.object)).await {
            Ok(after) => after,
            Err(error) => return objection("apply", &object, error).map(Err),
        };
        let Some(live) = live else {
            return Ok(Ok(Some(ObjectChange { object, act: Act::Create, restarts_pods: false, fields: Vec::new() })));
        };
        let declared_hash = child.object["metadata"]["annotations"][hash_annotation()].as_str();
        let is_same_declaration = live.annotations().get(&hash_annotation()).map(String::as_str) == declared_hash;
        let mut after = json(&after);
        if let Some(freed) = foreign::freed(&child.object, &after) {
            after = freed.object;
        }
        let mut changed = fields(&json(&live), &after);
        // That what is declared has changed is no news beside what has.
        if changed.len() > 1 {
            changed.retain(|field| !field.path.contains(&hash_annotation()));
        }
        let restarts_pods = changed.iter().any(|field| field.path.starts_with("spec.template"));
        let act = if is_same_declaration { Act::Correct } else { Act::Update };
        Ok(Ok((!changed.is_empty()).then_some(ObjectChange { object, act, restarts_pods, fields: changed })))
    }

    /// Returns the children that are there and declared no longer.
    async fn dropped(&self, identity: &Identity, declared: &[Declared]) -> Result<Vec<ObjectChange>, PlanError> {
        let kinds = [
            ApiResource::erase::<PodDisruptionBudget>(&()),
            ApiResource::erase::<Deployment>(&()),
            ApiResource::erase::<NetworkPolicy>(&()),
            ApiResource::erase::<ServiceAccount>(&()),
        ];
        let mut dropped = Vec::new();
        for name in [identity.workers_name(), identity.role_name(Role::Sink), identity.role_name(Role::Producer)] {
            for resource in &kinds {
                let is_declared =
                    declared.iter().any(|child| child.resource.kind == resource.kind && child.object["metadata"]["name"] == *name);
                if is_declared {
                    continue;
                }
                let object = format!("{} {name}", resource.kind);
                let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), self.namespace, resource);
                let live = api.get_opt(&name).await.map_err(|source| PlanError::request("read", object.clone(), source))?;
                if live.is_some_and(|live| matches!(ownership(identity, &live), Ownership::Ours)) {
                    dropped.push(ObjectChange { object, act: Act::Delete, restarts_pods: false, fields: Vec::new() });
                }
            }
        }
        Ok(dropped)
    }

    async fn find(&self, name: &str) -> Result<Option<Deployment>, PlanError> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), self.namespace);
        deployments.get_opt(name).await.map_err(|source| PlanError::request("read", format!("Deployment {name}"), source))
    }

    /// Returns what a running sink says of the topic, asked through the API server; None where none answers, or nobody may ask.
    pub(super) async fn topic_report(&self, settings: &Settings) -> Option<TopicReport> {
        let identity = Identity { name: self.name.to_owned(), namespace: self.namespace.to_owned(), uid: String::new() };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let found = pods.list(&ListParams::default().labels(&identity.selector_text(Role::Sink))).await.ok()?;
        let running = found.items.iter().filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"));
        let mut newest: Option<TopicReport> = None;
        for pod in running.take(ASKED) {
            let path = format!("/api/v1/namespaces/{}/pods/{}:{}/proxy{STATUS_PATH}", self.namespace, pod.name_any(), settings.worker_port);
            let Ok(request) = axum::http::Request::get(path).body(Vec::new()) else { continue };
            let Ok(Ok(text)) = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request_text(request)).await else { continue };
            let report = serde_json::from_str::<Status>(&text).ok().and_then(|status| status.topic);
            newest = newest.into_iter().chain(report).max_by_key(|report| report.checked_millis);
        }
        newest
    }
}

/// Returns how many workers there would be, given what is known from outside: the status, and the number of sinks that run.
fn counts(live: Option<&StockPipeline>, sinks: Option<&Deployment>, spec: &Spec) -> Counts {
    let operations = &spec.pipeline.operations;
    let kafka = live.and_then(|live| live.status.as_ref()?.kafka.as_ref());
    let lag = kafka.and_then(|kafka| kafka.lag.as_ref()).and_then(|lag| u64::try_from(lag.total).ok());
    let partitions = kafka.and_then(|kafka| kafka.partitions).or(spec.pipeline.kafka.topic.partitions);
    let replicas = operations.sink_worker.replicas;
    let current = sinks.and_then(|sinks| sinks.spec.as_ref()?.replicas).and_then(|count| u32::try_from(count).ok()).unwrap_or(replicas);
    let observed = Observed { replicas, current, partitions: partitions.and_then(|count| u32::try_from(count).ok()), lag };
    let now = Timestamp::now();
    let sinks = scaler::sinks(&operations.scaling, observed, &mut History::starting(now, current), now);
    let running = Counts { producers: operations.producer_worker.as_ref().map_or(0, |worker| worker.replicas), sinks };
    let ended = live.is_some_and(|live| reported(live).iter().any(|one| one.type_ == "Suspended" && one.reason == "Drained"));
    let ended = ended && operations.lifecycle.desired_state == DesiredState::Drained;
    // Before anything is drained, producers still run.
    scaler::counts(operations.lifecycle, running, Drain { elapsed: Duration::ZERO, producers: 1, lag, ended })
}

/// Returns the children as the operator declares them, in its order.
fn declared(mut children: Children, spec: &Spec) -> Vec<Declared> {
    fn add<K: crate::observe::Cached>(all: &mut Vec<Declared>, child: Option<K>) {
        all.extend(child.map(|child| Declared { resource: ApiResource::erase::<K>(&()), object: declaration(&child).0 }));
    }
    let mut all = Vec::new();
    note_columns(&mut children.sink.deployment, &columns_hash(spec));
    add(&mut all, Some(children.config));
    add(&mut all, children.service_account);
    add(&mut all, children.network_policy);
    for workers in [Some(children.sink), children.producer].into_iter().flatten() {
        add(&mut all, Some(workers.deployment));
        add(&mut all, workers.disruption_budget);
    }
    all
}

fn json(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes' types have text keys only, so they are always JSON")
}
