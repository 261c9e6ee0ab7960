//! Writes what is declared, and nothing where the cluster has it already: server-side apply under one field manager, with force on what
//! is ours, never on what is not.
//!
//! An object is ours when this resource is its controller. One that nobody controls and that carries our labels is taken over, which is
//! what deleting a pipeline without its children leaves. Any other object of one of our names is refused.

pub(crate) mod children;
mod contest;
mod difference;
pub(crate) mod foreign;
mod owner;
mod settled;

use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::Value;
use stockpipeline::document::GROUP;

pub use crate::act::Act;
use crate::error::Retry;
use crate::hash;
use crate::observe::{Cached, Key};
use crate::reconcile::controller::Shared;
use crate::resource::identity::{Identity, MANAGER, Role};

pub(crate) use contest::Contest;
use owner::controller;
pub(crate) use owner::{Ownership, ownership};
pub(crate) use settled::Settled;
use settled::SettledObject;

/// Why an object is not as declared.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else's object has the name.
    #[error("{kind} {name} is there and belongs to {owner}; delete it, or give the pipeline another name")]
    Foreign {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// The object belongs to a deleted pipeline of the same name.
    #[error("{kind} {name} belongs to a deleted pipeline of this name; it is waited for until the garbage collector has removed it")]
    Earlier {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
    },
    /// The object is being deleted.
    #[error("{kind} {name} is being deleted; it is waited for")]
    Leaving {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
    },
    /// The API server did not do it.
    #[error("failed to {act} {kind} {name}: {source}")]
    Refused {
        /// What was tried.
        act: &'static str,
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("failed to {act} {kind} {name}: the API server did not answer in time")]
    TimedOut {
        /// What was tried.
        act: &'static str,
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
    },
    /// This process no longer writes.
    #[error("{kind} {name} is left as it is, since this process ends")]
    Ending {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
    },
}

impl ApplyError {
    /// Returns when to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Foreign { .. } => Retry::Terminal,
            Self::Earlier { .. } | Self::Leaving { .. } | Self::TimedOut { .. } => Retry::Backoff,
            Self::Refused { source, .. } => Retry::of_kubernetes(source),
            Self::Ending { .. } => Retry::Fast,
        }
    }
}

/// What was done to an object, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Kind.
    pub kind: &'static str,
    /// Name.
    pub name: String,
    /// What.
    pub act: Act,
    /// Fields that differed; empty for an object that came or went.
    pub fields: Vec<String>,
}

/// Writes the objects of one pipeline.
pub(crate) struct Applier<'a> {
    shared: &'a Shared,
    identity: &'a Identity,
    key: Key,
    settled: &'a mut Settled,
    is_read_only: bool,
    changes: Vec<Change>,
    contests: Vec<Contest>,
}

impl<'a> Applier<'a> {
    /// Returns an applier for a pipeline. One that is read-only notes what it would do and writes nothing.
    pub(crate) fn new(shared: &'a Shared, identity: &'a Identity, settled: &'a mut Settled, is_read_only: bool) -> Self {
        let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
        Self { shared, identity, key, settled, is_read_only, changes: Vec::new(), contests: Vec::new() }
    }

    /// Returns what was done, or would be, and what was left because others insist on it.
    pub(crate) fn into_parts(self) -> (Vec<Change>, Vec<Contest>) {
        (self.changes, self.contests)
    }

    /// Makes sure that an object is as declared, and returns it; None where that would take a write and there may be none.
    pub(crate) async fn keep<K: Cached>(&mut self, declared: K) -> Result<Option<Arc<K>>, ApplyError> {
        let name = declared.name_any();
        let (declared, declared_hash) = declaration(&declared);
        let place = format!("{}/{name}", K::KIND);
        let cache = K::cache(&self.shared.caches);
        let found = match cache.get(&self.key, &name) {
            Some(object) if matches!(ownership(self.identity, &*object), Ownership::Ours) && object.meta().deletion_timestamp.is_none() => {
                Some(object)
            }
            // What stands in the way may have gone since, and what is not in the cache may be there: it holds labelled objects only.
            Some(_) | None => self.get::<K>(&name).await?.map(Arc::new),
        };
        let Some(live) = found else {
            let act = if self.settled.knows(&place) { Act::Correct } else { Act::Create };
            let written = self.write(&name, declared, (place, declared_hash), None).await?;
            self.note::<K>(&name, act, Vec::new());
            return Ok(written);
        };
        match ownership(self.identity, &*live) {
            Ownership::Ours => {}
            Ownership::Earlier => return Err(ApplyError::Earlier { kind: K::KIND, name }),
            Ownership::Foreign(owner) => return Err(ApplyError::Foreign { kind: K::KIND, name, owner }),
        }
        if live.meta().deletion_timestamp.is_some() {
            return Err(ApplyError::Leaving { kind: K::KIND, name });
        }
        if !K::IS_COMPARED {
            if controller(&*live).is_some() {
                return Ok(Some(live));
            }
            // What deleting a pipeline without its children has left: no look would ever find it by its owner.
            let written = self.write(&name, declared, (place, declared_hash), live.uid()).await?;
            self.note::<K>(&name, Act::Update, Vec::new());
            return Ok(written);
        }
        self.set_right(&name, declared, (place, declared_hash), live).await
    }

