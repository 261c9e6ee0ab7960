//! Dies after each of its writes in turn, and still ends at the same place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use futures::StreamExt;
use serde_json::{Value, json};

use super::stage::Stage;

/// Runs at one time: most of each is waiting.
const SIDE_BY_SIDE: usize = 6;
/// More writes than a pipeline takes to be made.
const WRITES: usize = 12;
const KINDS: [&str; 7] =
    ["configmaps", "controllerrevisions", "deployments", "networkpolicies", "poddisruptionbudgets", "serviceaccounts", "stockpipelines"];

/// Lets so many writes pass, and refuses everything after them.
fn die_after(stage: &Stage, writes: usize) -> Arc<AtomicUsize> {
    let passed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&passed);
    stage.server.set_fault(Some(Box::new(move |method, path| {
        let counts = method != "GET" && !path.ends_with("/events");
        let before = if counts { counted.fetch_add(1, Ordering::SeqCst) } else { counted.load(Ordering::SeqCst) };
        (counts && before >= writes).then_some(StatusCode::INTERNAL_SERVER_ERROR)
    })));
    passed
}

/// Returns every object without what differs between two runs of the same.
fn end(stage: &Stage) -> Vec<Value> {
    let mut objects: Vec<Value> = KINDS.iter().flat_map(|plural| stage.server.list(plural)).collect();
    for object in &mut objects {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for name in ["uid", "resourceVersion", "creationTimestamp"] {
            metadata.remove(name);
        }
        for owner in metadata.get_mut("ownerReferences").and_then(Value::as_array_mut).into_iter().flatten() {
            owner["uid"] = json!("");
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("stockpipeline.dev/applied-hash");
        }
        for condition in object.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            condition["lastTransitionTime"] = json!("");
        }
        if let Some(lag) = object.pointer_mut("/status/kafka/lag") {
            lag["measuredAt"] = json!("");
        }
    }
    objects
}

async fn run(dies_after: Option<usize>) -> Vec<Value> {
    let mut stage = Stage::idle().await;
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "topic": "Delete" })).await;
    if let Some(writes) = dies_after {
        let passed = die_after(&stage, writes);
        stage.start().await;
        let all_is_written = |stage: &Stage| stage.condition("demo", "SinkAvailable").0 == "False/RollingOut";
        stage.until("it dies", |stage| passed.load(Ordering::SeqCst) > writes || all_is_written(stage)).await;
        stage.kill().await;
        stage.server.set_fault(None);
    }
    stage.start().await;
    stage.ready("demo").await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    end(&stage)
}

#[tokio::test]
async fn whichever_write_was_the_last_the_end_is_the_same() {
    let expected = run(None).await;
    let runs = futures::stream::iter(0..WRITES).map(async |writes| (writes, run(Some(writes)).await)).buffer_unordered(SIDE_BY_SIDE);
    for (writes, found) in runs.collect::<Vec<_>>().await {
        assert_eq!(found.len(), expected.len(), "after {writes} writes");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "after {writes} writes");
        }
    }
}

#[tokio::test]
async fn refusals_of_the_api_server_are_ridden_out() {
    let mut stage = Stage::idle().await;
    stage.apply("demo", |_| {}).await;
    let patches = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&patches);
    // Every other write fails, whatever it is.
    stage.server.set_fault(Some(Box::new(move |method, _| {
        let is_refused = method == "PATCH" && counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        is_refused.then_some(StatusCode::INTERNAL_SERVER_ERROR)
    })));
    stage.start().await;
    stage.until("several writes were refused", |_| patches.load(Ordering::SeqCst) > 6).await;
    stage.server.set_fault(None);
    stage.ready("demo").await;
}

#[tokio::test]
async fn one_that_is_told_to_stop_stops_within_a_second_and_writes_no_more() {
    let mut stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let took = stage.stop().await;
    assert!(took.as_millis() < 1_500, "{took:?}");
    let before = stage.written();
    stage.remove("configmaps", "demo-pipeline").await;
    stage
        .apply("other", |spec| {
            spec["kafka"]["topic"]["name"] = json!("other");
            spec["sink"]["bucket"]["name"] = json!("other");
        })
        .await;
    // One that runs sees as much and writes it, which takes as long as one that was only forgotten would take.
    let second = Stage::new().await;
    second.apply("demo", |_| {}).await;
    second.ready("demo").await;
    second.remove("configmaps", "demo-pipeline").await;
    second.until("it is made again", |second| !second.get("configmaps", "demo-pipeline").is_null()).await;
    second.look_twice().await;
    assert_eq!(stage.written(), before);
}
