//! Brings the children of a pipeline to what is declared, in an order that matters: a column is in the catalogue before a sink writes
//! it, and every sink knows it before a producer sends it. What is no longer declared goes.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use stockpipeline::document::GROUP;

use crate::accept::{Spec, identity};
use crate::apply::{Applier, ApplyError};
use crate::catalog::decide::CatalogReport;
use crate::desired::{Children, Counts, Wanted, Workers, keep_producer_document};
use crate::hash;
use crate::observe::Seen;
use crate::reconcile::Look;
use crate::resource::identity::{Identity, Role};
use crate::status::findings::{has_former_pods, is_rolling, pods};

/// What waits for something that comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing.
    Open,
    /// The producers, and why.
    Producers(String),
    /// All workers, and why.
    All(String),
}

/// What children are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InForce<'a> {
    /// The spec.
    pub(crate) spec: &'a Spec,
    /// How many workers there should be.
    pub(crate) counts: Counts,
    /// What is known of the catalogue, which comes first.
    pub(crate) catalog: &'a CatalogReport,
}

/// Brings the children to what is declared, up to what waits, which is returned.
///
/// # Errors
/// [`ApplyError`] of the first object that cannot be written; those after it are left as they are.
pub(crate) async fn apply(look: &Look<'_>, seen: &Seen, in_force: InForce<'_>, applier: &mut Applier<'_>) -> Result<Gate, ApplyError> {
    let InForce { spec, counts, catalog } = in_force;
    let identity = identity(look.object);
    let settings = &look.shared.context.settings;
    let wanted = Wanted { identity: &identity, document: &spec.document, pipeline: &spec.pipeline, settings, counts };
    // The check has built them before; a spec for which that fails is never in force.
    let Ok(mut children) = Children::of(&wanted) else { return Ok(Gate::Open) };
    let columns = columns_hash(spec);
    let had = noted_columns(seen.sink.deployment.as_deref());
    match &catalog.columns_wait {
        Some(why) if counts.sinks > 0 && had != Some(&columns) => {
            return Ok(Gate::All(format!("the workers wait for the catalogue: {why}")));
        }
        // Without sinks nothing is written; those that come later still find what the catalogue had.
        Some(_) => had.into_iter().for_each(|had| note_columns(&mut children.sink.deployment, had)),
        None => note_columns(&mut children.sink.deployment, &columns),
    }
    let (has_account, has_policy) = (children.service_account.is_some(), children.network_policy.is_some());
    // What pods need comes before the pods. A producer that starts while sinks roll has to find what it had: what old sinks do not
    // know would be lost.
    let holds = children.producer.as_ref().is_some_and(|producer| reads_another(seen, producer) && !has_rolled(seen, &children.sink));
    let held = if holds { live_config(look, &identity) } else { None };
    let mut config = children.config.clone();
    if let Some(live) = &held {
        keep_producer_document(&mut config, live);
    }
    applier.keep(config).await?;
    if let Some(account) = children.service_account {
        applier.keep(account).await?;
    }
    if let Some(policy) = children.network_policy {
        applier.keep(policy).await?;
    }
    let sink_hash = children.sink.config_hash.clone();
    let sinks_rolled = Box::pin(workers(applier, &identity, Role::Sink, children.sink)).await?;
    let producers_rolled = match children.producer {
        None => remove(applier, &identity, Role::Producer).await.map(|()| true)?,
        Some(producer) if waits_for_sinks(look, &identity, seen, &producer, &sink_hash) => {
            return Ok(Gate::Producers("the producers wait until every sink runs with the new configuration".to_owned()));
        }
        Some(producer) => {
            if held.is_some() {
                applier.keep(children.config).await?;
            }
            Box::pin(workers(applier, &identity, Role::Producer, producer)).await?
        }
    };
    if !has_policy {
        applier.drop::<NetworkPolicy>(&identity.workers_name()).await?;
    }
    if !has_account && sinks_rolled && producers_rolled {
        applier.drop::<ServiceAccount>(&identity.workers_name()).await?;
    }
    Ok(Gate::Open)
}

