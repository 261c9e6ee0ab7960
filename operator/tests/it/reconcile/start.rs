//! How looks begin: nobody waits for a namespace that cannot be listed, and nothing ends because one answer fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{MINIMAL, NAMESPACE, Stage};
use crate::api_server::Key;

/// A namespace beside the stage's.
const OTHER: &str = "other";

/// Applies the smallest document in the other namespace.
async fn apply_there(stage: &Stage) {
    let mut body = Value::Object(stockpipeline::document::read(MINIMAL).unwrap()[0].body().clone());
    body["metadata"] = json!({ "name": "demo", "namespace": OTHER });
    body["spec"]["kafka"]["topic"]["name"] = json!("other");
    body["spec"]["sink"]["bucket"]["name"] = json!("other");
    let pipelines: Api<StockPipeline> = Api::namespaced(stage.client.clone(), OTHER);
    pipelines.patch("demo", &PatchParams::apply("tests").force(), &Patch::Apply(&body)).await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_cannot_be_listed_stops_no_other_and_goes_on_once_it_can() {
    for refused in ["/pods", "/stockpipelines", ""] {
        let mut stage = Stage::idle().await;
        stage.settings.watch_namespaces = [NAMESPACE.to_owned(), OTHER.to_owned()].into();
        stage.settings.timing.listing_timeout = Duration::from_millis(200);
        let end = format!("/namespaces/{OTHER}{refused}");
        stage.server.set_fault(Some(Box::new(move |method, path| {
            let is_theirs = if refused.is_empty() { path.contains(&end) } else { path.ends_with(&end) };
            (method == "GET" && is_theirs).then_some(StatusCode::FORBIDDEN)
        })));
        apply_there(&stage).await;
        stage.start().await;
        stage.apply("demo", |_| {}).await;
        stage.ready("demo").await;
        let there = |stage: &Stage| stage.server.get(&Key::new("deployments", OTHER, "demo-sink"));
        assert_eq!(there(&stage), None, "nothing is done where not everything is known");
        stage.server.set_fault(None);
        stage.until("the other is kept, too", |stage| there(stage).is_some()).await;
    }
}

#[tokio::test]
async fn a_new_pipeline_has_its_turn_beside_more_than_can_be_looked_at() {
    const SILENT: &str = "127.0.0.7";
    let mut stage = Stage::idle().await;
    stage.settings.concurrency = 2;
    // Connections are taken and never answered: each look at a pipeline with such a worker takes half a second.
    let _silent = std::net::TcpListener::bind((SILENT, stage.settings.worker_port)).unwrap();
    stage.start().await;
    let apply = async |name: &str| {
        let own = |spec: &mut Value| {
            spec["kafka"]["topic"]["name"] = json!(name);
            spec["sink"]["bucket"]["name"] = json!(name);
        };
        stage.apply(name, own).await;
    };
    let names: Vec<String> = (0..8).map(|number| format!("silent-{number}")).collect();
    for name in &names {
        apply(name).await;
        stage.until("its sinks are declared", |stage| !stage.get("deployments", &format!("{name}-sink")).is_null()).await;
    }
    for name in &names {
        stage.roll_out_role(name, "sink", SILENT).await;
    }
    // Those alone take all turns from now on. Which of two kube's queue takes first depends on their names alone, so that one of several
    // new ones would hardly be last in it by chance.
    for number in 0..4 {
        apply(&format!("new-{number}")).await;
    }
    for number in 0..4 {
        stage.until_condition(&format!("new-{number}"), "Accepted", "True/Valid").await;
    }
}

/// Makes a pipeline that is older than the other namespace's, and asks for what that one has once both are known.
async fn with_an_older_one_that_asks_for_nothing_yet(stage: &Stage) {
    stage.apply("older", |spec| spec["schema"]["eventTimeColumn"] = json!("nothing")).await;
    stage.until_condition("older", "Accepted", "False/InvalidSpec").await;
}

#[tokio::test]
async fn what_runs_where_accepted_specs_cannot_be_listed_is_taken_over_by_nobody() {
    let mut stage = Stage::idle().await;
    stage.settings.watch_namespaces = [NAMESPACE.to_owned(), OTHER.to_owned()].into();
    stage.settings.timing.listing_timeout = Duration::from_millis(200);
    stage.start().await;
    with_an_older_one_that_asks_for_nothing_yet(&stage).await;
    apply_there(&stage).await;
    let there = |stage: &Stage| stage.server.get(&Key::new("stockpipelines", OTHER, "demo")).unwrap_or_default();
    stage.until("the other is in force", |stage| there(stage)["status"]["conditions"].to_string().contains("\"Valid\"")).await;
    stage.stop().await;
    let end = format!("/namespaces/{OTHER}/controllerrevisions");
    stage.server.set_fault(Some(Box::new(move |method, path| (method == "GET" && path.ends_with(&end)).then_some(StatusCode::FORBIDDEN))));
    stage.start().await;
    let same = |spec: &mut Value| {
        spec["kafka"]["topic"]["name"] = json!("other");
        spec["sink"]["bucket"]["name"] = json!("other");
    };
    stage.apply("older", same).await;
    let message = stage.until_condition("older", "Accepted", "False/ResourceConflict").await;
    assert!(message.contains("topic other") && message.contains("other/demo"), "{message}");
    // One that never was in force claims nothing before its time, listed or not.
    stage.stop().await;
    let pipelines: Api<StockPipeline> = Api::namespaced(stage.client.clone(), OTHER);
    let refused = json!({ "status": { "conditions": [], "sink": null } });
    pipelines.patch_status("demo", &PatchParams::default(), &Patch::Merge(&refused)).await.unwrap();
    stage.start().await;
    stage.until_accepted("older").await;
}

#[tokio::test]
async fn who_is_listed_late_keeps_what_was_in_force_of_it() {
    let mut stage = Stage::new().await;
    with_an_older_one_that_asks_for_nothing_yet(&stage).await;
    stage.apply("demo", |_| {}).await;
    stage.until_accepted("demo").await;
    // Nothing is judged of it any more before the older one is.
    stage.annotate("demo", "reconcile", json!("disabled")).await;
    stage.stop().await;
    stage.apply("older", |_| {}).await;
    // Nor does the status tell.
    stage.edit_pipeline_status("demo", &json!({ "conditions": [], "sink": null })).await;
    stage.settings.timing.listing_timeout = Duration::from_millis(200);
    let refused = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&refused);
    stage.server.set_fault(Some(Box::new(move |method, path| {
        let is_refused = method == "GET" && path.ends_with("/controllerrevisions");
        is_refused.then(|| counted.fetch_add(1, Ordering::SeqCst)).map(|_| StatusCode::FORBIDDEN)
    })));
    stage.start().await;
    stage.until("the time for lists is over", |_| refused.load(Ordering::SeqCst) > 1).await;
    stage.server.set_fault(None);
    let message = stage.until_condition("older", "Accepted", "False/ResourceConflict").await;
    assert!(message.contains("market-data/demo"), "{message}");
}

