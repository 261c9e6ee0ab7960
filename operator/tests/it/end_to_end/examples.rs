//! The example documents, applied for real: each one's workers and catalogue are made as it declares them.

use k8s_openapi::api::apps::v1::Deployment;
use serde::Deserialize;
use serde_json::{Value, json};
use stockpipeline::document::KIND;
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{NAME, Stage, is_ready};
use crate::chart::repository;
use crate::cluster::examples::manifests;
use crate::program::until;

/// Where a pipeline's file is named.
const SOURCE: &str = "/spec/source/csvReplay/uri";

/// Returns every pipeline of the examples, with the file that it stands in.
fn pipelines() -> Vec<(String, Value)> {
    let mut files = Vec::new();
    manifests(&repository("examples"), &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let documents = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
        found.extend(documents.filter(|object| object["kind"] == KIND).map(|object| (file.display().to_string(), object)));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn every_pipeline_of_the_examples_becomes_ready_with_the_workers_and_tables_that_it_declares() {
    let stage = Stage::new("examples").await;
    // Whoever names no endpoint means AWS, which is here as well.
    let operator = stage.operate_in(NAME, &[("AWS_ENDPOINT_URL", stage.aws.url.as_str())]).await;
    let pipelines = pipelines();
    assert!(pipelines.len() > 4, "{}", pipelines.len());
    for (file, mut object) in pipelines {
        object["metadata"]["namespace"] = json!(stage.namespace.name());
        for service in ["glue", "athena"] {
            if let Some(endpoint) = object.pointer_mut(&format!("/spec/aws/endpoints/{service}")) {
                *endpoint = json!(stage.aws.url);
            }
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        // What a document names of its user's own is its user's to make.
        for role in ["sink", "producer"] {
            if let Some(account) = object["spec"][role]["worker"]["serviceAccountName"].as_str() {
                stage.kubectl(&["create", "serviceaccount", account, "-n", stage.namespace.name()], "").await;
            }
            if let Some(class) = object["spec"][role]["worker"]["placement"]["priorityClassName"].as_str() {
                // It belongs to no namespace, so an earlier run may have left it.
                stage.try_kubectl(&["create", "priorityclass", class, "--value=1000"], "").await;
            }
        }
        stage.kubectl(&["apply", "-f", "-"], &object.to_string()).await;
        if object.pointer(SOURCE).and_then(Value::as_str).is_some_and(|uri| !uri.contains("://")) {
            // It is for a try on one machine, or waits for its user's address.
            let message = stage.until_condition(&name, "Accepted", "False/InvalidSpec").await;
            assert!(message.contains("is a path of one machine") && message.contains("s3://"), "{message}");
            *object.pointer_mut(SOURCE).unwrap() = json!("s3://stockpipeline-demo/bars.csv.gz");
            stage.kubectl(&["apply", "-f", "-"], &object.to_string()).await;
        }
        until(&format!("{name} of {file} is ready"), async || is_ready(&stage.get::<StockPipeline>(&name).await)).await;
        let replicas = |role: &str| object["spec"][role]["worker"]["replicas"].as_i64().unwrap_or(1);
        let sink = stage.get::<Deployment>(&format!("{name}-sink")).await;
        assert!(sink["spec"]["replicas"].as_i64().is_some_and(|count| count >= replicas("sink").min(1)), "{file}: {sink}");
        assert_eq!(stage.get::<Deployment>(&format!("{name}-producer")).await.is_null(), object["spec"]["producer"].is_null(), "{file}");
        if let Some(database) = object["spec"]["glue"]["database"]["name"].as_str() {
            let table = object["spec"]["glue"]["tables"]["processed"].as_str().map(str::to_owned);
            let world = stage.aws.world();
            let tables = &world.glue.databases[database].tables;
            assert!(table.is_none_or(|table| tables.contains_key(&table)) && !tables.is_empty(), "{file}: {:?}", tables.keys());
        }
        // Nobody runs the Jobs that would clean up, and another example may use the same names.
        stage.annotate(&name, "skip-cleanup", json!("true")).await;
        stage.delete(&name).await;
        until(&format!("{name} of {file} is gone"), async || stage.get::<StockPipeline>(&name).await.is_null()).await;
        stage.aws.world().glue.databases.clear();
        stage.aws.world().athena.workgroups.clear();
        stage.aws.world().athena.queries.clear();
    }
    drop(operator);
    stage.remove().await;
}
