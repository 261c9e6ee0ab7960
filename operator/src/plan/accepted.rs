//! Whether the operator would take a spec: by its own check, compared with what is in force, and with what others claim.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde_json::Value;

use super::cluster::Cluster;
use super::{Act, ObjectChange, PlanError};
use crate::accept::claims::{Claimant, Claims, conflict};
use crate::accept::revisions;
use crate::accept::{self, Last, Spec};
use crate::resource::crd::StockPipeline;
use crate::resource::identity::{Identity, Role};
use crate::settings::Settings;

/// Pipelines of one page of a list.
const PAGE: u32 = 250;

/// A spec that the operator would take.
pub(super) struct Accepted {
    /// The spec.
    pub(super) spec: Spec,
    /// What is in force until then.
    pub(super) in_force: Option<Spec>,
    /// The revision that would be made of it.
    pub(super) revision: Option<ObjectChange>,
}

/// Returns the spec as the operator would take it, or why it would not.
pub(super) async fn judge(
    cluster: &Cluster<'_>,
    settings: &Settings,
    live: Option<&StockPipeline>,
    after: &StockPipeline,
) -> Result<Result<Accepted, String>, PlanError> {
    let identity = accept::identity(after);
    let written = Value::Object(after.spec.members.clone());
    let generation = after.metadata.generation.unwrap_or(1);
    let checked = accept::check(settings, &identity, written.clone(), generation);
    let granted = checked.and_then(|spec| accept::check_grants(settings, &identity, &spec.pipeline).map(|()| spec));
    let spec = match granted {
        Ok(spec) => spec,
        Err(refusal) => return Ok(Err(refusal.to_string())),
    };
    let stored = if live.is_some() { revisions_of(cluster, &identity).await? } else { BTreeMap::new() };
    let newest = revisions::accepted(&identity, stored.values()).into_iter().next();
    let is_known = newest.as_ref().is_some_and(|newest| newest.spec_hash == revisions::spec_hash(&written));
    let last = newest.map(|newest| {
        let contents = stored.get(&newest.name).cloned().and_then(revisions::contents);
        Last::read(settings, &identity, &newest, contents.as_ref())
    });
    if let Some(Err(refusal)) = last.as_ref().filter(|_| !is_known).map(|last| last.lets(&spec.pipeline)) {
        return Ok(Err(refusal.to_string()));
    }
    if let Some(conflict) = claimed(cluster, settings, after, &spec).await? {
        return Ok(Err(conflict));
    }
    let revision = (!is_known).then(|| ObjectChange {
        object: format!("ControllerRevision {}", revisions::name(&identity, generation, &revisions::spec_hash(&written))),
        act: Act::Create,
        restarts_pods: false,
        fields: Vec::new(),
    });
    Ok(Ok(Accepted { spec, in_force: last.and_then(|last| last.spec), revision }))
}

async fn revisions_of(cluster: &Cluster<'_>, identity: &Identity) -> Result<BTreeMap<String, ControllerRevision>, PlanError> {
    let revisions: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), cluster.namespace);
    let labels = identity.selector_labels(None::<Role>);
    let selector = labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
    let found = revisions.list(&ListParams::default().labels(&selector)).await;
    let found = found.map_err(|source| PlanError::request("list the accepted specs of", cluster.object(), source))?;
    Ok(found.items.into_iter().map(|revision| (revision.name_any(), revision)).collect())
}

/// Returns what another pipeline of the same operator had first. Who may not list all namespaces hears of his own.
async fn claimed(cluster: &Cluster<'_>, settings: &Settings, after: &StockPipeline, spec: &Spec) -> Result<Option<String>, PlanError> {
    let identity = &accept::identity(after);
    let others = match pipelines(&Api::all(cluster.client.clone())).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            pipelines(&Api::namespaced(cluster.client.clone(), cluster.namespace)).await
        }
        listed => listed,
    };
    let others = others.map_err(|source| PlanError::request("list", "the other pipelines", source))?;
    let created = |object: &StockPipeline| object.meta().creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
    let known: Vec<(Identity, Timestamp, bool, Claims)> = others
        .iter()
        .filter(|object| settings.watches(&object.namespace().unwrap_or_default()))
        .filter(|object| object.name_any() != identity.name || object.namespace().as_deref() != Some(&identity.namespace))
        .filter_map(|object| {
            let other = accept::identity(object);
            let document =
                stockpipeline::document::Document::new(&other.name, Some(&other.namespace), Value::Object(object.spec.members.clone()));
            let (pipeline, _) = stockpipeline::Pipeline::check(&document, stockpipeline::check::UnknownFields::Warn).ok()?;
            Some((other, created(object), accept::tells_in_force(object.status.as_ref()), Claims::of(&pipeline)))
        })
        .collect();
    let claims = Claims::of(&spec.pipeline);
    let ours = Claimant { identity, created: created(after), in_force: false, claims: &claims };
    let others =
        known.iter().map(|(identity, created, in_force, claims)| Claimant { identity, created: *created, in_force: *in_force, claims });
    Ok(conflict(ours, others))
}

async fn pipelines(api: &Api<StockPipeline>) -> kube::Result<Vec<StockPipeline>> {
    let mut parameters = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(found),
        }
    }
}
