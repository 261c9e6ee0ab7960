//! The objects and their history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::Refused;
use super::merge::{self, Applied};
use super::request::{Act, Target};

/// Events that are kept for watches; an older version is answered with 410.
const HISTORY: usize = 200_000;
/// Resources: plural, kind, and whether the status is written apart.
const RESOURCES: [(&str, &str, bool); 17] = [
    ("configmaps", "ConfigMap", false),
    ("controllerrevisions", "ControllerRevision", false),
    ("customresourcedefinitions", "CustomResourceDefinition", true),
    ("deployments", "Deployment", true),
    ("endpoints", "Endpoints", false),
    ("events", "Event", false),
    ("horizontalpodautoscalers", "HorizontalPodAutoscaler", true),
    ("jobs", "Job", true),
    ("leases", "Lease", false),
    ("namespaces", "Namespace", true),
    ("networkpolicies", "NetworkPolicy", false),
    ("nodes", "Node", true),
    ("poddisruptionbudgets", "PodDisruptionBudget", true),
    ("pods", "Pod", true),
    ("secrets", "Secret", false),
    ("serviceaccounts", "ServiceAccount", false),
    ("stockpipelines", "StockPipeline", true),
];

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// `deployments`.
    pub(crate) plural: String,
    /// Empty for what is in no namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
}

impl Key {
    /// Returns the key of an object.
    pub(crate) fn new(plural: &str, namespace: &str, name: &str) -> Self {
        Self { plural: plural.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

struct Stored {
    object: Arc<Value>,
    applied: Applied,
}

struct Event {
    version: u64,
    kind: &'static str,
    plural: String,
    object: Arc<Value>,
}

#[derive(Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<Key, Stored>,
    events: VecDeque<Event>,
    /// Events that are forgotten.
    forgotten: usize,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key).map(|stored| &stored.object)
    }

    pub(super) fn of(&self, plural: &str) -> impl Iterator<Item = &Arc<Value>> {
        let from = Key::new(plural, "", "");
        self.objects.range(from..).take_while(move |(key, _)| key.plural == plural).map(|(_, stored)| &stored.object)
    }

