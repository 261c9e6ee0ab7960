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
