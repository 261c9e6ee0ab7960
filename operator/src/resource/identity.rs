//! The resource that everything made for a pipeline belongs to: names, labels and owner references of its children.
//!
//! Names follow from the resource's name alone, so that a second look finds what the first one made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use stockpipeline::document::{API_VERSION, GROUP, KIND};

/// Value of `app.kubernetes.io/name` on everything that runs for pipelines.
pub const APPLICATION: &str = "stockpipeline";
/// Who manages the children, as their label and as the field manager of their fields.
pub const MANAGER: &str = "stockpipeline-operator";

/// One `StockPipeline` of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `metadata.name`: a DNS label of at most 45 characters.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// Returns the name of the `ConfigMap` with the document of a pipeline of a name.
#[must_use]
pub fn config_name(pipeline: &str) -> String {
    format!("{pipeline}-pipeline")
}

/// The two kinds of worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Feeds the source into the topic.
    Producer,
    /// Writes the topic to S3.
    Sink,
}

impl Role {
    /// Returns the name of the worker's command, which is its label too.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Sink => "sink",
        }
    }
}

impl Identity {
    /// Returns the name of what is made for one role: Deployment and disruption budget.
    #[must_use]
    pub fn role_name(&self, role: Role) -> String {
        format!("{}-{}", self.name, role.command())
    }

    /// Returns the name of what all pods of the pipeline share: service account and network policy.
    #[must_use]
    pub fn workers_name(&self) -> String {
        format!("{}-workers", self.name)
    }

    /// Returns the name of the `ConfigMap` with the document.
    #[must_use]
    pub fn config_name(&self) -> String {
        config_name(&self.name)
    }

    /// Returns the metadata of a child.
    #[must_use]
    pub fn metadata(&self, name: String, role: Option<Role>) -> ObjectMeta {
        let mut labels = self.selector_labels(role);
        labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![self.owner_reference()]),
            ..ObjectMeta::default()
        }
    }

    /// Returns the labels that never change: those by which pods are found.
    #[must_use]
    pub fn selector_labels(&self, role: Option<Role>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), APPLICATION.to_owned()),
            ("app.kubernetes.io/instance".to_owned(), self.name.clone()),
            (format!("{GROUP}/pipeline"), self.name.clone()),
        ]);
        if let Some(role) = role {
            labels.insert("app.kubernetes.io/component".to_owned(), role.command().to_owned());
        }
        labels
    }

    /// Returns the selector of a role's pods.
    #[must_use]
    pub fn selector(&self, role: Role) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selector_labels(Some(role))), match_expressions: None }
    }

    /// Returns the selector of a role's pods as text, for `/scale` and for lists.
    #[must_use]
    pub fn selector_text(&self, role: Role) -> String {
        let labels = self.selector_labels(Some(role));
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    }

    fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_gives_names_that_kubernetes_takes() {
        let identity = Identity { name: "x".repeat(45), namespace: "n".to_owned(), uid: "u".to_owned() };
        for name in [identity.role_name(Role::Producer), identity.role_name(Role::Sink), identity.workers_name(), identity.config_name()] {
            assert!(name.len() <= 63, "{name}");
        }
        for value in identity.selector_labels(Some(Role::Sink)).into_values() {
            assert!(value.len() <= 63, "{value}");
        }
    }

    #[test]
    fn selectors_are_read_back_by_kubectl() {
        let identity = Identity { name: "demo".to_owned(), namespace: "n".to_owned(), uid: "u".to_owned() };
        assert_eq!(
            identity.selector_text(Role::Sink),
            "app.kubernetes.io/component=sink,app.kubernetes.io/instance=demo,app.kubernetes.io/name=stockpipeline,stockpipeline.dev/pipeline=demo"
        );
    }
}
