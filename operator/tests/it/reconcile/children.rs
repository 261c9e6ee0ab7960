//! Children: made in order, repaired, pruned, never taken from others, and never written without need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::stage::{DEADLINE, NAMESPACE, Stage};

fn paths(stage: &Stage, method: &str) -> Vec<String> {
    stage.written().into_iter().filter_map(|line| line.strip_prefix(method).map(|path| path.trim().to_owned())).collect()
}

#[tokio::test]
async fn children_come_in_the_order_in_which_pods_need_them() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let written: Vec<String> = paths(&stage, "PATCH").into_iter().filter(|path| !path.starts_with("stockpipelines/")).collect();
    let revision = written[0].clone();
    assert!(revision.starts_with("controllerrevisions/demo-1-"), "{revision}");
    assert_eq!(
        written[1..],
        [
            "configmaps/demo-pipeline",
            "serviceaccounts/demo-workers",
            "networkpolicies/demo-workers",
            "deployments/demo-sink",
            "deployments/demo-producer",
        ]
    );
    let owner = &stage.get("deployments", "demo-sink")["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], stage.get("stockpipelines", "demo")["metadata"]["uid"]);
    assert!(stage.get("stockpipelines", "demo")["metadata"]["finalizers"].is_null(), "nothing is to be cleaned up");
    let status = &stage.get("stockpipelines", "demo")["status"];
    assert_eq!(status["sink"]["summary"], "1/1");
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["kafka"]["partitions"], 2);
    let statuses = stage.written().iter().filter(|line| line.ends_with("/status")).count();
    assert!(statuses <= 3, "{:?}", stage.written());
}

#[tokio::test]
async fn at_rest_nothing_is_written_not_even_by_one_who_has_just_started() {
    let mut stage = Stage::new().await;
    stage
        .apply("demo", |spec| spec["sink"]["worker"] = json!({ "resources": { "requests": { "cpu": "1000m", "memory": "0.5Gi" } } }))
        .await;
    stage.ready("demo").await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    let before = stage.written().len();
    stage.restart().await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!(stage.written()[before..], Vec::<String>::new());
}

#[tokio::test]
async fn what_others_change_or_delete_comes_back_and_is_counted() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.edit("deployments", "demo-sink", &json!({ "spec": { "replicas": 7 } })).await;
    stage.until("the number is back", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 1).await;
    stage.edit("configmaps", "demo-pipeline", &json!({ "data": { "pipeline.yaml": "theirs" } })).await;
    stage.until("the document is back", |stage| stage.get("configmaps", "demo-pipeline")["data"]["pipeline.yaml"] != "theirs").await;
    stage.remove("networkpolicies", "demo-workers").await;
    stage.until("the policy is back", |stage| !stage.get("networkpolicies", "demo-workers").is_null()).await;
    stage.edit("serviceaccounts", "demo-workers", &json!({ "automountServiceAccountToken": true })).await;
    stage.until("the account is back", |stage| stage.get("serviceaccounts", "demo-workers")["automountServiceAccountToken"] == false).await;
    stage.edit("deployments", "demo-producer", &json!({ "metadata": { "labels": { "app.kubernetes.io/instance": "theirs" } } })).await;
    stage
        .until("the label is back", |stage| {
            stage.get("deployments", "demo-producer")["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo"
        })
        .await;
    stage.until("it is counted", |stage| stage.metrics.render().contains("drift_corrections_total 5")).await;
    let told = stage.server.list("events");
    let corrected: Vec<&Value> = told.iter().filter(|event| event["reason"] == "DriftCorrected").collect();
    assert!(corrected.iter().any(|event| event["note"].as_str().unwrap().contains("spec.replicas")), "{told:?}");
}

