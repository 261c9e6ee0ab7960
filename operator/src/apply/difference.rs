//! In which fields an object of the cluster differs from what is declared: pure, on JSON.
//!
//! What is not declared is not compared: defaults, and fields of others. What stood in an earlier declaration and is gone from this one
//! shows by the hash that every declaration carries.

use serde_json::{Map, Value};

/// Differences that are named; more say no more.
const MOST: usize = 8;

/// Lists that Kubernetes merges by a key, and the key: others may add items of their own.
const KEYED: [(&str, &str); 9] = [
    ("containers", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("ports", "containerPort"),
    ("topologySpreadConstraints", "topologyKey"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

/// Returns the paths at which `live` is not as `declared` says, at most a handful.
pub(super) fn differences(declared: &Value, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", declared, live, &mut found);
    found
}

fn compare(path: &str, declared: &Value, live: &Value, found: &mut Vec<String>) {
    if found.len() >= MOST {
        return;
    }
    match (declared, live) {
        (Value::Object(declared), Value::Object(live)) => {
            for (name, value) in declared {
                compare(&join(path, name), value, live.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(declared), Value::Array(live)) => compare_lists(path, declared, live, found),
        (declared, live) if is_empty(declared) && is_empty(live) => {}
        (declared, live) if declared == live => {}
        _ => found.push(path.to_owned()),
    }
}

fn compare_lists(path: &str, declared: &[Value], live: &[Value], found: &mut Vec<String>) {
    let key = key_of(path).filter(|key| declared.iter().all(|item| item.get(key).is_some()));
    let Some(key) = key else {
        if declared.len() == live.len() {
            for (index, (declared, live)) in declared.iter().zip(live).enumerate() {
                compare(&format!("{path}[{index}]"), declared, live, found);
            }
        } else {
            found.push(path.to_owned());
        }
        return;
    };
    for item in declared {
        let id = &item[key];
        let path = format!("{path}[{}]", id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        match live.iter().find(|other| other.get(key) == Some(id)) {
            Some(other) => compare(&path, item, other, found),
            None => found.push(path),
        }
    }
}

fn key_of(path: &str) -> Option<&'static str> {
    let name = path.rsplit('.').next()?;
    KEYED.iter().find(|(list, _)| *list == name).map(|(_, key)| *key)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The API server drops members without content.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns an object without what the API server alone decides.
pub(super) fn settled(mut object: Value) -> Value {
    if let Value::Object(members) = &mut object {
        members.remove("status");
        if let Some(Value::Object(metadata)) = members.get_mut("metadata") {
            for name in ["resourceVersion", "generation", "managedFields"] {
                metadata.remove(name);
            }
            // The Deployment's controller counts its rolls here.
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                remove_foreign(annotations);
            }
        }
    }
    object
}

fn remove_foreign(annotations: &mut Map<String, Value>) {
    annotations.retain(|name, _| !name.starts_with("deployment.kubernetes.io/"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(declared: &Value, live: &Value) -> Vec<String> {
        differences(declared, live)
    }

    #[test]
    fn only_what_is_declared_counts() {
        let declared =
            json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "replicas": 2, "nodeSelector": {}, "tolerations": null } });
        let live = json!({
            "metadata": { "labels": { "a": "b", "theirs": "x" }, "uid": "u" },
            "spec": { "replicas": 2, "progressDeadlineSeconds": 600 },
            "status": { "replicas": 1 },
        });
        assert_eq!(check(&declared, &live), Vec::<String>::new());
        assert_eq!(check(&declared, &json!({ "metadata": {}, "spec": { "replicas": 3 } })), ["metadata.labels", "spec.replicas"]);
    }

    #[test]
    fn keyed_lists_may_grow_and_others_may_not() {
        let declared = json!({ "containers": [{ "name": "sink", "args": ["a", "b"], "ports": [{ "containerPort": 8080 }] }] });
        let injected = json!({ "containers": [{ "name": "proxy" }, { "name": "sink", "args": ["a", "b"], "ports": [{ "containerPort": 8080, "protocol": "TCP" }] }] });
        assert_eq!(check(&declared, &injected), Vec::<String>::new());
        let changed = json!({ "containers": [{ "name": "sink", "args": ["a"], "ports": [{ "containerPort": 80 }] }] });
        assert_eq!(check(&declared, &changed), ["containers[sink].args", "containers[sink].ports[8080]"]);
        assert_eq!(check(&declared, &json!({ "containers": [] })), ["containers[sink]"]);
    }

    #[test]
    fn lists_of_policies_are_compared_as_they_stand() {
        let declared = json!({ "egress": [{ "ports": [{ "port": 53 }, { "port": 443 }] }] });
        assert_eq!(check(&declared, &json!({ "egress": [{ "ports": [{ "port": 53 }] }] })), ["egress[0].ports"]);
        assert_eq!(check(&declared, &json!({ "egress": [{ "ports": [{ "port": 53 }, { "port": 80 }] }] })), ["egress[0].ports[1].port"]);
    }

    #[test]
    fn a_handful_of_differences_is_named() {
        let declared: Map<String, Value> = (0..100).map(|number| (format!("f{number}"), json!(number))).collect();
        assert_eq!(check(&Value::Object(declared), &json!({})).len(), MOST);
    }
}