#[tokio::test]
async fn pipelines_that_wait_for_what_cannot_be_listed_are_counted() {
    let mut stage = Stage::idle().await;
    stage.server.set_fault(Some(Box::new(|_, path| path.ends_with("/deployments").then_some(StatusCode::FORBIDDEN))));
    stage.start().await;
    stage.apply("demo", |_| {}).await;
    stage.until("it is counted", |stage| stage.metrics.render().contains("pipelines{phase=\"Pending\"} 1")).await;
    assert!(stage.get("stockpipelines", "demo")["status"].is_null());
}

#[tokio::test]
async fn an_accepted_spec_that_cannot_be_read_at_the_start_does_not_end_the_process() {
    let mut stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.apply("demo", |spec| spec["schema"]["eventTimeColumn"] = json!("nothing")).await;
    stage.until_condition("demo", "Accepted", "False/InvalidSpec").await;
    stage.stop().await;
    let refused = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&refused);
    stage.server.set_fault(Some(Box::new(move |method, path| {
        let is_refused = method == "GET" && path.contains("/controllerrevisions/") && counted.fetch_add(1, Ordering::SeqCst) == 0;
        is_refused.then_some(StatusCode::TOO_MANY_REQUESTS)
    })));
    stage.edit("deployments", "demo-sink", &json!({ "spec": { "replicas": 7 } })).await;
    stage.start().await;
    stage.until("what is in force is kept up", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 1).await;
    assert!(refused.load(Ordering::SeqCst) > 1, "it was asked for again");
    stage.stop().await;
}
