//! Patches: JSON merge, JSON patch, and server-side apply with one set of fields a manager. Lists are whole values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::answer::Refused;

/// Merges as RFC 7386 says: a null removes.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Does what a JSON patch of RFC 6902 says, as far as `add`, `replace`, `remove` and `test` go.
pub(super) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Refused> {
    for operation in patch.as_array().into_iter().flatten() {
        let place = operation["path"].as_str().unwrap_or_default();
        let (parent, last) = place.rsplit_once('/').ok_or_else(|| Refused::bad("a JSON patch needs paths"))?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let missing = || Refused { status: axum::http::StatusCode::UNPROCESSABLE_ENTITY, reason: "Invalid", message: place.to_owned() };
        let parent = target.pointer_mut(parent).ok_or_else(missing)?;
        match (operation["op"].as_str().unwrap_or_default(), parent) {
            ("test", parent) => {
                let found = match &*parent {
                    Value::Array(items) => last.parse::<usize>().ok().and_then(|index| items.get(index)),
                    other => other.get(&last),
                };
                if found != Some(&operation["value"]) {
                    return Err(missing());
                }
            }
            ("add" | "replace", Value::Object(members)) => {
                members.insert(last, operation["value"].clone());
            }
            ("add", Value::Array(items)) if last == "-" => items.push(operation["value"].clone()),
            ("add", Value::Array(items)) => items.insert(last.parse().map_err(|_| missing())?, operation["value"].clone()),
            ("remove", Value::Object(members)) => drop(members.remove(&last).ok_or_else(missing)?),
            ("remove", Value::Array(items)) => {
                let index = last.parse::<usize>().ok().filter(|index| *index < items.len()).ok_or_else(missing)?;
                items.remove(index);
            }
            _ => return Err(missing()),
        }
    }
    Ok(())
}

/// What each manager has applied last.
pub(super) type Applied = BTreeMap<String, Value>;

/// Applies what a manager wants: its fields come, and those that it has applied before and names no more go, unless another has them too.
pub(super) fn apply(target: &mut Value, applied: &Applied, manager: &str, wanted: &Value, force: bool) -> Result<(), Refused> {
    let others: Vec<&Value> = applied.iter().filter(|(name, _)| *name != manager).map(|(_, value)| value).collect();
    if !force && let Some(path) = others.iter().find_map(|other| clash(other, wanted, "")) {
        return Err(Refused::conflict(format!("Apply failed with 1 conflict: conflict: {path}")));
    }
    if let Some(before) = applied.get(manager) {
        remove(target, before, wanted, &others);
    }
    merge(target, wanted);
    Ok(())
}

/// Returns the first field that two managers want to be different.
fn clash(other: &Value, wanted: &Value, path: &str) -> Option<String> {
    match (other, wanted) {
        (Value::Object(other), Value::Object(wanted)) => {
            wanted.iter().find_map(|(name, value)| clash(other.get(name)?, value, &format!("{path}.{name}")))
        }
        (other, wanted) => (other != wanted).then(|| path.to_owned()),
    }
}

fn remove(target: &mut Value, before: &Value, wanted: &Value, others: &[&Value]) {
    let (Value::Object(members), Value::Object(before)) = (target, before) else { return };
    for (name, before) in before {
        let shared: Vec<&Value> = others.iter().filter_map(|other| other.get(name)).collect();
        match wanted.get(name) {
            Some(wanted) => {
                if let Some(member) = members.get_mut(name) {
                    remove(member, before, wanted, &shared);
                }
            }
            None if before.is_object() => {
                if let Some(member) = members.get_mut(name) {
                    remove(member, before, &Value::Object(Map::new()), &shared);
                    if member.as_object().is_some_and(Map::is_empty) {
                        members.remove(name);
                    }
                }
            }
            None if shared.is_empty() => drop(members.remove(name)),
            None => {}
        }
    }
}