    /// Makes an object of ours as declared where it differs, up to what others insist on.
    async fn set_right<K: Cached>(
        &mut self,
        name: &str,
        declared: Value,
        (place, declared_hash): (String, String),
        mut live: Arc<K>,
    ) -> Result<Option<Arc<K>>, ApplyError> {
        let mut live_json = serde_json::to_value(&*live).expect("Kubernetes' types have text keys only, so they are always JSON");
        // Others may keep what they have changed, and what the spec changes is written all the same.
        let act = if live.annotations().get(&hash_annotation()) == Some(&declared_hash) { Act::Correct } else { Act::Update };
        if let Some(freed) = foreign::freed(&declared, &live_json) {
            if act == Act::Correct && self.is_contested::<K>(name, &place, &freed.fields).await? {
                return Ok(Some(live));
            }
            let written = self.free::<K>(name, &live_json, &freed.object).await?;
            self.corrected::<K>(name, &place, freed.fields);
            let Some(written) = written else { return Ok(None) };
            live_json = serde_json::to_value(&*written).expect("Kubernetes' types have text keys only, so they are always JSON");
            live = written;
        }
        let fields = difference::differences(&declared, &live_json);
        if fields.is_empty() && self.settled.knows(&place) {
            return Ok(Some(live));
        }
        let as_left = SettledObject::of(&place, &declared_hash, live_json);
        if fields.is_empty() {
            self.settled.put(as_left);
            return Ok(Some(live));
        }
        if self.settled.has(as_left) {
            return Ok(Some(live));
        }
        if act == Act::Correct && self.is_contested::<K>(name, &place, &fields).await? {
            return Ok(Some(live));
        }
        let written = self.write(name, declared, (place.clone(), declared_hash), live.uid()).await?;
        match act {
            Act::Correct => self.corrected::<K>(name, &place, fields),
            Act::None | Act::Create | Act::Update | Act::Delete | Act::Report => self.note::<K>(name, act, fields),
        }
        Ok(written)
    }

    /// Returns whether an object is left as others have it for now, since they have changed it back too often, and notes that they have.
    /// What replaces no pods is still set right, once within the time between two looks; what is gone is always made again.
    async fn is_contested<K: Cached>(&mut self, name: &str, place: &str, fields: &[String]) -> Result<bool, ApplyError> {
        let (now, pause) = (Timestamp::now(), self.shared.context.settings.timing.status_interval);
        if self.is_read_only || !self.settled.corrections.are_many(place, now) {
            return Ok(false);
        }
        // The cache does not keep who owns what.
        let live = self.get::<K>(name).await?.map(|live| serde_json::to_value(live).expect("Kubernetes' types have text keys only"));
        let owners = live.map(|live| contest::owners(&live, fields)).unwrap_or_default();
        let role = [Role::Sink, Role::Producer].into_iter().find(|role| self.identity.role_name(*role) == name);
        let fields = named(fields.to_vec());
        self.contests.push(Contest { kind: K::KIND, name: name.to_owned(), role, fields, owners, is_left: K::REPLACES_PODS });
        Ok(K::REPLACES_PODS || self.settled.corrections.is_any_within(pause, place, now))
    }

