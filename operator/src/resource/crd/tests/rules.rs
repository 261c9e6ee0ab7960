//! The CEL rules over whole documents, as the API server applies them: after defaults, on create and on update.

use kube::core::cel::{validate_cel, validate_cel_update};
use serde_json::{Value, json};
use stockpipeline::document;

use crate::resource::crd::{StockPipeline, definition};

const FULL: &str = include_str!("../../../../../pipeline/tests/fixtures/full.yaml");
const MINIMAL: &str = include_str!("../../../../../pipeline/tests/fixtures/minimal.yaml");

/// Returns a resource with the schema's defaults, after a change of its body.
fn resource(text: &str, change: impl FnOnce(&mut Value)) -> StockPipeline {
    let mut body = Value::Object(document::read(text).unwrap()[0].body().clone());
    change(&mut body);
    let definition = serde_json::to_value(definition()).unwrap();
    set_defaults(&mut body, &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    serde_json::from_value(body).unwrap()
}

/// Fills in what is missing and drops nulls, as the API server does.
fn set_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if !schema["default"].is_null() && !members.contains_key(name) {
                    members.insert(name.clone(), schema["default"].clone());
                }
                if let Some(member) = members.get_mut(name) {
                    set_defaults(member, schema);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set_defaults(item, &schema["items"])),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Sets a member of the body by its pointer, making it where there is none.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
}