    /// Does what a request asks for.
    pub(super) fn execute(&mut self, target: &Target, body: &Bytes) -> Result<(StatusCode, Value), Refused> {
        let parse = || serde_yaml::from_slice::<Value>(body).map_err(|error| Refused::bad(&error.to_string()));
        match target.act {
            Act::Get => {
                let key = target.key(None)?;
                let object = self.get(&key).ok_or_else(|| Refused::not_found(&key.name))?;
                Ok((StatusCode::OK, target.view(object)))
            }
            Act::List | Act::Watch => Ok((StatusCode::OK, self.list(target))),
            Act::Create => {
                let mut object = parse()?;
                let key = target.key(Some(&mut object))?;
                if self.objects.contains_key(&key) {
                    return Err(Refused::exists(&key.name));
                }
                let applied = Applied::new();
                Ok((StatusCode::CREATED, self.write(target, &key, object, applied)?))
            }
            Act::Replace => {
                let (key, object) = (target.key(None)?, parse()?);
                let stored = self.objects.get(&key).ok_or_else(|| Refused::not_found(&key.name))?;
                let applied = stored.applied.clone();
                Ok((StatusCode::OK, self.write(target, &key, object, applied)?))
            }
            Act::Patch => self.patch(target, &parse()?),
            Act::Delete => {
                let key = target.key(None)?;
                let object = self.get(&key).cloned().ok_or_else(|| Refused::not_found(&key.name))?;
                if !target.dry_run {
                    self.delete(&key);
                }
                Ok((StatusCode::OK, (*object).clone()))
            }
            Act::DeleteCollection => {
                let selected = self.objects.iter().filter(|(key, stored)| key.plural == target.plural && target.selects(&stored.object));
                for key in selected.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                    if !target.dry_run {
                        self.delete(&key);
                    }
                }
                Ok((StatusCode::OK, json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" })))
            }
        }
    }

    fn list(&self, target: &Target) -> Value {
        let selected = self.of(&target.plural).filter(|object| target.selects(object)).map(|object| (**object).clone());
        json!({
            "apiVersion": target.api_version,
            "kind": format!("{}List", kind_of(&target.plural)),
            "metadata": { "resourceVersion": self.version.to_string() },
            "items": selected.collect::<Vec<_>>(),
        })
    }

    /// The kind of patch is told by its content: an apply names its kind, a JSON patch is a list.
    fn patch(&mut self, target: &Target, patch: &Value) -> Result<(StatusCode, Value), Refused> {
        let key = target.key(None)?;
        let is_apply = patch.get("apiVersion").is_some() && patch.get("kind").is_some() && target.manager.is_some();
        let (found, mut applied) = match self.objects.get(&key) {
            Some(stored) => (Some((*stored.object).clone()), stored.applied.clone()),
            None if is_apply && target.subresource.is_none() => (None, Applied::new()),
            None => return Err(Refused::not_found(&key.name)),
        };
        let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
        let mut object = match (found, target.subresource.as_deref()) {
            (Some(object), Some("scale")) => scale_of(&object),
            (Some(object), _) => object,
            (None, _) => Value::Object(Map::new()),
        };
        if patch.is_array() {
            merge::json_patch(&mut object, patch)?;
        } else if is_apply {
            let manager = format!("{}{}", target.manager.as_deref().unwrap_or_default(), target.subresource.as_deref().unwrap_or_default());
            merge::apply(&mut object, &applied, &manager, patch, target.force)?;
            applied.insert(manager, patch.clone());
        } else {
            merge::merge(&mut object, patch);
        }
        Ok((status, self.write(target, &key, object, applied)?))
    }

    /// Stores an object as a create, replace or patch has made it. One that changes nothing leaves its version as it is.
    fn write(&mut self, target: &Target, key: &Key, mut object: Value, applied: Applied) -> Result<Value, Refused> {
        let before = self.get(key).cloned();
        if let (Some(before), Some(version)) = (&before, object["metadata"]["resourceVersion"].as_str())
            && before["metadata"]["resourceVersion"] != version
        {
            return Err(Refused::conflict(format!(
                "the object {} has been modified; please apply your changes to the latest version",
                key.name
            )));
        }
        if let (Some(before), Some(uid)) = (&before, object["metadata"]["uid"].as_str())
            && before["metadata"]["uid"] != uid
        {
            return Err(Refused::conflict(format!("uid of {} does not match", key.name)));
        }
        object = target.within(before.as_deref(), object);
        self.stamp(key, before.as_deref(), &mut object);
        if before.as_deref().is_some_and(|before| same(before, &object)) {
            if let Some(stored) = self.objects.get_mut(key).filter(|_| !target.dry_run) {
                stored.applied = applied;
            }
            return Ok(target.view(&object));
        }
        object["metadata"]["resourceVersion"] = (self.version + 1).to_string().into();
        if !target.dry_run {
            let finished = !object["metadata"]["deletionTimestamp"].is_null() && finalizers(&object) == 0;
            let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
            self.objects.insert(key.clone(), Stored { object: Arc::new(object.clone()), applied });
            self.note(kind, key);
            if finished {
                self.remove(key);
            }
        }
        Ok(target.view(&object))
    }

    /// Fills in what the server alone decides.
    fn stamp(&self, key: &Key, before: Option<&Value>, object: &mut Value) {
        let kept = |name: &str| before.map(|before| before["metadata"][name].clone()).filter(|value| !value.is_null());
        let changed = before.is_none_or(|before| before["spec"] != object["spec"]);
        let generation = before.and_then(|before| before["metadata"]["generation"].as_i64()).unwrap_or(0) + i64::from(changed);
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("name".to_owned(), key.name.clone().into());
        if !key.namespace.is_empty() {
            metadata.insert("namespace".to_owned(), key.namespace.clone().into());
        }
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.version + 1);
        metadata.insert("uid".to_owned(), kept("uid").unwrap_or_else(|| uid.into()));
        let created = kept("creationTimestamp").unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
        metadata.insert("creationTimestamp".to_owned(), created);
        metadata.insert("generation".to_owned(), generation.into());
        metadata.remove("managedFields");
        for name in ["deletionTimestamp", "resourceVersion"] {
            match kept(name) {
                Some(value) => drop(metadata.insert(name.to_owned(), value)),
                None => drop(metadata.remove(name)),
            }
        }
    }

