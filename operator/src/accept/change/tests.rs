//! Each rule once, against the full example.

use serde_json::{Value, json};
use stockpipeline::check::UnknownFields;
use stockpipeline::document;

use super::*;

const NONE: [&str; 0] = [];
const FULL: &str = include_str!("../../../../pipeline/tests/fixtures/full.yaml");

fn pipeline(change: impl FnOnce(&mut Value)) -> Pipeline {
    let mut body = Value::Object(document::read(FULL).unwrap()[0].body().clone());
    change(&mut body["spec"]);
    let changed = document::read(&body.to_string()).unwrap().remove(0);
    Pipeline::check(&changed, UnknownFields::Error).unwrap().0
}

fn paths(change: impl FnOnce(&mut Value)) -> Vec<String> {
    // As a revision gives it back.
    let kept = serde_json::to_string(&Bounds::of(&pipeline(|_| {}))).unwrap();
    forbidden(&serde_json::from_str(&kept).unwrap(), &Kept::new(), &pipeline(change)).into_iter().map(|error| error.path).collect()
}

#[test]
fn what_is_immutable_is_told_by_its_path() {
    let cases = [
        ("/kafka/topic/partitions", json!(11), "spec.kafka.topic.partitions"),
        ("/kafka/consumerGroup", json!("other"), "spec.kafka.consumerGroup"),
        ("/producer/slots", json!(8), "spec.producer.slots"),
        ("/sink/bucket/name", json!("other"), "spec.sink.bucket.name"),
        ("/sink/raw/prefix", json!("other"), "spec.sink.raw.prefix"),
        ("/sink/processed/prefix", json!("other"), "spec.sink.processed.prefix"),
        ("/sink/processed/format", json!("JsonLines"), "spec.sink.processed.format"),
        ("/sink/processed/partitionBy/0/transform", json!("month"), "spec.sink.processed.partitionBy"),
        ("/sink/onBadRecord/prefix", json!("other"), "spec.sink.onBadRecord.prefix"),
        ("/sink/ledger/prefix", json!("other"), "spec.sink.ledger.prefix"),
        ("/glue/database/name", json!("other"), "spec.glue.database.name"),
        ("/schema/columns/6/type", json!("Double"), "spec.schema.columns[6].type"),
        ("/schema/columns/2/scale", json!(4), "spec.schema.columns[2].type"),
    ];
    for (pointer, value, expected) in cases {
        assert_eq!(paths(|spec| *spec.pointer_mut(pointer).unwrap() = value), [expected], "{pointer}");
    }
    // The slots topic is named after the topic unless it is set.
    let topic = |spec: &mut Value| spec["kafka"]["topic"]["name"] = json!("other");
    assert_eq!(paths(topic), ["spec.kafka.topic.name", "spec.producer.slotsTopic"]);
    let key = |spec: &mut Value| {
        spec["schema"]["columns"].as_array_mut().unwrap().push(json!({ "name": "venue", "type": "String" }));
        spec["producer"]["keyColumn"] = json!("venue");
    };
    assert_eq!(paths(key), ["spec.producer.keyColumn"]);
    assert_eq!(paths(|spec| spec["producer"]["slotsTopic"] = json!("other")), ["spec.producer.slotsTopic"]);
}

#[test]
fn the_order_of_partitions_is_part_of_every_path() {
    let reordered = |spec: &mut Value| spec["sink"]["processed"]["partitionBy"].as_array_mut().unwrap().reverse();
    assert_eq!(paths(reordered), ["spec.sink.processed.partitionBy"]);
}

#[test]
fn columns_are_added_at_the_end_and_nullable() {
    fn columns(spec: &mut Value) -> &mut Vec<Value> {
        spec["schema"]["columns"].as_array_mut().unwrap()
    }
    let extra = json!({ "name": "extra", "type": "Double" });
    assert_eq!(paths(|spec| columns(spec).push(extra.clone())), NONE);
    assert_eq!(paths(|spec| drop(columns(spec).pop())), ["spec.schema.columns"]);
    assert_eq!(paths(|spec| columns(spec).insert(6, extra.clone())), ["spec.schema.columns"]);
    let required = json!({ "name": "extra", "type": "Double", "nullable": false });
    assert_eq!(paths(|spec| columns(spec).push(required)), ["spec.schema.columns[7].nullable"]);
    let forced = |spec: &mut Value| {
        spec["schema"]["evolution"] = json!("Unrestricted");
        columns(spec).pop();
    };
    assert_eq!(paths(forced), NONE);
}

#[test]
fn what_may_change_is_let_through() {
    let cases = [
        ("/kafka/topic/partitions", json!(24)),
        ("/sink/worker/replicas", json!(1)),
        ("/sink/processed/compression", json!("Snappy")),
        ("/sink/rotation/maxInterval", json!("10s")),
        ("/schema/columns/0/from", json!("Symbol")),
        ("/glue/tables/processed", json!("other")),
    ];
    for (pointer, value) in cases {
        assert_eq!(paths(|spec| *spec.pointer_mut(pointer).unwrap() = value), NONE, "{pointer}");
    }
    let without = |member: &'static str| move |spec: &mut Value| drop(spec["sink"].as_object_mut().unwrap().remove(member));
    assert!(
        forbidden(&Bounds::of(&pipeline(|_| {})), &Kept::new(), &pipeline(|spec| drop(spec.as_object_mut().unwrap().remove("athena"))))
            .is_empty()
    );
    let no_raw = |spec: &mut Value| {
        without("raw")(spec);
        spec["glue"]["tables"].as_object_mut().unwrap().remove("raw");
    };
    assert_eq!(paths(no_raw), NONE);
}

#[test]
fn a_part_that_goes_and_comes_again_is_as_it_was() {
    let first = pipeline(|_| {});
    let without = pipeline(|spec| {
        spec["sink"].as_object_mut().unwrap().remove("raw");
        spec["glue"]["tables"].as_object_mut().unwrap().remove("raw");
    });
    let kept_of = |accepted: &Pipeline, before: &Kept, next: &Pipeline| {
        assert_eq!(forbidden(&Bounds::of(accepted), before, next), []);
        kept(&Bounds::of(accepted), before, next)
    };
    let once = kept_of(&first, &Kept::new(), &without);
    let twice = kept_of(&without, &once, &without);
    assert!(twice == once && once.len() == 1, "{once:?}");
    let again = pipeline(|spec| spec["sink"]["raw"]["prefix"] = json!("another"));
    let refused: Vec<String> = forbidden(&Bounds::of(&without), &twice, &again).into_iter().map(|error| error.path).collect();
    assert_eq!(refused, ["spec.sink.raw.prefix"]);
    assert_eq!(kept_of(&without, &twice, &first), Kept::new(), "what is there again is kept by the spec itself");
}
