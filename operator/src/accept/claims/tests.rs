//! Pairs of pipelines that get along, and pairs that do not.

use serde_json::{Value, json};
use stockpipeline::check::UnknownFields;
use stockpipeline::document;

use super::*;

const FULL: &str = include_str!("../../../../pipeline/tests/fixtures/full.yaml");

/// Returns the full example after a change of its spec.
fn pipeline(change: impl FnOnce(&mut Value)) -> Pipeline {
    let mut body = Value::Object(document::read(FULL).unwrap()[0].body().clone());
    change(&mut body["spec"]);
    let changed = document::read(&body.to_string()).unwrap().remove(0);
    Pipeline::check(&changed, UnknownFields::Error).unwrap().0
}

/// Makes the full example into one that claims nothing of it.
fn apart(spec: &mut Value) {
    spec["kafka"]["topic"]["name"] = json!("other");
    spec["sink"]["bucket"]["name"] = json!("other");
    spec["glue"]["database"]["name"] = json!("other");
}

fn identity(name: &str) -> Identity {
    Identity { name: name.to_owned(), namespace: "n".to_owned(), uid: format!("uid-{name}") }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Returns what a younger pipeline is told beside the full example.
fn told(change: impl FnOnce(&mut Value)) -> Option<String> {
    let (older, younger) = (pipeline(|_| {}), pipeline(change));
    let (first, second) = (identity("a"), identity("b"));
    let (older, younger) = (Claims::of(&older), Claims::of(&younger));
    let other = Claimant { identity: &first, created: at(1), in_force: false, claims: &older };
    conflict(Claimant { identity: &second, created: at(2), in_force: false, claims: &younger }, [other])
}

#[test]
fn the_younger_is_told_what_the_older_has() {
    type Case = (fn(&mut Value), Option<&'static str>);
    let whose = "belongs to pipeline n/a, which had it first; use another one, or delete that pipeline";
    let cases: [Case; 21] = [
        (apart, None),
        (
            |spec| (apart(spec), spec["kafka"]["topic"]["name"] = json!("ticks.us-equities")).1,
            Some("topic ticks.us-equities with consumer group us-equities-sink"),
        ),
        (
            |spec| {
                apart(spec);
                spec["kafka"]["topic"]["name"] = json!("ticks.us-equities");
                spec["kafka"]["consumerGroup"] = json!("another");
            },
            Some("filling topic ticks.us-equities"),
        ),
        (
            |spec| {
                apart(spec);
                spec["kafka"]["topic"]["name"] = json!("ticks.us-equities");
                spec["kafka"]["bootstrapServers"] = json!(["elsewhere:9098"]);
            },
            None,
        ),
        (
            |spec| {
                apart(spec);
                spec["kafka"]["topic"]["name"] = json!("ticks.us-equities");
                spec["kafka"]["consumerGroup"] = json!("another");
                spec["source"] = json!({ "type": "ExternalTopic" });
                spec.as_object_mut().unwrap().remove("producer");
            },
            None,
        ),
        (
            |spec| (apart(spec), spec["sink"]["bucket"]["name"] = json!("my-bucket")).1,
            Some("prefix processed/us-equities of bucket my-bucket"),
        ),
        (|spec| prefixes(spec, "a", "b", "c"), None),
        (|spec| prefixes(spec, "processed", "b", "c"), Some("prefix processed of bucket my-bucket")),
        (|spec| prefixes(spec, "processed/us-equities-2", "b", "c"), None),
        (|spec| prefixes(spec, "a", "b", "_stockpipeline/x"), Some("prefix _stockpipeline/x of bucket my-bucket")),
        // Deleting the data of a pipeline empties the ledger of its consumer group.
        (
            |spec| {
                prefixes(spec, "a", "b", "c");
                spec["sink"]["ledger"]["prefix"] = json!("_stockpipeline");
            },
            Some("ledger _stockpipeline/us-equities-sink of bucket my-bucket"),
        ),
        (
            |spec| {
                prefixes(spec, "a", "b", "c");
                spec["sink"]["ledger"]["prefix"] = json!("_stockpipeline/us-equities-sink");
            },
            Some("ledger _stockpipeline/us-equities-sink/us-equities-sink of bucket my-bucket"),
        ),
        (
            |spec| {
                prefixes(spec, "a", "b", "c");
                spec["sink"]["ledger"]["prefix"] = json!("_stockpipeline");
                spec["kafka"]["consumerGroup"] = json!("us-equities-sink-2");
            },
            None,
        ),
        (|spec| (apart(spec), spec["sink"]["ledger"]["prefix"] = json!("_stockpipeline")).1, None),
        (|spec| (apart(spec), spec["glue"]["database"]["name"] = json!("market_data")).1, Some("table market_data.us_equities")),
        (
            |spec| {
                apart(spec);
                spec["glue"]["database"]["name"] = json!("market_data");
                spec["glue"]["catalogId"] = json!("999999999999");
            },
            None,
        ),
        (
            |spec| {
                apart(spec);
                spec["glue"]["database"]["name"] = json!("market_data");
                spec["glue"].as_object_mut().unwrap().remove("catalogId");
                spec["aws"]["controlPlaneRoleArn"] = json!("arn:aws:iam::111122223333:role/another");
            },
            Some("table market_data.us_equities"),
        ),
        (
            |spec| {
                apart(spec);
                spec["glue"]["database"]["name"] = json!("market_data");
                spec["glue"].as_object_mut().unwrap().remove("catalogId");
                spec["aws"]["controlPlaneRoleArn"] = json!("arn:aws:iam::999999999999:role/another");
            },
            None,
        ),
        (|spec| catalogued_apart(spec, "other", "us_equities_latest"), Some("view market_data.us_equities_latest")),
        (|spec| catalogued_apart(spec, "other", "us_equities_raw"), Some("view market_data.us_equities_raw")),
        (|spec| catalogued_apart(spec, "us_equities_latest", "other_latest"), Some("table market_data.us_equities_latest")),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(told(change), expected.map(|what| format!("{what} {whose}")), "case {index}");
    }
}

fn catalogued_apart(spec: &mut Value, processed: &str, view: &str) {
    apart(spec);
    spec["glue"]["database"]["name"] = json!("market_data");
    spec["glue"]["tables"] = json!({ "processed": processed, "raw": "other_raw", "dlq": "other_dlq" });
    spec["athena"]["views"][0]["name"] = json!(view);
}

#[test]
fn the_case_of_endpoints_and_brokers_tells_nobody_apart() {
    let beside = |change: fn(&mut Value), other: fn(&mut Value)| {
        let (one, other) = (Claims::of(&pipeline(change)), Claims::of(&pipeline(other)));
        shared(&one, &other)
    };
    let catalog = |url: &str| {
        let url = url.to_owned();
        move |spec: &mut Value| {
            apart(spec);
            spec["aws"]["endpoints"] = json!({ "glue": url, "athena": url });
            spec["glue"]["database"]["name"] = json!("market_data");
        }
    };
    let [one, other] = ["http://moto.aws.svc:5000", "http://Moto.AWS.svc:5000/"].map(|url| Claims::of(&pipeline(catalog(url))));
    assert_eq!(shared_table(&one, &other).as_deref(), Some("table market_data.us_equities"));
    let store = beside(
        |spec| spec["aws"]["endpoints"] = json!({ "s3": "http://minio.s3.svc:9000" }),
        |spec| {
            spec["kafka"]["topic"]["name"] = json!("other");
            spec["aws"]["endpoints"] = json!({ "s3": "http://MinIO.s3.svc:9000" });
        },
    );
    assert_eq!(store.as_deref(), Some("prefix processed/us-equities of bucket my-bucket"));
    let topic = beside(
        |spec| spec["kafka"]["bootstrapServers"] = json!(["kafka.svc:9098"]),
        |spec| spec["kafka"]["bootstrapServers"] = json!(["Kafka.svc:9098"]),
    );
    assert_eq!(topic.as_deref(), Some("topic ticks.us-equities with consumer group us-equities-sink"));
}

fn prefixes(spec: &mut Value, processed: &str, raw: &str, dead_letters: &str) {
    apart(spec);
    spec["sink"]["bucket"]["name"] = json!("my-bucket");
    spec["sink"]["processed"]["prefix"] = json!(processed);
    spec["sink"]["raw"]["prefix"] = json!(raw);
    spec["sink"]["onBadRecord"]["prefix"] = json!(dead_letters);
    spec["sink"]["ledger"]["prefix"] = json!("_stockpipeline_b");
}

#[test]
fn the_older_keeps_it_and_of_one_second_exactly_one_does() {
    let same = Claims::of(&pipeline(|_| {}));
    let (first, second) = (identity("a"), identity("b"));
    let cases = [
        ((1, false), (2, false), "a"),
        ((2, false), (1, false), "b"),
        ((1, false), (1, false), "a"),
        // The older one turned to it later: who has it keeps it.
        ((1, false), (2, true), "b"),
        ((1, true), (2, true), "a"),
    ];
    for ((a, a_in_force), (b, b_in_force), winner) in cases {
        let one = Claimant { identity: &first, created: at(a), in_force: a_in_force, claims: &same };
        let other = Claimant { identity: &second, created: at(b), in_force: b_in_force, claims: &same };
        let all = [one, other];
        let winners: Vec<&str> = all.iter().filter(|c| conflict(**c, all).is_none()).map(|c| c.identity.name.as_str()).collect();
        assert_eq!(winners, [winner]);
    }
}
