//! What the clean-up commands delete, and what they leave.

use std::collections::BTreeMap;
use std::process::Output;

use bytes::Bytes;
use stockpipeline::layout::{Epoch, LedgerKeys};
use stockpipeline::plan::{PLAN_VERSION, Root};
use stockpipeline_worker::embedded::EmbeddedS3;

use super::stage::{Stage, until};
use super::stored::files;
use crate::command_line::worker;

const RECORDS: i64 = 50;

fn delete(stage: &Stage, what: &str) -> Output {
    delete_with(stage, what, |_| {})
}

fn delete_with(stage: &Stage, what: &str, change: impl FnOnce(&mut serde_json::Value)) -> Output {
    let mut command = worker();
    command.arg(what).arg(stage.file("it", change)).arg("--delete");
    command.env("AWS_ACCESS_KEY_ID", EmbeddedS3::ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", EmbeddedS3::SECRET_ACCESS_KEY);
    command.output().unwrap()
}

#[test]
fn data_delete_removes_zones_and_ledger_and_nothing_else() {
    let stage = Stage::new(1);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.produce_payload(0, b"poison");
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap() + 1);
    assert!(sink.stop().unwrap().drained);
    for key in ["raw-of-others/a", "processed2/b", "_stockpipeline/sinks2/c"] {
        let none = std::collections::BTreeMap::new();
        stage.runtime.block_on(stage.store().put_if_absent(key, Bytes::from_static(b"x"), "text/plain", &none)).unwrap();
    }
    for round in 0..2 {
        let output = delete(&stage, "data");
        assert!(output.status.success(), "round {round}: {output:?}");
        assert_eq!(stored_keys(&stage), ["_stockpipeline/sinks2/c", "processed2/b", "raw-of-others/a"], "round {round}");
    }
}

/// Pipelines of two clusters may have one bucket and groups of one name; each has its ledger in epochs of its own.
#[test]
fn data_delete_leaves_the_epochs_of_another_pipeline_with_the_same_group() {
    let mut stage = Stage::new(1);
    let ours = stage.sink("ours", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(ours.stop().unwrap().drained);
    // The same topic of another cluster, into zones of its own.
    stage.replace_broker();
    stage.epoch = Epoch::of("another cluster");
    let theirs = stage.sink(
        "theirs",
        stage.pipeline(|spec| {
            spec["sink"]["raw"]["prefix"] = "theirs/raw".into();
            spec["sink"]["processed"]["prefix"] = "theirs/processed".into();
            spec["sink"]["onBadRecord"]["prefix"] = "theirs/dlq".into();
        }),
    );
    stage.produce(0, 0, RECORDS);
    until("their rows are durable", || theirs.durable() == RECORDS);
    assert!(theirs.stop().unwrap().drained);
    // Another topic, whose pipeline has stored nothing yet.
    let idle = LedgerKeys::new("_stockpipeline", "sinks", &Epoch::of("another topic")).root();
    let root = Root { version: PLAN_VERSION, cluster_id: None, topic_id: None, topic: "others".to_owned(), starts: BTreeMap::new() };
    stage.runtime.block_on(stage.store().put_if_absent(&idle, Bytes::from(root.to_json()), "application/json", &BTreeMap::new())).unwrap();
    let others = |path: &str| path == idle || path.starts_with("theirs/") || path.contains(stage.epoch.as_str());
    let all = stored_keys(&stage);
    let expected: Vec<&String> = all.iter().filter(|path| others(path)).collect();
    assert!(expected.len() > 4 && expected.len() < all.len(), "{all:?}");

    let output = delete(&stage, "data");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stored_keys(&stage).iter().collect::<Vec<_>>(), expected);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("belongs to topic \"others\"") && said.contains("theirs/dlq"), "{said}");
}

fn put_root(stage: &Stage, epoch: &Epoch, cluster: &str) {
    let (key, topic) = (LedgerKeys::new("_stockpipeline", "sinks", epoch).root(), stage.topic().to_owned());
    let root = Root { version: PLAN_VERSION, cluster_id: Some(cluster.to_owned()), topic_id: None, topic, starts: BTreeMap::new() };
    let none = BTreeMap::new();
    stage.runtime.block_on(stage.store().put_if_absent(&key, Bytes::from(root.to_json()), "application/json", &none)).unwrap();
}

#[test]
fn data_delete_leaves_what_another_cluster_has_stored_with_and_without_plans_and_says_so() {
    let mut stage = Stage::new(1);
    // The same topic, group and zones, and other clusters: one epoch with plans, one without.
    let (idle, theirs) = (Epoch::of("idle"), stage.epoch.clone());
    put_root(&stage, &idle, "a third");
    put_root(&stage, &theirs, "another");
    let sink = stage.sink("theirs", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(sink.stop().unwrap().drained);
    let expected = stored_keys(&stage);
    assert!(expected.len() > 4, "{expected:?}");
    stage.replace_broker();
    stage.epoch = Epoch::of("ours");
    let sink = stage.sink("ours", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    until("our rows are durable", || sink.durable() == RECORDS);
    assert!(sink.stop().unwrap().drained);
    let all = stored_keys(&stage);
    assert!(all.len() > expected.len());

    // Brokers that do not answer tell of none whose it is.
    let output = delete_with(&stage, "data", |spec| spec["kafka"]["bootstrapServers"] = serde_json::json!(["127.0.0.1:1"]));
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stored_keys(&stage) == all && said.contains("the brokers do not tell which is this pipeline's"), "{said}");

    let output = delete(&stage, "data");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stored_keys(&stage), expected);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for (epoch, cluster) in [(&idle, "a third"), (&theirs, "another")] {
        let line = said.lines().find(|line| line.contains(epoch.as_str())).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains(&format!("left, it belongs to Kafka cluster {cluster:?}")), "{said}");
    }
}

fn stored_keys(stage: &Stage) -> Vec<String> {
    files(&stage.bucket()).iter().map(|path| path.strip_prefix(stage.bucket()).unwrap().display().to_string()).collect()
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn topic_delete_removes_the_topic_and_says_so_twice() {
    let stage = Stage::on_real_broker(1);
    let sink = stage.sink("only", stage.pipeline(|spec| spec["kafka"]["topic"]["replicationFactor"] = 1.into()));
    super::stage::until("the sink has made the topic", || sink.status.read().sink.as_ref().is_some_and(|sink| !sink.partitions.is_empty()));
    assert!(sink.stop().unwrap().drained);
    for expected in ["deleted", "was not there"] {
        let output = delete(&stage, "topic");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("topic {}: {expected}", stage.topic())), "{said}");
    }
}
