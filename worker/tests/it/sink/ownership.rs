//! Who owns a partition: several sinks, two owners at once, a frozen one that wakes, and what the group's offsets say.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use stockpipeline::layout::LedgerKeys;
use stockpipeline::plan::SealReason;
use stockpipeline_worker::status::Reason;
use tokio::sync::Notify;

use super::stage::{RunningSink, Stage, TOPIC, until};
use crate::faults::{Fault, Rule};

const RECORDS: i64 = 400;

#[test]
fn two_sinks_share_the_partitions_and_one_that_leaves_stores_before_it_gives_back() {
    let stage = Stage::new(4);
    let a = stage.sink("a", stage.pipeline(|_| {}));
    let b = stage.sink("b", stage.pipeline(|spec| spec["sink"]["rotation"]["maxInterval"] = "1h".into()));
    until("both have half of the partitions", || {
        [&a, &b].iter().all(|sink| sink.status.read().sink.as_ref().is_some_and(|sink| sink.partitions.len() == 2))
    });
    (0..4).for_each(|partition| stage.produce(partition, 0, RECORDS));
    // The rows of a's own.
    stage.wait_for_rows(usize::try_from(2 * RECORDS).unwrap());
    until("b buffers", || b.metric("stockpipeline_lag_seconds") > 0.0);
    // What b has buffered for an hour goes to S3 because it leaves.
    assert!(b.stop().unwrap().drained);
    let plans = stage.plans();
    let of_b: i64 = plans.iter().filter(|plan| plan.worker == "b").map(|plan| plan.last - plan.first + 1).sum();
    assert!(of_b > 0, "{plans:?}");
    assert!(plans.iter().filter(|plan| plan.worker == "b").all(|plan| plan.reason == SealReason::Shutdown), "{plans:?}");
    (0..4).for_each(|partition| stage.produce(partition, RECORDS, RECORDS));
    stage.wait_for_rows(usize::try_from(8 * RECORDS).unwrap());
    assert!(a.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS), (1, 2 * RECORDS), (2, 2 * RECORDS), (3, 2 * RECORDS)]);
}

#[test]
fn what_is_buffered_of_a_revoked_partition_is_stored_before_the_next_owner_has_it() {
    let stage = Stage::new(2);
    let slow = |spec: &mut serde_json::Value| spec["sink"]["rotation"]["maxInterval"] = "1h".into();
    let first = stage.sink("first", stage.pipeline(slow));
    (0..2).for_each(|partition| stage.produce(partition, 0, RECORDS));
    let both = |sink: &RunningSink| sink.status.read().sink.as_ref().map_or(0, |sink| sink.partitions.len());
    until("the first has both", || both(&first) == 2);
    until("the first buffers", || first.metric("stockpipeline_lag_seconds") > 0.0);
    let second = stage.sink("second", stage.pipeline(slow));
    until("they share", || both(&first) == 1 && both(&second) == 1);
    let plans = stage.plans();
    assert_eq!(plans.len(), 1, "{plans:?}");
    assert_eq!((plans[0].worker.as_str(), plans[0].reason), ("first", SealReason::Revoked));
    assert_eq!(plans[0].first, 0);
    assert!(first.stop().unwrap().drained);
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS), (1, RECORDS)]);
}

#[test]
fn two_owners_of_every_partition_write_each_record_once() {
    // Each sink has a broker of its own with the same records: neither learns from a group that the other one is there.
    let stage = Stage::with_brokers(2, 2);
    let rotate = |spec: &mut serde_json::Value, records: u64| spec["sink"]["rotation"]["maxRecords"] = records.into();
    let a = stage.sink("a", stage.pipeline(|spec| rotate(spec, 70)));
    let other = stage.bootstrap_servers(1);
    let b = stage.sink(
        "b",
        stage.pipeline(|spec| {
            rotate(spec, 110);
            spec["kafka"]["bootstrapServers"] = serde_json::json!([other]);
        }),
    );
    for round in 0..5 {
        stage.produce(0, round * RECORDS, RECORDS);
        stage.produce(1, round * RECORDS, RECORDS);
    }
    stage.wait_for_rows(usize::try_from(10 * RECORDS).unwrap());
    assert!(a.stop().unwrap().drained);
    assert!(b.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 5 * RECORDS), (1, 5 * RECORDS)]);
}

