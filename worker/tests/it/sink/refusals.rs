//! What a sink refuses, before or instead of writing something wrong.

use std::time::Duration;

use bytes::Bytes;
use stockpipeline::layout::{Epoch, LedgerKeys};
use stockpipeline_worker::sink::{SinkError, StartError};
use stockpipeline_worker::status::Reason;

use super::stage::{Stage, until};
use super::stored::files;
use crate::faults::{Fault, Rule};

const RECORDS: i64 = 300;

fn store_first_half(stage: &Stage) {
    let sink = stage.sink("first", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(sink.stop().unwrap().drained);
}

fn delete_ledger(stage: &Stage) {
    std::fs::remove_dir_all(stage.bucket().join("_stockpipeline")).unwrap();
}

#[test]
fn a_deleted_ledger_is_refused_until_it_is_accepted() {
    let stage = Stage::new(1);
    store_first_half(&stage);
    delete_ledger(&stage);
    let before = files(&stage.bucket()).len();
    let refused = stage.sink("second", stage.pipeline(|_| {})).ended().unwrap_err();
    assert!(matches!(refused, SinkError::Start(StartError::LedgerMissing { .. })), "{refused:?}");
    assert_eq!(files(&stage.bucket()).len(), before, "a refused start writes nothing");

    let epoch = stage.epoch.as_str().to_owned();
    let accepted = stage.sink("third", stage.pipeline(|spec| spec["sink"]["ledger"]["accept"] = epoch.into()));
    stage.produce(0, RECORDS, RECORDS);
    stage.wait_for_rows(usize::try_from(2 * RECORDS).unwrap());
    assert!(accepted.stop().unwrap().drained);
    let expected: Vec<(i32, i64)> = (0..2 * RECORDS).map(|offset| (0, offset)).collect();
    stage.stored().assert_exactly(&expected);
}

#[test]
fn a_renamed_consumer_group_over_filled_zones_is_refused() {
    let stage = Stage::new(1);
    store_first_half(&stage);
    let refused = stage.sink("second", stage.pipeline(|spec| spec["kafka"]["consumerGroup"] = "others".into())).ended().unwrap_err();
    assert!(matches!(refused, SinkError::Start(StartError::LedgerMissing { .. })), "{refused:?}");
}

#[test]
fn a_store_that_ignores_if_none_match_is_refused_at_the_start() {
    let stage = Stage::new(1);
    stage.proxy.inject(Rule::new(Fault::StripCondition).method("PUT"));
    stage.produce(0, 0, RECORDS);
    let refused = stage.sink("first", stage.pipeline(|_| {})).ended().unwrap_err();
    assert!(matches!(refused, SinkError::Start(StartError::ConditionalWritesUnsupported { .. })), "{refused:?}");
    assert_eq!(stage.stored().objects, Vec::<String>::new());
}

#[test]
fn a_topic_that_was_made_again_gets_an_epoch_of_its_own() {
    let mut stage = Stage::new(1);
    store_first_half(&stage);
    stage.replace_broker();
    stage.epoch = Epoch::of("another incarnation");
    stage.produce(0, 0, RECORDS / 2);
    let sink = stage.sink("second", stage.pipeline(|_| {}));
    let short = stage.epoch.short().to_owned();
    until("the new incarnation's rows are stored", || stage.stored().objects.iter().any(|object| object.contains(&short)));
    assert!(sink.stop().unwrap().drained);
    let report = stage.audit(&stage.pipeline(|_| {}));
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.zones.processed.rows, u64::try_from(RECORDS + RECORDS / 2).unwrap());
}

