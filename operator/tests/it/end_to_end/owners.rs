//! Whose a field or an object is, as a real API server keeps it: what others own stays, but for what they put into a pipeline's pods.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{NAME, Stage, condition};
use crate::program::{Operator, until};

/// How often the operator looks for drift in these tests, several times over.
const LOOKS: Duration = Duration::from_secs(6);

/// Returns how much was set right so far.
async fn corrections(operator: &Operator) -> u64 {
    let (_, text) = operator.get("/metrics").await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("stockpipeline_operator_drift_corrections_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Waits until so many looks have passed without a write of a resource.
async fn nothing_is_written(stage: &Stage, resource: &str) {
    let mut last = (stage.writes(NAME).get(resource).copied(), Instant::now());
    until(&format!("{resource} is left alone"), async || {
        let writes = stage.writes(NAME).get(resource).copied();
        if writes != last.0 {
            last = (writes, Instant::now());
        }
        last.1.elapsed() > LOOKS
    })
    .await;
}

/// Changes a Deployment as somebody else, who owns then what was changed.
async fn patched(stage: &Stage, manager: &str, patch: &Value) {
    let namespace = stage.namespace.name();
    let (manager, patch) = (format!("--field-manager={manager}"), patch.to_string());
    stage.kubectl(&["patch", "deployment", "demo-sink", "-n", namespace, &manager, "--type=strategic", "-p", &patch], "").await;
}

/// Returns whether a container of the sinks' Deployment is somebody else's, in name or image.
async fn has_theirs(stage: &Stage) -> bool {
    stage.get::<Deployment>("demo-sink").await["spec"]["template"]["spec"]["containers"].to_string().contains("theirs")
}

/// Changes a container as somebody else whenever that is set right, until the operator has given up and says so.
async fn insist(stage: &Stage, manager: &str, container: &Value) {
    let patch = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
    until("it is told", async || {
        if !has_theirs(stage).await {
            patched(stage, manager, &patch).await;
        }
        condition(&stage.get::<StockPipeline>("demo").await, "SinkAvailable").0 == "False/ApplyFailed"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn fields_of_others_stay_on_a_deployment_and_what_they_put_into_its_pods_goes() {
    let stage = Stage::new("owners").await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    let namespace = stage.namespace.name();
    let before = stage.get::<Deployment>("demo-sink").await;
    stage.kubectl(&["label", "deployment/demo-sink", "-n", namespace, "team=quotes"], "").await;
    stage.kubectl(&["annotate", "deployment/demo-sink", "-n", namespace, "example.com/ticket=7"], "").await;
    patched(&stage, "theirs", &json!({ "spec": { "progressDeadlineSeconds": 321 } })).await;
    stage.kubectl(&["rollout", "restart", "deployment/demo-sink", "-n", namespace], "").await;
    nothing_is_written(&stage, "apps/deployments").await;
    assert_eq!(corrections(&operator).await, 0);

    let container = json!({ "name": "spy", "image": "theirs" });
    let sink = json!({ "name": "sink", "env": [{ "name": "LD_PRELOAD", "value": "theirs.so" }] });
    patched(&stage, "theirs", &json!({ "spec": { "replicas": 7, "template": { "spec": { "containers": [container, sink] } } } })).await;
    until("the pods are the operator's again", async || {
        let spec = &stage.get::<Deployment>("demo-sink").await["spec"];
        spec["template"]["spec"]["containers"] == before["spec"]["template"]["spec"]["containers"] && spec["replicas"] == 1
    })
    .await;
    let after = stage.get::<Deployment>("demo-sink").await;
    assert_eq!(
        (&after["metadata"]["labels"]["team"], &after["metadata"]["annotations"]["example.com/ticket"]),
        (&json!("quotes"), &json!("7"))
    );
    assert_eq!(after["spec"]["progressDeadlineSeconds"], 321);
    let restarted = &after["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"];
    assert!(restarted.is_string(), "a restart by kubectl is not taken back: {after}");
    until("it is counted", async || corrections(&operator).await > 0).await;
    nothing_is_written(&stage, "apps/deployments").await;
    stage.wait(&["demo".to_owned()]).await;
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn a_controller_that_insists_on_a_field_is_named_and_no_pods_are_replaced_for_ever() {
    let stage = Stage::new("contest").await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    let writes = || stage.writes(NAME).get("apps/deployments").copied().unwrap_or(0);
    let before = writes();
    insist(&stage, "image-updater", &json!({ "name": "sink", "image": "theirs:2" })).await;
    let message = stage.until_condition("demo", "Ready", "False/ApplyFailed").await;
    for part in ["image-updater", "containers[sink].image of Deployment demo-sink", "change the StockPipeline"] {
        assert!(message.contains(part), "{message}");
    }
    nothing_is_written(&stage, "apps/deployments").await;
    assert!(has_theirs(&stage).await && (1..=6).contains(&(writes() - before)), "{} writes", writes() - before);
    until("an event says so", async || {
        let said = stage.kubectl(&["get", "events", "-n", stage.namespace.name(), "-o", "json"], "").await;
        said.contains("image-updater")
    })
    .await;
    // What the spec says is written all the same, and ends it where the other has ended.
    stage.apply_one("demo", |spec| spec["sink"]["worker"] = json!({ "env": [{ "name": "RUST_LOG", "value": "debug" }] })).await;
    until("it is the operator's again", async || !has_theirs(&stage).await).await;
    stage.wait(&["demo".to_owned()]).await;
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn who_insists_on_a_container_of_their_own_keeps_no_change_of_the_spec_from_the_pods() {
    let stage = Stage::new("sidecar").await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    insist(&stage, "injector", &json!({ "name": "spy", "image": "theirs" })).await;
    nothing_is_written(&stage, "apps/deployments").await;
    assert!(has_theirs(&stage).await, "it is left for a while");
    stage.apply_one("demo", |spec| spec["sink"]["worker"] = json!({ "env": [{ "name": "RUST_LOG", "value": "debug" }] })).await;
    until("the pods have what the spec says", async || {
        stage.get::<Deployment>("demo-sink").await["spec"]["template"]["spec"]["containers"].to_string().contains("RUST_LOG")
    })
    .await;
    assert!(!has_theirs(&stage).await);
    stage.wait(&["demo".to_owned()]).await;
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn an_object_of_somebody_else_under_a_childs_name_is_left_as_it_is_and_named() {
    let stage = Stage::new("foreign").await;
    let operator = stage.lead(NAME).await;
    let namespace = stage.namespace.name();
    stage.kubectl(&["create", "configmap", "demo-pipeline", "-n", namespace, "--from-literal=theirs=yes"], "").await;
    let theirs = stage.get::<ConfigMap>("demo-pipeline").await;
    stage.apply_one("demo", |_| {}).await;
    let message = stage.until_condition("demo", "SinkAvailable", "False/ApplyFailed").await;
    assert!(message.contains("ConfigMap demo-pipeline") && message.contains("somebody else"), "{message}");
    assert_eq!(stage.get::<ConfigMap>("demo-pipeline").await, theirs, "to the last byte");
    assert!(stage.get::<Deployment>("demo-sink").await.is_null(), "nothing runs on somebody else's configuration");
    stage.kubectl(&["delete", "configmap", "demo-pipeline", "-n", namespace], "").await;
    stage.ask_for_a_look("demo").await;
    stage.wait(&["demo".to_owned()]).await;
    stage.delete("demo").await;
    until("it is gone", async || stage.get::<StockPipeline>("demo").await.is_null()).await;
    drop(operator);
    stage.remove().await;
}