#[tokio::test]
async fn who_insists_on_a_field_has_it_after_a_few_times_and_is_told_of() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let replicas = |stage: &Stage| stage.get("deployments", "demo-sink")["spec"]["replicas"].as_i64();
    let seven = json!({ "spec": { "replicas": 7 } });
    for _ in 0..6 {
        stage.edit("deployments", "demo-sink", &seven).await;
        stage.until("the number is back", |stage| replicas(stage) == Some(1)).await;
    }
    stage.edit("deployments", "demo-sink", &seven).await;
    let message = stage.until_condition("demo", "SinkAvailable", "False/ApplyFailed").await;
    assert!(message.contains("spec.replicas of Deployment demo-sink") && message.contains("change the StockPipeline"), "{message}");
    assert_eq!(stage.condition("demo", "ProducerAvailable").0, "True/MinimumReplicasAvailable", "it is about the sinks alone");
    assert_eq!((stage.written_at_rest().await, replicas(&stage)), (Vec::new(), Some(7)));
    assert!(stage.metrics.render().contains("drift_corrections_total 6"));
    // What is gone comes back, and what the spec changes is written, whoever else writes.
    stage.remove("networkpolicies", "demo-workers").await;
    stage.until("the policy is back", |stage| !stage.get("networkpolicies", "demo-workers").is_null()).await;
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 2 })).await;
    stage.until("the spec is in force", |stage| replicas(stage) == Some(2)).await;
    stage.ready("demo").await;
}

#[tokio::test]
async fn a_document_that_others_keep_rewriting_is_told_of_rolls_nothing_and_is_not_left_to_them() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let ours = stage.get("configmaps", "demo-pipeline")["data"].clone();
    let deployments = ["demo-sink", "demo-producer"].map(|name| stage.get("deployments", name));
    let is_ours = |stage: &Stage| stage.get("configmaps", "demo-pipeline")["data"] == ours;
    let started = std::time::Instant::now();
    while stage.condition("demo", "SinkAvailable").0 != "False/ApplyFailed" {
        assert!(started.elapsed() < DEADLINE, "nobody is told");
        if is_ours(&stage) {
            stage.edit("configmaps", "demo-pipeline", &json!({ "data": { "pipeline.yaml": "theirs" } })).await;
        }
        tokio::task::yield_now().await;
    }
    let message = stage.condition("demo", "ProducerAvailable").1;
    assert!(message.contains("data.pipeline.yaml of ConfigMap demo-pipeline"), "it is about all workers: {message}");
    stage.until("the document is back", is_ours).await;
    stage.until_condition("demo", "Ready", "True/Ready").await;
    assert_eq!(["demo-sink", "demo-producer"].map(|name| stage.get("deployments", name)), deployments);
}

#[tokio::test]
async fn what_could_not_be_set_right_is_neither_counted_nor_told() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    // The first one passes: it is the other's.
    stage.server.set_fault(Some(Box::new(move |method, path| {
        let is_refused = method == "PATCH" && path.ends_with("/deployments/demo-sink") && counted.fetch_add(1, Ordering::SeqCst) > 0;
        is_refused.then_some(StatusCode::INTERNAL_SERVER_ERROR)
    })));
    stage.edit("deployments", "demo-sink", &json!({ "spec": { "replicas": 7 } })).await;
    stage.until_condition("demo", "SinkAvailable", "False/ApplyFailed").await;
    let told = |stage: &Stage| stage.server.list("events").iter().filter(|event| event["reason"] == "DriftCorrected").count();
    assert!(told(&stage) == 0 && refused.load(Ordering::SeqCst) > 1);
    stage.server.set_fault(None);
    stage.until("the number is back", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 1).await;
    stage.until("it is told", |stage| told(stage) == 1).await;
    assert!(stage.metrics.render().contains("drift_corrections_total 1"));
}

