//! What workers say of themselves shows within one look.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use stockpipeline::status::{Class, Failure, Reason, TopicState};

use super::stage::{NAMESPACE, Stage, sink_status};

/// How often workers were asked.
const ASKED: &str = "stockpipeline_operator_worker_status_seconds_count";

#[tokio::test]
async fn a_green_pod_with_a_broken_sink_is_not_ready() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let mut status = sink_status(2);
    let message = "403 from s3://demo/processed; grant s3:PutObject to the sinks' role".to_owned();
    status.paused = Some(Failure { class: Class::User, reason: Reason::AccessDenied, message, at_millis: 1 });
    stage.say("sink", Some(status));
    let message = stage.until_condition("demo", "SinkAvailable", "False/AccessDenied").await;
    assert!(message.contains("grant s3:PutObject"), "{message}");
    stage.until_condition("demo", "Ready", "False/AccessDenied").await;
    assert_eq!(stage.get("stockpipelines", "demo")["status"]["phase"], "Degraded");
    stage.say("sink", Some(sink_status(2)));
    stage.until_condition("demo", "Ready", "True/Ready").await;
}

#[tokio::test]
async fn a_topic_that_is_not_as_asked_for_shows() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let mut status = sink_status(2);
    let topic = status.topic.as_mut().unwrap();
    (topic.state, topic.message) = (TopicState::NotFound, "topic ticks is not there; make it".to_owned());
    stage.say("sink", Some(status));
    let message = stage.until_condition("demo", "TopicReady", "False/NotFound").await;
    assert_eq!(message, "topic ticks is not there; make it");
}

#[tokio::test]
async fn a_worker_that_does_not_answer_for_a_moment_changes_nothing() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.say("sink", None);
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!(stage.condition("demo", "Ready").0, "True/Ready");
}

#[tokio::test]
async fn a_pod_that_waits_for_a_secret_says_which() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let waiting = json!({ "status": {
        "phase": "Pending", "podIP": null, "conditions": [],
        "containerStatuses": [{ "name": "sink", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "CreateContainerConfigError", "message": "secret \"kafka\" not found" } } }],
    } });
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    pods.patch_status("demo-sink-1", &PatchParams::default(), &Patch::Merge(&waiting)).await.unwrap();
    stage.edit_status("demo-sink", &json!({ "readyReplicas": 0 })).await;
    let message = stage.until_condition("demo", "Accepted", "False/SecretNotFound").await;
    assert!(message.contains("secret \"kafka\" not found"), "{message}");
    stage.until_condition("demo", "Ready", "False/SecretNotFound").await;
    // It is made later, and the pod goes on by itself.
    let running = json!({ "status": { "phase": "Running", "podIP": "127.0.0.2", "containerStatuses": null,
        "conditions": [{ "type": "Ready", "status": "True" }] } });
    pods.patch_status("demo-sink-1", &PatchParams::default(), &Patch::Merge(&running)).await.unwrap();
    stage.edit_status("demo-sink", &json!({ "readyReplicas": 1 })).await;
    stage.until_condition("demo", "Ready", "True/Ready").await;
}

#[tokio::test]
async fn a_pod_that_only_looks_like_a_sink_is_not_asked() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.make_pod("demo", "sink", "a-debugger", false).await;
    let running = json!({ "phase": "Running", "podIP": "127.0.0.4", "conditions": [{ "type": "Ready", "status": "True" }] });
    stage.edit_pod_status("a-debugger", &running).await;
    let asked = || stage.metrics.render().lines().find_map(|line| line.strip_prefix(ASKED)?.trim().parse::<usize>().ok()).unwrap();
    stage.look_twice().await;
    let (before, answered) = (asked(), stage.asked("sink") + stage.asked("producer"));
    stage.look_times(4).await;
    let more = stage.asked("sink") + stage.asked("producer") - answered;
    assert!(asked() - before <= more + 2, "{} were asked and {more} answered", asked() - before);
}
