//! The API server is killed, etcd is set back to an older state, and the definition is replaced by an older one, under a running operator.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::{StockPipeline, definition};

use crate::cluster::control_plane::ControlPlane;
use crate::cluster::define;
use crate::end_to_end::stage::{NAME, Stage, condition, is_ready};
use crate::program::{Operator, until};

fn with_a_query(spec: &mut Value) {
    spec["athena"] = json!({
        "workgroup": { "name": "quotes", "create": true, "outputLocation": "s3://results/athena/" },
        "namedQueries": [{ "name": "count", "sql": "select count(*) from demo" }],
    });
}

fn with_a_column(spec: &mut Value) {
    with_a_query(spec);
    spec["schema"]["columns"].as_array_mut().unwrap().push(json!({ "name": "volume", "type": "Bigint" }));
}

/// Returns the generation of each of a pipeline's Deployments: it tells whether anything was written over.
async fn generations(stage: &Stage, name: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for role in ["sink", "producer"] {
        let object = stage.get::<Deployment>(&format!("{name}-{role}")).await;
        found.insert(role.to_owned(), object["metadata"]["generation"].clone());
    }
    found
}

/// Applies a pipeline and waits until it is ready, over the end of processes.
async fn ready(stage: &Stage, operator: &mut Operator, name: &str, change: impl FnOnce(&mut Value)) {
    stage.apply_one(name, change).await;
    until(&format!("{name} is ready"), async || {
        kept_up(stage, operator).await;
        is_ready(&stage.get::<StockPipeline>(name).await)
    })
    .await;
}

/// Starts the operator anew where it has ended, as a kubelet does.
async fn kept_up(stage: &Stage, operator: &mut Operator) {
    if operator.has_ended() {
        *operator = stage.operate(NAME).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd"]
async fn an_api_server_that_is_killed_comes_back_to_workers_as_they_were_and_to_an_operator_at_work() {
    let mut plane = ControlPlane::start().await;
    let stage = Stage::on(&plane).await;
    let mut operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    let before = generations(&stage, "demo").await;
    for round in 0..2 {
        plane.kill_api_server();
        until("the operator has noticed", async || {
            operator.has_ended() || operator.get("/readyz").await.is_some_and(|(status, _)| status == 503)
        })
        .await;
        plane.start_api_server().await;
        kept_up(&stage, &mut operator).await;
        ready(&stage, &mut operator, &format!("later-{round}"), |_| {}).await;
        stage.wait(&["demo".to_owned()]).await;
    }
    assert_eq!(generations(&stage, "demo").await, before);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd"]
async fn a_cluster_that_is_set_back_keeps_the_catalogue_and_goes_on_where_its_documents_are_applied_again() {
    let mut plane = ControlPlane::start().await;
    let mut stage = Stage::on(&plane).await;
    let mut operator = stage.lead(NAME).await;
    stage.ready("demo", with_a_query).await;
    let copy = plane.back_up().await;
    ready(&stage, &mut operator, "demo", with_a_column).await;
    ready(&stage, &mut operator, "later", with_a_query).await;
    plane.restore(&copy).await;
    assert!(stage.get::<StockPipeline>("later").await.is_null(), "etcd knows nothing of it any more");

    // Watches that go on from where they were would hear of nothing: the process starts anew.
    until("the operator has ended", async || operator.has_ended()).await;
    stage.play_again().await;
    // The older spec has a column less than the table: whatever the operator makes of it, nothing is taken out of Glue.
    until("the older state is looked at", async || {
        kept_up(&stage, &mut operator).await;
        let object = stage.get::<StockPipeline>("demo").await;
        operator.leads().await && condition(&object, "CatalogSynced").0 != "True/InSync"
    })
    .await;
    let columns = |table: &str| {
        let world = stage.aws.world();
        let database = stage.namespace.name().replace('-', "_");
        let columns = world.glue.table(&database, table).input["StorageDescriptor"]["Columns"].as_array().cloned().unwrap();
        columns.iter().map(|column| column["Name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(columns("demo").contains(&"volume".to_owned()), "{:?}", columns("demo"));

    ready(&stage, &mut operator, "demo", with_a_column).await;
    ready(&stage, &mut operator, "later", with_a_query).await;
    assert_eq!(columns("demo").last().map(String::as_str), Some("volume"));
    let world = stage.aws.world();
    assert_eq!(
        world.athena.queries.len(),
        2,
        "the query of one whose status was lost is found again, not made twice: {:?}",
        world.athena.queries
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd"]
async fn an_older_definition_and_back_under_a_running_operator_restarts_no_worker() {
    let plane = ControlPlane::start().await;
    let stage = Stage::on(&plane).await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", with_a_query).await;
    let before = generations(&stage, "demo").await;
    let mut older = serde_json::to_value(definition()).unwrap();
    let schema = &mut older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    schema["spec"]["properties"].as_object_mut().unwrap().remove("reconcile");
    schema["spec"].as_object_mut().unwrap().remove("x-kubernetes-validations");
    schema["status"]["properties"].as_object_mut().unwrap().remove("athena");
    define(&stage.client, &serde_json::from_value(older).unwrap()).await;
    // Everything goes on: what is deleted comes back, and the status says so.
    stage.namespace.api::<ConfigMap>().delete("demo-pipeline", &DeleteParams::default()).await.unwrap();
    until("the document is back", async || !stage.get::<ConfigMap>("demo-pipeline").await.is_null()).await;
    stage.wait(&["demo".to_owned()]).await;
    define(&stage.client, &definition()).await;
    stage.ready("second", |_| {}).await;
    stage.wait(&["demo".to_owned()]).await;
    until("what the older one did not know is known again", async || {
        stage.get::<StockPipeline>("demo").await["status"]["athena"]["namedQueries"].is_object()
    })
    .await;
    assert_eq!(generations(&stage, "demo").await, before);
    assert_eq!(stage.aws.world().athena.queries.len(), 1, "and made only once");
    drop(operator);
}
