//! A pipeline's life under load: scaled, changed, stopped, broken and mended, its operator upgraded and gone; and what is stored in the end.

use std::time::Duration;

use serde_json::{Value, json};
use stockpipeline_e2e::kafka::Kafka;
use stockpipeline_e2e::pipeline::condition;
use stockpipeline_e2e::program::{helm, kubectl};
use stockpipeline_e2e::stage::{RELEASE, SYSTEM, repository};
use stockpipeline_e2e::{Dataset, Pipeline, Proof, Stage, claim, until};

/// Seconds that the replay lasts where nothing holds it up.
const LOAD: u64 = 200;
const SOON: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_pipeline_is_scaled_changed_stopped_broken_and_mended_and_every_row_is_stored_once() {
    let (stage, dataset) = (Stage::open().await, Dataset::best());
    let rows_per_second = dataset.rows / LOAD;
    let mut pipeline = Pipeline::replay(&stage, "life", &dataset, |spec| {
        spec["source"]["csvReplay"]["rowsPerSecond"] = rows_per_second.into();
    })
    .await;
    pipeline.ready().await;
    let rows = Proof::more_than(&pipeline, 0, "Ready").await;
    claim(format_args!("{rows} rows are in Trino while {} are on their way at {rows_per_second} a second", dataset.rows));

    scale(&mut pipeline).await;
    add_a_column(&mut pipeline).await;
    break_the_schema(&mut pipeline).await;
    restart(&mut pipeline).await;
    exchange_the_operator(&pipeline).await;
    stand_still(&mut pipeline).await;

    let status = pipeline.completed(Duration::from_mins(5)).await;
    let message = status["conditions"][0]["message"].as_str().unwrap_or_default();
    assert_eq!(message, "the source has been produced to its end, and all of it is stored");
    Proof::exactly_once(&pipeline, &dataset, "the whole life").await;
    outlive(pipeline, &dataset).await;
}

/// Three sinks and three producers, and back.
async fn scale(pipeline: &mut Pipeline) {
    // In this order: what is applied says one sink, and the scaled number is the user's own.
    pipeline.change(|spec| spec["producer"]["worker"]["replicas"] = 3.into()).await;
    pipeline.scale(3).await;
    pipeline.until_workers("sink", 3).await;
    pipeline.until_workers("producer", 3).await;
    pipeline.ready().await;
    let rows = Proof::no_row_twice(pipeline).await;
    Proof::more_than(pipeline, rows, "1 -> 3 sinks and producers").await;
    pipeline.change(|spec| spec["producer"]["worker"]["replicas"] = 1.into()).await;
    pipeline.scale(1).await;
    pipeline.until_workers("sink", 1).await;
    pipeline.until_workers("producer", 1).await;
    let rows = Proof::no_row_twice(pipeline).await;
    claim(format_args!("sinks and producers 1 -> 3 -> 1 under load: {rows} rows so far, none twice"));
}

/// A column of the source that was not declared before.
async fn add_a_column(pipeline: &mut Pipeline) {
    let text = json!({ "name": "close_text", "type": "String", "from": "Close" });
    pipeline.change(|spec| spec["schema"]["columns"].as_array_mut().unwrap().push(text)).await;
    let ask = format!("select count(close_text), count(*) from {}", pipeline.table("processed"));
    let counted = until("the added column holds values", async || {
        let answer = pipeline.stage.trino.query(&ask).await.ok()?;
        let (filled, all) = (answer[0][0].as_u64()?, answer[0][1].as_u64()?);
        (filled > 0).then_some((filled, all))
    })
    .await;
    claim(format_args!("a column added under load: {} of {} rows have it, the older ones read null", counted.0, counted.1));
}