/// Freezes a sink at a failpoint for longer than its session, lets a successor finish, and wakes it.
fn frozen_at(failpoint: &str) {
    let stage = Stage::new(1);
    let file = stage.file("first", |_| {});
    let mut frozen = stage.child("frozen", &file, failpoint);
    stage.produce(0, 0, RECORDS);
    frozen.wait_until_frozen();
    let successor = stage.sink("successor", stage.pipeline(|_| {}));
    stage.produce(0, RECORDS, RECORDS);
    stage.wait_for_rows(usize::try_from(2 * RECORDS).unwrap());
    frozen.signal(Signal::CONT);
    // Both live now; what they write together is right.
    stage.produce(0, 2 * RECORDS, RECORDS);
    stage.wait_for_rows(usize::try_from(3 * RECORDS).unwrap());
    frozen.signal(Signal::TERM);
    let status = frozen.wait();
    assert!(status.success(), "{failpoint}: the woken sink ended with {status}");
    assert!(successor.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 3 * RECORDS)]);
}

#[test]
fn frozen_before_its_plan_a_woken_sink_repeats_nothing() {
    frozen_at("before-plan:1:stop");
}

#[test]
fn frozen_with_a_plan_and_no_data_a_woken_sink_repeats_nothing() {
    frozen_at("plan-stored:1:stop");
}

#[test]
fn frozen_with_some_objects_a_woken_sink_repeats_nothing() {
    frozen_at("object-stored:1:stop");
}

#[test]
fn frozen_with_all_objects_a_woken_sink_repeats_nothing() {
    frozen_at("all-objects-stored:1:stop");
}

#[test]
fn frozen_after_its_commit_a_woken_sink_repeats_nothing() {
    frozen_at("commit-sent:1:stop");
}

/// Stores a first half, puts other offsets of the group in place of the sink's, and stores the second half.
fn offsets_changed(change: impl Fn(&Stage)) {
    let mut stage = Stage::new(1);
    let first = stage.sink("first", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(first.stop().unwrap().drained);
    // The embedded broker takes a stranger's commit only while a group has never had a member.
    stage.replace_broker();
    stage.produce(0, 0, RECORDS);
    change(&stage);
    let second = stage.sink("second", stage.pipeline(|_| {}));
    stage.produce(0, RECORDS, RECORDS);
    stage.wait_for_rows(usize::try_from(2 * RECORDS).unwrap());
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS)]);
}

fn commit(stage: &Stage, offset: i64, note: &str) {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", stage.bootstrap_servers(0)).set("group.id", "sinks").create().unwrap();
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(TOPIC, 0);
    element.set_offset(Offset::Offset(offset)).unwrap();
    element.set_metadata(note);
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

#[test]
fn group_offsets_moved_back_repeat_nothing() {
    offsets_changed(|stage| commit(stage, 0, ""));
}

#[test]
fn group_offsets_moved_ahead_lose_nothing() {
    offsets_changed(|stage| commit(stage, RECORDS + 7, ""));
}

#[test]
fn group_offsets_with_a_forged_mark_lose_and_repeat_nothing() {
    offsets_changed(|stage| commit(stage, RECORDS + 7, &format!("stockpipeline/1 {} 0", stage.epoch.as_str())));
}

#[test]
fn group_offsets_that_are_gone_repeat_nothing() {
    let mut stage = Stage::new(1);
    let first = stage.sink("first", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(first.stop().unwrap().drained);
    stage.replace_broker();
    stage.produce(0, 0, 2 * RECORDS);
    let second = stage.sink("second", stage.pipeline(|_| {}));
    stage.wait_for_rows(usize::try_from(2 * RECORDS).unwrap());
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS)]);
}

