//! Running, drained, stopped; and the number of sinks by whoever owns it.

use serde_json::{Value, json};
use stockpipeline::status::{ProducerStatus, Role, SlotStatus, Status};

use super::stage::{Stage, sink_status};

fn replicas(stage: &Stage) -> (i64, i64) {
    let number = |role: &str| stage.get("deployments", &format!("demo-{role}"))["spec"]["replicas"].as_i64().unwrap_or(-1);
    (number("producer"), number("sink"))
}

fn waiting(records: i64) -> Status {
    let mut status = sink_status(2);
    status.sink.as_mut().unwrap().partitions[1].lag = Some(records);
    status
}

/// Returns what a producer says that has sent a finite source to its end.
fn completed() -> Status {
    let mut status = Status::starting(Role::Producer, "producer-1", 0);
    let slots = (0..16).map(|slot| SlotStatus { slot, row: 7, completed: true }).collect();
    status.producer = Some(ProducerStatus { slots, source_position: 7, source_rows: Some(7), rows: 7, malformed: 0, completed: true });
    status
}

async fn desire(stage: &Stage, lifecycle: Value) {
    stage.apply("demo", |spec| spec["lifecycle"] = lifecycle).await;
}

#[tokio::test]
async fn a_stopped_pipeline_runs_nothing_and_goes_on_later() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    desire(&stage, json!({ "desiredState": "Stopped" })).await;
    stage.until("nothing runs", |stage| replicas(stage) == (0, 0)).await;
    stage.until_condition("demo", "Suspended", "True/Stopped").await;
    stage.until("it is told", |stage| stage.get("stockpipelines", "demo")["status"]["phase"] == "Stopped").await;
    stage.roll_out("demo").await;
    desire(&stage, json!({})).await;
    stage.until("it runs", |stage| replicas(stage) == (1, 1)).await;
    stage.ready("demo").await;
}

#[tokio::test]
async fn a_pipeline_is_completed_by_what_sinks_have_measured_after_the_last_record() {
    let phase = |stage: &Stage| stage.get("stockpipelines", "demo")["status"]["phase"].clone();
    let mut stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    // Nothing waits, as far as the sinks know of the log's end by now.
    stage.say("producer", Some(completed()));
    stage.until_condition("demo", "ProducerAvailable", "True/Completed").await;
    assert_eq!(phase(&stage), "Running", "what came last may not be in what they say");
    stage.say("sink", Some(waiting(5)));
    // Workers are asked every two seconds, so that their word counts by now.
    stage.look_times(4).await;
    assert_eq!(phase(&stage), "Running", "some of it is not stored");
    stage.say("sink", Some(waiting(0)));
    stage.until("it is told", |stage| phase(stage) == "Completed").await;
    let before = stage.written().len();
    stage.restart().await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!((&stage.written()[before..], phase(&stage)), (&[][..], json!("Completed")), "who comes after does not begin anew");
}

#[tokio::test]
async fn sinks_of_a_drained_pipeline_stay_until_everything_is_stored() {
    let stage = Stage::new().await;
    stage.say("sink", Some(waiting(5)));
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    desire(&stage, json!({ "desiredState": "Drained" })).await;
    stage.until("producers stop", |stage| replicas(stage) == (0, 1)).await;
    stage.until_condition("demo", "Suspended", "True/Draining").await;
    // A producer that still ends may still add records.
    stage.say("sink", Some(waiting(0)));
    stage.look_twice().await;
    assert_eq!(replicas(&stage), (0, 1));
    stage.say("sink", Some(waiting(5)));
    stage.roll_out_role("demo", "producer", "127.0.0.3").await;
    stage.look_twice().await;
    assert_eq!(replicas(&stage), (0, 1));
    stage.say("sink", Some(waiting(0)));
    stage.until("sinks stop", |stage| replicas(stage) == (0, 0)).await;
    stage.until_condition("demo", "Suspended", "True/Drained").await;
    stage.roll_out_role("demo", "sink", "127.0.0.2").await;
    stage.until("it is told", |stage| stage.get("stockpipelines", "demo")["status"]["phase"] == "Drained").await;
    assert_eq!(replicas(&stage), (0, 0));
}

#[tokio::test]
async fn a_producer_that_still_ends_keeps_a_drain_open() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.edit("pods", "demo-producer-1", &json!({ "metadata": { "finalizers": ["tests/ends-slowly"] } })).await;
    desire(&stage, json!({ "desiredState": "Drained" })).await;
    stage.until("producers stop", |stage| replicas(stage).0 == 0).await;
    stage.roll_out_role("demo", "producer", "127.0.0.3").await;
    assert!(stage.get("pods", "demo-producer-1")["metadata"]["deletionTimestamp"].is_string());
    stage.until_condition("demo", "Suspended", "True/Draining").await;
    stage.look_times(3).await;
    assert_eq!((replicas(&stage), stage.condition("demo", "Suspended").0.as_str()), ((0, 1), "True/Draining"));
    stage.edit("pods", "demo-producer-1", &json!({ "metadata": { "finalizers": [] } })).await;
    stage.until_condition("demo", "Suspended", "True/Drained").await;
}

