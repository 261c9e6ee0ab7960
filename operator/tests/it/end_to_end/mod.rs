//! The operator as a process in front of a real API server, under exactly the chart's roles; nodes and workers are played.

mod everywhere;
mod examples;
mod indexes;
mod owners;
mod roles;
pub(crate) mod stage;
mod whole_life;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockpipeline::launch::Exit;
use stockpipeline_operator::resource::crd::StockPipeline;

use crate::cluster::run;
use crate::moto;
use crate::program::until;
use stage::{NAME, Stage};

/// Time within which everything that a pipeline needs is there.
const MADE_WITHIN: Duration = Duration::from_secs(30);
/// How long a hand-over may take.
const HANDOVER: Duration = Duration::from_secs(2);

/// Gives a pipeline every kind of thing that is kept in Glue and Athena.
fn with_everything(spec: &mut Value, name: &str) {
    spec["sink"]["raw"] = json!({ "prefix": "raw" });
    spec["glue"]["tables"]["raw"] = json!(format!("{}_raw", name.replace('-', "_")));
    spec["athena"] = json!({
        "workgroup": { "name": name, "create": true, "outputLocation": "s3://results/athena/" },
        "namedQueries": [{ "name": "count", "sql": "select count(*) from ticks" }],
    });
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("ticks-{number:02}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn an_applied_pipeline_becomes_ready_and_is_planned_exactly() {
    let stage = Stage::new("ready").await;
    let operator = stage.lead(NAME).await;
    let names = names(1);
    let applied = Instant::now();
    stage.apply(&names).await;
    until("the children are there", async || {
        let (done, _) =
            run("kubectl", &["get", "-n", stage.namespace.name(), "deployment/ticks-00-sink", "deployment/ticks-00-producer"], "").await;
        done && stage.aws.calls("CreateTable") > 0
    })
    .await;
    assert!(applied.elapsed() < MADE_WITHIN, "{:?}", applied.elapsed());
    stage.wait(&names).await;

    let (code, text) = stage.plan(stage.document("ticks-00", |_| {})).await;
    assert_eq!((code, text.contains("Nothing to change.")), (0, true), "{text}");
    let (code, text) = stage.plan(stage.document("ticks-00", |spec| spec["sink"]["worker"] = json!({ "replicas": 2 }))).await;
    assert_eq!(code, 2, "{text}");
    for part in [
        "spec.sink.worker.replicas: 1 -> 2",
        "~ spec.replicas: 1 -> 2",
        "+ PodDisruptionBudget ticks-00-sink (create)",
        "2 to create, 2 to change",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (code, text) = stage.plan(stage.document("ticks-00", |spec| spec["kafka"]["topic"]["name"] = "other".into())).await;
    assert_eq!((code, text.contains("the API server would not apply")), (1, true), "{text}");
    let (code, text) = stage.plan(stage.document("brand-new", |_| {})).await;
    assert_eq!((code, text.contains("+ Deployment brand-new-sink (create)")), (2, true), "{text}");
    let object = stage.namespace.api::<StockPipeline>().get("ticks-00").await.unwrap();
    assert_eq!(object.metadata.generation, Some(1), "plans are written nowhere");
    drop(operator);
    stage.namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log, and moto: AWS_ENDPOINT_URL"]
async fn fifty_pipelines_at_rest_are_written_nowhere() {
    let mut stage = Stage::new("rest").await;
    let aws = stage.before_moto().await;
    let operator = stage.lead(NAME).await;
    let names = names(50);
    let documents: Vec<String> = names.iter().map(|name| stage.document(name, |spec| with_everything(spec, name))).collect();
    stage.kubectl(&["apply", "-f", "-"], &documents.join("\n---\n")).await;
    stage.wait(&names).await;
    let mut last = (BTreeMap::new(), Instant::now());
    until("nothing is written for ten seconds", async || {
        let writes = stage.writes(NAME);
        if writes != last.0 {
            last = (writes, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(10)
    })
    .await;
    let database = stage.namespace.name().replace('-', "_");
    assert_eq!((moto::tables(&database).await.len(), moto::queries("ticks-49").await.len()), (3 * 50, 1), "all is there");
    let (before, aws_before) = (stage.writes(NAME), aws.aws_writes());
    let looks = ["GetDatabase", "GetTable", "GetWorkGroup", "GetNamedQuery"].map(|operation| (operation, aws.calls(operation)));
    until("every pipeline's drift was looked for twice", async || aws.calls("GetDatabase") >= looks[0].1 + 2 * 50 + 50).await;
    assert!(looks.iter().all(|(operation, before)| aws.calls(operation) >= before + 2 * 50), "all of it: {looks:?}");
    assert_eq!(stage.writes(NAME), before);
    assert_eq!(aws.aws_writes(), aws_before);
    drop(operator);
    stage.namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn a_leader_that_was_stopped_at_work_writes_nothing_after_its_lease() {
    let stage = Stage::new("frozen").await;
    stage.add_account("second").await;
    let mut first = stage.lead(NAME).await;
    let second = stage.operate("second").await;
    until("the second is ready", async || second.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    let names = names(20);
    stage.apply(&names).await;
    until("the first is at work", async || stage.writes(NAME).values().sum::<usize>() > 10).await;
    first.signal("STOP");
    until("the second leads", async || second.leads().await).await;
    stage.wait(&names).await;
    let before = stage.writes(NAME);
    first.signal("CONT");
    assert_eq!(first.ended().await.code(), Some(i32::from(Exit::External.code())));
    assert_eq!(stage.writes(NAME), before);
    assert!(second.leads().await);

    let mut second = second;
    let again = stage.operate(NAME).await;
    until("the first is back", async || again.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    let told = Instant::now();
    second.signal("TERM");
    until("the first leads again", async || stage.holder().await.starts_with(NAME)).await;
    assert!(told.elapsed() < HANDOVER, "{:?}", told.elapsed());
    assert_eq!(second.ended().await.code(), Some(0));
    drop(again);
    stage.namespace.remove().await;
}
