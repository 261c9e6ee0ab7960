//! The document that workers read: what a user wrote, without what only the operator acts on; and its hash for each role.
//!
//! What is left out here changes no pod. What is left in rolls the role that reads it.

use serde_json::{Map, Value};
use stockpipeline::document::Document;

use crate::hash;
use crate::resource::identity::Role;

/// Paths in the spec that no worker reads.
const OPERATOR_ONLY: [&[&str]; 12] = [
    &["lifecycle"],
    &["deletionPolicy"],
    &["reconcile"],
    &["athena"],
    &["aws", "controlPlaneRoleArn"],
    &["aws", "tags"],
    &["aws", "endpoints", "athena"],
    &["producer", "worker"],
    &["sink", "worker"],
    &["glue", "database", "create"],
    &["glue", "driftPolicy"],
    &["glue", "crawler"],
];
/// Paths in the spec that a producer does not read.
const NOT_FOR_PRODUCERS: [&[&str]; 2] = [&["sink"], &["glue"]];
/// Paths in the spec that a sink does not read. It reads the producer's key column, by which it sorts.
const NOT_FOR_SINKS: [&[&str]; 6] = [
    &["source", "csvReplay"],
    &["source", "synthetic"],
    &["producer", "slots"],
    &["producer", "slotsTopic"],
    &["producer", "transactionInterval"],
    &["producer", "config"],
];

/// Returns the document as workers read it.
pub(super) fn for_workers(document: &Document) -> Document {
    let mut spec = document.body().get("spec").cloned().unwrap_or_default();
    drop_nulls(&mut spec);
    remove(&mut spec, &OPERATOR_ONLY);
    sort(&mut spec);
    Document::new(document.name().unwrap_or_default(), document.namespace(), spec)
}

/// Returns the hash of what a role reads in a document for workers.
pub(super) fn config_hash(document: &Document, role: Role) -> String {
    let mut spec = document.body().get("spec").cloned().unwrap_or_default();
    match role {
        Role::Producer => remove(&mut spec, &NOT_FOR_PRODUCERS),
        Role::Sink => remove(&mut spec, &NOT_FOR_SINKS),
    }
    hash::short(&spec.to_string())
}

fn remove(spec: &mut Value, paths: &[&[&str]]) {
    for path in paths {
        let Some((last, parents)) = path.split_last() else { continue };
        let parent = parents.iter().try_fold(&mut *spec, |value, name| value.get_mut(name));
        if let Some(Value::Object(members)) = parent {
            members.remove(*last);
        }
    }
}

/// A null means the same as an absent member.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The order in which somebody wrote the members must not roll a pod.
pub(super) fn sort(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(String, Value)> = std::mem::take(members).into_iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (_, member) in &mut sorted {
                sort(member);
            }
            *members = sorted.into_iter().collect::<Map<_, _>>();
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
