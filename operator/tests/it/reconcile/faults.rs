//! Conflicts, lagging watches, and changes that must restart nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{NAMESPACE, Stage};

fn templates(stage: &Stage) -> Vec<Value> {
    ["sink", "producer"].map(|role| stage.get("deployments", &format!("demo-{role}"))["spec"]["template"].clone()).into()
}

#[tokio::test]
async fn a_status_that_somebody_else_has_written_is_written_over() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let written = || stage.get("stockpipelines", "demo")["status"].clone();
    let before = written();
    // Its fields are somebody else's by now, so an apply without force would be a conflict for ever.
    let api: Api<StockPipeline> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let mut status = json!({
        "apiVersion": "stockpipeline.dev/v1alpha1", "kind": "StockPipeline", "metadata": { "name": "demo" },
        "status": { "phase": "Failed", "observedGeneration": 99, "conditions": before["conditions"] },
    });
    status["status"]["conditions"][0]["status"] = json!("False");
    api.patch_status("demo", &PatchParams::apply("somebody").force(), &Patch::Apply(&status)).await.unwrap();
    assert_eq!(written()["phase"], "Failed");
    stage.until("it is as before", |stage| stage.get("stockpipelines", "demo")["status"]["phase"] == "Running").await;
    assert_eq!(
        (&written()["observedGeneration"], stage.condition("demo", "Ready").0.as_str()),
        (&before["observedGeneration"], "True/Ready")
    );
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_status_that_is_not_taken_is_written_at_the_next_look() {
    let mut stage = Stage::idle().await;
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    stage.server.set_fault(Some(Box::new(move |method, path| {
        let is_refused = method == "PATCH" && path.ends_with("/status") && path.contains("stockpipelines");
        (is_refused && counted.fetch_add(1, Ordering::SeqCst) < 3).then_some(StatusCode::CONFLICT)
    })));
    stage.start().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    assert!(refusals.load(Ordering::SeqCst) > 3);
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
}

#[tokio::test]
async fn labels_and_annotations_of_a_pipeline_roll_nothing_out_and_write_nothing() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let before = (templates(&stage), stage.written().len());
    let metadata = json!({ "metadata": { "labels": { "team": "quotes" }, "annotations": { "example.com/note": "seen", "kubectl.kubernetes.io/restartedAt": "now" } } });
    stage.edit("stockpipelines", "demo", &metadata).await;
    stage.look_twice().await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!((templates(&stage), stage.written().len()), before);
}

#[tokio::test]
async fn a_newer_operator_that_declares_the_same_restarts_no_worker_and_one_with_another_image_all_of_them_once() {
    let mut stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let before = (templates(&stage), stage.written().len());
    stage.restart().await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!((templates(&stage), stage.written().len()), before);
    stage.settings.image = "registry.example/worker:2".to_owned();
    stage.restart().await;
    stage.until("the sinks roll", |stage| templates(stage)[0] != before.0[0]).await;
    stage.ready("demo").await;
    stage.until("the producers roll", |stage| templates(stage)[1] != before.0[1]).await;
    stage.ready("demo").await;
    let rolled = stage.written()[before.1..].iter().filter(|line| line.contains("deployments/")).count();
    assert_eq!(rolled, 2, "{:?}", &stage.written()[before.1..]);
}

#[tokio::test]
async fn an_image_that_is_missing_and_a_worker_that_crashes_show_with_what_the_pod_says() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let ended = json!({ "terminated": { "exitCode": 78, "message": "schema: column close is not in the source" } });
    for (waiting, last, reason, part) in [
        (json!({ "reason": "ImagePullBackOff", "message": "Back-off pulling image \"worker:1\"" }), Value::Null, "ImagePull", "worker:1"),
        (
            json!({ "reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting" }),
            ended,
            "CrashLoop",
            "column close is not in the source",
        ),
    ] {
        let container = json!({ "name": "sink", "image": "", "imageID": "", "ready": false, "restartCount": 9,
            "state": { "waiting": waiting }, "lastState": last });
        let status = json!({ "status": { "phase": "Pending", "podIP": null, "conditions": [], "containerStatuses": [container] } });
        pods.patch_status("demo-sink-1", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        stage.edit_status("demo-sink", &json!({ "readyReplicas": 0 })).await;
        let message = stage.until_condition("demo", "SinkAvailable", &format!("False/{reason}")).await;
        assert!(message.contains(part), "{message}");
        stage.until_condition("demo", "Ready", &format!("False/{reason}")).await;
    }
}
