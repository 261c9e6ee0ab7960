//! What holds for every document: no panic, and what checks once checks again after a round trip.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::{self, Document};
use stockpipeline::spec::PipelineSpec;

const FIXTURES: [&str; 4] = [
    include_str!("../fixtures/full.yaml"),
    include_str!("../fixtures/minimal.yaml"),
    include_str!("../../../examples/demo.yaml"),
    include_str!("../../../examples/spy-ticks.yaml"),
];

/// Values that are right in some place, so that many changed documents still check.
fn plausible() -> impl Strategy<Value = Value> {
    let words = [
        "symbol",
        "ts",
        "close",
        "Date",
        "Timestamp",
        "String",
        "Decimal",
        "Int",
        "Bigint",
        "Random",
        "File",
        "EventTime",
        "Zstd",
        "Gzip",
        "Snappy",
        "None",
        "Parquet",
        "JsonLines",
        "CsvReplay",
        "Synthetic",
        "ExternalTopic",
        "Latest",
        "Earliest",
        "Lag",
        "External",
        "Fixed",
        "Observe",
        "Managed",
        "Delete",
        "Retain",
        "day",
        "month",
        "year",
        "hour",
        "identity",
        "bucket(7)",
        "truncate(3)",
        "America/New_York",
        "UTC",
        "10m",
        "1s500ms",
        "720h",
        "0s",
        "%Y-%m-%d",
        "a/b",
        "..",
        "/",
        "x_1",
        "s3://my-bucket/a/b",
        "https://h/x",
        "kafka:9092",
        "25 9 * * 1-5",
        "é",
        "",
    ];
    prop_oneof![
        4 => proptest::sample::select(words.to_vec()).prop_map(Value::from),
        2 => prop_oneof![Just(0_i64), Just(1), Just(2), Just(6), Just(38), Just(110), Just(2_000_000), any::<i64>()].prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({})),
        1 => Just(json!([])),
        1 => any::<f64>().prop_map(Value::from),
        1 => ".{0,40}".prop_map(Value::from),
    ]
}

/// Any JSON value, a few levels deep.
fn arbitrary() -> impl Strategy<Value = Value> {
    plausible().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec(("[a-zA-Z._-]{0,12}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Pointers of every value within a value.
fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(name, member)| pointers(member, &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), found));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| pointers(item, &format!("{path}/{index}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The default fields spelled out, so that every field can be changed.
fn spelled_out(text: &str) -> Value {
    let document = document::read(text).unwrap().remove(0);
    let spec: PipelineSpec = serde_json::from_value(document.body()["spec"].clone()).unwrap();
    json!({"apiVersion": document::API_VERSION, "kind": document::KIND, "metadata": document.body()["metadata"], "spec": spec})
}

fn changed() -> impl Strategy<Value = Value> {
    let change = (any::<Index>(), prop_oneof![3 => plausible(), 1 => arbitrary()]);
    (any::<Index>(), proptest::collection::vec(change, 1..4)).prop_map(|(fixture, changes)| {
        let mut value = spelled_out(FIXTURES[fixture.index(FIXTURES.len())]);
        for (place, replacement) in changes {
            let mut found = Vec::new();
            pointers(&value["spec"], "/spec", &mut found);
            pointers(&value["metadata"], "/metadata", &mut found);
            let pointer = &found[place.index(found.len())];
            *value.pointer_mut(pointer).unwrap() = replacement;
        }
        value
    })
}

fn check(document: &Document) -> Option<Pipeline> {
    let strict = Pipeline::check(document, UnknownFields::Error);
    let lenient = Pipeline::check(document, UnknownFields::Warn);
    if let Err(errors) = &strict {
        assert!(!errors.is_empty());
        for line in errors.iter().map(ToString::to_string) {
            assert!(!line.contains('\n') && line.chars().count() < 4_000, "{line}");
        }
    }
    let pipeline = strict.ok().map(|(pipeline, _)| pipeline);
    if let Some(pipeline) = &pipeline {
        assert_eq!(lenient.ok().map(|(pipeline, _)| pipeline).as_ref(), Some(pipeline));
    }
    pipeline
}

fn read_one(text: &str) -> Document {
    document::read(text).unwrap().remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_document_panics_and_what_checks_checks_again(value in changed()) {
        let document = read_one(&serde_yaml::to_string(&value).unwrap());
        let Some(pipeline) = check(&document) else { return Ok(()) };
        let again = read_one(&document.to_yaml());
        prop_assert_eq!(check(&again), Some(pipeline.clone()));
        // Null stands for an absent field, which only the check knows.
        if let Ok(spec) = serde_json::from_value::<PipelineSpec>(value["spec"].clone()) {
            let written = serde_json::to_value(&spec).unwrap();
            prop_assert_eq!(&serde_json::from_value::<PipelineSpec>(written.clone()).unwrap(), &spec);
            let typed = Document::new(&pipeline.name, pipeline.namespace.as_deref(), written);
            prop_assert_eq!(check(&read_one(&typed.to_yaml())), Some(pipeline));
        }
    }

    #[test]
    fn no_text_panics(text in "(apiVersion: stockpipeline.dev/v1alpha1\nkind: StockPipeline\nmetadata:|spec:|\\PC|[ \n\t{}\\[\\]:,&*!|>'\"-]){0,40}") {
        if let Ok(documents) = document::read(&text) {
            for document in &documents {
                check(document);
            }
        }
    }
}

#[test]
fn many_of_the_changed_documents_check() {
    // Else the property above would say nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = changed();
    let checked = (0..200).filter(|_| {
        let value = proptest::strategy::ValueTree::current(&strategy.new_tree(&mut runner).unwrap());
        check(&read_one(&serde_yaml::to_string(&value).unwrap())).is_some()
    });
    assert!(checked.count() > 10);
}
