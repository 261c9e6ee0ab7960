//! The crash points of a sink: a process that ends there by SIGKILL, and its successor.

use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

use stockpipeline::layout::LedgerKeys;

use super::stage::{RunningSink, Stage, until};
use crate::faults::{Fault, Rule};

const RECORDS: i64 = 500;

/// Kills a sink at a failpoint and lets a successor with the same, or another, document finish.
fn killed_at(failpoint: &str, successor: impl Fn(&mut serde_json::Value)) {
    let stage = Stage::new(2);
    let file = stage.file("first", |_| {});
    let mut first = stage.child("first", &file, failpoint);
    stage.produce(0, 0, RECORDS);
    stage.produce(1, 0, RECORDS);
    let status = first.wait();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{failpoint}: {status}");

    let second = stage.sink("second", stage.pipeline(successor));
    stage.produce(0, RECORDS, RECORDS);
    stage.wait_for_rows(usize::try_from(3 * RECORDS).unwrap());
    let outcome = second.stop().unwrap();
    assert!(outcome.drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS), (1, RECORDS)]);
}

#[test]
fn killed_before_the_plan_nothing_is_lost_or_repeated() {
    killed_at("before-plan:1:kill", |_| {});
}

#[test]
fn killed_with_a_plan_and_no_data_the_plan_is_executed() {
    killed_at("plan-stored:1:kill", |_| {});
}

#[test]
fn killed_with_some_objects_only_the_missing_ones_are_written() {
    killed_at("object-stored:2:kill", |_| {});
}

#[test]
fn killed_with_all_objects_and_no_commit_nothing_is_written_twice() {
    killed_at("all-objects-stored:1:kill", |_| {});
}

#[test]
fn killed_after_the_commit_was_sent_nothing_is_written_twice() {
    killed_at("commit-sent:1:kill", |_| {});
}

#[test]
fn killed_on_sigterm_nothing_is_lost_or_repeated() {
    let stage = Stage::new(2);
    let file = stage.file("first", |spec| spec["sink"]["rotation"]["maxInterval"] = "1h".into());
    stage.produce(0, 0, RECORDS);
    let mut first = stage.child("first", &file, "plan-stored:1:kill");
    // Buffered for an hour: only SIGTERM makes it seal.
    first.wait_until_it_buffers(&stage);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().signal(), Some(Signal::KILL.as_raw()));
    let second = stage.sink("second", stage.pipeline(|_| {}));
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn sigterm_stores_what_is_buffered_and_ends_with_success() {
    let stage = Stage::new(2);
    let file = stage.file("first", |spec| spec["sink"]["rotation"]["maxInterval"] = "1h".into());
    stage.produce(0, 0, RECORDS);
    let mut first = stage.child("first", &file, "");
    first.wait_until_it_buffers(&stage);
    first.signal(Signal::TERM);
    let status = first.wait();
    assert!(status.success(), "{status}");
    assert!(stage.stored().delivered() > 0);
    let done = stage.runtime.block_on(stage.store().list("_stockpipeline/", None, 100)).unwrap();
    assert!(done.iter().any(|entry| LedgerKeys::parse_done(&entry.key).is_some()), "{done:?}");
    let second = stage.sink("second", stage.pipeline(|_| {}));
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn a_restart_with_another_schema_format_rotation_and_partitioning_finishes_the_plan_as_it_was_sealed() {
    // What cannot change by the resource's rules is changed all the same: the plan alone decides what is finished how.
    killed_at("plan-stored:1:kill", |spec| {
        spec["schema"]["columns"].as_array_mut().unwrap().push(serde_json::json!({ "name": "venue", "type": "String" }));
        spec["sink"]["raw"]["compression"] = "Gzip".into();
        spec["sink"]["processed"]["compression"] = "Snappy".into();
        spec["sink"]["rotation"]["maxRecords"] = 100.into();
    });
}

#[test]
fn a_lost_reply_to_the_plan_is_taken_for_what_it_is() {
    let stage = Stage::new(1);
    stage.proxy.inject(Rule::new(Fault::DropReply).method("PUT").key(".plan.json").times(1));
    stage.produce(0, 0, RECORDS);
    let sink = stage.sink("first", stage.pipeline(|_| {}));
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn a_lost_reply_to_an_object_is_taken_for_what_it_is() {
    let stage = Stage::new(1);
    for zone in ["/raw/", "/processed/"] {
        stage.proxy.inject(Rule::new(Fault::DropReply).method("PUT").key(zone).times(1));
    }
    stage.produce(0, 0, RECORDS);
    let sink = stage.sink("first", stage.pipeline(|_| {}));
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn killed_in_the_middle_of_an_upload_nothing_is_half_written() {
    let stage = Stage::new(1);
    stage.proxy.inject(Rule::new(Fault::Throttle(200)).method("PUT").key("/processed/"));
    let file = stage.file("first", |_| {});
    stage.produce(0, 0, RECORDS);
    let mut first = stage.child("first", &file, "");
    stage.runtime.block_on(stage.proxy.wait_for("PUT", "/processed/", 1));
    first.child.kill().unwrap();
    first.wait();
    stage.proxy.heal();
    let second = stage.sink("second", stage.pipeline(|_| {}));
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
}

#[test]
fn a_sink_that_starts_anew_knows_when_its_predecessor_has_committed() {
    let stage = Stage::new(1);
    let committed = |sink: &RunningSink| sink.status.read().sink.as_ref().unwrap().last_commit_millis;
    let first = stage.sink("first", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    until("it has committed", || first.durable() == RECORDS && committed(&first).is_some());
    let before = committed(&first).unwrap();
    assert!(first.stop().unwrap().drained);
    let second = stage.sink("second", stage.pipeline(|_| {}));
    until("the partition goes on", || second.durable() == RECORDS);
    let sealed = committed(&second).unwrap();
    assert!(sealed <= before && before - sealed < 60_000, "{sealed} is not shortly before {before}");
    assert!(second.stop().unwrap().drained);
}

#[test]
fn wall_clock_rotation_flushes_an_idle_partition() {
    let stage = Stage::new(1);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    stage.produce(0, 0, 3);
    stage.wait_for_rows(3);
    stage.produce(0, 3, 1);
    stage.wait_for_rows(4);
    let status = sink.status.clone();
    until("the status shows the durable offset", || {
        status.read().sink.as_ref().is_some_and(|sink| sink.partitions.first().is_some_and(|partition| partition.durable == 4))
    });
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 4)]);
}
