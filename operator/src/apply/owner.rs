//! Whose an object is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use stockpipeline::document::{GROUP, KIND};

use crate::resource::identity::{Identity, MANAGER};

/// Whose an object is.
pub(crate) enum Ownership {
    /// The pipeline's.
    Ours,
    /// A deleted pipeline's of the same name.
    Earlier,
    /// Somebody else's: whose.
    Foreign(String),
}

/// Returns whose an object is.
pub(crate) fn ownership(identity: &Identity, object: &impl Resource) -> Ownership {
    let meta = object.meta();
    match controller(object) {
        Some(owner) if owner.uid == identity.uid => Ownership::Ours,
        Some(owner) if owner.kind == KIND && owner.name == identity.name => Ownership::Earlier,
        Some(owner) => Ownership::Foreign(format!("{} {}", owner.kind, owner.name)),
        None => {
            let label = |name: &str| meta.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
            let is_left_over = label("app.kubernetes.io/managed-by") == Some(MANAGER)
                && label(&format!("{GROUP}/pipeline")) == Some(identity.name.as_str());
            if is_left_over { Ownership::Ours } else { Ownership::Foreign("somebody else".to_owned()) }
        }
    }
}

/// Returns what controls an object.
pub(super) fn controller(object: &impl Resource) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}
