//! What the API server has, by the pipeline that it belongs to: filled by a watch, read without a request.
//!
//! kube's own store finds an object by its name alone; pods and revisions are found by their pipeline here. Objects are kept as packed
//! JSON: a typed Deployment takes some twenty times as much, most of it for fields that are not set.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::HashTable;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockpipeline::document::GROUP;

use super::pack::{Packed, Pattern};

/// A pipeline by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// `metadata.namespace`.
    pub(crate) namespace: String,
    /// `metadata.name`.
    pub(crate) name: String,
}

/// Objects of one kind. Clones share them.
#[derive(Debug)]
pub(crate) struct Cache<K>(Arc<RwLock<Objects>>, PhantomData<fn() -> K>);

#[derive(Debug, Default)]
struct Objects {
    /// The latest version that a watch has told of, by namespace: whatever was before, it has told of too, or its list lacks it.
    told: HashMap<String, u64>,
    pattern: Pattern,
    /// A pipeline has a handful of objects of a kind, each with its name.
    by_pipeline: HashMap<Arc<Key>, Vec<(Box<str>, Packed)>>,
    /// Each object's pipeline, by the hash of its place: its name stands above, and nowhere twice.
    pipelines: HashTable<(u64, Arc<Key>)>,
    hasher: RandomState,
}

/// Namespace and name of an object.
type Place<'a> = (&'a str, &'a str);

impl Key {
    /// Returns the pipeline that an object belongs to by its label.
    pub(crate) fn of(object: &impl Resource) -> Option<Self> {
        let meta = object.meta();
        let name = meta.labels.as_ref()?.get(&format!("{GROUP}/pipeline"))?;
        Some(Self { namespace: meta.namespace.clone()?, name: name.clone() })
    }
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self(Arc::default(), PhantomData)
    }
}

impl<K: Resource + Serialize + DeserializeOwned> Cache<K> {
    /// Returns an object of a pipeline.
    pub(crate) fn get(&self, pipeline: &Key, name: &str) -> Option<Arc<K>> {
        parse(find(&self.0.read().unwrap_or_else(PoisonError::into_inner).by_pipeline, pipeline, name)?)
    }

    /// Returns every object of a pipeline by name.
    pub(crate) fn all(&self, pipeline: &Key) -> Vec<Arc<K>> {
        let objects = self.0.read().unwrap_or_else(PoisonError::into_inner);
        objects.by_pipeline.get(pipeline).into_iter().flatten().filter_map(|(_, packed)| parse(packed)).collect()
    }

    /// Puts in what a watch has told of, and returns the pipeline that it belongs to; None for one that names no pipeline.
    pub(crate) fn put(&self, object: &K) -> Option<Key> {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        objects.tell(object);
        objects.put(object)
    }

    /// Puts in what the API server has answered to a write, unless a watch has told of later versions by then: what it has told of the
    /// object stays, also that it is gone, since nothing else would ever say so again. What is left out here costs a request at most.
    pub(crate) fn put_written(&self, object: &K) {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let told = objects.told.get(object.meta().namespace.as_deref().unwrap_or_default());
        if version(object) > told.copied() {
            objects.put(object);
        }
    }

    /// Takes out what a watch has told the end of, and returns the pipeline that it belonged to.
    pub(crate) fn remove(&self, object: &K) -> Option<Key> {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        objects.tell(object);
        objects.take((object.meta().namespace.as_deref()?, &object.name_any()))
    }

    /// Takes out what is not among `kept`, of one namespace or of all, and returns the pipelines that this belonged to.
    pub(crate) fn retain(&self, namespace: Option<&str>, kept: &HashSet<(String, String)>) -> Vec<Key> {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let within = objects.by_pipeline.iter().filter(|(key, _)| namespace.is_none_or(|namespace| namespace == key.namespace));
        let places = within.flat_map(|(key, objects)| objects.iter().map(|(name, _)| (key.namespace.clone(), name.to_string())));
        let gone: Vec<(String, String)> = places.filter(|place| !kept.contains(place)).collect();
        gone.iter().filter_map(|(namespace, name)| objects.take((namespace, name))).collect()
    }
}

/// Returns the version of an object. Those of one kind in one namespace grow with each write.
fn version(object: &impl Resource) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

/// What was written by a type is read by it.
fn parse<K: DeserializeOwned>(packed: &Packed) -> Option<Arc<K>> {
    serde_json::from_slice(&packed.unpack()).ok().map(Arc::new)
}

impl Objects {
    fn tell(&mut self, object: &impl Resource) {
        let (Some(namespace), Some(version)) = (&object.meta().namespace, version(object)) else { return };
        match self.told.get_mut(namespace) {
            Some(told) => *told = version.max(*told),
            None => drop(self.told.insert(namespace.clone(), version)),
        }
    }