#[test]
fn a_log_that_ends_below_what_was_stored_stops_the_partition() {
    let mut stage = Stage::new(1);
    store_first_half(&stage);
    stage.replace_broker();
    stage.produce(0, 0, RECORDS / 2);
    let sink = stage.sink("second", stage.pipeline(|_| {}));
    until("the partition is stopped", || sink.status.read().fatal.as_ref().is_some_and(|f| f.reason == Reason::TopicTruncated));
    let error = sink.stop().unwrap_err();
    assert!(matches!(error, SinkError::Stopped { reason: Reason::TopicTruncated, .. }), "{error:?}");
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn offsets_that_the_broker_dropped_are_counted_and_the_rest_is_stored() {
    let stage = Stage::new(1);
    store_first_half(&stage);
    // The embedded broker keeps 100,000 messages of a partition.
    stage.produce(0, RECORDS, 130_000);
    let sink = stage.sink("second", stage.pipeline(|_| {}));
    until("data loss shows", || sink.status.read().sink.as_ref().is_some_and(|sink| sink.data_loss.is_some()));
    until("the rest is durable", || {
        let status = sink.status.read();
        status.sink.as_ref().unwrap().partitions.first().is_some_and(|partition| partition.durable == RECORDS + 130_000)
    });
    assert!(sink.stop().unwrap().drained);
    let stored = stage.stored();
    assert!(stored.twice.is_empty());
    let lowest = *stored.processed.keys().nth(usize::try_from(RECORDS).unwrap()).unwrap();
    assert!(lowest.1 > RECORDS, "{lowest:?}");
    assert_eq!(stored.processed.len(), usize::try_from(RECORDS + (RECORDS + 130_000 - lowest.1)).unwrap());
    let report = stage.audit(&stage.pipeline(|_| {}));
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn an_object_of_somebody_else_in_our_place_stops_the_partition() {
    let stage = Stage::new(1);
    stage.proxy.inject(Rule::new(Fault::Answer(503, "SlowDown")).method("PUT").key("/processed/"));
    stage.produce(0, 0, RECORDS);
    let sink = stage.sink("first", stage.pipeline(|_| {}));
    stage.runtime.block_on(stage.proxy.wait_for("PUT", "/processed/", 1));
    let keys = LedgerKeys::new("_stockpipeline", "sinks", &stage.epoch);
    let store = stage.store();
    let listed = stage.runtime.block_on(store.list(&keys.partition(0), None, 1)).unwrap();
    let plan = stage.runtime.block_on(store.get(&listed[0].key)).unwrap().unwrap();
    let plan = stockpipeline::plan::Plan::from_json(&plan).unwrap();
    let object = plan.objects.iter().find(|object| object.key.starts_with("processed/")).unwrap();
    let none = std::collections::BTreeMap::new();
    stage.runtime.block_on(store.put_if_absent(&object.key, Bytes::from_static(b"somebody else's"), "text/plain", &none)).unwrap();
    stage.proxy.heal();
    until("the partition is stopped", || sink.status.read().fatal.as_ref().is_some_and(|f| f.reason == Reason::PathCollision));
    assert!(sink.stop().is_err());
    assert_eq!(stage.runtime.block_on(store.get(&object.key)).unwrap().unwrap(), "somebody else's");
}

#[test]
fn a_stopped_partition_goes_on_once_what_had_stopped_it_is_gone() {
    let stage = Stage::new(1);
    stage.proxy.inject(Rule::new(Fault::Answer(503, "SlowDown")).method("PUT").key("/processed/"));
    stage.produce(0, 0, RECORDS);
    let sink = stage.sink_with("only", stage.pipeline(|_| {}), |context| context.look_again = Duration::from_millis(200));
    stage.runtime.block_on(stage.proxy.wait_for("PUT", "/processed/", 1));
    let plan = stage.plans().remove(0);
    let object = plan.objects.iter().find(|object| object.key.starts_with("processed/")).unwrap();
    let (store, none) = (stage.store(), std::collections::BTreeMap::new());
    stage.runtime.block_on(store.put_if_absent(&object.key, Bytes::from("somebody else's"), "text/plain", &none)).unwrap();
    stage.proxy.heal();
    until("the partition is stopped", || sink.status.read().fatal.as_ref().is_some_and(|f| f.reason == Reason::PathCollision));
    stage.runtime.block_on(store.delete(std::slice::from_ref(&object.key))).unwrap();
    until("the partition goes on", || sink.durable() == RECORDS);
    until("nothing is wrong any more", || sink.status.read().fatal.is_none());
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn a_loss_that_is_met_again_with_each_look_keeps_its_time() {
    let stage = Stage::new(1);
    store_first_half(&stage);
    // The embedded broker keeps 100,000 messages of a partition.
    stage.produce(0, RECORDS, 130_000);
    stage.proxy.inject(Rule::new(Fault::Answer(400, "InvalidRequest")).method("PUT").key(".plan.json"));
    let before = stage.proxy.count("PUT", ".plan.json");
    let sink = stage.sink_with("second", stage.pipeline(|_| {}), |context| context.look_again = Duration::from_millis(50));
    let loss = || sink.status.read().sink.as_ref().and_then(|sink| sink.data_loss.clone());
    stage.runtime.block_on(stage.proxy.wait_for("PUT", ".plan.json", before + 1));
    until("the partition is stopped", || sink.status.read().fatal.is_some());
    let first = loss().unwrap();
    until("it is refused twice more", || {
        assert!(sink.status.read().fatal.is_some(), "what it tries again has not worked yet");
        stage.proxy.count("PUT", ".plan.json") >= before + 3
    });
    assert_eq!(loss().unwrap(), first);
    stage.proxy.heal();
    until("the rest is durable", || sink.durable() == RECORDS + 130_000);
    assert_eq!(loss().unwrap(), first);
    until("nothing is wrong any more", || sink.status.read().fatal.is_none());
    assert!(sink.stop().unwrap().drained);
}

#[test]
fn a_partition_that_is_stopped_by_its_ledger_goes_on_without_a_record_once_it_can_be_read() {
    let stage = Stage::new(1);
    store_first_half(&stage);
    stage.proxy.inject(Rule::new(Fault::Answer(400, "InvalidRequest")).method("GET").key(".plan.json"));
    let sink = stage.sink_with("second", stage.pipeline(|_| {}), |context| context.look_again = Duration::from_millis(50));
    until("the partition is stopped", || sink.status.read().fatal.is_some());
    stage.proxy.heal();
    until("nothing is wrong any more", || sink.status.read().fatal.is_none());
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}