#[tokio::test]
async fn a_roll_that_leads_nowhere_shows_although_enough_sinks_are_ready() {
    let stage = Stage::new().await;
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 2 })).await;
    stage.ready("demo").await;
    assert_eq!(stage.condition("demo", "Reconciling").0, "/");
    let waiting = json!([{ "name": "sink", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ImagePullBackOff", "message": "image not found" } } }]);
    stage.make_pod("demo", "sink", "demo-sink-2", true).await;
    stage.edit_pod_status("demo-sink-2", &json!({ "phase": "Pending", "containerStatuses": waiting })).await;
    stage.edit_status("demo-sink", &json!({ "updatedReplicas": 1, "readyReplicas": 1 })).await;
    let message = stage.until_condition("demo", "Reconciling", "True/Updating").await;
    assert!(message.contains("1 of 2 are as declared") && message.contains("image not found"), "{message}");
    assert_eq!(stage.condition("demo", "Ready").0, "True/Ready");
    let overdue = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
    stage.edit_status("demo-sink", &json!({ "conditions": overdue })).await;
    stage.until_condition("demo", "Ready", "False/ImagePull").await;
    stage.edit_status("demo-sink", &json!({ "updatedReplicas": 2, "readyReplicas": 2, "conditions": [] })).await;
    stage.until_condition("demo", "Ready", "True/Ready").await;
    stage.until_condition("demo", "Reconciling", "/").await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
}

#[tokio::test]
async fn fields_of_others_stay() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let theirs = json!({ "metadata": { "annotations": { "theirs": "yes" } }, "spec": { "progressDeadlineSeconds": 9 } });
    stage.edit("deployments", "demo-sink", &theirs).await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    stage.edit("deployments", "demo-sink", &json!({ "spec": { "replicas": 3 } })).await;
    stage.until("ours is back", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 1).await;
    let object = stage.get("deployments", "demo-sink");
    assert_eq!((&object["metadata"]["annotations"]["theirs"], &object["spec"]["progressDeadlineSeconds"]), (&json!("yes"), &json!(9)));
}

#[tokio::test]
async fn what_is_no_longer_declared_goes() {
    let stage = Stage::new().await;
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 2, "placement": { "nodeSelector": { "a": "b" } } })).await;
    stage.until("there is a budget", |stage| !stage.get("poddisruptionbudgets", "demo-sink").is_null()).await;
    stage.apply("demo", |_| {}).await;
    stage.until("the budget goes", |stage| stage.get("poddisruptionbudgets", "demo-sink").is_null()).await;
    stage
        .until("the selector goes", |stage| stage.get("deployments", "demo-sink").pointer("/spec/template/spec/nodeSelector").is_none())
        .await;
    stage
        .apply("demo", |spec| {
            spec["source"] = json!({ "type": "ExternalTopic" });
            spec.as_object_mut().unwrap().remove("producer");
        })
        .await;
    stage.until("the producer goes", |stage| stage.get("deployments", "demo-producer").is_null()).await;
    stage.until_condition("demo", "ProducerAvailable", "True/NotRequired").await;
}