#[test]
fn a_worker_that_sleeps_past_the_clean_up_withdraws_its_plan_and_writes_nothing() {
    let stage = Stage::with_brokers(1, 2);
    let wake = Arc::new(Notify::new());
    stage.proxy.inject(Rule::new(Fault::Hold(Arc::clone(&wake))).method("PUT").key("00000000000000000000.plan.json").times(1));
    stage.produce(0, 0, RECORDS);
    let sleeper = stage.sink_with("sleeper", stage.pipeline(|_| {}), |context| context.tail_trusted_for = Duration::ZERO);
    stage.runtime.block_on(stage.proxy.wait_for("PUT", ".plan.json", 1));

    let other = stage.bootstrap_servers(1);
    let store = stage.store();
    let pipeline = stage.pipeline(|spec| {
        spec["kafka"]["bootstrapServers"] = serde_json::json!([other]);
        spec["sink"]["rotation"]["maxRecords"] = 100.into();
    });
    let owner = stage.sink_with("owner", pipeline, |context| context.store = store);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(owner.stop().unwrap().drained);
    // The clean-up of another day: the plan that the sleeper raced with is gone.
    let keys = LedgerKeys::new("_stockpipeline", "sinks", &stage.epoch);
    stage.runtime.block_on(stage.store().delete(&[keys.plan(0, 0)])).unwrap();

    wake.notify_one();
    until("the sleeper stops", || sleeper.status.read().fatal.as_ref().is_some_and(|failure| failure.reason == Reason::Fenced));
    assert!(sleeper.stop().is_err());
    assert_eq!(stage.runtime.block_on(stage.store().get(&keys.plan(0, 0))).unwrap(), None, "the sleeper's plan was not withdrawn");
    let expected: Vec<(i32, i64)> = (0..RECORDS).map(|offset| (0, offset)).collect();
    stage.stored().assert_exactly(&expected);
}

/// With the same limits both seal the same range, so that the successor's objects have the names of the sleeper's.
#[test]
fn a_worker_that_sleeps_past_the_clean_up_of_the_very_same_range_looks_its_chain_up_anew() {
    let stage = Stage::with_brokers(1, 2);
    let wake = Arc::new(Notify::new());
    stage.proxy.inject(Rule::new(Fault::Hold(Arc::clone(&wake))).method("PUT").key("00000000000000000000.plan.json").times(1));
    let rotate = |spec: &mut serde_json::Value| spec["sink"]["rotation"]["maxRecords"] = 100.into();
    stage.produce(0, 0, RECORDS);
    let sleeper = stage.sink_with("sleeper", stage.pipeline(rotate), |context| context.tail_trusted_for = Duration::ZERO);
    stage.runtime.block_on(stage.proxy.wait_for("PUT", ".plan.json", 1));

    let other = stage.bootstrap_servers(1);
    let store = stage.store();
    let pipeline = stage.pipeline(|spec| {
        rotate(spec);
        spec["kafka"]["bootstrapServers"] = serde_json::json!([other]);
    });
    let owner = stage.sink_with("owner", pipeline, |context| context.store = store);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(owner.stop().unwrap().drained);
    let keys = LedgerKeys::new("_stockpipeline", "sinks", &stage.epoch);
    let expired = [keys.plan(0, 0), keys.plan(0, 100)];
    stage.runtime.block_on(stage.store().delete(&expired)).unwrap();

    wake.notify_one();
    until("the sleeper has caught up", || sleeper.durable() == RECORDS);
    assert_eq!(
        stage.runtime.block_on(stage.store().get(&expired[0])).unwrap(),
        None,
        "its plan stands in front of a chain that has gone on"
    );
    stage.produce(0, RECORDS, RECORDS);
    until("the sleeper goes on", || sleeper.durable() == 2 * RECORDS);
    assert!(sleeper.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS)]);
}

