//! Every rule of the schema as the API server judges it, on create and on update, with its message.

use std::collections::BTreeSet;

use kube::api::PostParams;
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::{StockPipeline, definition};

use super::{FULL, MINIMAL, Namespace, client, resource, set};

/// A document, a change of it by pointer, and what the refusal says.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// Changes that make a document one that must not be created. Values are JSON; null takes a member away.
const CREATES: &[Case] = &[
    (FULL, &[("/metadata/name", "\"a-name-of-forty-six-characters-is-one-too-long\"")], "metadata.name must have at most 45 characters"),
    (FULL, &[("/metadata/name", "\"a.b\"")], "metadata.name must not have dots"),
    (FULL, &[("/spec/producer", "null")], "producer is required, unless source.type is ExternalTopic"),
    (FULL, &[("/spec/schema/eventTimeColumn", "\"symbol\"")], "schema.eventTimeColumn must name a Timestamp or Date column"),
    (FULL, &[("/spec/sink/processed/partitionBy/0/column", "\"none\"")], "sink.processed.partitionBy must name declared columns"),
    (FULL, &[("/spec/sink/processed/partitionBy/0/name", "\"symbol\"")], "a partition must not have the name of a column"),
    (FULL, &[("/spec/producer/keyColumn", "\"none\"")], "producer.keyColumn must name a declared column"),
    (FULL, &[("/spec/sink/worker/replicas", "13")], "sink.worker.replicas must not exceed kafka.topic.partitions"),
    (MINIMAL, &[("/spec/sink/worker", r#"{"replicas": 7}"#)], "sink.worker.replicas must not exceed kafka.topic.partitions (6 unless set)"),
    (FULL, &[("/spec/glue", "null")], "athena needs glue, whose database it queries"),
    (FULL, &[("/spec/aws/credentials", r#"{"type": "Secret"}"#)], "set secretRef exactly when type is Secret"),
    (FULL, &[("/spec/glue/crawler", r#"{"enabled": true}"#)], "an enabled crawler needs roleArn"),
    (FULL, &[("/spec/kafka/tls", "null")], "MskIam and MutualTls need tls: {enabled: true}"),
    (FULL, &[("/spec/kafka/auth", r#"{"type": "SaslScram"}"#)], "set saslScram exactly when type is SaslScram"),
    (FULL, &[("/spec/kafka/auth", r#"{"type": "MutualTls"}"#)], "set mutualTls exactly when type is MutualTls"),
    (FULL, &[("/spec/kafka/topic/config", r#"{"plugin.library.paths": "x"}"#)], "holds a key that is not on the list of allowed ones"),
    (FULL, &[("/spec/producer/config", r#"{"sasl.kerberos.kinit.cmd": "x"}"#)], "holds a key that is not on the list of allowed ones"),
    (FULL, &[("/spec/lifecycle/drainTimeout", "\"25h\"")], "must be from 1s to 24h"),
    (
        FULL,
        &[("/spec/sink/worker/env", r#"[{"name": "https_proxy", "value": "http://evil.example"}]"#)],
        "names that load code, or lead requests and their credentials elsewhere (LD_*, GLIBC_*, AWS_*, SSL_*, OPENSSL_*, *_PROXY), are not allowed",
    ),
    (
        FULL,
        &[("/spec/producer/worker/env", r#"[{"name": "LD_PRELOAD", "value": "/evil.so"}]"#)],
        "names that load code, or lead requests and their credentials elsewhere (LD_*, GLIBC_*, AWS_*, SSL_*, OPENSSL_*, *_PROXY), are not allowed",
    ),
    (FULL, &[("/spec/producer/transactionInterval", "\"6s\"")], "must be from 10ms to 5s"),
    (FULL, &[("/spec/reconcile/driftInterval", "\"30s\"")], "must be from 1m to 24h"),
    (FULL, &[("/spec/schema/maxFuture", "\"87601h\"")], "must be from 0s to 87600h"),
    (FULL, &[("/spec/sink/ledger/retain", "\"59m\"")], "must be from 1h to 87600h"),
    (FULL, &[("/spec/sink/rotation/maxInterval", "\"25h\"")], "must be from 1s to 24h"),
    (FULL, &[("/spec/sink/worker/scaling/scaleDownStabilization", "\"25h\"")], "must be from 0s to 24h"),
    (FULL, &[("/spec/schema/columns/2/precision", "null")], "set precision and scale exactly for a Decimal"),
    (FULL, &[("/spec/schema/columns/2/scale", "19")], "scale must not exceed precision"),
    (FULL, &[("/spec/schema/columns/6/rounding", "\"HalfEven\"")], "rounding is for a Decimal only"),
    (FULL, &[("/spec/schema/columns/6/format", "\"%Y\"")], "format is for a Timestamp or Date only"),
    (FULL, &[("/spec/schema/columns/0/timeZone", "\"UTC\"")], "timeZone and unit are for a Timestamp only"),
    (
        FULL,
        &[("/spec/schema/columns/1/unit", "\"Seconds\""), ("/spec/schema/columns/1/format", "\"%s\"")],
        "unit is for epoch numbers; it excludes format and timeZone",
    ),
    (FULL, &[("/spec/schema/columns/6/name", "\"_kafka_x\"")], "dt and names that start with _kafka_ or _raw are reserved"),
    (FULL, &[("/spec/sink/ledger/prefix", "\"a/../b\"")], "must not have . or .. between slashes"),
    (FULL, &[("/spec/sink/onBadRecord/prefix", "\"a/./b\"")], "must not have . or .. between slashes"),
    (FULL, &[("/spec/sink/processed/prefix", "\"a/../b\"")], "must not have . or .. between slashes"),
    (FULL, &[("/spec/sink/raw/prefix", "\"a/../b\"")], "must not have . or .. between slashes"),
    (FULL, &[("/spec/sink/onBadRecord/compression", "\"Snappy\"")], "JSON lines are compressed with Zstd, Gzip or None"),
    (FULL, &[("/spec/sink/raw/compression", "\"Snappy\"")], "JSON lines are compressed with Zstd, Gzip or None"),
    (
        FULL,
        &[("/spec/sink/processed/format", "\"JsonLines\""), ("/spec/sink/processed/compression", "\"Snappy\"")],
        "JSON lines are compressed with Zstd, Gzip or None",
    ),
    (FULL, &[("/spec/sink/startFrom", r#"{"type": "Timestamp"}"#)], "set timestamp exactly when type is Timestamp"),
    (FULL, &[("/spec/sink/worker/scaling/minReplicas", "13")], "minReplicas must not exceed maxReplicas"),
    (FULL, &[("/spec/sink/worker/scaling/windows/0/minReplicas", "13")], "a window's minReplicas must not exceed maxReplicas"),
    (FULL, &[("/spec/source/type", "\"Synthetic\"")], "set csvReplay exactly when type is CsvReplay"),
    (FULL, &[("/spec/source/type", "\"Synthetic\"")], "set synthetic exactly when type is Synthetic"),
    (FULL, &[("/spec/source/externalTopic", "{}")], "set externalTopic only when type is ExternalTopic"),
    (FULL, &[("/spec/source/csvReplay/uri", "null")], "set exactly one of uri and configMapRef"),
    (FULL, &[("/spec/source/csvReplay/speed", "1.5")], "set at most one of speed and rowsPerSecond"),
    (
        FULL,
        &[("/spec/source/csvReplay/speed", "1.5"), ("/spec/source/csvReplay/rowsPerSecond", "null")],
        "speed follows event times, which a Random order does not keep",
    ),
];

/// Changes of a stored document that must not be made.
const UPDATES: &[Case] = &[
    (FULL, &[("/spec/glue/database/name", "\"other\"")], "glue.database.name is immutable"),
    (FULL, &[("/spec/kafka/consumerGroup", "\"other\"")], "consumerGroup is immutable"),
    (FULL, &[("/spec/kafka/consumerGroup", "null")], "consumerGroup is immutable"),
    (FULL, &[("/spec/kafka/topic/partitions", "11")], "topic.partitions can only grow"),
    (FULL, &[("/spec/kafka/topic/partitions", "null")], "topic.partitions can only grow, not be removed"),
    (FULL, &[("/spec/kafka/topic/name", "\"other\"")], "topic.name is immutable"),
    (FULL, &[("/spec/producer/keyColumn", "\"volume\"")], "producer.keyColumn is immutable"),
    (FULL, &[("/spec/producer/slotsTopic", "\"other\"")], "producer.slotsTopic is immutable"),
    (FULL, &[("/spec/producer/slots", "8")], "producer.slots is immutable"),
    (FULL, &[("/spec/schema/columns/6/type", "\"Double\"")], "columns can only be added, their types stay"),
    (FULL, &[("/spec/schema/columns/2/scale", "4")], "columns can only be added, their types stay"),
    (FULL, &[("/spec/schema/columns/-", r#"{"name": "extra", "type": "Double", "nullable": false}"#)], "an added column must be nullable"),
    (FULL, &[("/spec/sink/bucket/name", "\"other\"")], "bucket.name is immutable"),
    (FULL, &[("/spec/sink/ledger/prefix", "\"other\"")], "ledger.prefix is immutable"),
    (FULL, &[("/spec/sink/onBadRecord/prefix", "\"other\"")], "onBadRecord.prefix is immutable"),
    (FULL, &[("/spec/sink/processed/prefix", "null")], "processed.prefix is immutable"),
    (FULL, &[("/spec/sink/processed/format", "\"JsonLines\"")], "processed.format is immutable"),
    (FULL, &[("/spec/sink/processed/partitionBy/0/transform", "\"month\"")], "processed.partitionBy is immutable"),
    (
        FULL,
        &[
            ("/spec/sink/processed/partitionBy/0", r#"{"name": "hour", "transform": "hour", "column": "ts", "timeZone": "UTC"}"#),
            ("/spec/sink/processed/partitionBy/1", r#"{"name": "dt", "transform": "day", "column": "ts", "timeZone": "UTC"}"#),
        ],
        "processed.partitionBy keeps its order",
    ),
    (FULL, &[("/spec/sink/raw/prefix", "\"other\"")], "raw.prefix is immutable"),
];

/// Changes of a stored document that may be made.
const ALLOWED: &[(&str, &str)] = &[
    ("/spec/kafka/topic/partitions", "24"),
    ("/spec/kafka/topic/config", r#"{"retention.ms": "1000"}"#),
    ("/spec/kafka/bootstrapServers", r#"["other:9098"]"#),
    ("/spec/schema/columns/-", r#"{"name": "extra", "type": "Double"}"#),
    ("/spec/sink/worker/replicas", "12"),
    ("/spec/sink/rotation/maxInterval", "\"5s\""),
    ("/spec/sink/processed/sortBy", r#"["ts"]"#),
    ("/spec/sink/processed/compression", "\"Snappy\""),
    ("/spec/sink/raw", "null"),
    ("/spec/producer/worker/replicas", "16"),
    ("/spec/lifecycle/desiredState", "\"Drained\""),
    ("/spec/athena", "null"),
    ("/spec/deletionPolicy/data", "\"Delete\""),
];

/// Changes the body; `-` adds to a list, null takes away.
fn change(body: &mut Value, changes: &[(&str, &str)]) {
    for (pointer, value) in changes {
        let value: Value = serde_json::from_str(value).unwrap();
        match pointer.strip_suffix("/-") {
            Some(list) => body.pointer_mut(list).unwrap().as_array_mut().unwrap().push(value),
            None => set(body, pointer, value),
        }
    }
}

/// Returns where a request was refused and why, `path: message` with list indexes dropped.
fn causes(result: Result<StockPipeline, kube::Error>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(kube::Error::Api(status)) => status
            .details
            .unwrap_or_else(|| panic!("{}", status.message))
            .causes
            .iter()
            .map(|cause| {
                let mut field = String::new();
                let mut inside = false;
                for character in cause.field.chars() {
                    inside = inside && character != ']';
                    if !inside {
                        field.push(character);
                    }
                    inside = inside || character == '[';
                }
                format!("{field}: {}", cause.message)
            })
            .collect(),
        Err(error) => panic!("{error}"),
    }
}

/// Returns all rules of the definition, as `path: message`.
fn rules() -> BTreeSet<String> {
    fn walk(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            found.insert(format!("{}: {}", if path.is_empty() { "<nil>" } else { path }, rule["message"].as_str().unwrap()));
        }
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            walk(format!("{path}.{name}").trim_start_matches('.'), member, found);
        }
        if schema["items"].is_object() {
            walk(&format!("{path}[]"), &schema["items"], found);
        }
    }
    let mut found = BTreeSet::new();
    walk("", &serde_json::to_value(definition()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    found
}

/// Takes the rules that a refusal names from those not seen yet.
fn tick_off(unseen: &mut BTreeSet<String>, causes: &[String]) {
    unseen.retain(|rule| {
        let (path, message) = rule.split_once(": ").unwrap();
        !causes.iter().any(|cause| cause.starts_with(&format!("{path}: ")) && cause.ends_with(message))
    });
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn every_rule_refuses_with_its_message_and_none_refuses_an_example() {
    let client = client().await;
    let namespace = Namespace::new(&client, "rules").await;
    let pipelines = namespace.api::<StockPipeline>();
    let dry = PostParams { dry_run: true, field_manager: None };
    let mut unseen = rules();
    assert!(unseen.len() > 50, "{unseen:?}");

    for (text, changes, message) in CREATES {
        let made = resource(text, "case", |body| change(body, changes));
        let causes = causes(pipelines.create(&dry, &made).await);
        assert!(causes.iter().any(|cause| cause.contains(message)), "create {changes:?}: {causes:?} does not say {message:?}");
        tick_off(&mut unseen, &causes);
    }

    for (name, text) in [("full", FULL), ("minimal", MINIMAL)] {
        pipelines.create(&PostParams::default(), &resource(text, name, |_| {})).await.unwrap();
    }
    let stored = pipelines.get("full").await.unwrap();
    let changed = |changes: &[(&str, &str)]| {
        let mut made = resource(FULL, "full", |body| change(body, changes));
        made.metadata.resource_version.clone_from(&stored.metadata.resource_version);
        made
    };
    for (_, changes, message) in UPDATES {
        let causes = causes(pipelines.replace("full", &dry, &changed(changes)).await);
        assert!(causes.iter().any(|cause| cause.contains(message)), "update {changes:?}: {causes:?} does not say {message:?}");
        tick_off(&mut unseen, &causes);
    }
    for allowed in ALLOWED {
        let causes = causes(pipelines.replace("full", &dry, &changed(&[*allowed])).await);
        assert_eq!(causes, [""; 0], "update {allowed:?}");
    }

    assert!(unseen.is_empty(), "no case breaks these rules: {unseen:#?}");
    namespace.remove().await;
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn columns_are_free_where_evolution_is_unrestricted() {
    let client = client().await;
    let namespace = Namespace::new(&client, "rules").await;
    let pipelines = namespace.api::<StockPipeline>();
    let mut made = pipelines.create(&PostParams::default(), &resource(FULL, "free", |_| {})).await.unwrap();
    made.spec.members["schema"]["columns"][2]["scale"] = json!(4);
    made.spec.members["schema"]["evolution"] = json!("Unrestricted");
    pipelines.replace("free", &PostParams::default(), &made).await.unwrap();
    namespace.remove().await;
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn a_null_is_an_absent_member() {
    let client = client().await;
    let namespace = Namespace::new(&client, "rules").await;
    let pipelines = namespace.api::<StockPipeline>();
    let optional = [
        "/spec/source/synthetic",
        "/spec/schema/columns/0/unit",
        "/spec/schema/columns/0/timeZone",
        "/spec/kafka/consumerGroup",
        "/spec/kafka/topic/partitions",
        "/spec/kafka/tls",
        "/spec/glue",
        "/spec/athena",
        "/spec/aws",
        "/spec/sink/worker",
        "/spec/sink/raw",
    ];
    let nulls = resource(MINIMAL, "nulls", |body| optional.iter().for_each(|pointer| set(body, pointer, Value::Null)));
    pipelines.create(&PostParams::default(), &nulls).await.unwrap();
    pipelines.create(&PostParams::default(), &resource(MINIMAL, "absent", |_| {})).await.unwrap();
    let stored = |name: &'static str| {
        let pipelines = pipelines.clone();
        async move { serde_json::to_value(pipelines.get(name).await.unwrap().spec).unwrap() }
    };
    assert_eq!(stored("nulls").await, stored("absent").await);
    namespace.remove().await;
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn lists_at_their_limits_cost_no_more_than_is_allowed() {
    let client = client().await;
    let namespace = Namespace::new(&client, "rules").await;
    let pipelines = namespace.api::<StockPipeline>();
    let columns =
        serde_json::to_value(definition()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["schema"]["properties"]["columns"]["maxItems"]
            .as_u64()
            .unwrap();
    let wide = resource(FULL, "wide", |body| {
        let list = body.pointer_mut("/spec/schema/columns").unwrap().as_array_mut().unwrap();
        for number in list.len() as u64..columns {
            list.push(
                json!({ "name": format!("a_column_with_quite_a_long_name_{number}"), "type": "Decimal", "precision": 18, "scale": 6 }),
            );
        }
    });
    let mut stored = pipelines.create(&PostParams::default(), &wide).await.unwrap();
    // The rules on updates compare every column with every other.
    stored.spec.members["lifecycle"]["restartNonce"] = json!(1);
    pipelines.replace("wide", &PostParams::default(), &stored).await.unwrap();
    namespace.remove().await;
}