#[tokio::test]
async fn accounts_and_policies_of_an_earlier_version_go_once_no_pod_uses_them() {
    let mut stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.stop().await;
    let owner = stage.get("deployments", "demo-sink")["metadata"]["ownerReferences"].clone();
    let labels = stage.get("deployments", "demo-sink")["metadata"]["labels"].clone();
    for (plural, api_version, kind) in
        [("serviceaccounts", "v1", "ServiceAccount"), ("networkpolicies", "networking.k8s.io/v1", "NetworkPolicy")]
    {
        for name in ["demo-sink", "demo-producer"] {
            let metadata = json!({ "name": name, "labels": labels, "ownerReferences": owner });
            stage.make(plural, &json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {} })).await;
        }
    }
    // Pods of the earlier version still run.
    stage.edit("deployments", "demo-sink", &json!({ "spec": { "template": { "spec": { "serviceAccountName": "demo-sink" } } } })).await;
    stage.start().await;
    let account = "/spec/template/spec/serviceAccountName";
    stage
        .until("pods get the shared account", |stage| {
            stage.get("deployments", "demo-sink").pointer(account) == Some(&json!("demo-workers"))
        })
        .await;
    stage.until("what nobody uses goes", |stage| stage.get("serviceaccounts", "demo-producer").is_null()).await;
    stage.look_twice().await;
    assert!(!stage.get("serviceaccounts", "demo-sink").is_null(), "pods that are to be replaced still have it");
    stage.roll_out("demo").await;
    for plural in ["serviceaccounts", "networkpolicies"] {
        stage
            .until("the rest goes", |stage| stage.get(plural, "demo-sink").is_null() && stage.get(plural, "demo-producer").is_null())
            .await;
        assert!(!stage.get(plural, "demo-workers").is_null());
    }
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone_and_named() {
    let stage = Stage::idle().await;
    let theirs = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "demo-pipeline" }, "data": { "a": "b" } });
    stage.make("configmaps", &theirs).await;
    let mut stage = stage;
    stage.start().await;
    stage.apply("demo", |_| {}).await;
    let message = stage.until_condition("demo", "SinkAvailable", "False/ApplyFailed").await;
    assert!(message.contains("ConfigMap demo-pipeline") && message.contains("delete it"), "{message}");
    assert_eq!(stage.get("configmaps", "demo-pipeline")["data"], json!({ "a": "b" }));
    assert!(stage.get("deployments", "demo-sink").is_null());
    // Whoever removes it ends the wait at once by asking for a look.
    stage.remove("configmaps", "demo-pipeline").await;
    stage.annotate("demo", "reconcile-requested-at", json!("2026-01-01T00:00:00Z")).await;
    stage.ready("demo").await;
}

#[tokio::test]
async fn what_an_earlier_pipeline_of_the_name_left_is_waited_for_and_orphans_are_taken_over() {
    let mut stage = Stage::idle().await;
    let child = |owner: Value| {
        let labels = json!({ "app.kubernetes.io/managed-by": "stockpipeline-operator", "stockpipeline.dev/pipeline": "demo" });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "demo-pipeline", "labels": labels, "ownerReferences": owner } })
    };
    let earlier = json!([{ "apiVersion": "stockpipeline.dev/v1alpha1", "kind": "StockPipeline", "name": "demo", "uid": "earlier", "controller": true }]);
    stage.make("configmaps", &child(earlier)).await;
    stage.start().await;
    stage.apply("demo", |_| {}).await;
    let message = stage.until_condition("demo", "SinkAvailable", "False/ApplyFailed").await;
    assert!(message.contains("garbage collector"), "{message}");
    stage.remove("configmaps", "demo-pipeline").await;
    stage.make("configmaps", &child(json!([]))).await;
    stage.ready("demo").await;
    let owner = &stage.get("configmaps", "demo-pipeline")["metadata"]["ownerReferences"][0]["uid"];
    assert_eq!(*owner, stage.get("stockpipelines", "demo")["metadata"]["uid"]);
}

#[tokio::test]
async fn a_restart_nonce_rolls_every_pod_once_and_a_scale_rolls_none() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let template = |stage: &Stage, role: &str| stage.get("deployments", &format!("demo-{role}"))["spec"]["template"].clone();
    let before = [template(&stage, "sink"), template(&stage, "producer")];
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 2 })).await;
    stage.until("it is scaled", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 2).await;
    assert_eq!([template(&stage, "sink"), template(&stage, "producer")], before);
    stage.apply("demo", |spec| spec["lifecycle"] = json!({ "restartNonce": 1 })).await;
    for role in ["sink", "producer"] {
        let annotation = "/metadata/annotations/stockpipeline.dev~1restart-nonce";
        stage.until("it rolls", |stage| template(stage, role).pointer(annotation) == Some(&json!("1"))).await;
    }
    assert_eq!(NAMESPACE, stage.get("deployments", "demo-sink")["metadata"]["namespace"]);
}

