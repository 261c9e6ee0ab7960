//! Each fault of the wire heals without loss or repetition, shows as the trouble it is, or is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stockpipeline_worker::metrics::StoreMetrics;
use stockpipeline_worker::store::{Gate, Probe, Put, Store, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Lab, metadata, put, settings};
use crate::faults::{Fault, FaultyProxy, Rule, until};

fn spawn_put(store: &Store, key: &'static str) -> JoinHandle<Put> {
    let store = store.clone();
    tokio::spawn(async move { put(&store, key, "body").await })
}

/// A PUT meets a fault, shows a trouble meanwhile, and ends as expected.
async fn check_put(fault: Fault, trouble: &str, expected: Put) {
    let lab = Lab::with(|settings| settings.attempt_timeout = Duration::from_millis(400)).await;
    lab.proxy.inject(Rule::new(fault.clone()).method("PUT"));
    let putting = spawn_put(&lab.store, "key");
    until("the trouble shows", || lab.store.trouble().is_some()).await;
    let shown = lab.store.trouble().unwrap();
    assert_eq!(shown.reason, trouble, "{fault:?}: {}", shown.message);
    assert!(shown.message.starts_with("PutObject of s3://ticks/key: "), "{}", shown.message);
    lab.proxy.heal();
    assert_eq!(putting.await.unwrap(), expected, "{fault:?}");
    assert_eq!(lab.store.trouble(), None, "{fault:?}");
    assert_eq!(lab.store.get("key").await.unwrap().unwrap(), "body", "{fault:?}");
    assert_eq!(lab.store.head("key").await.unwrap().unwrap().metadata, metadata("body"), "{fault:?}");
}

#[tokio::test]
async fn passing_faults_of_a_write_heal_by_themselves() {
    for (fault, trouble) in [
        (Fault::Answer(503, "SlowDown"), "Throttled"),
        (Fault::Answer(500, "InternalError"), "Unavailable"),
        (Fault::Answer(502, ""), "Unavailable"),
        (Fault::Answer(400, "RequestTimeout"), "Timeout"),
        (Fault::Answer(400, "BadDigest"), "Unavailable"),
        (Fault::DropRequest, "Unavailable"),
        (Fault::CutRequest(2), "Unavailable"),
        (Fault::Delay(Duration::from_mins(1)), "Timeout"),
        (Fault::Throttle(2), "Timeout"),
    ] {
        check_put(fault, trouble, Put::Stored).await;
    }
}

#[tokio::test]
async fn lost_reply_of_a_write_ends_as_an_object_that_exists() {
    check_put(Fault::DropReply, "Unavailable", Put::Exists).await;
}

#[tokio::test]
async fn faults_that_need_somebody_are_shown_and_heal_when_they_end() {
    let faults = [
        (Fault::Answer(403, "AccessDenied"), "AccessDenied"),
        (Fault::Answer(400, "ExpiredToken"), "AccessDenied"),
        (Fault::Answer(404, "NoSuchBucket"), "NoSuchBucket"),
        (Fault::Answer(400, "KMS.DisabledException"), "KeyUnusable"),
        (Fault::Answer(403, "RequestTimeTooSkewed"), "ClockSkewed"),
        (Fault::Answer(301, "PermanentRedirect"), "Redirected"),
        (Fault::Html, "NotS3"),
    ];
    let checks = faults.map(|(fault, trouble)| tokio::spawn(check_put(fault, trouble, Put::Stored)));
    for check in checks {
        check.await.unwrap();
    }
}

#[tokio::test]
async fn burst_of_throttling_is_outlived_with_one_object() {
    let lab = Lab::start().await;
    lab.proxy.inject(Rule::new(Fault::Answer(503, "SlowDown")).method("PUT").times(6));
    assert_eq!(put(&lab.store, "burst", "body").await, Put::Stored);
    assert_eq!(lab.proxy.count("PUT", "burst"), 7);
}

