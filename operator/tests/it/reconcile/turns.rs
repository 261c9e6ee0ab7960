//! How many pipelines are looked at at once, and how often.

use std::time::{Duration, Instant};

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use stockpipeline::document;
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{MINIMAL, NAMESPACE, Stage};
use crate::aws_endpoint::FaultKind;

#[tokio::test]
async fn the_limit_of_looks_at_once_holds_for_all_namespaces_together() {
    let mut stage = Stage::idle_with_aws().await;
    let namespaces = [NAMESPACE, "quotes", "trades"];
    stage.settings.watch_namespaces = namespaces.map(str::to_owned).into();
    stage.settings.concurrency = 1;
    stage.settings.timing.reconcile_timeout = Duration::from_secs(1);
    let catalogued = stage.catalogued();
    for namespace in namespaces {
        let mut body = Value::Object(document::read(MINIMAL).unwrap()[0].body().clone());
        catalogued(&mut body["spec"]);
        body["spec"]["kafka"]["topic"]["name"] = json!(namespace);
        body["spec"]["sink"]["bucket"]["name"] = json!(namespace);
        body["spec"]["glue"]["tables"]["processed"] = json!(namespace.replace('-', "_"));
        body["metadata"] = json!({ "name": "demo", "namespace": namespace });
        let api: Api<StockPipeline> = Api::namespaced(stage.client.clone(), namespace);
        api.patch("demo", &PatchParams::apply("tests").force(), &Patch::Apply(&body)).await.unwrap();
    }
    // Each look comes to its first call, and ends when its time is up.
    stage.aws.as_ref().unwrap().fault("*", 1_000, FaultKind::Hang);
    stage.start().await;
    let aws = stage.aws.as_ref().unwrap();
    stage
        .until("each was looked at", |stage| {
            let (ended, begun) = (stage.looks(), aws.all_calls());
            assert!(begun <= ended + 1, "{begun} looks have begun and {ended} have ended");
            begun >= 3
        })
        .await;
}

#[tokio::test]
async fn where_no_spec_is_in_force_any_more_each_look_waits_for_its_time() {
    let mut stage = Stage::idle_with_aws().await;
    stage.settings.timing.status_interval = Duration::from_millis(500);
    stage.start().await;
    let catalogued = stage.catalogued();
    stage.apply("demo", &catalogued).await;
    stage.ready("demo").await;
    stage.until_condition("demo", "CatalogSynced", "True/InSync").await;
    stage
        .apply("demo", |spec| {
            catalogued(spec);
            spec["schema"]["eventTimeColumn"] = json!("nothing");
        })
        .await;
    stage.until_condition("demo", "Accepted", "False/InvalidSpec").await;
    for object in stage.server.list("controllerrevisions") {
        stage.remove("controllerrevisions", object["metadata"]["name"].as_str().unwrap()).await;
    }
    stage.until("nothing is in force", |stage| stage.condition("demo", "CatalogSynced").0 == "True/NotRequired").await;
    let drift_interval = stage.settings.timing.drift_interval.unwrap();
    // The last look at the catalogue is followed by another one that nobody does.
    let started = Instant::now();
    stage.until("that would be due", |_| started.elapsed() > 2 * drift_interval).await;
    let (started, looks) = (Instant::now(), stage.looks());
    stage.until("two more would be", |_| started.elapsed() > 2 * drift_interval).await;
    let most = 2 * started.elapsed().as_millis() / stage.settings.timing.status_interval.as_millis();
    assert!(u128::from(stage.looks() - looks) <= most, "{} looks in {:?}", stage.looks() - looks, started.elapsed());
}