    fn put(&mut self, object: &(impl Resource + Serialize)) -> Option<Key> {
        let (namespace, name) = (object.meta().namespace.as_deref()?, object.name_any());
        self.take((namespace, &name));
        let key = Key::of(object)?;
        let json = serde_json::to_vec(object).expect("Kubernetes' types have text keys only, so they are always JSON");
        let shared = self.by_pipeline.get_key_value(&key).map_or_else(|| Arc::new(key.clone()), |(shared, _)| Arc::clone(shared));
        let packed = self.pattern.pack(&json);
        let hash = self.hasher.hash_one((namespace, &*name));
        self.pipelines.insert_unique(hash, (hash, Arc::clone(&shared)), |(hash, _)| *hash);
        let of_pipeline = self.by_pipeline.entry(shared).or_default();
        of_pipeline.reserve_exact(1);
        of_pipeline.push((name.into_boxed_str(), packed));
        of_pipeline.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Some(key)
    }

    fn take(&mut self, place: Place<'_>) -> Option<Key> {
        let ((namespace, name), hash) = (place, self.hasher.hash_one(place));
        let has_it = |key: &Key| key.namespace == namespace && find(&self.by_pipeline, key, name).is_some();
        let entry = self.pipelines.find_entry(hash, |(known, key)| *known == hash && has_it(key)).ok()?;
        let ((_, key), _) = entry.remove();
        if let Some(objects) = self.by_pipeline.get_mut(&key) {
            objects.retain(|(known, _)| **known != *name);
            if objects.is_empty() {
                self.by_pipeline.remove(&key);
            }
        }
        Some(Arc::unwrap_or_clone(key))
    }
}

fn find<'a>(by_pipeline: &'a HashMap<Arc<Key>, Vec<(Box<str>, Packed)>>, pipeline: &Key, name: &str) -> Option<&'a Packed> {
    by_pipeline.get(pipeline)?.iter().find(|(known, _)| **known == *name).map(|(_, packed)| packed)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str, pipeline: Option<&str>) -> ConfigMap {
        let labels = pipeline.map(|pipeline| [(format!("{GROUP}/pipeline"), pipeline.to_owned())].into());
        let metadata = ObjectMeta { name: Some(name.to_owned()), namespace: Some("n".to_owned()), labels, ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn key(name: &str) -> Key {
        Key { namespace: "n".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn an_object_is_found_by_its_pipeline_until_it_goes() {
        let cache = Cache::default();
        assert_eq!(cache.put(&object("a", Some("one"))), Some(key("one")));
        cache.put(&object("b", Some("one")));
        cache.put(&object("c", Some("two")));
        assert_eq!(cache.all(&key("one")).len(), 2);
        assert!(cache.get(&key("one"), "c").is_none());
        assert_eq!(cache.remove(&object("a", None)), Some(key("one")));
        assert_eq!(cache.all(&key("one")).len(), 1);
    }

    #[test]
    fn an_object_that_changes_its_pipeline_is_found_once() {
        let cache = Cache::default();
        cache.put(&object("a", Some("one")));
        cache.put(&object("a", Some("two")));
        assert!(cache.get(&key("one"), "a").is_none());
        assert!(cache.get(&key("two"), "a").is_some());
        assert_eq!(cache.put(&object("a", None)), None);
        assert!(cache.get(&key("two"), "a").is_none());
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let cache = Cache::default();
        cache.put(&object("a", Some("one")));
        cache.put(&object("b", Some("two")));
        let kept = HashSet::from([("n".to_owned(), "b".to_owned())]);
        assert!(cache.retain(Some("other"), &kept).is_empty(), "another namespace says nothing about this one");
        assert_eq!(cache.retain(None, &kept), [key("one")]);
        assert!(cache.get(&key("two"), "b").is_some());
    }

    fn of_version(version: &str) -> ConfigMap {
        let mut object = object("a", Some("one"));
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    fn known(cache: &Cache<ConfigMap>) -> Option<String> {
        cache.get(&key("one"), "a")?.metadata.resource_version.clone()
    }

    #[test]
    fn an_answer_never_replaces_what_a_watch_has_said_since() {
        let cache = Cache::default();
        cache.put_written(&of_version("9"));
        cache.put(&of_version("12"));
        cache.put_written(&of_version("10"));
        assert_eq!(known(&cache).as_deref(), Some("12"));
        cache.put_written(&of_version("100"));
        assert_eq!(known(&cache).as_deref(), Some("100"));
        // A watch is believed whatever it says.
        cache.put(&of_version("13"));
        assert_eq!(known(&cache).as_deref(), Some("13"));
    }

    #[test]
    fn an_answer_never_brings_back_what_a_watch_has_said_is_gone() {
        let cache = Cache::default();
        cache.put(&of_version("9"));
        cache.remove(&of_version("12"));
        cache.put_written(&of_version("11"));
        assert_eq!(known(&cache), None);
        // One that was made and has gone before any watch told of it, while the watch told of others.
        let mut other = of_version("20");
        other.metadata.name = Some("b".to_owned());
        cache.put(&other);
        cache.put_written(&of_version("19"));
        assert_eq!(known(&cache), None);
        cache.put_written(&of_version("21"));
        assert_eq!(known(&cache).as_deref(), Some("21"));
        // A new list that lacks it.
        cache.remove(&of_version("22"));
        cache.retain(None, &HashSet::new());
        cache.put_written(&of_version("21"));
        assert_eq!(known(&cache), None);
    }
}
