//! Annotations: leave alone, look now, only look.

use serde_json::{Value, json};

use super::stage::Stage;

#[tokio::test]
async fn a_pipeline_whose_reconcile_is_disabled_is_left_alone() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.annotate("demo", "reconcile", json!("disabled")).await;
    // The next pipeline shows that the queue has moved on.
    stage
        .apply("other", |spec| {
            spec["kafka"]["topic"]["name"] = json!("other");
            spec["sink"]["bucket"]["name"] = json!("other");
        })
        .await;
    stage.ready("other").await;
    let before = stage.written().into_iter().filter(|line| line.contains("demo")).count();
    stage.remove("configmaps", "demo-pipeline").await;
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 2 })).await;
    stage.look_twice().await;
    assert_eq!(stage.written().into_iter().filter(|line| line.contains("demo")).count(), before);
    stage.annotate("demo", "reconcile", Value::Null).await;
    stage.until("it is kept again", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 2).await;
    stage.until("it is kept again", |stage| !stage.get("configmaps", "demo-pipeline").is_null()).await;
}

#[tokio::test]
async fn a_read_only_pipeline_is_told_what_would_be_done() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.annotate("demo", "read-only", json!("true")).await;
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 2 })).await;
    stage
        .until("it says what it would do", |stage| {
            let message = stage.condition("demo", "Accepted").1;
            message.contains("read-only") && message.contains("update Deployment demo-sink")
        })
        .await;
    assert_eq!(stage.get("deployments", "demo-sink")["spec"]["replicas"], 1);
    assert!(stage.get("poddisruptionbudgets", "demo-sink").is_null());
    // What is only looked at was not set right, however often.
    stage.edit("deployments", "demo-producer", &json!({ "spec": { "replicas": 3 } })).await;
    stage.until("it says so", |stage| stage.condition("demo", "Accepted").1.contains("correct Deployment demo-producer")).await;
    stage.look_twice().await;
    assert!(!corrections_are_told(&stage));
    stage.annotate("demo", "read-only", Value::Null).await;
    stage.until("it sets right what others have changed", corrections_are_told).await;
    stage.until("it does it", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 2).await;
}

fn corrections_are_told(stage: &Stage) -> bool {
    let is_event = stage.server.list("events").iter().any(|event| event["reason"] == "DriftCorrected");
    let is_counted = stage
        .metrics
        .render()
        .lines()
        .any(|line| !line.starts_with('#') && line.contains("drift_corrections_total ") && !line.ends_with(" 0"));
    is_event || is_counted
}

#[tokio::test]
async fn a_read_only_operator_writes_statuses_alone() {
    let mut stage = Stage::idle().await;
    stage.settings.read_only = true;
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "topic": "Delete" })).await;
    stage.start().await;
    let message = stage.until_condition("demo", "Accepted", "True/Valid").await;
    assert!(message.contains("create Deployment demo-sink") || message.contains("create ConfigMap demo-pipeline"), "{message}");
    assert!(stage.written().iter().all(|line| line.ends_with("/status")), "{:?}", stage.written());
}

#[tokio::test]
async fn a_look_that_is_asked_for_is_confirmed() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.annotate("demo", "reconcile-requested-at", json!("now")).await;
    stage.until("it is confirmed", |stage| stage.get("stockpipelines", "demo")["status"]["lastHandledReconcileAt"] == "now").await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
}
