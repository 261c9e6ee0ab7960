//! An ailing S3: no exit, no loss, no repetition, and polling goes on, so that no partition moves.

use std::time::{Duration, Instant};

use stockpipeline_worker::status::Reason;

use super::stage::{Stage, until};
use crate::faults::{Fault, Rule};

const RECORDS: i64 = 400;
/// Longer than the group's session: a sink that stopped polling would lose its partitions.
const OUTAGE: Duration = Duration::from_secs(8);

/// Lets an ailing store heal after an outage; the sink has to show `reason` meanwhile, and to store everything once.
fn survives(faults: impl Fn() -> Vec<Rule>, reason: Reason) {
    let stage = Stage::new(2);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap());
    for fault in faults() {
        stage.proxy.inject(fault);
    }
    let begun = Instant::now();
    stage.produce(0, RECORDS, RECORDS);
    stage.produce(1, 0, RECORDS);
    until("the status shows the trouble", || sink.status.read().last_error.as_ref().is_some_and(|error| error.reason == reason));
    until("the outage is over", || begun.elapsed() >= OUTAGE);
    assert!(sink.is_running());
    let owned = sink.status.read().sink.as_ref().map_or(0, |sink| sink.partitions.len());
    assert_eq!(owned, 2, "the sink keeps its partitions");
    stage.proxy.heal();
    stage.wait_for_rows(usize::try_from(3 * RECORDS).unwrap());
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS), (1, RECORDS)]);
}

#[test]
fn a_burst_of_slow_down_is_waited_out() {
    survives(|| vec![Rule::new(Fault::Answer(503, "SlowDown"))], Reason::Throttled);
}

#[test]
fn internal_errors_are_waited_out() {
    survives(|| vec![Rule::new(Fault::Answer(500, "InternalError"))], Reason::Unavailable);
}

#[test]
fn access_denied_stops_writing_and_heals() {
    survives(|| vec![Rule::new(Fault::Answer(403, "AccessDenied")).method("PUT")], Reason::AccessDenied);
}

#[test]
fn a_missing_bucket_stops_writing_and_heals() {
    survives(|| vec![Rule::new(Fault::Answer(404, "NoSuchBucket")).method("PUT")], Reason::NoSuchBucket);
}

#[test]
fn connections_that_break_in_the_middle_of_a_body_are_waited_out() {
    survives(|| vec![Rule::new(Fault::CutRequest(100)).method("PUT")], Reason::Unavailable);
}

#[test]
fn an_endpoint_that_does_not_answer_is_waited_out() {
    survives(|| vec![Rule::new(Fault::Delay(Duration::from_mins(1))).method("PUT")], Reason::Timeout);
}

#[test]
fn conflicts_and_errors_now_and_then_lose_and_repeat_nothing() {
    let stage = Stage::new(2);
    for (skip, status, code) in
        [(1, 409, "ConditionalRequestConflict"), (2, 500, "InternalError"), (4, 503, "SlowDown"), (7, 409, "ConditionalRequestConflict")]
    {
        stage.proxy.inject(Rule::new(Fault::Answer(status, code)).method("PUT").skip(skip).times(2));
    }
    for skip in [3, 6, 9] {
        stage.proxy.inject(Rule::new(Fault::DropReply).method("PUT").skip(skip).times(1));
    }
    let sink = stage.sink("only", stage.pipeline(|spec| spec["sink"]["rotation"]["maxRecords"] = 100.into()));
    for round in 0..4 {
        stage.produce(0, round * RECORDS, RECORDS);
        stage.produce(1, round * RECORDS, RECORDS);
    }
    stage.wait_for_rows(usize::try_from(8 * RECORDS).unwrap());
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 4 * RECORDS), (1, 4 * RECORDS)]);
}

#[test]
fn a_very_slow_upload_is_tried_again_until_the_network_heals() {
    survives(|| vec![Rule::new(Fault::Throttle(64)).method("PUT")], Reason::Timeout);
}

#[test]
fn memory_stays_in_its_budget_while_the_store_is_gone() {
    const BUDGET: u32 = 8 << 20;
    const RECORDS: i64 = 30_000;
    let stage = Stage::new(8);
    let sink = stage.sink_with("only", stage.pipeline(|spec| spec["sink"]["rotation"]["maxInterval"] = "5s".into()), |context| {
        context.memory_bytes = BUDGET as usize;
    });
    until("the sink has its partitions", || sink.status.read().sink.as_ref().is_some_and(|sink| sink.partitions.len() == 8));
    stage.proxy.inject(Rule::new(Fault::Answer(503, "SlowDown")).method("PUT"));
    // About 30 MiB of payloads, four times the budget.
    (0..8).for_each(|partition| stage.produce(partition, 0, RECORDS));
    let mut told = None;
    until("the status says that memory is used up", || {
        let paused = sink.status.read().paused.as_ref().map(|paused| (paused.reason, paused.message.clone()));
        if paused != told {
            println!("paused: {paused:?}");
            told = paused;
        }
        told.as_ref().is_some_and(|(reason, _)| *reason == Reason::MemoryPressure)
    });
    let held = sink.metric("stockpipeline_memory_bytes{");
    assert!(held > 0.0 && held < f64::from(BUDGET) * 1.1, "{held} bytes are held, of a budget of {BUDGET}");
    stage.proxy.heal();
    until("all is durable", || sink.durable() == 8 * RECORDS);
    assert!(sink.stop().unwrap().drained);
    let produced: Vec<(i32, i64)> = (0..8).map(|partition| (partition, RECORDS)).collect();
    stage.assert_exactly_once(&produced);
}

#[test]
fn partitions_that_wait_for_the_store_hold_up_no_other() {
    const RECORDS: i64 = 10_000;
    let stage = Stage::new(4);
    (0..4).for_each(|partition| stage.produce(partition, 0, RECORDS));
    for key in ["/p00000/", "/p00001/", "/p00002/"] {
        stage.proxy.inject(Rule::new(Fault::Answer(503, "SlowDown")).method("PUT").key(key));
    }
    // What is taken at once of each is more than its buffers hold, and together it is more than may wait for an encoder.
    let pipeline = stage.pipeline(|spec| spec["sink"]["rotation"]["maxRecords"] = 1_000.into());
    let sink = stage.sink_with("only", pipeline, |context| context.memory_bytes = 16 << 20);
    until("all of the last one is durable", || sink.durable() == RECORDS);
    stage.proxy.heal();
    until("all is durable", || sink.durable() == 4 * RECORDS);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS), (1, RECORDS), (2, RECORDS), (3, RECORDS)]);
}