fn told(result: Result<(), impl std::fmt::Display>) -> String {
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn the_examples_break_no_rule() {
    for text in [FULL, MINIMAL] {
        let made = resource(text, |_| {});
        assert_eq!(told(validate_cel(&made)), "");
        assert_eq!(told(validate_cel_update(&made, &made)), "");
    }
}

#[test]
fn a_null_is_an_absent_member() {
    let made = resource(MINIMAL, |body| {
        set(body, "/spec/source/synthetic", Value::Null);
        set(body, "/spec/schema/columns/0/unit", Value::Null);
        set(body, "/spec/athena", Value::Null);
        set(body, "/spec/sink/worker", json!({ "env": [{ "name": "RUST_LOG", "value": "info" }, { "name": "PROXY_NOTE", "value": "" }] }));
    });
    assert_eq!(told(validate_cel(&made)), "");
}

#[test]
fn each_rule_refuses_a_new_resource_with_its_message() {
    let cases = [
        ("/metadata/name", json!("x".repeat(46)), "at most 45 characters"),
        ("/metadata/name", json!("a.b"), "must not have dots"),
        ("/spec/source/type", json!("Synthetic"), "set csvReplay exactly when type is CsvReplay"),
        ("/spec/source/externalTopic", json!({}), "set externalTopic only when"),
        ("/spec/source/csvReplay/configMapRef", json!({ "name": "a", "key": "b" }), "exactly one of uri and configMapRef"),
        ("/spec/source/csvReplay/speed", json!(1.0), "at most one of speed and rowsPerSecond"),
        ("/spec/producer", Value::Null, "producer is required"),
        ("/spec/producer/keyColumn", json!("none"), "producer.keyColumn must name a declared column"),
        ("/spec/schema/eventTimeColumn", json!("symbol"), "must name a Timestamp or Date column"),
        ("/spec/schema/columns/0", json!({ "name": "symbol", "type": "Decimal" }), "precision and scale exactly for a Decimal"),
        ("/spec/schema/columns/6/name", json!("_kafka_x"), "reserved"),
        ("/spec/schema/columns/0/unit", json!("Seconds"), "for a Timestamp only"),
        ("/spec/schema/maxFuture", json!("87601h"), "must be from 0s to 87600h"),
        ("/spec/kafka/auth", json!({ "type": "SaslScram" }), "set saslScram exactly when"),
        ("/spec/kafka/tls", Value::Null, "need tls"),
        ("/spec/kafka/topic/config", json!({ "plugin.library.paths": "x" }), "not on the list"),
        ("/spec/producer/config", json!({ "sasl.kerberos.kinit.cmd": "x" }), "not on the list"),
        ("/spec/sink/worker/replicas", json!(13), "must not exceed kafka.topic.partitions"),
        ("/spec/sink/worker/scaling/minReplicas", json!(13), "minReplicas must not exceed maxReplicas"),
        ("/spec/sink/startFrom", json!({ "type": "Timestamp" }), "set timestamp exactly when"),
        ("/spec/sink/processed/partitionBy/0/column", json!("none"), "must name declared columns"),
        ("/spec/sink/processed/partitionBy/0/name", json!("symbol"), "must not have the name of a column"),
        ("/spec/sink/raw/prefix", json!("a/../b"), "must not have . or .."),
        ("/spec/sink/raw/compression", json!("Snappy"), "JSON lines are compressed"),
        ("/spec/aws/credentials", json!({ "type": "Secret" }), "set secretRef exactly when"),
        ("/spec/glue", Value::Null, "athena needs glue"),
        ("/spec/glue/crawler", json!({ "enabled": true }), "needs roleArn"),
        ("/spec/lifecycle/drainTimeout", json!("25h"), "must be from 1s to 24h"),
        ("/spec/sink/worker/env", json!([{ "name": "LD_PRELOAD", "value": "/x.so" }]), "load code"),
        ("/spec/producer/worker/env", json!([{ "name": "AWS_ENDPOINT_URL", "value": "https://evil.example" }]), "load code"),
        ("/spec/sink/worker/env", json!([{ "name": "https_proxy", "value": "http://evil.example" }]), "load code"),
    ];
    for (pointer, value, message) in cases {
        let told = told(validate_cel(&resource(FULL, |body| set(body, pointer, value))));
        assert!(told.contains(message), "{pointer}: {told:?} does not say {message:?}");
    }
}

#[test]
fn each_rule_refuses_an_update_with_its_message() {
    let cases = [
        ("/spec/kafka/topic/name", json!("other"), "topic.name is immutable"),
        ("/spec/kafka/topic/partitions", json!(11), "can only grow"),
        ("/spec/kafka/topic/partitions", Value::Null, "can only grow, not be removed"),
        ("/spec/kafka/consumerGroup", json!("other"), "consumerGroup is immutable"),
        ("/spec/producer/slots", json!(8), "producer.slots is immutable"),
        ("/spec/producer/slotsTopic", json!("other"), "producer.slotsTopic is immutable"),
        ("/spec/producer/keyColumn", json!("volume"), "producer.keyColumn is immutable"),
        ("/spec/sink/bucket/name", json!("other"), "bucket.name is immutable"),
        ("/spec/sink/raw/prefix", json!("other"), "raw.prefix is immutable"),
        ("/spec/sink/processed/prefix", Value::Null, "processed.prefix is immutable"),
        ("/spec/sink/processed/format", json!("JsonLines"), "processed.format is immutable"),
        ("/spec/sink/processed/partitionBy/0/transform", json!("month"), "processed.partitionBy is immutable"),
        ("/spec/sink/onBadRecord/prefix", json!("other"), "onBadRecord.prefix is immutable"),
        ("/spec/sink/ledger/prefix", json!("other"), "ledger.prefix is immutable"),
        ("/spec/glue/database/name", json!("other"), "glue.database.name is immutable"),
        ("/spec/schema/columns/6/type", json!("Double"), "columns can only be added"),
        ("/spec/schema/columns/2/scale", json!(4), "columns can only be added"),
    ];
    let stored = resource(FULL, |_| {});
    for (pointer, value, message) in cases {
        let told = told(validate_cel_update(&resource(FULL, |body| set(body, pointer, value)), &stored));
        assert!(told.contains(message), "{pointer}: {told:?} does not say {message:?}");
    }
    let reordered = resource(FULL, |body| body["spec"]["sink"]["processed"]["partitionBy"].as_array_mut().unwrap().reverse());
    assert!(told(validate_cel_update(&reordered, &stored)).contains("keeps its order"));
    let column = |nullable| json!({ "name": "extra", "type": "Double", "nullable": nullable });
    let add = |column: Value| resource(FULL, |body| body["spec"]["schema"]["columns"].as_array_mut().unwrap().push(column));
    assert!(told(validate_cel_update(&add(column(false)), &stored)).contains("an added column must be nullable"));
    assert_eq!(told(validate_cel_update(&add(column(true)), &stored)), "");
    let more = resource(FULL, |body| set(body, "/spec/kafka/topic/partitions", json!(24)));
    assert_eq!(told(validate_cel_update(&more, &stored)), "");
}
