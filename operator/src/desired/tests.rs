//! Manifests of whole pipelines as golden files, and what must hold for any of them.

use serde_json::{Value, json};
use stockpipeline::check::UnknownFields;
use stockpipeline::document as documents;

use super::*;

const FULL: &str = include_str!("../../../pipeline/tests/fixtures/full.yaml");
const MINIMAL: &str = include_str!("../../../pipeline/tests/fixtures/minimal.yaml");
const SECRETS: &str = include_str!("fixtures/secrets.yaml");
const EXTERNAL_TOPIC: &str = include_str!("fixtures/external-topic.yaml");

/// Returns a document, after a change of its body.
fn document(text: &str, change: impl FnOnce(&mut Value)) -> Document {
    let document = documents::read(text).unwrap().remove(0);
    let mut body = Value::Object(document.body().clone());
    change(&mut body);
    documents::read(&body.to_string()).unwrap().remove(0)
}

fn check(document: &Document) -> Pipeline {
    Pipeline::check(document, UnknownFields::Error).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap().0
}

fn build(document: &Document) -> Result<Children, Vec<FieldError>> {
    let pipeline = check(document);
    let identity = Identity {
        name: pipeline.name.clone(),
        namespace: "market-data".to_owned(),
        uid: "6a2c1f8e-0000-4000-8000-000000000001".to_owned(),
    };
    let operations = &pipeline.operations;
    let counts = Counts {
        producers: operations.producer_worker.as_ref().map_or(0, |worker| worker.replicas),
        sinks: operations.sink_worker.replicas,
    };
    let settings = Settings::new("registry.example/stockpipeline-worker:0.1.0", "stockpipeline-system");
    Children::of(&Wanted { identity: &identity, document, pipeline: &pipeline, settings: &settings, counts })
}

fn objects(children: &Children) -> Vec<Value> {
    let mut objects = vec![serde_json::to_value(&children.config).unwrap()];
    objects.extend(children.service_account.iter().map(|account| serde_json::to_value(account).unwrap()));
    objects.extend(children.network_policy.iter().map(|policy| serde_json::to_value(policy).unwrap()));
    for workers in [Some(&children.sink), children.producer.as_ref()].into_iter().flatten() {
        objects.push(serde_json::to_value(&workers.deployment).unwrap());
        objects.extend(workers.disruption_budget.iter().map(|budget| serde_json::to_value(budget).unwrap()));
    }
    objects
}

fn manifests(text: &str) -> String {
    let children = build(&document(text, |_| {})).unwrap();
    objects(&children).iter().map(|object| serde_yaml::to_string(object).unwrap()).collect::<Vec<_>>().join("---\n")
}

#[test]
fn every_field_of_the_full_example_has_its_place() {
    insta::assert_snapshot!(manifests(FULL));
}

#[test]
fn the_minimal_example_takes_every_default() {
    insta::assert_snapshot!(manifests(MINIMAL));
}

#[test]
fn secrets_are_mounted_key_by_key() {
    insta::assert_snapshot!(manifests(SECRETS));
}

#[test]
fn a_topic_that_others_fill_has_no_producer() {
    insta::assert_snapshot!(manifests(EXTERNAL_TOPIC));
}

/// Returns the config hashes of producer and sink.
fn hashes(change: impl FnOnce(&mut Value)) -> (String, String) {
    let children = build(&document(FULL, change)).unwrap();
    (children.producer.unwrap().config_hash, children.sink.config_hash)
}

#[test]
fn a_change_rolls_the_workers_that_read_it_and_no_others() {
    let (producer, sink) = hashes(|_| {});
    let cases: [(&str, Value, bool, bool); 16] = [
        ("/spec/sink/worker/replicas", json!(5), false, false),
        ("/spec/producer/worker/replicas", json!(7), false, false),
        ("/spec/lifecycle/desiredState", json!("Stopped"), false, false),
        ("/spec/lifecycle/restartNonce", json!(1), false, false),
        ("/spec/deletionPolicy/topic", json!("Delete"), false, false),
        ("/spec/reconcile/driftInterval", json!("5m"), false, false),
        ("/spec/glue/driftPolicy", json!("Report"), false, false),
        ("/spec/athena/views", json!([]), false, false),
        ("/spec/aws/tags", json!({}), false, false),
        ("/spec/sink/rotation/maxInterval", json!("30s"), false, true),
        ("/spec/glue/tables/processed", json!("ticks"), false, true),
        ("/spec/source/csvReplay/rowsPerSecond", json!(1), true, false),
        ("/spec/producer/config/linger.ms", json!("5"), true, false),
        ("/spec/kafka/topic/partitions", json!(24), true, true),
        ("/spec/aws/region", json!("eu-west-1"), true, true),
        ("/spec/schema/columns/6/type", json!("Double"), true, true),
    ];
    for (path, value, producer_rolls, sink_rolls) in cases {
        let changed = hashes(|body| *body.pointer_mut(path).unwrap() = value);
        assert_eq!((changed.0 != producer, changed.1 != sink), (producer_rolls, sink_rolls), "{path}");
    }
}