/// A pattern that nobody can read is refused by name, and what runs goes on.
async fn break_the_schema(pipeline: &mut Pipeline) {
    let before = pods(pipeline).await;
    let seen = json!({ "name": "seen", "type": "Timestamp", "from": "Date", "format": "%Y-%m-" });
    pipeline.change(|spec| spec["schema"]["columns"].as_array_mut().unwrap().push(seen)).await;
    let refused = |status: &Value| condition(status, "Accepted") == Some("False");
    let status = pipeline.until_status("the broken schema is refused", SOON, refused).await;
    let ready = &status["conditions"][0];
    assert_eq!((&status["phase"], &ready["reason"]), (&json!("Invalid"), &json!("InvalidSpec")));
    let message = ready["message"].as_str().unwrap_or_default().to_owned();
    for part in ["format", "%Y-%m-", "the spec that was accepted last stays in force"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(condition(&status, "Stalled"), Some("True"), "kstatus says that the user has to act");
    let rows = Proof::no_row_twice(pipeline).await;
    Proof::more_than(pipeline, rows, "a refused schema").await;
    assert_eq!(pods(pipeline).await, before, "what was accepted last stays in force");
    claim(format_args!("a broken schema: {message}; rows kept coming from the same pods"));
    pipeline.change(|spec| spec["schema"]["columns"].as_array_mut().unwrap().last_mut().unwrap()["format"] = "%Y-%m-%d".into()).await;
    pipeline.ready().await;
}

/// Every pod is replaced once.
async fn restart(pipeline: &mut Pipeline) {
    let before = pods(pipeline).await;
    pipeline.change(|spec| spec["lifecycle"]["restartNonce"] = 1.into()).await;
    let after = until("all pods are new", async || {
        let now = pods(pipeline).await;
        (now.len() == before.len() && now.iter().all(|uid| !before.contains(uid))).then_some(now)
    })
    .await;
    pipeline.ready().await;
    assert_eq!(pods(pipeline).await, after, "once, and not twice");
    claim(format_args!("restartNonce: {} pods replaced, once", after.len()));
}

/// An upgrade of the chart, and its removal, leave the workers alone.
async fn exchange_the_operator(pipeline: &Pipeline) {
    let before = pods(pipeline).await;
    let chart = repository().join("charts/stockpipeline-operator").display().to_string();
    let upgrade = ["upgrade", RELEASE, &chart, "-n", SYSTEM, "--reuse-values", "--set", "log.level=debug", "--wait", "--timeout", "5m"];
    helm(&upgrade).await;
    assert_eq!(pods(pipeline).await, before, "an upgrade restarts no worker");
    helm(&["uninstall", RELEASE, "-n", SYSTEM, "--wait"]).await;
    let rows = Proof::no_row_twice(pipeline).await;
    Proof::more_than(pipeline, rows, "helm uninstall").await;
    Stage::open().await;
    pipeline.ready().await;
    assert_eq!(pods(pipeline).await, before, "a new operator takes over what runs");
    claim("helm upgrade, uninstall and install under load: the same worker pods, and rows kept coming");
}

/// Drained, Stopped, Running.
async fn stand_still(pipeline: &mut Pipeline) {
    pipeline.desire("Drained").await;
    pipeline.until_status("it is Drained", SOON, |status| status["phase"] == "Drained").await;
    let drained = Proof::no_row_twice(pipeline).await;
    let in_topic = Kafka::new(&pipeline.stage.settings.kafka).count(&pipeline.namespace).await;
    assert_eq!(Some(drained), in_topic, "all that was produced is stored");
    pipeline.desire("Stopped").await;
    pipeline.until_status("it is Stopped", SOON, |status| status["phase"] == "Stopped").await;
    pipeline.until_workers("sink", 0).await;
    pipeline.desire("Running").await;
    pipeline.ready().await;
    claim(format_args!("Drained with {drained} rows, all that the topic held; Stopped; Running again"));
}

/// With every policy at Retain nothing goes but the workers, and the same document goes on; with Delete nothing stays.
async fn outlive(mut pipeline: Pipeline, dataset: &Dataset) {
    let policy = pipeline.document["spec"]["deletionPolicy"].take();
    pipeline.document["spec"].as_object_mut().unwrap().remove("deletionPolicy");
    kubectl(&[
        "-n",
        &pipeline.namespace,
        "patch",
        &pipeline.resource(),
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/spec/deletionPolicy"}]"#,
    ])
    .await;
    let stored = objects(&pipeline).await;
    pipeline.kubectl(&["delete", &pipeline.resource(), "--timeout=120s"]).await;
    until("no worker is left", async || (pods(&pipeline).await.is_empty()).then_some(())).await;
    assert!(objects(&pipeline).await == stored, "the objects stay");
    assert_eq!(Proof::by_trino(&pipeline, dataset).await, Proof::expected(dataset), "the tables stay");

    pipeline.document["spec"]["deletionPolicy"] = policy;
    pipeline.apply().await;
    pipeline.completed(SOON).await;
    Proof::exactly_once(&pipeline, dataset, "a deletion that retains, and a new start").await;
    assert!(objects(&pipeline).await == stored, "nothing is stored again");
    claim(format_args!("deleted with everything retained: {} objects and the tables stayed; applied again it added nothing", stored.len()));
    pipeline.remove().await;
    claim("deleted with every policy at Delete: topic, tables, database and objects are gone");
}

/// Returns the keys of what is stored in the zones, in order; the ledger notes beside them what sinks do on their way out.
async fn objects(pipeline: &Pipeline) -> Vec<String> {
    let mut keys = Vec::new();
    for zone in ["processed", "raw", "dlq"] {
        keys.extend(pipeline.stage.bucket.keys(&format!("{}/{zone}/", pipeline.namespace)).await);
    }
    keys
}

/// Returns the ids of all pods, in order.
async fn pods(pipeline: &Pipeline) -> Vec<String> {
    let mut found: Vec<String> =
        [pipeline.pods("sink").await, pipeline.pods("producer").await].concat().into_iter().map(|pod| pod.uid).collect();
    found.sort();
    found
}
