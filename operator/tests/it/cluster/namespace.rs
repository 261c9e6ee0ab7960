//! A namespace of a test's own.

use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::Namespace as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A namespace under the restricted Pod Security Standard. It is left behind when a test fails, to be looked at.
pub(crate) struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    /// Makes one whose name starts with `purpose`.
    pub(crate) async fn new(client: &Client, purpose: &str) -> Self {
        let name = format!("{purpose}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let labels = ["enforce", "warn"].map(|mode| (format!("pod-security.kubernetes.io/{mode}"), "restricted".to_owned()));
        let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels.into()), ..ObjectMeta::default() };
        Api::all(client.clone()).create(&PostParams::default(), &Object { metadata, ..Object::default() }).await.unwrap();
        Self { client: client.clone(), name }
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the objects of one kind in it.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Removes it with all that is in it, without waiting for that.
    pub(crate) async fn remove(self) {
        let namespaces: Api<Object> = Api::all(self.client.clone());
        drop(namespaces.delete(&self.name, &DeleteParams::default()).await.unwrap());
    }
}
