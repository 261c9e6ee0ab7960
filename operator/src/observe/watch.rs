//! Keeps the caches as the API server is: one watch for each kind and namespace, pruned of what nothing reads.

use std::collections::HashSet;
use std::fmt::Debug;

use futures::channel::mpsc::Sender;
use futures::{SinkExt, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockpipeline::document::{API_VERSION, KIND};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::cache::{Cache, Key};
use crate::apply::foreign;
use crate::error::chain;
use crate::resource::identity::{APPLICATION, MANAGER, config_name};

/// Objects that one list request returns: with a pipeline's document in each, a page stays within a few MiB.
const PAGE: u32 = 250;

/// Every cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caches {
    pub(crate) config_maps: Cache<ConfigMap>,
    pub(crate) service_accounts: Cache<ServiceAccount>,
    pub(crate) network_policies: Cache<NetworkPolicy>,
    pub(crate) deployments: Cache<Deployment>,
    pub(crate) disruption_budgets: Cache<PodDisruptionBudget>,
    pub(crate) revisions: Cache<ControllerRevision>,
    pub(crate) jobs: Cache<Job>,
    pub(crate) pods: Cache<Pod>,
}

/// A kind whose objects are cached.
pub(crate) trait Cached:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// Name of the kind, for errors and metrics.
    const KIND: &'static str;

    /// Whether a live object is compared with what is declared. One that is not is made once and never written again.
    const IS_COMPARED: bool = true;

    /// Whether writing an object may replace pods: what others insist on is then left to them for longer.
    const REPLACES_PODS: bool = false;

    /// Returns the cache of the kind.
    fn cache(caches: &Caches) -> &Cache<Self>;

    /// Drops what nothing reads.
    fn prune(&mut self) {}
}

impl Cached for ConfigMap {
    const KIND: &'static str = "ConfigMap";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.config_maps
    }

    /// Anybody may give objects of his these labels, a megabyte in each: what a pipeline's own one holds is compared, and nothing else.
    fn prune(&mut self) {
        let owner = self.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let owner = owner.filter(|owner| owner.kind == KIND && owner.api_version == API_VERSION);
        if owner.is_none_or(|owner| self.metadata.name.as_deref() != Some(config_name(&owner.name).as_str())) {
            self.data = None;
            self.binary_data = None;
        }
    }
}

impl Cached for ServiceAccount {
    const KIND: &'static str = "ServiceAccount";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.service_accounts
    }
}

impl Cached for NetworkPolicy {
    const KIND: &'static str = "NetworkPolicy";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.network_policies
    }
}

impl Cached for Deployment {
    const KIND: &'static str = "Deployment";
    const REPLACES_PODS: bool = true;

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.deployments
    }
}

impl Cached for PodDisruptionBudget {
    const KIND: &'static str = "PodDisruptionBudget";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.disruption_budgets
    }

    fn prune(&mut self) {
        self.status = None;
    }
}

impl Cached for ControllerRevision {
    const KIND: &'static str = "ControllerRevision";
    const IS_COMPARED: bool = false;

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.revisions
    }

    /// A whole spec, which is fetched in the rare case that it is needed.
    fn prune(&mut self) {
        self.data = None;
    }
}

impl Cached for Job {
    const KIND: &'static str = "Job";
    const IS_COMPARED: bool = false;

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.jobs
    }

    fn prune(&mut self) {
        self.spec = None;
    }
}

impl Cached for Pod {
    const KIND: &'static str = "Pod";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.pods
    }

    fn prune(&mut self) {
        self.spec = None;
        self.metadata.annotations = None;
        if let Some(status) = self.status.as_mut() {
            status.init_container_statuses = None;
            status.ephemeral_container_statuses = None;
        }
    }
}

/// The watches of all kinds.
pub(crate) struct Watches {
    client: Client,
    caches: Caches,
    changed: Sender<Key>,
    tasks: JoinSet<()>,
    listed: Vec<Vec<CancellationToken>>,
}