    /// Makes sure that an object of ours is not there.
    pub(crate) async fn drop<K: Cached>(&mut self, name: &str) -> Result<(), ApplyError> {
        let Some(live) = K::cache(&self.shared.caches).get(&self.key, name) else { return Ok(()) };
        let is_ours = matches!(ownership(self.identity, &*live), Ownership::Ours);
        if !is_ours || live.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        if self.is_read_only {
            self.note::<K>(name, Act::Delete, Vec::new());
            return Ok(());
        }
        self.settled.forget(&format!("{}/{name}", K::KIND));
        let preconditions = Preconditions { uid: live.uid(), resource_version: None };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let api: Api<K> = self.api();
        match self.send::<K, _>("delete", name, api.delete(name, &parameters)).await {
            Ok(_) => self.note::<K>(name, Act::Delete, Vec::new()),
            Err(ApplyError::Refused { source, .. }) if is_gone(&source) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Notes what was done, or would be by one who may write: never what was only tried.
    fn note<K: Cached>(&mut self, name: &str, act: Act, fields: Vec<String>) {
        self.changes.push(Change { kind: K::KIND, name: name.to_owned(), act, fields: named(fields) });
    }

    /// Notes that what others had changed was set right, or would be.
    fn corrected<K: Cached>(&mut self, name: &str, place: &str, fields: Vec<String>) {
        if !self.is_read_only {
            self.settled.corrections.note(place, Timestamp::now());
        }
        self.note::<K>(name, Act::Correct, fields);
    }

    /// Sends what is declared. What somebody made since we looked is a conflict, since a new object is applied without force and a
    /// known one by its uid.
    async fn write<K: Cached>(
        &mut self,
        name: &str,
        mut declared: Value,
        (place, declared_hash): (String, String),
        uid: Option<String>,
    ) -> Result<Option<Arc<K>>, ApplyError> {
        if self.is_read_only {
            return Ok(None);
        }
        let parameters = PatchParams { force: uid.is_some(), field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        if let Some(uid) = uid {
            declared["metadata"]["uid"] = uid.into();
        }
        let api: Api<K> = self.api();
        let written: K = self.send::<K, _>("apply", name, api.patch(name, &parameters, &Patch::Apply(&declared))).await?;
        let live = serde_json::to_value(&written).expect("Kubernetes' types have text keys only, so they are always JSON");
        self.settled.put(SettledObject::of(&place, &declared_hash, live));
        Ok(Some(self.remember(written)))
    }

    /// Puts what was written into the cache: the watch will say the same, and until then a second look has to see it.
    fn remember<K: Cached>(&self, mut written: K) -> Arc<K> {
        foreign::keep_owners(written.meta_mut());
        written.prune();
        K::cache(&self.shared.caches).put_written(&written);
        Arc::new(written)
    }

    /// Takes out what others have put in. What they change meanwhile is a conflict.
    async fn free<K: Cached>(&self, name: &str, live: &Value, freed: &Value) -> Result<Option<Arc<K>>, ApplyError> {
        if self.is_read_only {
            return Ok(None);
        }
        let mut patch = foreign::merge_patch(live, freed);
        patch["metadata"] = serde_json::json!({ "uid": live["metadata"]["uid"], "resourceVersion": live["metadata"]["resourceVersion"] });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api: Api<K> = self.api();
        let written: K = self.send::<K, _>("correct", name, api.patch(name, &parameters, &Patch::Merge(&patch))).await?;
        Ok(Some(self.remember(written)))
    }

    async fn get<K: Cached>(&self, name: &str) -> Result<Option<K>, ApplyError> {
        let api: Api<K> = self.api();
        let limit = self.shared.context.settings.timing.kubernetes_timeout;
        within::<K, _>(limit, "get", name, api.get_opt(name)).await
    }

    async fn send<K: Cached, T>(
        &self,
        act: &'static str,
        name: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError> {
        if self.shared.ending.is_cancelled() {
            return Err(ApplyError::Ending { kind: K::KIND, name: name.to_owned() });
        }
        self.shared.context.metrics.kubernetes_write(K::KIND);
        within::<K, _>(self.shared.context.settings.timing.kubernetes_timeout, act, name, request).await
    }

    fn api<K: Cached>(&self) -> Api<K> {
        Api::namespaced(self.shared.context.client.clone(), &self.identity.namespace)
    }
}

/// Returns what is declared of an object as JSON, with its hash in an annotation, and the hash.
pub(crate) fn declaration<K: Cached>(declared: &K) -> (Value, String) {
    let mut declared = serde_json::to_value(declared).expect("Kubernetes' types have text keys only, so they are always JSON");
    let declared_hash = hash::short(&declared.to_string());
    declared["metadata"]["annotations"][hash_annotation()] = declared_hash.clone().into();
    (declared, declared_hash)
}

/// Returns the annotation with the hash of what was declared last.
pub(crate) fn hash_annotation() -> String {
    format!("{GROUP}/applied-hash")
}

/// The hash tells that something has changed and not what.
fn named(fields: Vec<String>) -> Vec<String> {
    fields.into_iter().filter(|field| !field.ends_with(&hash_annotation())).collect()
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}

async fn within<K: Cached, T>(
    limit: std::time::Duration,
    act: &'static str,
    name: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApplyError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ApplyError::Refused { act, kind: K::KIND, name: name.to_owned(), source: Box::new(error) }),
        Err(_) => Err(ApplyError::TimedOut { act, kind: K::KIND, name: name.to_owned() }),
    }
}