#[tokio::test]
async fn a_drain_goes_on_where_another_leader_began_it_however_long_the_pipeline_stood_still_before() {
    let mut stage = Stage::new().await;
    stage.say("sink", Some(waiting(5)));
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    desire(&stage, json!({ "desiredState": "Stopped" })).await;
    stage.until_condition("demo", "Suspended", "True/Stopped").await;
    stage.stop().await;
    let mut conditions = stage.get("stockpipelines", "demo")["status"]["conditions"].clone();
    let suspended = conditions.as_array_mut().unwrap().iter_mut().find(|condition| condition["type"] == "Suspended").unwrap();
    suspended["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
    stage.edit_pipeline_status("demo", &json!({ "conditions": conditions })).await;
    stage.start().await;
    desire(&stage, json!({ "desiredState": "Drained" })).await;
    stage.until_condition("demo", "Suspended", "True/Draining").await;
    let since = stage.get("stockpipelines", "demo")["status"]["drainingSince"].clone();
    assert!(since.is_string(), "{since}");
    stage.restart().await;
    stage.roll_out("demo").await;
    stage.look_twice().await;
    assert_eq!((replicas(&stage), stage.condition("demo", "Suspended").0.as_str()), ((0, 1), "True/Draining"));
    assert_eq!(stage.get("stockpipelines", "demo")["status"]["drainingSince"], since);
    desire(&stage, json!({})).await;
    stage.until("it is forgotten", |stage| stage.get("stockpipelines", "demo")["status"]["drainingSince"].is_null()).await;
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_over() {
    let mut stage = Stage::new().await;
    stage.say("sink", Some(waiting(5)));
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    desire(&stage, json!({ "desiredState": "Drained", "drainTimeout": "1s" })).await;
    stage.until("producers stop", |stage| replicas(stage).0 == 0).await;
    stage.roll_out_role("demo", "producer", "127.0.0.3").await;
    stage.until("sinks stop", |stage| replicas(stage) == (0, 0)).await;
    stage.until_condition("demo", "Suspended", "True/DrainTimedOut").await;
    // One who has just started does not begin again.
    stage.restart().await;
    stage.remove("configmaps", "demo-pipeline").await;
    stage.until("it was looked at", |stage| !stage.get("configmaps", "demo-pipeline").is_null()).await;
    assert_eq!((replicas(&stage), stage.condition("demo", "Suspended").0.as_str()), ((0, 0), "True/DrainTimedOut"));
}

#[tokio::test]
async fn the_operator_scales_by_lag_and_never_writes_the_spec() {
    let stage = Stage::new().await;
    stage.say("sink", Some(waiting(0)));
    let scaling = json!({ "mode": "Lag", "minReplicas": 1, "maxReplicas": 8, "targetLagPerReplica": 100, "scaleDownStabilization": "1h" });
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "scaling": scaling })).await;
    stage.ready("demo").await;
    // The topic has two partitions, so a third sink would have nothing to do.
    stage.say("sink", Some(waiting(350)));
    stage.until("there are more sinks", |stage| replicas(stage).1 == 2).await;
    stage.roll_out_role("demo", "sink", "127.0.0.2").await;
    stage.until_condition("demo", "LagWithinBounds", "False/LagAboveTarget").await;
    stage.until("it is told", |stage| stage.server.list("events").iter().any(|event| event["reason"] == "Scaled")).await;
    stage.say("sink", Some(waiting(0)));
    stage.until_condition("demo", "LagWithinBounds", "True/WithinTarget").await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!(replicas(&stage).1, 2, "they stay for as long as the stabilisation lasts");
    assert!(stage.get("stockpipelines", "demo").pointer("/spec/sink/worker/replicas").is_none());
}

#[tokio::test]
async fn an_external_scaler_owns_the_number() {
    let stage = Stage::new().await;
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 1, "scaling": { "mode": "External" } })).await;
    stage.ready("demo").await;
    let status = stage.get("stockpipelines", "demo")["status"]["sink"].clone();
    assert!(status["selector"].as_str().unwrap().contains("app.kubernetes.io/component=sink"), "{status}");
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 5, "scaling": { "mode": "External" } })).await;
    stage.until("it is clamped to the partitions", |stage| replicas(stage).1 == 2).await;
}