#[tokio::test]
async fn sinks_have_a_new_column_before_producers_send_it() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let hash = |stage: &Stage, role: &str| {
        let object = stage.get("deployments", &format!("demo-{role}"));
        object.pointer("/spec/template/metadata/annotations/stockpipeline.dev~1config-hash").cloned().unwrap_or_default()
    };
    let before = (hash(&stage, "sink"), hash(&stage, "producer"));
    stage
        .apply("demo", |spec| {
            let columns = spec["schema"]["columns"].as_array_mut().unwrap();
            columns.push(json!({ "name": "volume", "type": "Bigint" }));
        })
        .await;
    stage.until("sinks roll", |stage| hash(stage, "sink") != before.0).await;
    let waits = stage.until_condition("demo", "SinkAvailable", "False/RollingOut").await;
    stage.look_twice().await;
    assert_eq!(hash(&stage, "producer"), before.1, "{waits}");
    // A producer that starts meanwhile sends what every sink knows.
    let has_column = |stage: &Stage, key: &str| stage.get("configmaps", "demo-pipeline")["data"][key].as_str().unwrap().contains("volume");
    assert_eq!(["pipeline.yaml", "producer.yaml"].map(|key| has_column(&stage, key)), [true, false]);
    let mounted = |role: &str| {
        let deployment = stage.get("deployments", &format!("demo-{role}"));
        deployment["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"][0]["configMap"]["items"].clone()
    };
    assert_eq!(mounted("producer"), json!([{ "key": "producer.yaml", "path": "pipeline.yaml" }]));
    assert_eq!(mounted("sink"), json!([{ "key": "pipeline.yaml", "path": "pipeline.yaml" }]));
    stage.roll_out_role("demo", "sink", "127.0.0.2").await;
    stage.until("producers roll", |stage| hash(stage, "producer") != before.1).await;
    assert!(has_column(&stage, "producer.yaml"), "what a pod reads is there before it");
    stage.ready("demo").await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
}

#[tokio::test]
async fn producers_that_come_while_sinks_roll_wait_for_every_sink() {
    type Change = fn(&mut Value);
    let with_column = |spec: &mut Value| {
        let columns = spec["schema"]["columns"].as_array_mut().unwrap();
        columns.push(json!({ "name": "volume", "type": "Bigint" }));
    };
    let paused: Change = |spec| spec["producer"]["worker"] = json!({ "replicas": 0 });
    let external: Change = |spec| {
        spec["source"] = json!({ "type": "ExternalTopic" });
        spec.as_object_mut().unwrap().remove("producer");
    };
    let as_it_is: Change = |_| {};
    // What the spec is before, what it is with the new column, and whether somebody deletes the producers meanwhile.
    for (before, meanwhile, is_deleted) in [(paused, paused, false), (external, as_it_is, false), (as_it_is, as_it_is, true)] {
        let stage = Stage::new().await;
        stage.apply("demo", before).await;
        stage.until("there are sinks", |stage| !stage.get("deployments", "demo-sink").is_null()).await;
        stage.roll_out_role("demo", "sink", "127.0.0.2").await;
        stage.until_condition("demo", "SinkAvailable", "True/MinimumReplicasAvailable").await;
        let hash = |stage: &Stage| {
            stage.get("deployments", "demo-sink").pointer("/spec/template/metadata/annotations/stockpipeline.dev~1config-hash").cloned()
        };
        let old = hash(&stage);
        stage.apply("demo", |spec| (meanwhile(spec), with_column(spec)).1).await;
        stage.until("sinks roll", |stage| hash(stage) != old).await;
        if is_deleted {
            stage.remove("deployments", "demo-producer").await;
        }
        stage.apply("demo", with_column).await;
        stage.until_condition("demo", "ProducerAvailable", "False/RollingOut").await;
        stage.look_twice().await;
        let producers = |stage: &Stage| stage.get("deployments", "demo-producer")["spec"]["replicas"].as_i64().unwrap_or(0);
        assert_eq!(producers(&stage), 0, "old sinks would drop the new column");
        stage.roll_out_role("demo", "sink", "127.0.0.2").await;
        stage.until("producers come", |stage| producers(stage) == 1).await;
        stage.ready("demo").await;
        assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    }
}