/// A successor that adopted the plan has gone on behind it: that is the chain, not a sign that the plan is none of it.
#[test]
fn frozen_until_its_knowledge_is_stale_a_woken_sink_leaves_its_adopted_plan_alone() {
    let stage = Stage::with_brokers(1, 2);
    let wake = Arc::new(Notify::new());
    stage.proxy.inject(Rule::new(Fault::Hold(Arc::clone(&wake))).method("GET").key("start-after=").times(1));
    stage.produce(0, 0, RECORDS);
    let sleeper = stage.sink_with("sleeper", stage.pipeline(|_| {}), |context| context.tail_trusted_for = Duration::ZERO);
    stage.runtime.block_on(stage.proxy.wait_for("GET", "start-after=", 1));

    let other = stage.bootstrap_servers(1);
    let store = stage.store();
    let pipeline = stage.pipeline(|spec| spec["kafka"]["bootstrapServers"] = serde_json::json!([other]));
    let owner = stage.sink_with("owner", pipeline, |context| context.store = store);
    stage.produce(0, RECORDS, RECORDS);
    stage.wait_for_rows(usize::try_from(2 * RECORDS).unwrap());

    wake.notify_one();
    until("the sleeper has caught up", || sleeper.durable() == 2 * RECORDS);
    assert!(sleeper.stop().unwrap().drained);
    assert!(owner.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS)]);
}

/// Kills a sink while the group takes a partition from it for a second one.
fn killed_while_giving_back(failpoint: &str) {
    let stage = Stage::new(2);
    let file = stage.file("first", |spec| spec["sink"]["rotation"]["maxInterval"] = "1h".into());
    let mut first = stage.child("first", &file, failpoint);
    stage.produce(0, 0, RECORDS);
    stage.produce(1, 0, RECORDS);
    first.wait_until_it_buffers(&stage);
    let second = stage.sink("second", stage.pipeline(|_| {}));
    let status = first.wait();
    assert!(!status.success(), "{failpoint}: {status}");
    stage.produce(0, RECORDS, RECORDS);
    stage.wait_for_rows(usize::try_from(3 * RECORDS).unwrap());
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS), (1, RECORDS)]);
}

#[test]
fn killed_in_the_revoke_callback_nothing_is_lost_or_repeated() {
    killed_while_giving_back("in-revoke:1:kill");
}

#[test]
fn killed_after_the_revoked_was_written_nothing_is_lost_or_repeated() {
    killed_while_giving_back("revoke-written:1:kill");
}

#[test]
fn killed_right_after_sigterm_nothing_is_lost_or_repeated() {
    let stage = Stage::new(1);
    let file = stage.file("first", |spec| spec["sink"]["rotation"]["maxInterval"] = "1h".into());
    let mut first = stage.child("first", &file, "");
    stage.produce(0, 0, RECORDS);
    first.wait_until_it_buffers(&stage);
    first.signal(Signal::TERM);
    first.signal(Signal::KILL);
    first.wait();
    let second = stage.sink("second", stage.pipeline(|_| {}));
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn a_member_that_joins_while_partitions_stand_at_their_end_costs_no_record() {
    // librdkafka's own position is behind the record to come, and its pause during a rebalance would keep that.
    let stage = Stage::new(4);
    let first = stage.sink("first", stage.pipeline(|_| {}));
    for partition in 0..4 {
        stage.produce(partition, 0, 10);
    }
    until("the first stands at the end of all", || first.durable() == 40);
    let second = stage.sink("second", stage.pipeline(|_| {}));
    // Records keep coming one by one while the group rebalances.
    let mut produced = 10;
    until("both have partitions", || {
        for partition in 0..4 {
            stage.produce(partition, produced, 1);
        }
        produced += 1;
        [&first, &second].iter().all(|sink| sink.status.read().sink.as_ref().is_some_and(|sink| sink.partitions.len() == 2))
    });
    until("all is durable", || first.durable() + second.durable() == 4 * produced);
    assert!(second.stop().unwrap().drained);
    assert!(first.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, produced), (1, produced), (2, produced), (3, produced)]);
}