#[tokio::test]
async fn conflict_is_tried_again_at_once_and_is_no_trouble() {
    let lab = Lab::start().await;
    lab.proxy.inject(Rule::new(Fault::Answer(409, "ConditionalRequestConflict")).method("PUT").times(3));
    let begun = Instant::now();
    assert_eq!(put(&lab.store, "key", "body").await, Put::Stored);
    assert_eq!(lab.proxy.count("PUT", "key"), 4);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn foreign_object_stays_and_is_told_by_its_metadata() {
    let lab = Lab::start().await;
    std::fs::create_dir_all(lab.folder.path().join("raw")).unwrap();
    std::fs::write(lab.folder.path().join("raw/key"), "foreign").unwrap();
    assert_eq!(put(&lab.store, "raw/key", "ours").await, Put::Exists);
    let info = lab.store.head("raw/key").await.unwrap().unwrap();
    assert_eq!((info.size, info.metadata), (7, BTreeMap::new()));
    assert_eq!(lab.store.get("raw/key").await.unwrap().unwrap(), "foreign");
}

#[tokio::test]
async fn passing_faults_of_reads_heal_by_themselves() {
    let lab = Lab::with(|settings| settings.attempt_timeout = Duration::from_millis(400)).await;
    assert_eq!(put(&lab.store, "key", "a body that is cut").await, Put::Stored);
    for fault in
        [Fault::CutReply(5), Fault::DropReply, Fault::Answer(503, ""), Fault::Delay(Duration::from_mins(1)), Fault::Answer(404, "")]
    {
        lab.proxy.inject(Rule::new(fault.clone()).times(1));
        assert_eq!(lab.store.get("key").await.unwrap().unwrap(), "a body that is cut", "get: {fault:?}");
        lab.proxy.inject(Rule::new(fault.clone()).times(1));
        assert_eq!(lab.store.list("k", None, 10).await.unwrap().len(), 1, "list: {fault:?}");
        if !matches!(fault, Fault::Answer(404, _) | Fault::CutReply(_)) {
            lab.proxy.inject(Rule::new(fault.clone()).times(1));
            assert_eq!(lab.store.head("key").await.unwrap().unwrap().size, 18, "head: {fault:?}");
        }
        lab.proxy.inject(Rule::new(fault.clone()).times(1));
        let none: Vec<String> = vec!["none/1".to_owned(), "none/2".to_owned()];
        lab.store.delete(&none).await.unwrap();
    }
    assert_eq!(lab.store.trouble(), None);
}

#[tokio::test]
async fn login_page_is_never_taken_for_an_answer() {
    let lab = Lab::start().await;
    put(&lab.store, "key", "body").await;
    lab.proxy.inject(Rule::new(Fault::Html));
    let (reader, lister, header, deleter) = (lab.store.clone(), lab.store.clone(), lab.store.clone(), lab.store.clone());
    let reading = tokio::spawn(async move { reader.get("key").await });
    let listing = tokio::spawn(async move { lister.list("", None, 10).await });
    let heading = tokio::spawn(async move { header.head("key").await });
    lab.proxy.wait_for("GET", "key", 2).await;
    lab.proxy.wait_for("GET", "list-type", 2).await;
    let deleting = tokio::spawn(async move { deleter.delete(&["other".to_owned()]).await });
    lab.proxy.wait_for("HEAD", "key", 2).await;
    lab.proxy.wait_for("DELETE", "other", 2).await;
    assert_eq!(lab.store.trouble().unwrap().reason, "NotS3");
    lab.proxy.heal();
    deleting.await.unwrap().unwrap();
    assert_eq!(reading.await.unwrap().unwrap().unwrap(), "body");
    assert_eq!(listing.await.unwrap().unwrap().len(), 1);
    assert_eq!(heading.await.unwrap().unwrap().unwrap().size, 4);
}

#[tokio::test]
async fn missing_bucket_is_not_taken_for_a_missing_object() {
    let lab = Lab::with(|settings| settings.give_up_after = Some(Duration::from_millis(300))).await;
    let elsewhere = super::connect(stockpipeline_worker::store::Settings {
        bucket: "elsewhere".to_owned(),
        give_up_after: Some(Duration::from_millis(300)),
        ..settings(&lab.server.endpoint())
    })
    .await;
    for failed in [elsewhere.head("key").await.map(drop), elsewhere.get("key").await.map(drop), elsewhere.list("", None, 1).await.map(drop)]
    {
        let error = failed.unwrap_err();
        assert!(matches!(&error, StoreError::GaveUp { message, .. } if message.contains("create the bucket")), "{error}");
    }
    assert_eq!(elsewhere.trouble().unwrap().reason, "NoSuchBucket", "given up isn't healed");
}

#[tokio::test]
async fn store_that_ignores_conditions_is_found_out() {
    let lab = Lab::start().await;
    lab.proxy.inject(Rule::new(Fault::StripCondition));
    assert_eq!(lab.store.probe("ledger/probe").await.unwrap(), Probe::Unconditional);
    lab.proxy.heal();
    lab.proxy.inject(Rule::new(Fault::Answer(501, "NotImplemented")).method("PUT"));
    assert_eq!(lab.store.probe("ledger/probe").await.unwrap(), Probe::Unconditional);
    lab.proxy.heal();
    lab.proxy.inject(Rule::new(Fault::DropReply).method("PUT").times(2));
    assert_eq!(lab.store.probe("ledger/probe").await.unwrap(), Probe::Conditional, "lost replies prove it too");
    assert_eq!(lab.store.list("ledger/", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn call_gives_up_only_when_it_was_told_to() {
    let lab = Lab::with(|settings| settings.give_up_after = Some(Duration::from_millis(500))).await;
    lab.proxy.inject(Rule::new(Fault::Answer(500, "InternalError")));
    let error = lab.store.get("key").await.unwrap_err();
    assert!(matches!(&error, StoreError::GaveUp { operation: "GetObject", key, .. } if key == "key"), "{error}");
    assert!(lab.proxy.count("GET", "key") >= 2);
}

struct Switch(AtomicBool);

impl Gate for Switch {
    fn open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[tokio::test]
async fn closed_gate_holds_every_attempt_of_a_write_but_no_read() {
    let lab = Lab::start().await;
    put(&lab.store, "before", "body").await;
    let gate = Arc::new(Switch(AtomicBool::new(true)));
    let store = Store::connect(settings(&lab.proxy.endpoint()), Some(Arc::clone(&gate) as Arc<dyn Gate>), StoreMetrics::default()).await;
    let released = Arc::new(Notify::new());
    lab.proxy.inject(Rule::new(Fault::Hold(Arc::clone(&released))).method("PUT").times(1));
    lab.proxy.inject(Rule::new(Fault::Answer(500, "InternalError")).method("PUT").skip(1));
    lab.proxy.inject(Rule::new(Fault::DropReply).method("DELETE"));
    let putting = spawn_put(&store, "key");
    lab.proxy.wait_for("PUT", "key", 1).await;
    gate.0.store(false, Ordering::Release);
    let deleting = tokio::spawn({
        let store = store.clone();
        async move { store.delete(&["before".to_owned()]).await }
    });
    until("the deletion waits at the gate", || store.trouble().is_some_and(|trouble| trouble.reason == "Stale")).await;
    assert_eq!(store.get("before").await.unwrap().unwrap(), "body", "a read passes");
    // The attempt that was under way goes on and succeeds; none starts.
    released.notify_one();
    assert_eq!(putting.await.unwrap(), Put::Stored);
    assert_eq!((lab.proxy.count("PUT", "key"), lab.proxy.count("DELETE", "before")), (1, 0));
    lab.proxy.heal();
    gate.0.store(true, Ordering::Release);
    deleting.await.unwrap().unwrap();
    assert_eq!(store.trouble(), None);
}

#[tokio::test]
async fn failed_attempt_of_a_write_asks_the_gate_again() {
    let lab = Lab::start().await;
    let gate = Arc::new(Switch(AtomicBool::new(true)));
    let store = Store::connect(settings(&lab.proxy.endpoint()), Some(Arc::clone(&gate) as Arc<dyn Gate>), StoreMetrics::default()).await;
    lab.proxy.inject(Rule::new(Fault::Answer(403, "AccessDenied")).method("PUT"));
    let putting = spawn_put(&store, "key");
    lab.proxy.wait_for("PUT", "key", 1).await;
    gate.0.store(false, Ordering::Release);
    until("the next attempt waits at the gate", || store.trouble().is_some_and(|trouble| trouble.reason == "Stale")).await;
    lab.proxy.heal();
    gate.0.store(true, Ordering::Release);
    assert_eq!(putting.await.unwrap(), Put::Stored);
}

#[tokio::test]
async fn server_that_cannot_be_reached_is_waited_for() {
    let lab = Lab::start().await;
    let gone = FaultyProxy::start("http://127.0.0.1:9").await.endpoint();
    let without_tls = lab.proxy.endpoint().replace("http://", "https://");
    let unknown_name = "http://no-such-host.invalid".to_owned();
    for endpoint in [gone, without_tls, unknown_name] {
        let store = super::connect(settings(&endpoint)).await;
        let putting = spawn_put(&store, "key");
        until("the trouble shows", || store.trouble().is_some()).await;
        let trouble = store.trouble().unwrap();
        assert!(matches!(trouble.reason, "Unavailable" | "Timeout"), "{endpoint}: {trouble:?}");
        assert!(!putting.is_finished());
        putting.abort();
        assert!(putting.await.unwrap_err().is_cancelled());
        assert_eq!(store.trouble().unwrap().reason, trouble.reason, "a dropped call heals nothing");
    }
}
