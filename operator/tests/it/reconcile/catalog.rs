//! The catalogue comes before whatever writes for it, and a foreign table before nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stage::{NAMESPACE, Stage};
use crate::aws_endpoint::FaultKind;

const CRAWLER_ROLE: &str = "arn:aws:iam::111122223333:role/crawler";

fn columns(stage: &Stage) -> Vec<String> {
    let aws = stage.aws.as_ref().unwrap();
    let world = aws.world();
    let table = &world.glue.table("market", "ticks").input;
    let columns = table["StorageDescriptor"]["Columns"].as_array().cloned().unwrap_or_default();
    columns.iter().map(|column| column["Name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn sink_hash(stage: &Stage) -> Value {
    let object = stage.get("deployments", "demo-sink");
    object.pointer("/spec/template/metadata/annotations/stockpipeline.dev~1config-hash").cloned().unwrap_or_default()
}

fn add_a_column(spec: &mut Value) {
    let columns = spec["schema"]["columns"].as_array_mut().unwrap();
    columns.push(json!({ "name": "volume", "type": "Bigint" }));
}

#[tokio::test]
async fn tables_are_there_before_workers_and_at_rest_neither_is_written() {
    let stage = Stage::with_aws().await;
    let aws = stage.aws.as_ref().unwrap();
    aws.fault("CreateTable", 2, FaultKind::Refuse(400, "AccessDeniedException"));
    stage.apply("demo", stage.catalogued()).await;
    stage.until_condition("demo", "CatalogSynced", "False/AccessDenied").await;
    let waits = stage.until_condition("demo", "SinkAvailable", "False/RollingOut").await;
    assert!(waits.contains("wait for the catalogue"), "{waits}");
    assert!(stage.server.list("deployments").is_empty());
    aws.heal();
    stage.annotate("demo", "reconcile-requested-at", json!("now")).await;
    stage.ready("demo").await;
    assert!(columns(&stage).contains(&"close".to_owned()));
    assert_eq!(stage.get("stockpipelines", "demo")["status"]["glue"]["processedTable"], "market.ticks");
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    aws.forget_calls();
    stage.until("there was a look for drift", |_| aws.calls("GetTable") > 0).await;
    assert!(aws.writes().values().all(|count| *count == 0), "{:?}", aws.writes());
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_added_column_is_in_glue_before_sinks_roll_and_they_keep_running_until_then() {
    let stage = Stage::with_aws().await;
    let aws = stage.aws.as_ref().unwrap();
    stage.apply("demo", stage.catalogued()).await;
    stage.ready("demo").await;
    let before = sink_hash(&stage);
    aws.fault("UpdateTable", 1_000, FaultKind::Refuse(400, "AccessDeniedException"));
    let catalogued = stage.catalogued();
    stage
        .apply("demo", |spec| {
            catalogued(spec);
            add_a_column(spec);
        })
        .await;
    stage.until_condition("demo", "CatalogSynced", "False/AccessDenied").await;
    stage.look_twice().await;
    assert_eq!(sink_hash(&stage), before, "no sink writes a column that the table lacks");
    aws.heal();
    stage.annotate("demo", "reconcile-requested-at", json!("now")).await;
    stage.until("sinks roll", |stage| sink_hash(stage) != before).await;
    assert_eq!(columns(&stage).last().map(String::as_str), Some("volume"));
}

#[tokio::test]
async fn sinks_that_come_back_to_a_table_without_their_columns_wait_too() {
    let stage = Stage::with_aws().await;
    let aws = stage.aws.as_ref().unwrap();
    let catalogued = stage.catalogued();
    let with_sinks = |count: u32| {
        let catalogued = &catalogued;
        move |spec: &mut Value| {
            catalogued(spec);
            spec["sink"]["worker"] = json!({ "replicas": count });
        }
    };
    let sinks = |stage: &Stage| stage.get("deployments", "demo-sink")["spec"]["replicas"].clone();
    stage.apply("demo", with_sinks(1)).await;
    stage.ready("demo").await;
    stage.apply("demo", with_sinks(0)).await;
    stage.until("no sink is left", |stage| sinks(stage) == 0).await;
    stage.roll_out_role("demo", "sink", "127.0.0.2").await;
    let before = sink_hash(&stage);
    aws.fault("UpdateTable", 1_000, FaultKind::Refuse(400, "AccessDeniedException"));
    stage.apply("demo", |spec| (with_sinks(0)(spec), add_a_column(spec)).1).await;
    stage.until_condition("demo", "CatalogSynced", "False/AccessDenied").await;
    stage.until("what sinks will read is written", |stage| sink_hash(stage) != before).await;
    stage.apply("demo", |spec| (with_sinks(1)(spec), add_a_column(spec)).1).await;
    stage.until_accepted("demo").await;
    let waits = stage.until_condition("demo", "SinkAvailable", "False/RollingOut").await;
    assert!(waits.contains("wait for the catalogue"), "{waits}");
    assert_eq!(sinks(&stage), 0, "no sink writes a column that the table lacks");
    aws.heal();
    stage.annotate("demo", "reconcile-requested-at", json!("now")).await;
    stage.until("sinks come", |stage| sinks(stage) == 1).await;
    assert_eq!(columns(&stage).last().map(String::as_str), Some("volume"));
}

#[tokio::test]
async fn trouble_with_athena_or_the_crawler_is_told_and_keeps_no_record_from_being_stored() {
    for operation in ["GetWorkGroup", "CreateNamedQuery", "CreateCrawler"] {
        let mut stage = Stage::idle_with_aws().await;
        stage.settings.grants.roles = [(NAMESPACE.to_owned(), [CRAWLER_ROLE.to_owned()].into())].into();
        stage.start().await;
        let aws = stage.aws.as_ref().unwrap();
        aws.fault(operation, 1_000, FaultKind::Refuse(400, "AccessDeniedException"));
        let catalogued = stage.catalogued();
        stage
            .apply("demo", |spec| {
                catalogued(spec);
                with_extras(spec);
            })
            .await;
        let message = stage.until_condition("demo", "CatalogSynced", "False/AccessDenied").await;
        assert!(message.contains(operation), "{message}");
        stage.roll_out("demo").await;
        stage.until_condition("demo", "SinkAvailable", "True/MinimumReplicasAvailable").await;
    }
}

#[tokio::test]
async fn drift_of_a_table_is_corrected_counted_and_told() {
    let stage = Stage::with_aws().await;
    let aws = stage.aws.as_ref().unwrap();
    stage.apply("demo", stage.catalogued()).await;
    stage.ready("demo").await;
    aws.world().glue.edit("market", "ticks", |table| {
        table["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
    });
    stage.until("the column is back", |stage| columns(stage).contains(&"close".to_owned())).await;
    stage.until("it is counted", |stage| stage.get("stockpipelines", "demo")["status"]["glue"]["driftCorrections"] == 1).await;
    stage.until("it is told", |stage| stage.server.list("events").iter().any(|event| event["reason"] == "DriftCorrected")).await;
    assert_eq!(stage.written_at_rest().await.len(), 0);
}

#[tokio::test]
async fn tables_are_deleted_with_the_pipeline_where_its_policy_says_so() {
    let stage = Stage::with_aws().await;
    let aws = stage.aws.as_ref().unwrap();
    let catalogued = stage.catalogued();
    stage
        .apply("demo", |spec| {
            catalogued(spec);
            spec["deletionPolicy"] = json!({ "tables": "Delete" });
        })
        .await;
    stage.ready("demo").await;
    aws.fault("DeleteTable", 1, FaultKind::Refuse(400, "ThrottlingException"));
    stage.delete("demo").await;
    for pod in ["demo-sink-1", "demo-producer-1"] {
        stage.until("Deployments go", |stage| stage.get("deployments", "demo-sink").is_null()).await;
        stage.remove("pods", pod).await;
    }
    stage.until("it is gone", |stage| stage.get("stockpipelines", "demo").is_null()).await;
    assert!(aws.calls("DeleteTable") >= 2, "the first one was throttled");
}

/// Gives a spec a crawler, a saved query and a view besides its catalogue.
fn with_extras(spec: &mut Value) {
    spec["glue"]["crawler"] = json!({ "enabled": true, "roleArn": CRAWLER_ROLE });
    spec["athena"] = json!({
        "workgroup": { "name": "market", "create": true },
        "namedQueries": [{ "name": "all", "sql": "select * from ticks" }],
        "views": [{ "name": "latest", "sql": "select * from ticks" }],
    });
}

#[tokio::test]
async fn what_was_made_besides_tables_goes_with_the_catalogue_and_then_all_is_quiet() {
    let mut stage = Stage::idle_with_aws().await;
    stage.settings.grants.roles = [(NAMESPACE.to_owned(), [CRAWLER_ROLE.to_owned()].into())].into();
    stage.settings.timing.status_interval = Duration::from_millis(500);
    stage.start().await;
    let aws = stage.aws.as_ref().unwrap();
    let catalogued = stage.catalogued();
    stage.apply("demo", |spec| (catalogued(spec), with_extras(spec)).1).await;
    stage.ready("demo").await;
    stage.until_condition("demo", "CatalogSynced", "True/InSync").await;
    assert_eq!(aws.world().glue.crawlers.len(), 1);
    aws.fault("DeleteCrawler", 1_000, FaultKind::Refuse(400, "AccessDeniedException"));
    let endpoints = stage.catalogued();
    stage
        .apply("demo", |spec| {
            endpoints(spec);
            spec.as_object_mut().unwrap().remove("glue");
        })
        .await;
    let message = stage.until_condition("demo", "CatalogSynced", "False/AccessDenied").await;
    assert!(message.contains("there is still the crawler") && message.contains("DeleteCrawler"), "{message}");
    // Only the status remembers the crawler.
    stage.restart().await;
    let aws = stage.aws.as_ref().unwrap();
    aws.heal();
    stage.annotate("demo", "reconcile-requested-at", json!("now")).await;
    stage.until_condition("demo", "CatalogSynced", "True/NotRequired").await;
    {
        let world = aws.world();
        assert!(world.glue.crawlers.is_empty() && world.athena.queries.is_empty());
        assert!(!world.glue.databases["market"].tables.contains_key("latest"), "the view goes");
        assert!(world.glue.databases["market"].tables.contains_key("ticks"), "the table stays");
    }
    let status = &stage.get("stockpipelines", "demo")["status"];
    assert!(status["glue"].is_null() && status["athena"].is_null(), "{status}");
    aws.forget_calls();
    let (started, looks) = (Instant::now(), stage.looks());
    let drift_interval = stage.settings.timing.drift_interval.unwrap();
    stage.until("two drift intervals have passed", |_| started.elapsed() > 2 * drift_interval).await;
    let most = 2 * started.elapsed().as_millis() / stage.settings.timing.status_interval.as_millis();
    assert!(u128::from(stage.looks() - looks) <= most, "each look waits for its time");
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!((aws.calls("GetCrawler"), aws.calls("GetTable")), (0, 0));
}

#[tokio::test]
async fn tables_of_an_earlier_spec_are_deleted_with_the_pipeline_too() {
    let stage = Stage::with_aws().await;
    let aws = stage.aws.as_ref().unwrap();
    let catalogued = stage.catalogued();
    let named = |name: &'static str| {
        let catalogued = &catalogued;
        move |spec: &mut Value| {
            catalogued(spec);
            spec["glue"]["tables"]["processed"] = json!(name);
            spec["deletionPolicy"] = json!({ "tables": "Delete" });
        }
    };
    let tables = || aws.world().glue.names("market");
    stage.apply("demo", named("ticks")).await;
    stage.ready("demo").await;
    stage.apply("demo", named("quotes")).await;
    stage.until("there is another table", |_| ["quotes", "ticks"].iter().all(|name| tables().contains(&(*name).to_owned()))).await;
    stage.until_accepted("demo").await;
    // Without a catalogue in the last spec there is still the one of the spec before.
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "tables": "Delete" })).await;
    stage.until_accepted("demo").await;
    stage.delete("demo").await;
    for pod in ["demo-sink-1", "demo-producer-1"] {
        stage.until("Deployments go", |stage| stage.get("deployments", "demo-sink").is_null()).await;
        stage.remove("pods", pod).await;
    }
    stage.until("it is gone", |stage| stage.get("stockpipelines", "demo").is_null()).await;
    assert_eq!(tables(), Vec::<String>::new());
}
