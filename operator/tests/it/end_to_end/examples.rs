//! The example documents, applied for real: each one's workers and catalogue are made as it declares them, within half a minute.

use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use serde_json::{Value, json};
use stockpipeline::document::KIND;
use stockpipeline_operator::resource::crd::StockPipeline;

use super::MADE_WITHIN;
use super::stage::{NAME, Stage, is_ready};
use crate::chart::repository;
use crate::cluster::examples::manifests;
use crate::moto;
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

/// What of a pipeline's catalogue is not there as it declares it.
async fn missing(object: &Value) -> Vec<String> {
    let (name, spec) = (object["metadata"]["name"].as_str().unwrap(), &object["spec"]);
    let mut missing = Vec::new();
    let Some(database) = spec["glue"]["database"]["name"].as_str() else { return missing };
    let processed = spec["glue"]["tables"]["processed"].as_str().map_or_else(|| name.replace('-', "_"), str::to_owned);
    let mut tables = vec![processed.clone(), spec["glue"]["tables"]["dlq"].as_str().map_or(format!("{processed}_dlq"), str::to_owned)];
    tables.extend(spec["glue"]["tables"]["raw"].as_str().map(str::to_owned));
    tables.extend(spec["athena"]["views"].as_array().into_iter().flatten().map(|view| view["name"].as_str().unwrap().to_owned()));
    let found = moto::tables(database).await;
    missing.extend(tables.into_iter().filter(|table| !found.contains(table)));
    if let Some(workgroup) = spec["athena"]["workgroup"]["name"].as_str() {
        let group = moto::athena("GetWorkGroup", json!({ "WorkGroup": workgroup })).await;
        missing.extend(group["WorkGroup"]["Name"].is_null().then(|| format!("workgroup {workgroup}")));
        let names: Vec<Value> = moto::queries(workgroup).await.iter().map(|query| query["Name"].clone()).collect();
        let wanted = spec["athena"]["namedQueries"].as_array().into_iter().flatten().map(|query| &query["name"]);
        missing.extend(wanted.filter(|wanted| !names.contains(wanted)).map(|wanted| format!("saved query {wanted}")));
    }
    missing
}

/// Removes an example's catalogue: another one may use the same names.
async fn forget(object: &Value) {
    let spec = &object["spec"];
    if let Some(workgroup) = spec["athena"]["workgroup"]["name"].as_str() {
        for query in moto::queries(workgroup).await {
            moto::athena("DeleteNamedQuery", json!({ "NamedQueryId": query["NamedQueryId"] })).await;
        }
        moto::athena("DeleteWorkGroup", json!({ "WorkGroup": workgroup })).await;
    }
    moto::glue("DeleteDatabase", json!({ "Name": spec["glue"]["database"]["name"] })).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server, and moto: AWS_ENDPOINT_URL"]
async fn every_pipeline_of_the_examples_becomes_ready_with_the_workers_and_tables_that_it_declares() {
    let mut stage = Stage::new("examples").await;
    let aws = stage.before_moto().await;
    // Whoever names no endpoint means AWS, which is here as well.
    let operator = stage.operate_in(NAME, &[("AWS_ENDPOINT_URL", aws.url.as_str())]).await;
    let pipelines = pipelines();
    assert!(pipelines.len() > 4, "{}", pipelines.len());
    for (file, mut object) in pipelines {
        object["metadata"]["namespace"] = json!(stage.namespace.name());
        for service in ["glue", "athena"] {
            if let Some(endpoint) = object.pointer_mut(&format!("/spec/aws/endpoints/{service}")) {
                *endpoint = json!(aws.url);
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
        let mut applied = Instant::now();
        stage.kubectl(&["apply", "-f", "-"], &object.to_string()).await;
        if object.pointer(SOURCE).and_then(Value::as_str).is_some_and(|uri| !uri.contains("://")) {
            // It is for a try on one machine, or waits for its user's address.
            let message = stage.until_condition(&name, "Accepted", "False/InvalidSpec").await;
            assert!(message.contains("is a path of one machine") && message.contains("s3://"), "{message}");
            *object.pointer_mut(SOURCE).unwrap() = json!("s3://stockpipeline-demo/bars.csv.gz");
            applied = Instant::now();
            stage.kubectl(&["apply", "-f", "-"], &object.to_string()).await;
        }
        let has_producer = !object["spec"]["producer"].is_null();
        until(&format!("everything of {name} in {file} is made"), async || {
            let deployments = [("sink", true), ("producer", has_producer)].into_iter().filter(|(_, is_wanted)| *is_wanted);
            for (role, _) in deployments {
                if stage.get::<Deployment>(&format!("{name}-{role}")).await.is_null() {
                    return false;
                }
            }
            !stage.get::<ConfigMap>(&format!("{name}-pipeline")).await.is_null() && missing(&object).await.is_empty()
        })
        .await;
        assert!(applied.elapsed() < MADE_WITHIN, "{name} of {file} took {:?}", applied.elapsed());
        until(&format!("{name} of {file} is ready"), async || is_ready(&stage.get::<StockPipeline>(&name).await)).await;
        let replicas = |role: &str| object["spec"][role]["worker"]["replicas"].as_i64().unwrap_or(1);
        let sink = stage.get::<Deployment>(&format!("{name}-sink")).await;
        assert!(sink["spec"]["replicas"].as_i64().is_some_and(|count| count >= replicas("sink").min(1)), "{file}: {sink}");
        assert_eq!(stage.get::<Deployment>(&format!("{name}-producer")).await.is_null(), !has_producer, "{file}");
        // Nobody runs the Jobs that would clean up.
        stage.annotate(&name, "skip-cleanup", json!("true")).await;
        stage.delete(&name).await;
        until(&format!("{name} of {file} is gone"), async || stage.get::<StockPipeline>(&name).await.is_null()).await;
        forget(&object).await;
    }
    drop(operator);
    stage.remove().await;
}
