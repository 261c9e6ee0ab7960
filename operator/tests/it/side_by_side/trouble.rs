//! Trouble with the API server and the cluster while the operator is at work.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Pod, ResourceQuota};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use stockpipeline::launch::Exit;
use stockpipeline_operator::resource::crd::StockPipeline;

use crate::end_to_end::stage::{NAME, Stage};
use crate::program::until;
use crate::proxy::{Fate, Passing};

/// Longest time between two renewals after which a process no longer leads.
const RENEWED_WITHIN: Duration = Duration::from_secs(30);
/// Requests of a storm: about ten seconds of one operator.
const STORM: usize = 60;
/// More requests a second than one pipeline's operator sends while it is refused: it waits ever longer instead.
const MOST_A_SECOND: u128 = 40;
/// What a limit range says of a container that may need more memory than it allows.
const TOO_SMALL: &str = "maximum memory usage per Container";

fn generation(object: &Value) -> Option<i64> {
    object["metadata"]["generation"].as_i64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn what_happens_while_watches_are_cut_and_gone_with_410_is_seen_all_the_same() {
    let stage = Stage::new("gone").await;
    let proxy = stage.proxy().await;
    let operator = stage.operate_with(NAME, Some(&proxy), &[]).await;
    stage.ready("demo", |_| {}).await;
    // No watch comes through until everything has changed, and then every one of them is told that its version is too old.
    proxy.rule(|passing| if passing.is_watch() { Fate::Hold } else { Fate::Pass });
    proxy.cut();
    stage.namespace.api::<ConfigMap>().delete("demo-pipeline", &DeleteParams::default()).await.unwrap();
    stage.patch::<Deployment>("demo-sink", &json!({ "spec": { "replicas": 5 } })).await;
    stage.apply_one("second", |_| {}).await;
    let mut told: Vec<String> = Vec::new();
    proxy.rule(move |passing| {
        let is_first = passing.is_watch() && !passing.path.contains("/leases") && !told.contains(&passing.path);
        if is_first {
            told.push(passing.path.clone());
        }
        if is_first { Fate::Refuse(410, "Expired") } else { Fate::Pass }
    });
    proxy.cut();
    until("the document is back", async || !stage.get::<ConfigMap>("demo-pipeline").await.is_null()).await;
    until("the number is back", async || stage.get::<Deployment>("demo-sink").await["spec"]["replicas"] == 1).await;
    stage.wait(&["demo".to_owned(), "second".to_owned()]).await;
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn children_that_no_watch_has_shown_yet_are_written_once_also_by_one_who_has_just_started() {
    let stage = Stage::new("stale").await;
    let proxy = stage.proxy().await;
    // Nothing is heard of children; of pipelines everything.
    let lag = |passing: &Passing| {
        if passing.is_watch() && !passing.path.contains("stockpipelines") && !passing.path.contains("leases") {
            Fate::Hold
        } else {
            Fate::Pass
        }
    };
    proxy.rule(lag);
    let mut operator = stage.operate_with(NAME, Some(&proxy), &[]).await;
    stage.apply_one("demo", |_| {}).await;
    for round in 0..2 {
        let looks = stage.aws.calls("GetDatabase");
        until("it was looked at often", async || {
            !stage.get::<Deployment>("demo-producer").await.is_null() && stage.aws.calls("GetDatabase") >= looks + 2
        })
        .await;
        let written = proxy.seen().into_iter().filter(|passing| passing.is_write() && !passing.path.contains("stockpipelines"));
        let mut paths: Vec<String> = written.map(|passing| passing.path).collect();
        let all = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!((all, round), (paths.len(), round), "each of them once");
        operator.signal("KILL");
        operator.ended().await;
        stage.free_lease().await;
        operator = stage.operate_with(NAME, Some(&proxy), &[]).await;
        until("it leads", async || operator.leads().await).await;
    }
    proxy.heal();
    proxy.cut();
    stage.wait(&["demo".to_owned()]).await;
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn an_api_server_that_refuses_with_429_and_500_is_asked_ever_less_and_then_all_is_made() {
    let stage = Stage::new("storm").await;
    let proxy = stage.proxy().await;
    let operator = stage.operate_with(NAME, Some(&proxy), &[]).await;
    stage.ready("demo", |_| {}).await;
    let mut refused = 0_usize;
    proxy.rule(move |passing| {
        if passing.path.contains("/leases") {
            return Fate::Pass;
        }
        refused += 1;
        if refused.is_multiple_of(2) { Fate::Refuse(429, "TooManyRequests") } else { Fate::Refuse(500, "InternalError") }
    });
    proxy.cut();
    let (before, started) = (proxy.seen().len(), Instant::now());
    stage.apply_one("second", |_| {}).await;
    until("the storm has lasted", async || proxy.seen().len() >= before + STORM).await;
    let asked = u128::try_from(proxy.seen().len() - before).unwrap() * 1_000 / started.elapsed().as_millis().max(1);
    assert!(asked < MOST_A_SECOND, "{asked} a second");
    assert!(operator.leads().await, "its lease is renewed");
    proxy.heal();
    stage.wait(&["demo".to_owned(), "second".to_owned()]).await;
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn an_operator_that_can_renew_nothing_ends_and_its_successor_goes_on() {
    let stage = Stage::new("cut-off").await;
    let proxy = stage.proxy().await;
    let mut operator = stage.operate_with(NAME, Some(&proxy), &[]).await;
    stage.ready("demo", |_| {}).await;
    let before = generation(&stage.get::<Deployment>("demo-sink").await);
    proxy.rule(|_| Fate::Refuse(503, "ServiceUnavailable"));
    proxy.cut();
    let started = Instant::now();
    assert_eq!(operator.ended().await.code(), Some(i32::from(Exit::External.code())));
    assert!(started.elapsed() < RENEWED_WITHIN, "{:?}", started.elapsed());
    let successor = stage.operate_with(NAME, Some(&proxy), &[]).await;
    until("it lives and is not ready", async || {
        let live = successor.get("/livez").await.is_some_and(|(status, _)| status == 200);
        live && successor.get("/readyz").await.is_some_and(|(status, _)| status == 503)
    })
    .await;
    proxy.heal();
    stage.ready("second", |_| {}).await;
    assert_eq!(generation(&stage.get::<Deployment>("demo-sink").await), before, "nothing was written for nothing");
    drop(successor);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn a_pipeline_that_is_deleted_and_made_again_at_once_has_children_of_its_own() {
    let stage = Stage::new("again").await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    let earlier = stage.get::<StockPipeline>("demo").await["metadata"]["uid"].clone();
    let api = stage.namespace.api::<StockPipeline>();
    drop(api.delete("demo", &DeleteParams::default()).await.unwrap());
    until("it can be made again", async || {
        stage.try_kubectl(&["create", "-f", "-"], &stage.document("demo", |spec| spec["kafka"]["topic"]["name"] = json!("another"))).await.0
    })
    .await;
    let own = stage.get::<StockPipeline>("demo").await["metadata"]["uid"].clone();
    assert_ne!(earlier, own);
    stage.wait(&["demo".to_owned()]).await;
    for name in ["demo-sink", "demo-producer"] {
        assert_eq!(stage.get::<Deployment>(name).await["metadata"]["ownerReferences"][0]["uid"], own, "{name}");
    }
    let document = stage.get::<ConfigMap>("demo-pipeline").await["data"].to_string();
    assert!(document.contains("another"), "{document}");
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn pods_that_a_quota_or_a_limit_range_does_not_let_in_are_told_with_the_reason() {
    let stage = Stage::new("quota").await;
    let quota: ResourceQuota =
        serde_json::from_value(json!({ "metadata": { "name": "few" }, "spec": { "hard": { "pods": "0" } } })).unwrap();
    let quotas = stage.namespace.api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    until("the quota is in force", async || stage.get::<ResourceQuota>("few").await["status"]["hard"]["pods"] == "0").await;
    let operator = stage.lead(NAME).await;
    stage.apply_one("demo", |_| {}).await;
    stage.until_told("demo", "SinkAvailable", "False/PodsRejected", "exceeded quota: few").await;
    stage.until_condition("demo", "Ready", "False/PodsRejected").await;

    let limit = json!({ "metadata": { "name": "small" }, "spec": { "limits": [{ "type": "Container", "max": { "memory": "1Mi" } }] } });
    let limits = stage.namespace.api::<LimitRange>();
    limits.create(&PostParams::default(), &serde_json::from_value(limit).unwrap()).await.unwrap();
    drop(quotas.delete("few", &DeleteParams::default()).await.unwrap());
    // Admission reads both from caches of its own, and a ReplicaSet keeps the first reason that it was told.
    let mut pod = stage.get::<Deployment>("demo-sink").await["spec"]["template"].take();
    pod["metadata"]["name"] = json!("one-more");
    let pod: Pod = serde_json::from_value(pod).unwrap();
    until("pods are refused for the limit alone", async || {
        let refusal = stage.namespace.api().create(&PostParams { dry_run: true, field_manager: None }, &pod).await.err();
        refusal.is_some_and(|refusal| refusal.to_string().contains(TOO_SMALL))
    })
    .await;
    // A new template has a ReplicaSet of its own, which tries at once.
    stage.patch::<StockPipeline>("demo", &json!({ "spec": { "lifecycle": { "restartNonce": 1 } } })).await;
    stage.until_told("demo", "SinkAvailable", "False/PodsRejected", TOO_SMALL).await;
    drop(limits.delete("small", &DeleteParams::default()).await.unwrap());
    stage.patch::<StockPipeline>("demo", &json!({ "spec": { "lifecycle": { "restartNonce": 2 } } })).await;
    stage.wait(&["demo".to_owned()]).await;
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn a_spec_that_is_changed_a_hundred_times_ends_at_the_last_with_few_roll_outs() {
    let stage = Stage::new("toggled").await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    for round in 1..=100 {
        let patch = json!({ "spec": { "sink": { "rotation": { "maxRecords": 1_000 + round } } } });
        stage.patch::<StockPipeline>("demo", &patch).await;
    }
    until("the last one is in force", async || {
        let object = stage.get::<StockPipeline>("demo").await;
        let document = stage.get::<ConfigMap>("demo-pipeline").await["data"].to_string();
        object["status"]["observedGeneration"] == object["metadata"]["generation"] && document.contains("1100")
    })
    .await;
    stage.wait(&["demo".to_owned()]).await;
    let rolled = generation(&stage.get::<Deployment>("demo-sink").await).unwrap();
    assert!(rolled < 60, "a look takes all changes together that have come since the last one: {rolled} roll-outs");
    drop(operator);
    stage.remove().await;
}