    /// One with finalizers waits for them; everything that it owns goes with it.
    fn delete(&mut self, key: &Key) {
        let Some(stored) = self.objects.get_mut(key) else { return };
        if finalizers(&stored.object) == 0 {
            self.remove(key);
            return;
        }
        if stored.object["metadata"]["deletionTimestamp"].is_null() {
            let mut object = (*stored.object).clone();
            object["metadata"]["deletionTimestamp"] = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
            object["metadata"]["resourceVersion"] = (self.version + 1).to_string().into();
            stored.object = Arc::new(object);
            self.note("MODIFIED", key);
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(stored) = self.objects.remove(key) else { return };
        self.version += 1;
        let mut object = (*stored.object).clone();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let uid = object["metadata"]["uid"].clone();
        self.remember(Event { version: self.version, kind: "DELETED", plural: key.plural.clone(), object: Arc::new(object) });
        let is_owned =
            |object: &Value| object["metadata"]["ownerReferences"].as_array().is_some_and(|all| all.iter().any(|one| one["uid"] == uid));
        let owned: Vec<Key> = self.objects.iter().filter(|(_, stored)| is_owned(&stored.object)).map(|(key, _)| key.clone()).collect();
        for key in &owned {
            self.delete(key);
        }
    }

    fn note(&mut self, kind: &'static str, key: &Key) {
        self.version += 1;
        let object = self.objects[key].object.clone();
        self.remember(Event { version: self.version, kind, plural: key.plural.clone(), object });
    }

    fn remember(&mut self, event: Event) {
        self.events.push_back(event);
        if self.events.len() > HISTORY {
            self.events.pop_front();
            self.forgotten += 1;
        }
    }

    /// Returns the place in the history from which a watch goes on.
    pub(super) fn position_after(&self, version: Option<u64>) -> usize {
        let version = version.unwrap_or(self.version);
        self.forgotten + self.events.partition_point(|event| event.version <= version)
    }

    /// Returns the events of a watch from a place in the history on, one a line, and the place behind them.
    pub(super) fn events_from(&self, place: usize, target: &Target) -> (String, usize) {
        let mut lines = String::new();
        for event in self.events.range(place.saturating_sub(self.forgotten)..) {
            if event.plural == target.plural && target.selects(&event.object) {
                lines.push_str(&json!({ "type": event.kind, "object": *event.object }).to_string());
                lines.push('\n');
            }
        }
        (lines, self.forgotten + self.events.len())
    }
}

impl Target {
    fn key(&self, created: Option<&mut Value>) -> Result<Key, Refused> {
        if kind_of(&self.plural).is_empty() {
            return Err(Refused::not_found(&self.plural));
        }
        let made = created.map(|object| {
            let metadata = &mut object["metadata"];
            let generated =
                metadata["generateName"].as_str().map(|start| format!("{start}{:05x}", jiff::Timestamp::now().subsec_nanosecond()));
            metadata["name"].as_str().map(str::to_owned).or(generated).unwrap_or_default()
        });
        let name = self.name.clone().or(made).filter(|name| !name.is_empty()).ok_or_else(|| Refused::bad("name is required"))?;
        Ok(Key { plural: self.plural.clone(), namespace: self.namespace.clone().unwrap_or_default(), name })
    }

    /// Returns what a write may change: the status through its own path only, where there is one.
    fn within(&self, before: Option<&Value>, object: Value) -> Value {
        let apart = RESOURCES.iter().any(|(plural, _, apart)| *plural == self.plural && *apart);
        let Some(before) = before else {
            let mut object = object;
            if apart && let Some(members) = object.as_object_mut() {
                members.remove("status");
            }
            return object;
        };
        match self.subresource.as_deref() {
            Some("status") => {
                let mut kept = before.clone();
                kept["status"] = object["status"].clone();
                kept
            }
            Some("scale") => {
                let mut kept = before.clone();
                let place = if self.plural == "stockpipelines" { "/spec/sink/worker" } else { "/spec" };
                if let Some(Value::Object(members)) = kept.pointer_mut(place) {
                    members.insert("replicas".to_owned(), object["spec"]["replicas"].clone());
                }
                kept
            }
            Some(_) | None if apart => {
                let mut object = object;
                let members = object.as_object_mut().unwrap();
                members.remove("status");
                if let Some(status) = before.get("status") {
                    members.insert("status".to_owned(), status.clone());
                }
                object
            }
            Some(_) | None => object,
        }
    }

    fn view(&self, object: &Value) -> Value {
        if self.subresource.as_deref() == Some("scale") { scale_of(object) } else { object.clone() }
    }
}

fn scale_of(object: &Value) -> Value {
    let replicas = object.pointer("/spec/sink/worker/replicas").or_else(|| object.pointer("/spec/replicas"));
    json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": { "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"] },
        "spec": { "replicas": replicas },
    })
}

fn kind_of(plural: &str) -> &'static str {
    RESOURCES.iter().find(|(name, _, _)| *name == plural).map_or("", |(_, kind, _)| kind)
}

fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

/// Whether two states of an object are the same but for the version.
fn same(before: &Value, after: &Value) -> bool {
    let plain = |object: &Value| {
        let mut object = object.clone();
        object["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
        object
    };
    plain(before) == plain(after)
}