/// Brings one role to what is declared, and returns whether every pod is of the newest template.
async fn workers(applier: &mut Applier<'_>, identity: &Identity, role: Role, workers: Workers) -> Result<bool, ApplyError> {
    let deployment = applier.keep(workers.deployment).await?;
    match workers.disruption_budget {
        Some(budget) => applier.keep(budget).await.map(|_| ())?,
        None => applier.drop::<PodDisruptionBudget>(&identity.role_name(role)).await?,
    }
    let has_rolled = deployment.is_some_and(|deployment| !is_rolling(&deployment));
    if has_rolled {
        drop_former(applier, identity, role).await?;
    }
    Ok(has_rolled)
}

/// An earlier version made an account and a policy for each role. They go once no pod uses them any more.
async fn drop_former(applier: &mut Applier<'_>, identity: &Identity, role: Role) -> Result<(), ApplyError> {
    let name = identity.role_name(role);
    applier.drop::<NetworkPolicy>(&name).await?;
    applier.drop::<ServiceAccount>(&name).await
}

/// Removes everything of a role.
pub(crate) async fn remove(applier: &mut Applier<'_>, identity: &Identity, role: Role) -> Result<(), ApplyError> {
    let name = identity.role_name(role);
    applier.drop::<PodDisruptionBudget>(&name).await?;
    applier.drop::<Deployment>(&name).await?;
    drop_former(applier, identity, role).await
}

pub(crate) fn columns_hash(spec: &Spec) -> String {
    let columns: Vec<String> =
        spec.pipeline.schema.columns.iter().map(|column| format!("{} {}", column.name, column.column_type.glue_type())).collect();
    hash::short(&columns.join(","))
}

fn columns_annotation() -> String {
    format!("{GROUP}/columns-hash")
}

/// On the Deployment and not in its pods: it rolls nothing.
pub(crate) fn note_columns(deployment: &mut Deployment, columns: &str) {
    deployment.metadata.annotations.get_or_insert_default().insert(columns_annotation(), columns.to_owned());
}

/// Returns the columns that the catalogue had when the sinks were last brought to what was declared.
fn noted_columns(deployment: Option<&Deployment>) -> Option<&String> {
    deployment?.annotations().get(&columns_annotation())
}

fn live_config(look: &Look<'_>, identity: &Identity) -> Option<Arc<ConfigMap>> {
    let key = crate::observe::Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    look.shared.caches.config_maps.get(&key, &identity.config_name())
}

fn config_hash(deployment: &Deployment) -> Option<&String> {
    deployment.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref()?.get(&format!("{GROUP}/config-hash"))
}

/// Returns whether there are producers that read something else than is declared.
fn reads_another(seen: &Seen, producer: &Workers) -> bool {
    seen.producer.deployment.as_ref().is_some_and(|live| config_hash(live) != Some(&producer.config_hash))
}

/// Returns whether every sink reads what is declared.
fn has_rolled(seen: &Seen, sink: &Workers) -> bool {
    seen.sink.deployment.as_ref().is_some_and(|live| config_hash(live) == Some(&sink.config_hash) && !is_rolling(live))
}

/// No producer starts, and none changes what it reads, while there are sinks that may not know what it sends.
fn waits_for_sinks(look: &Look<'_>, identity: &Identity, seen: &Seen, producer: &Workers, sink_hash: &String) -> bool {
    let wanted = replicas(&producer.deployment);
    let starts = seen.producer.deployment.as_ref().is_none_or(|live| reads_another(seen, producer) || replicas(live) < wanted);
    if wanted == 0 || !starts {
        return false;
    }
    let key = crate::observe::Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
    let sink = look.shared.caches.deployments.get(&key, &identity.role_name(Role::Sink));
    // One that others insist on was not brought to what is declared: its pods count as former ones, however settled they are.
    let is_another = |sink: &Deployment| config_hash(sink) != Some(sink_hash) && pods(sink) > 0;
    sink.is_some_and(|sink| has_former_pods(&sink) || is_another(&sink))
}

fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}