impl Watches {
    /// Starts to watch every kind in the namespaces, or in all. Which pipeline's objects have changed goes to `changed`.
    pub(crate) fn start(client: &Client, caches: &Caches, namespaces: &[Option<String>], changed: &Sender<Key>) -> Self {
        let mut watches =
            Self { client: client.clone(), caches: caches.clone(), changed: changed.clone(), tasks: JoinSet::new(), listed: Vec::new() };
        let children = format!("app.kubernetes.io/managed-by={MANAGER}");
        for namespace in namespaces {
            watches.listed.push(Vec::new());
            watches.add::<ConfigMap>(namespace.as_ref(), &children);
            watches.add::<ServiceAccount>(namespace.as_ref(), &children);
            watches.add::<NetworkPolicy>(namespace.as_ref(), &children);
            watches.add::<Deployment>(namespace.as_ref(), &children);
            watches.add::<PodDisruptionBudget>(namespace.as_ref(), &children);
            watches.add::<ControllerRevision>(namespace.as_ref(), &children);
            watches.add::<Job>(namespace.as_ref(), &children);
            watches.add::<Pod>(namespace.as_ref(), &format!("app.kubernetes.io/name={APPLICATION}"));
        }
        watches
    }

    /// Returns for each namespace, in order, tokens that are cancelled when each of its watches has seen all that there is.
    pub(crate) fn listed(&self) -> Vec<Vec<CancellationToken>> {
        self.listed.clone()
    }

    /// Returns only if a watch ends, which none does.
    pub(crate) async fn ended(&mut self) {
        let _ended = self.tasks.join_next().await;
    }

    fn add<K: Cached>(&mut self, namespace: Option<&String>, selector: &str) {
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let listed = CancellationToken::new();
        if let Some(of_namespace) = self.listed.last_mut() {
            of_namespace.push(listed.clone());
        }
        let config = watcher::Config::default().labels(selector).page_size(PAGE);
        let cache = K::cache(&self.caches).clone();
        self.tasks.spawn(keep(api, config, Kept { cache, namespace: namespace.cloned(), listed, changed: self.changed.clone() }));
    }
}

/// One cache and what is to be told about it.
struct Kept<K> {
    cache: Cache<K>,
    namespace: Option<String>,
    listed: CancellationToken,
    changed: Sender<Key>,
}

/// Keeps a cache as the API server is. Errors of the watch are logged and tried again with backoff, for ever.
async fn keep<K: Cached>(api: Api<K>, config: watcher::Config, mut kept: Kept<K>) {
    let mut events = watch(api, config)
        .default_backoff()
        .modify(|object: &mut K| {
            foreign::keep_owners(object.meta_mut());
            object.prune();
        })
        .boxed();
    let mut fresh = HashSet::new();
    while let Some(event) = events.next().await {
        let keys: Vec<Key> = match event {
            Ok(Event::Init) => {
                fresh.clear();
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                fresh.insert((object.namespace().unwrap_or_default(), object.name_any()));
                kept.cache.put(&object).into_iter().collect()
            }
            Ok(Event::InitDone) => {
                let gone = kept.cache.retain(kept.namespace.as_deref(), &std::mem::take(&mut fresh));
                kept.listed.cancel();
                gone
            }
            Ok(Event::Apply(object)) => kept.cache.put(&object).into_iter().collect(),
            Ok(Event::Delete(object)) => kept.cache.remove(&object).into_iter().collect(),
            Err(error) => {
                warn!(kind = K::KIND, error = chain(&error), "failed to watch; it is tried again");
                Vec::new()
            }
        };
        for key in keys {
            // Nobody listens any more: the operator ends.
            if kept.changed.send(key).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_pipelines_own_config_map_holds_is_kept() {
        let owner =
            |kind: &str, version: &str| json!([{ "apiVersion": version, "kind": kind, "name": "demo", "uid": "u", "controller": true }]);
        let ours = owner(KIND, API_VERSION);
        for (name, owners, is_kept) in [
            ("demo-pipeline", ours.clone(), true),
            ("demo-1", ours, false),
            ("demo-pipeline", owner("Deployment", "apps/v1"), false),
            ("demo-pipeline", owner(KIND, "elsewhere.dev/v1"), false),
            ("demo-pipeline", json!([]), false),
        ] {
            let mut object: ConfigMap = serde_json::from_value(json!({
                "metadata": { "name": name, "ownerReferences": owners }, "data": { "a": "b" }, "binaryData": { "c": "" },
            }))
            .unwrap();
            object.prune();
            assert_eq!((object.data.is_some(), object.binary_data.is_some()), (is_kept, is_kept), "{name} of {owners}");
        }
    }
}