#[test]
fn order_and_nulls_of_the_document_roll_nothing() {
    let reversed = |body: &mut Value| {
        let spec = body["spec"].as_object_mut().unwrap();
        let members: Vec<_> = std::mem::take(spec).into_iter().rev().collect();
        spec.extend(members);
        spec["kafka"]["topic"]["config"]["none"] = Value::Null;
        spec["source"]["synthetic"] = Value::Null;
        spec["kafka"]["topic"]["config"].as_object_mut().unwrap().remove("none");
    };
    assert_eq!(hashes(reversed), hashes(|_| {}));
}

#[test]
fn workers_read_the_pipeline_that_the_operator_has_checked() {
    for text in [FULL, MINIMAL, SECRETS, EXTERNAL_TOPIC] {
        let original = document(text, |_| {});
        let children = build(&original).unwrap();
        let rendered = &children.config.data.unwrap()["pipeline.yaml"];
        let (read, checked) = (check(&documents::read(rendered).unwrap()[0]), check(&original));
        assert_eq!(read.aws, checked.aws);
        assert_eq!(read.source, checked.source);
        assert_eq!(read.schema, checked.schema);
        assert_eq!(read.kafka, checked.kafka);
        assert_eq!(read.producer, checked.producer);
        assert_eq!(read.sink, checked.sink);
        assert_eq!(read.glue, checked.glue);
        assert_eq!(read.name, checked.name);
        let partitions = |pipeline: &Pipeline| pipeline.operations.glue.as_ref().map(|glue| glue.partitions.clone());
        assert_eq!(partitions(&read), partitions(&checked));
    }
}

#[test]
fn every_object_is_owned_named_and_in_the_pipelines_namespace() {
    for text in [FULL, MINIMAL, SECRETS, EXTERNAL_TOPIC] {
        for object in objects(&build(&document(text, |_| {})).unwrap()) {
            let metadata = &object["metadata"];
            assert!(metadata["name"].as_str().unwrap().len() <= 63, "{object}");
            assert_eq!(metadata["namespace"], "market-data", "{object}");
            assert_eq!(metadata["ownerReferences"][0]["controller"], true, "{object}");
            assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "stockpipeline-operator", "{object}");
        }
    }
}

#[test]
fn pods_keep_to_the_restricted_standard_whatever_is_patched() {
    let patched = document(MINIMAL, |body| {
        body["spec"]["sink"]["worker"]["podTemplatePatch"] = json!({
            "metadata": { "labels": { "team": "markets" }, "annotations": { "stockpipeline.dev/config-hash": "mine", "note": "x" } },
            "spec": { "dnsPolicy": "Default", "imagePullSecrets": [{ "name": "pull" }], "hostAliases": [{ "ip": "10.0.0.1", "hostnames": ["b"] }] },
        });
    });
    let children = build(&patched).unwrap();
    let template = serde_json::to_value(&children.sink.deployment).unwrap()["spec"]["template"].clone();
    assert_eq!(template["metadata"]["labels"]["team"], "markets");
    assert_eq!(template["metadata"]["annotations"]["note"], "x");
    assert_eq!(template["metadata"]["annotations"]["stockpipeline.dev/config-hash"], json!(children.sink.config_hash));
    let pod = &template["spec"];
    assert_eq!(pod["dnsPolicy"], "Default");
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "pull" }]));
    assert_eq!(pod["hostAliases"][0]["ip"], "10.0.0.1");
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"], json!({ "drop": ["ALL"] }));
    for forbidden in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert!(pod[forbidden].is_null(), "{forbidden}");
    }
}

#[test]
fn what_no_cluster_takes_is_told_with_its_path() {
    let cases: [(&str, Value, &str); 4] = [
        ("/spec/source/csvReplay/uri", json!("./ticks.csv"), "spec.source.csvReplay.uri"),
        ("/spec/sink/worker/placement/affinity", json!({ "nodeAfinity": { "a": 1 } }), "spec.sink.worker.placement.affinity.nodeAfinity"),
        (
            "/spec/sink/worker/podTemplatePatch",
            json!({ "spec": { "dnsConfig": { "nameserver": ["1.1.1.1"] } } }),
            "spec.sink.worker.podTemplatePatch.spec.dnsConfig.nameserver",
        ),
        ("/spec/sink/worker/podTemplatePatch", json!({ "spec": { "hostAliases": 7 } }), "spec.sink.worker.podTemplatePatch"),
    ];
    for (path, value, expected) in cases {
        let errors = build(&document(FULL, |body| *body.pointer_mut(path).unwrap() = value)).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), [expected], "{errors:?}");
    }
}

#[test]
fn a_single_worker_has_no_disruption_budget() {
    let children = build(&document(MINIMAL, |_| {})).unwrap();
    assert_eq!(children.sink.disruption_budget, None);
    assert!(build(&document(FULL, |_| {})).unwrap().sink.disruption_budget.is_some());
}

#[test]
fn a_resource_that_is_mentioned_once_takes_no_default_beside_it() {
    let children =
        build(&document(MINIMAL, |body| body["spec"]["sink"]["worker"]["resources"] = json!({ "limits": { "memory": "256Mi" } })));
    let deployment = serde_json::to_value(children.unwrap().sink.deployment).unwrap();
    let resources = &deployment["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({ "requests": { "cpu": "250m" }, "limits": { "memory": "256Mi" } }));
}
