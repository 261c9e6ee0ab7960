//! The definition as the API server will judge it, and the committed file.

mod rules;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use stockpipeline::check::spec_schema;

use super::*;

/// Bytes that an object may have so that client-side apply can keep a copy of it in an annotation.
const MAX_APPLIED_BYTES: usize = 256 * 1024;

/// Keywords of a structural schema that this definition may use.
const KEYWORDS: [&str; 26] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Keywords that a spec's schema must have as the check has them.
const KEPT: [&str; 8] =
    ["default", "pattern", "maxLength", "minLength", "maxItems", "maxProperties", "x-kubernetes-list-map-keys", "x-kubernetes-validations"];

fn root() -> Value {
    let definition = serde_json::to_value(definition()).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with every schema of a schema, and its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), member, visit);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            walk(&format!("{path}[]"), &schema[below], visit);
        }
    }
}

#[test]
fn the_committed_definition_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/stockpipelines.yaml");
    let current = definition_yaml();
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == current, "crds/stockpipelines.yaml is not what the types say; run `make golden` and read the diff");
}

#[test]
fn the_schema_is_structural() {
    walk("", &root(), &mut |path, schema| {
        for keyword in schema.as_object().unwrap().keys() {
            assert!(KEYWORDS.contains(&keyword.as_str()), "{path}: {keyword} is no keyword of a structural schema");
        }
        let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == json!(true);
        assert!(typed, "{path}: has no single type: {schema}");
        assert!(!(schema["nullable"] == json!(true) && path.starts_with(".spec")), "{path}: a null would be stored");
    });
}

#[test]
fn everything_a_user_sets_is_explained() {
    walk("", &root(), &mut |path, schema| {
        let named = !path.is_empty() && !path.ends_with("[]");
        assert!(!named || schema["description"].as_str().is_some_and(|text| !text.is_empty()), "{path}: has no description");
    });
    let rounding = &root()["properties"]["spec"]["properties"]["schema"]["properties"]["columns"]["items"]["properties"]["rounding"];
    assert!(rounding["description"].as_str().unwrap().contains("Default: Reject"), "the member's own text, not its type's: {rounding}");
}

#[test]
fn the_definition_can_be_applied_on_the_client_side() {
    let bytes = serde_json::to_string(&definition()).unwrap().len();
    assert!(bytes < MAX_APPLIED_BYTES, "{bytes} bytes");
}

#[test]
fn bounds_defaults_and_rules_are_those_of_the_check() {
    let kept = |schema: &Value| {
        let mut found = BTreeMap::new();
        walk("", schema, &mut |path, schema| {
            for keyword in KEPT {
                if !schema[keyword].is_null() {
                    found.insert(format!("{path} {keyword}"), schema[keyword].clone());
                }
            }
        });
        found
    };
    let mut checked: Schema = spec_schema().try_into().unwrap();
    drop_null(&mut checked);
    let (ours, theirs) = (kept(&root()["properties"]["spec"]), kept(checked.as_value()));
    for place in ours.keys().chain(theirs.keys()) {
        assert_eq!(ours.get(place), theirs.get(place), "{place}");
    }
}

#[test]
fn every_default_fits_its_own_schema() {
    walk("", &root(), &mut |path, schema| {
        let default = &schema["default"];
        let fits = match schema["type"].as_str() {
            _ if default.is_null() => true,
            Some("object") => {
                default.as_object().is_some_and(|members| {
                    members.iter().all(|(name, member)| {
                        let declared = &schema["properties"][name];
                        // A default says the same wherever it stands: no zeros of a derived Default.
                        declared.is_object() && (declared["default"].is_null() || &declared["default"] == member)
                    })
                })
            }
            Some("array") => default.is_array(),
            Some("string") => default.is_string(),
            Some("integer") => {
                let bound = |name: &str| schema[name].as_f64();
                default.as_f64().is_some_and(|number| {
                    bound("minimum").is_none_or(|least| number >= least) && bound("maximum").is_none_or(|most| number <= most)
                })
            }
            Some("number") => default.is_number(),
            Some("boolean") => default.is_boolean(),
            Some(_) | None => false,
        };
        assert!(fits, "{path}: {default}");
        if let Some(words) = schema["enum"].as_array() {
            assert!(default.is_null() || words.contains(default), "{path}: {default}");
        }
    });
}

#[test]
fn lists_and_texts_of_the_spec_are_bounded() {
    walk("", &root()["properties"]["spec"], &mut |path, schema| {
        let bounded = match schema["type"].as_str() {
            Some("array") => schema["maxItems"].is_u64(),
            Some("string") => schema["maxLength"].is_u64() || schema["enum"].is_array(),
            Some("object") if schema["additionalProperties"].is_object() => schema["maxProperties"].is_u64(),
            Some(_) | None => true,
        };
        assert!(bounded, "{path}: {schema}");
    });
}

#[test]
fn replicas_are_scaled_through_the_resource_itself() {
    let definition = definition();
    let version = &definition.spec.versions[0];
    let scale = version.subresources.as_ref().unwrap().scale.clone().unwrap();
    assert_eq!(scale.spec_replicas_path, ".spec.sink.worker.replicas");
    assert_eq!(scale.status_replicas_path, ".status.sink.replicas");
    assert_eq!(scale.label_selector_path.as_deref(), Some(".status.sink.selector"));
    let root = root();
    for path in [scale.spec_replicas_path, scale.status_replicas_path, ".status.sink.selector".to_owned()] {
        let found = path.split('.').skip(1).fold(&root, |schema, name| &schema["properties"][name]);
        assert!(found["type"].is_string(), "{path}");
    }
    let columns: Vec<&str> = version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["Phase", "Ready", "Reason", "Producers", "Sinks", "Lag", "Last-Commit", "Age", "Table", "Message"]);
}

#[test]
fn no_member_of_the_status_is_required_of_an_operator_that_does_not_know_it() {
    fn required(path: &str, schema: &Value, found: &mut Vec<String>) {
        found.extend(schema["required"].as_array().into_iter().flatten().map(|name| format!("{path}.{}", name.as_str().unwrap())));
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            required(&format!("{path}.{name}"), member, found);
        }
        if schema["items"].is_object() {
            required(&format!("{path}[]"), &schema["items"], found);
        }
    }
    let definition = serde_json::to_value(definition()).unwrap();
    let mut found = Vec::new();
    required("status", &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"], &mut found);
    // Kubernetes' own type, and the key of a list.
    found.retain(|path| !path.starts_with("status.conditions[]."));
    assert_eq!(found, ["status.glue.tables[].name"]);
}

#[test]
fn an_object_that_no_check_would_pass_is_still_read() {
    let stored = json!({
        "apiVersion": "stockpipeline.dev/v1alpha1",
        "kind": "StockPipeline",
        "metadata": { "name": "old" },
        "spec": { "sink": 7, "gone": { "since": "v0" } },
    });
    let read: StockPipeline = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read.spec).unwrap(), stored["spec"]);
}
