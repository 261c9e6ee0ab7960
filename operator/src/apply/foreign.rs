//! What others have put into a Deployment's pods: found by who owns a field, pure, on JSON.
//!
//! A container, a variable, a volume or a command that somebody adds runs with the pipeline's credentials, so what runs in its pods is the
//! operator's alone. Everywhere else fields of others stay: labels, annotations, what a rollout restart or a pause notes. What a mutating
//! webhook adds to the operator's own request is owned by nobody else, and stays too.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use crate::resource::identity::MANAGER;

/// Where in an object, and in the fields of an owner, the pods are.
const PODS: (&str, &str) = ("/spec/template/spec", "/f:spec/f:template/f:spec");

/// An object without what others have put into its pods.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Freed {
    /// What they have put there.
    pub(crate) fields: Vec<String>,
    /// The object without that.
    pub(crate) object: Value,
}

/// Forgets who owns what, but for others who own something in pods.
pub(crate) fn keep_owners(meta: &mut ObjectMeta) {
    let owners = meta.managed_fields.take().unwrap_or_default();
    let others = owners.into_iter().filter(|owner| {
        let is_other = owner.manager.as_deref() != Some(MANAGER) && owner.subresource.is_none();
        is_other && owner.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(PODS.1).is_some())
    });
    meta.managed_fields = Some(others.collect::<Vec<_>>()).filter(|others| !others.is_empty());
}

/// Returns an object without what others have put into its pods and the declaration lacks; None where that is nothing.
pub(crate) fn freed(declared: &Value, live: &Value) -> Option<Freed> {
    let mut object = live.clone();
    let mut fields = Vec::new();
    for owner in live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten() {
        if owner["manager"] == MANAGER || owner.get("subresource").is_some() {
            continue;
        }
        let (Some(owned), Some(pods)) = (owner["fieldsV1"].pointer(PODS.1), object.pointer_mut(PODS.0)) else { continue };
        remove(owned, pods, declared.pointer(PODS.0), "spec.template.spec", &mut fields);
    }
    (!fields.is_empty()).then_some(Freed { fields, object })
}

