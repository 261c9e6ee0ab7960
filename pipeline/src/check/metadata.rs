//! The envelope: `apiVersion`, `kind`, `metadata`.

use serde_json::{Map, Value};

use super::UnknownFields;
use super::findings::Findings;
use super::shape::keyed;
use super::suggest;
use crate::document::{Document, GROUP};

/// Characters of a name: it stands in front of the names of everything made for the pipeline.
const MAX_NAME: usize = 45;
/// Members of a document.
const MEMBERS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// Members of an object's metadata.
const METADATA: [&str; 14] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "generateName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
];
/// Annotations of the group that have a meaning.
const ANNOTATIONS: [&str; 5] = ["reconcile", "reconcile-requested-at", "skip-cleanup", "allow-data-deletion", "read-only"];

/// Checks everything but the spec.
pub(crate) fn check(document: &Document, unknown: UnknownFields, findings: &mut Findings) {
    for name in document.body().keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
        let remedy = suggest::remedy(name, MEMBERS);
        let path = keyed("document", name);
        match unknown {
            UnknownFields::Error => findings.broken(&path, "is no field of a StockPipeline", &remedy),
            UnknownFields::Warn => findings.warn(&path, &format!("is no field that this version knows and is ignored; {remedy}")),
        }
    }
    let Some(metadata) = document.body().get("metadata").and_then(Value::as_object) else {
        findings.broken("metadata", "is required", "add metadata with a name");
        return;
    };
    for name in metadata.keys().filter(|name| !METADATA.contains(&name.as_str())) {
        let path = keyed("metadata", name);
        match unknown {
            UnknownFields::Error => findings.broken(&path, "is no field of metadata", &suggest::remedy(name, METADATA)),
            UnknownFields::Warn => findings.warn(&path, "is no field that this version knows and is ignored"),
        }
    }
    check_label(metadata, "name", MAX_NAME, findings);
    if metadata.get("namespace").is_some_and(|namespace| !namespace.is_null()) {
        check_label(metadata, "namespace", 63, findings);
    }
    check_texts(metadata, "labels", findings);
    check_texts(metadata, "annotations", findings);
}

fn check_label(metadata: &Map<String, Value>, field: &str, most: usize, findings: &mut Findings) {
    let path = keyed("metadata", field);
    match metadata.get(field) {
        None | Some(Value::Null) => findings.broken(&path, "is required", "add one, such as us-equities"),
        Some(Value::String(text)) if is_label(text, most) => {}
        Some(Value::String(text)) => {
            let remedy = format!("use 1 to {most} lower-case letters, digits and -, a letter or digit at either end");
            findings.wrong(&path, text.as_str(), "is no DNS label that Kubernetes takes here", &remedy);
        }
        Some(other) => findings.wrong(&path, other.clone(), "is not text", &format!("quote it: \"{other}\"")),
    }
}

fn is_label(text: &str, most: usize) -> bool {
    let fits = (1..=most).contains(&text.len());
    let characters = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    fits && characters && !text.starts_with('-') && !text.ends_with('-')
}

fn check_texts(metadata: &Map<String, Value>, field: &str, findings: &mut Findings) {
    let path = keyed("metadata", field);
    let entries = match metadata.get(field) {
        None | Some(Value::Null) => return,
        Some(Value::Object(entries)) => entries,
        Some(other) => {
            findings.wrong(&path, other.clone(), "is not an object", "write one name: value a line under it");
            return;
        }
    };
    for (name, value) in entries {
        if !value.is_string() {
            findings.wrong(&keyed(&path, name), value.clone(), "is not text", &format!("quote it: \"{value}\""));
        }
        let ours = name.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
        if let Some(ours) = ours.filter(|ours| field == "annotations" && !ANNOTATIONS.contains(ours)) {
            let remedy = suggest::remedy(ours, ANNOTATIONS);
            findings.warn(&keyed(&path, name), &format!("is no annotation that this version knows and is ignored; {remedy}"));
        }
    }
}
