//! The custom resource: the contract's spec in Kubernetes' envelope, with status, scale, columns and the rules that need metadata.
//!
//! The spec is kept as the JSON that the API server gives: [`stockpipeline::check`] alone reads it. So an object that an older or
//! newer schema let in is listed like any other, and only its own pipeline is refused.

pub mod report;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stockpipeline::spec::PipelineSpec;

use report::StockPipelineStatus;

/// The spec of a `StockPipeline` as it is stored: [`PipelineSpec`]'s schema over unchecked members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "stockpipeline.dev",
    version = "v1alpha1",
    kind = "StockPipeline",
    plural = "stockpipelines",
    shortname = "sp",
    category = "streaming",
    namespaced,
    derive = "PartialEq",
    doc = "A stream of stock records: from its source through Kafka to queryable tables on S3.",
    status = "StockPipelineStatus",
    scale(
        spec_replicas_path = ".spec.sink.worker.replicas",
        status_replicas_path = ".status.sink.replicas",
        label_selector_path = ".status.sink.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Producers", type_ = "string", json_path = ".status.producer.summary"),
    printcolumn(name = "Sinks", type_ = "string", json_path = ".status.sink.summary"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.kafka.lag.total"),
    printcolumn(name = "Last-Commit", type_ = "date", json_path = ".status.sink.lastCommitTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Table", type_ = "string", json_path = ".status.glue.processedTable", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 45")
        .message("metadata.name must have at most 45 characters, since the names of everything made for it start with it"),
    validation = Rule::new("!self.metadata.name.contains('.')").message("metadata.name must not have dots, since names made from it may not")
)]
pub struct StockPipelineSpec {
    /// Members of the spec, as they are stored.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

impl JsonSchema for StockPipelineSpec {
    fn schema_name() -> Cow<'static, str> {
        PipelineSpec::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = PipelineSpec::json_schema(generator);
        drop_null(&mut schema);
        schema
    }
}

/// Makes optional members plain ones, here and below. The API server drops a null from a member that is not nullable, which is what
/// the check does too. In a nullable one it would stay: `has()` would see it, and an enum would refuse it.
fn drop_null(schema: &mut Schema) {
    transform_subschemas(&mut drop_null, schema);
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = members.get("anyOf") else { return };
    if let [Value::Object(value), Value::Object(null)] = choices.as_slice()
        && null.get("type").is_some_and(|name| name == "null")
    {
        let value = value.clone();
        members.remove("anyOf");
        for (name, member) in value {
            // The member's own text says more than its type's.
            members.entry(name).or_insert(member);
        }
    }
}

/// Returns the definition of the custom resource.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    StockPipeline::crd()
}

/// Returns the definition as YAML: what `crd` prints and `crds/stockpipelines.yaml` holds.
#[must_use]
pub fn definition_yaml() -> String {
    let definition = serde_json::to_value(definition()).expect("a definition has text keys only, so it is always JSON");
    let yaml = serde_yaml::to_string(&definition).expect("JSON values with text keys are always YAML");
    let mut quoted = String::with_capacity(yaml.len());
    for line in yaml.lines() {
        // Readers of YAML 1.1 take a bare instant for a date, which is no default of a text.
        match line.split_once("default: ") {
            Some((indent, value)) if value.parse::<jiff::Timestamp>().is_ok() => quoted.extend([indent, "default: '", value, "'\n"]),
            Some(_) | None => quoted.extend([line, "\n"]),
        }
    }
    quoted
}
