//! In which fields two states of an object differ, for people: pure, on JSON.

use serde::Serialize;
use serde_json::{Map, Value};

/// Fields of one object that are listed; an object that differs in more is as good as another one.
const MOST: usize = 200;
/// Metadata that the API server and other controllers keep.
const VOLATILE: [&str; 6] = ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];
/// Annotation that `kubectl apply` keeps for itself.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Which field, such as `spec.sink.worker.replicas`.
    pub path: String,
    /// What stands there; None where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What would stand there; None where nothing would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Returns every field in which two states of an object differ, as far as anybody but the API server decides them.
pub(super) fn fields(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("", &plain(before), &plain(after), &mut found);
    found
}

/// Returns an object without what nobody declares.
fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(members) = object.as_object_mut() else { return object };
    members.remove("status");
    if let Some(Value::Object(metadata)) = members.get_mut("metadata") {
        metadata.retain(|name, _| !VOLATILE.contains(&name.as_str()));
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|name, _| name != LAST_APPLIED && !name.starts_with("deployment.kubernetes.io/"));
        }
    }
    object
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<FieldChange>) {
    if before == after || found.len() >= MOST {
        return;
    }
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => compare_members(path, before, after, found),
        (Value::Array(before), Value::Array(after)) => match (by_name(before), by_name(after)) {
            (Some(before), Some(after)) => compare_items(path, &before, &after, found),
            _ => compare_places(path, before, after, found),
        },
        (before, after) => {
            let given = |value: &Value| (!is_empty(value)).then(|| value.clone());
            let (before, after) = (given(before), given(after));
            if before.is_some() || after.is_some() {
                found.push(FieldChange { path: path.to_owned(), before, after });
            }
        }
    }
}

fn compare_members(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Vec<FieldChange>) {
    let join = |name: &str| match (path.is_empty(), name.contains(['.', '/'])) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{path}[{name}]"),
        (false, false) => format!("{path}.{name}"),
    };
    for (name, value) in before {
        compare(&join(name), value, after.get(name).unwrap_or(&Value::Null), found);
    }
    for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        compare(&join(name), &Value::Null, value, found);
    }
}

fn compare_items(path: &str, before: &[(&str, &Value)], after: &[(&str, &Value)], found: &mut Vec<FieldChange>) {
    let of = |items: &[(&str, &Value)], name: &str| {
        items.iter().find(|(other, _)| *other == name).map_or(Value::Null, |(_, item)| (*item).clone())
    };
    for (name, item) in before {
        compare(&format!("{path}[{name}]"), item, &of(after, name), found);
    }
    for (name, item) in after.iter().filter(|(name, _)| !before.iter().any(|(other, _)| other == name)) {
        compare(&format!("{path}[{name}]"), &Value::Null, item, found);
    }
    let order = |items: &[(&str, &Value)], others: &[(&str, &Value)]| -> Vec<String> {
        let both = items.iter().filter(|(name, _)| others.iter().any(|(other, _)| other == name));
        both.map(|(name, _)| (*name).to_owned()).collect()
    };
    let (was, is) = (order(before, after), order(after, before));
    if was != is {
        found.push(FieldChange { path: format!("{path} (order)"), before: Some(was.into()), after: Some(is.into()) });
    }
}

fn compare_places(path: &str, before: &[Value], after: &[Value], found: &mut Vec<FieldChange>) {
    for index in 0..before.len().max(after.len()) {
        let at = |items: &[Value]| items.get(index).cloned().unwrap_or(Value::Null);
        compare(&format!("{path}[{index}]"), &at(before), &at(after), found);
    }
}

/// Returns the items of a list by their names, when each has one that no other has.
fn by_name(items: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let named: Vec<(&str, &Value)> = items.iter().map(|item| Some((item.get("name")?.as_str()?, item))).collect::<Option<_>>()?;
    let mut different: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    different.sort_unstable();
    different.dedup();
    (different.len() == named.len()).then_some(named)
}

/// An absent member, a null and an empty one are the same to the API server.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns the patch that `kubectl apply` would send: what is given, and a null for what it applied before and is given no more.
pub(super) fn three_way(last_applied: &Value, given: &Value) -> Value {
    let (Value::Object(last), Value::Object(given)) = (last_applied, given) else { return given.clone() };
    let mut patch = given.clone();
    for (name, last) in last {
        match given.get(name) {
            Some(value) => drop(patch.insert(name.clone(), three_way(last, value))),
            None => drop(patch.insert(name.clone(), Value::Null)),
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(before: &Value, after: &Value) -> Vec<String> {
        let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), ToString::to_string);
        fields(before, after).iter().map(|change| format!("{}: {} -> {}", change.path, show(&change.before), show(&change.after))).collect()
    }

    #[test]
    fn each_field_that_differs_is_named_once() {
        let before = json!({ "spec": { "a": 1, "gone": [1], "same": { "x": [] }, "labels": { "app.example/x": "1" } } });
        let after = json!({ "spec": { "a": 2, "new": "y", "same": { "x": null }, "labels": { "app.example/x": "2" } } });
        assert_eq!(
            check(&before, &after),
            ["spec.a: 1 -> 2", "spec.gone[0]: 1 -> nothing", "spec.labels[app.example/x]: \"1\" -> \"2\"", "spec.new: nothing -> \"y\""]
                .map(|line| if line.starts_with("spec.gone") { "spec.gone: [1] -> nothing".to_owned() } else { line.to_owned() })
        );
    }

    #[test]
    fn items_with_names_are_found_wherever_they_stand() {
        let before = json!({ "columns": [{ "name": "a", "type": "Int" }, { "name": "b" }] });
        let after = json!({ "columns": [{ "name": "a", "type": "Bigint" }, { "name": "c" }, { "name": "b" }] });
        assert_eq!(check(&before, &after), ["columns[a].type: \"Int\" -> \"Bigint\"", "columns[c]: nothing -> {\"name\":\"c\"}"]);
        let swapped = json!({ "columns": [{ "name": "b" }, { "name": "a", "type": "Int" }] });
        assert_eq!(check(&before, &swapped), ["columns (order): [\"a\",\"b\"] -> [\"b\",\"a\"]"]);
        assert_eq!(check(&json!({ "args": ["a", "b"] }), &json!({ "args": ["a"] })), ["args[1]: \"b\" -> nothing"]);
    }

    #[test]
    fn what_the_api_server_keeps_is_no_difference() {
        let before = json!({ "metadata": { "uid": "1", "generation": 1, "resourceVersion": "5", "annotations": { LAST_APPLIED: "{}" } }, "status": 1 });
        let after = json!({ "metadata": { "uid": "2", "generation": 2, "annotations": { "deployment.kubernetes.io/revision": "2" } } });
        assert_eq!(check(&before, &after), Vec::<String>::new());
    }

    #[test]
    fn what_kubectl_applied_before_and_is_given_no_more_is_removed() {
        let last = json!({ "spec": { "a": 1, "b": { "c": 1, "d": 2 } }, "metadata": { "labels": { "x": "y" } } });
        let given = json!({ "spec": { "b": { "c": 1 } }, "metadata": {} });
        assert_eq!(three_way(&last, &given), json!({ "spec": { "b": { "c": 1, "d": null }, "a": null }, "metadata": { "labels": null } }));
    }
}