/// Removes from `live` what `owned` lists and `declared` lacks.
fn remove(owned: &Value, live: &mut Value, declared: Option<&Value>, path: &str, removed: &mut Vec<String>) {
    for (step, below) in owned.as_object().into_iter().flatten() {
        match (step.split_once(':'), &mut *live) {
            (Some(("f", name)), Value::Object(members)) => {
                let declared = declared.and_then(|declared| declared.get(name));
                let path = format!("{path}.{name}");
                let Some(member) = members.get_mut(name) else { continue };
                if declared.is_some() {
                    remove(below, member, declared, &path, removed);
                } else {
                    members.remove(name);
                    removed.push(path);
                }
            }
            (Some(("k", keys)), Value::Array(items)) => {
                let Ok(keys) = serde_json::from_str::<Map<String, Value>>(keys) else { continue };
                let is_it = |item: &Value| keys.iter().all(|(name, value)| item.get(name) == Some(value));
                let declared = declared.and_then(Value::as_array).and_then(|items| items.iter().find(|item| is_it(item)));
                let path = format!("{path}[{}]", keys.values().next().map(text).unwrap_or_default());
                let Some(place) = items.iter().position(is_it) else { continue };
                if declared.is_some() {
                    remove(below, &mut items[place], declared, &path, removed);
                } else {
                    items.remove(place);
                    removed.push(path);
                }
            }
            _ => {}
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the merge patch that makes `before` to `after`.
pub(crate) fn merge_patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = after.iter().filter(|(name, value)| before.get(*name) != Some(value)).map(|(name, value)| {
        let known = before.get(name).unwrap_or(&Value::Null);
        (name.clone(), merge_patch(known, value))
    });
    Value::Object(gone.chain(changed).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared() -> Value {
        let sink = json!({ "name": "sink", "image": "worker:1", "ports": [{ "containerPort": 8080, "protocol": "TCP" }] });
        json!({ "spec": { "replicas": 1, "template": { "spec": { "containers": [sink], "terminationGracePeriodSeconds": 110 } } } })
    }

    /// Returns the declaration after somebody has changed its pods and owns some fields there.
    fn live(owned: &Value, change: impl FnOnce(&mut Value)) -> Value {
        let mut live = declared();
        change(&mut live["spec"]["template"]["spec"]);
        let entry = |manager: &str, owned: &Value| {
            json!({ "manager": manager, "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:spec": { "f:template": { "f:spec": owned } } } })
        };
        let ours = entry(MANAGER, &json!({ "f:containers": { "k:{\"name\":\"sink\"}": { ".": {}, "f:image": {} } } }));
        live["metadata"] = json!({ "managedFields": [ours, entry("kubectl-edit", owned)] });
        live
    }

    #[test]
    fn what_others_put_into_pods_goes_and_what_is_declared_stays() {
        let owned = json!({
            "f:hostNetwork": {},
            "f:terminationGracePeriodSeconds": {},
            "f:containers": {
                "k:{\"name\":\"spy\"}": { ".": {}, "f:image": {}, "f:name": {} },
                "k:{\"name\":\"sink\"}": { "f:command": {}, "f:env": { ".": {}, "k:{\"name\":\"X\"}": { ".": {}, "f:name": {}, "f:value": {} } } },
            },
        });
        let live = live(&owned, |pods| {
            pods["hostNetwork"] = json!(true);
            pods["containers"][0]["command"] = json!(["sh"]);
            pods["containers"][0]["env"] = json!([{ "name": "X", "value": "y" }]);
            pods["containers"][0]["terminationMessagePath"] = json!("/dev/termination-log");
            pods["containers"].as_array_mut().unwrap().insert(0, json!({ "name": "spy", "image": "theirs" }));
        });
        let Freed { mut fields, object } = freed(&declared(), &live).unwrap();
        fields.sort();
        let pods = "spec.template.spec";
        let expected = ["containers[sink].command", "containers[sink].env", "containers[spy]", "hostNetwork"];
        assert_eq!(fields, expected.map(|field| format!("{pods}.{field}")));
        let mut kept = declared();
        kept["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] = json!("/dev/termination-log");
        assert_eq!(object["spec"], kept["spec"], "what the API server adds is nobody's");
        let patch = merge_patch(&live["spec"], &object["spec"]);
        let expected =
            json!({ "template": { "spec": { "hostNetwork": null, "containers": kept["spec"]["template"]["spec"]["containers"] } } });
        assert_eq!(patch, expected);
    }

    #[test]
    fn what_others_own_elsewhere_stays() {
        let owned = json!({ "f:containers": { "k:{\"name\":\"sink\"}": { "f:image": {} } } });
        assert_eq!(freed(&declared(), &live(&owned, |_| {})), None, "a declared field is set right by the declaration");
        let mut paused = declared();
        paused["metadata"] = json!({ "managedFields": [
            { "manager": "kubectl-rollout", "fieldsV1": { "f:spec": { "f:paused": {}, "f:template": { "f:metadata": { "f:annotations": {} } } } } },
            { "manager": "kube-controller-manager", "subresource": "status", "fieldsV1": { "f:status": {} } },
        ] });
        assert_eq!(freed(&declared(), &paused), None);
    }

    #[test]
    fn only_those_are_remembered_who_own_something_in_pods() {
        let mut live = live(&json!({ "f:hostNetwork": {} }), |_| {});
        live["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({ "manager": "other", "fieldsV1": { "f:metadata": {} } }));
        let mut meta: ObjectMeta = serde_json::from_value(live["metadata"].clone()).unwrap();
        keep_owners(&mut meta);
        let kept: Vec<String> = meta.managed_fields.into_iter().flatten().filter_map(|owner| owner.manager).collect();
        assert_eq!(kept, ["kubectl-edit"]);
        let mut without = ObjectMeta::default();
        keep_owners(&mut without);
        assert_eq!(without.managed_fields, None);
    }
}
