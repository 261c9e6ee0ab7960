//! Kubernetes' own JSON forms, as a user writes them, to typed values: strictly, so that no misspelt field is lost silently.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stockpipeline::check::FieldError;

/// Returns the typed value of a field.
///
/// # Errors
/// A [`FieldError`] names the member that Kubernetes' type does not have, or says what is wrong with the value.
pub(super) fn read<T: Serialize + DeserializeOwned>(path: &str, value: &Value) -> Result<T, FieldError> {
    let typed: T = serde_json::from_value(value.clone())
        .map_err(|error| refuse(path, format!("is not what Kubernetes takes here ({error})"), "compare it with kubectl explain"))?;
    let kept = serde_json::to_value(&typed).expect("Kubernetes' types have text keys only, so they are always JSON");
    match lost(path, value, &kept) {
        Some(member) => Err(refuse(&member, "is no field that Kubernetes has here".to_owned(), "compare it with kubectl explain")),
        None => Ok(typed),
    }
}

/// Returns an error about a field.
pub(super) fn refuse(path: &str, reason: String, remedy: &str) -> FieldError {
    FieldError { path: path.to_owned(), value: String::new(), reason, remedy: remedy.to_owned() }
}

/// Returns the path of the first member that was given and not kept.
fn lost(path: &str, given: &Value, kept: &Value) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match kept.get(name) {
                Some(kept) => lost(&path, value, kept),
                None if is_empty(value) => None,
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => {
            given.iter().zip(kept).enumerate().find_map(|(index, (given, kept))| lost(&format!("{path}[{index}]"), given, kept))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Affinity;
    use serde_json::json;

    use super::*;

    fn check(value: &Value) -> Result<(), String> {
        read::<Affinity>("affinity", value).map(|_| ()).map_err(|error| error.path)
    }

    #[test]
    fn a_misspelt_member_is_named_instead_of_lost() {
        assert_eq!(check(&json!({ "nodeAffinity": {}, "podAffinity": null })), Ok(()));
        assert_eq!(check(&json!({ "nodeAfinity": { "x": 1 } })), Err("affinity.nodeAfinity".to_owned()));
        let deep =
            json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "zone", "weigth": 3 }] } });
        assert_eq!(check(&deep), Err("affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].weigth".to_owned()));
        assert_eq!(check(&json!({ "nodeAffinity": 7 })), Err("affinity".to_owned()));
    }
}
