//! On the embedded broker, which has no transactions: every row at least once, exactly once unless something is killed.

use stockpipeline_worker::embedded::EmbeddedBroker;
use stockpipeline_worker::producer::{HoldBack, Outcome, ProducerError, WhenDone};
use stockpipeline_worker::status::State;
use tempfile::TempDir;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::stage::{Replay, SLOTS, Seen, Times, assert_delivered, quick, read, wait_until, write_file};

struct Stage {
    replay: Replay,
    broker: EmbeddedBroker,
    _folder: TempDir,
}

fn stage(rows: u64) -> Stage {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("ticks", 3).unwrap();
    broker.create_topic("ticks.slots", i32::try_from(SLOTS).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ticks.csv");
    write_file(&file, rows);
    let replay = Replay {
        servers: vec![broker.bootstrap_servers()],
        topic: "ticks".to_owned(),
        partitions: 3,
        file,
        is_transactional: false,
        epoch: Some("embedded".to_owned()),
        interval_millis: 200,
        rows_per_second: None,
        day_format: None,
        config: quick(),
    };
    Stage { replay, broker, _folder: folder }
}

#[test]
fn file_is_replayed_once_and_in_order() {
    let stage = stage(5_000);
    let running = stage.replay.start(WhenDone::Return);
    let (progress, status) = (std::sync::Arc::clone(&running.progress), running.status.clone());
    assert_eq!(running.join().unwrap(), Outcome::Completed);
    assert!(progress.produced_all.load(Ordering::Acquire));
    let produced: i64 = progress.partitions.iter().map(|partition| partition.produced.load(Ordering::Acquire)).sum();
    assert_eq!((produced, progress.rows_read.load(Ordering::Relaxed)), (5_000, 5_000));
    let status = status.read();
    assert_eq!((status.state, status.producer.as_ref().unwrap().slots.len()), (State::Completed, SLOTS as usize));
    assert_delivered(&stage.replay, 5_000, Times::Once);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed, "a replay that is done");
    assert_delivered(&stage.replay, 5_000, Times::Once);
}

#[test]
fn stopped_replay_resumes_where_it_stood() {
    let mut stage = stage(3_000);
    stage.replay.rows_per_second = Some(2_000);
    let running = stage.replay.start(WhenDone::Return);
    wait_until("some rows are acknowledged", || running.acknowledged() > 0);
    assert_eq!(running.stop().unwrap(), Outcome::Stopped);
    stage.replay.rows_per_second = None;
    let first = read(&stage.replay).len();
    assert!((1..3_000).contains(&first), "{first}");
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 3_000, Times::Once);
}

#[test]
fn replay_by_event_time_whose_format_is_corrected_midway_loses_no_row() {
    let mut stage = stage(0);
    let mut text = "Index,Date,Number\n".to_owned();
    for row in 0..3_000_u32 {
        // The other way round each is a day too, and the rows stand in another order.
        writeln!(text, "K{},{:02}/{:02}/2024,{row}", row % 10, row % 12 + 1, row / 12 % 12 + 1).unwrap();
    }
    std::fs::write(&stage.replay.file, text).unwrap();
    (stage.replay.day_format, stage.replay.rows_per_second) = (Some("%m/%d/%Y".to_owned()), Some(2_000));
    let running = stage.replay.start(WhenDone::Return);
    wait_until("some rows are acknowledged", || running.acknowledged() > 0);
    assert_eq!(running.stop().unwrap(), Outcome::Stopped);
    assert!((1..3_000).contains(&read(&stage.replay).len()));
    (stage.replay.day_format, stage.replay.rows_per_second) = (Some("%d/%m/%Y".to_owned()), None);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    let rows: BTreeSet<u64> = read(&stage.replay).iter().map(Seen::number).collect();
    assert_eq!(rows.len(), 3_000, "rows that the new order had put before the old one's position");
}

#[test]
fn two_replicas_share_the_slots() {
    let mut stage = stage(12_000);
    stage.replay.rows_per_second = Some(1_500);
    let replicas = [stage.replay.start(WhenDone::Stay), stage.replay.start(WhenDone::Stay)];
    wait_until("each has half of the slots", || replicas.iter().all(|replica| replica.slots().len() == SLOTS as usize / 2));
    assert!(replicas[0].slots().is_disjoint(&replicas[1].slots()));
    wait_until("both are done", || replicas.iter().all(super::stage::Running::is_complete));
    for replica in replicas {
        assert_eq!(replica.stop().unwrap(), Outcome::Stopped);
    }
    assert_delivered(&stage.replay, 12_000, Times::Once);
}

#[test]
fn slots_of_a_killed_replica_move_and_nothing_is_lost() {
    let mut stage = stage(20_000);
    stage.replay.rows_per_second = Some(1_500);
    let mut killed = stage.replay.child("");
    let survivor = stage.replay.start(WhenDone::Stay);
    wait_until("the survivor has half of the slots", || survivor.slots().len() == SLOTS as usize / 2 && survivor.acknowledged() > 0);
    killed.0.kill().unwrap();
    killed.wait();
    wait_until("the survivor has all slots", || survivor.slots().len() == SLOTS as usize);
    wait_until("the survivor is done", || survivor.is_complete());
    assert_delivered(&stage.replay, 20_000, Times::OnceOrMore);
}

#[test]
fn changed_file_under_the_same_name_is_refused() {
    let stage = stage(100);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    write_file(&stage.replay.file, 101);
    let error = stage.replay.complete().unwrap_err();
    assert!(matches!(&error, ProducerError::SourceChanged { uri, .. } if uri.ends_with("ticks.csv")), "{error}");
    assert_delivered(&stage.replay, 100, Times::Once);
    write_file(&stage.replay.file, 100);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed, "the old content is welcome");
}

#[test]
fn rows_that_cannot_be_parsed_go_on_as_their_text() {
    let stage = stage(0);
    std::fs::write(&stage.replay.file, "Index,Date,Number\nK1,2024-01-02,1\nK2,only two\nK3,2024-01-02,3\n").unwrap();
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    let seen = read(&stage.replay);
    let malformed: Vec<_> = seen.iter().filter(|record| record.headers.contains_key("stockpipeline-problem")).collect();
    assert_eq!((seen.len(), malformed.len()), (3, 1));
    assert_eq!((malformed[0].key.as_slice(), malformed[0].value.as_slice()), (b"".as_slice(), b"K2,only two".as_slice()));
    assert_eq!(malformed[0].headers["stockpipeline-line"], "3");
    assert_eq!(malformed[0].headers["stockpipeline-problem"], "WrongFieldCount");
}

#[test]
fn row_that_waited_over_a_commit_counts_in_the_next_batch() {
    let stage = stage(2_000);
    // So little may be under way that each batch ends with a row that was found and has no room.
    let running = stage.replay.start_held_back(HoldBack { records: 100, bytes: 1 << 20 });
    let progress = std::sync::Arc::clone(&running.progress);
    let mut batches = 0;
    wait_until("every row that went out is counted", || {
        let produced = running.acknowledged();
        let durable: i64 = progress.partitions.iter().map(|partition| partition.durable.load(Ordering::Acquire)).sum();
        batches += usize::from(produced > durable);
        for partition in &progress.partitions {
            partition.durable.store(partition.produced.load(Ordering::Acquire), Ordering::Release);
        }
        running.thread.as_ref().unwrap().is_finished()
    });
    assert!(batches > 3, "{batches}");
    assert_eq!(running.join().unwrap(), Outcome::Completed);
    let produced: i64 = progress.partitions.iter().map(|partition| partition.produced.load(Ordering::Acquire)).sum();
    assert_eq!((produced, read(&stage.replay).len()), (2_000, 2_000));
}

#[test]
fn production_is_held_back_until_records_are_durable() {
    let stage = stage(3_000);
    let running = stage.replay.start_held_back(HoldBack { records: 500, bytes: 1 << 20 });
    let mut durable = vec![0_i64; 3];
    wait_until("the producer ends", || {
        for (partition, durable) in running.progress.partitions.iter().zip(&mut durable) {
            let produced = partition.produced.load(Ordering::Acquire);
            assert!(produced - *durable <= 500, "{produced} produced, {durable} durable");
            *durable = produced;
            partition.durable.store(produced, Ordering::Release);
        }
        running.thread.as_ref().unwrap().is_finished()
    });
    assert_eq!(running.join().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 3_000, Times::Once);
}

/// Nothing is sent any more, so that no answer tells of the broker's return.
#[test]
fn producer_that_is_done_notices_that_its_brokers_are_back() {
    let stage = stage(100);
    let running = stage.replay.start(WhenDone::Stay);
    wait_until("all is done", || running.is_complete());
    let is_failing = || running.status.read().kafka.failing_since_millis.is_some();
    stage.broker.mock().broker_down(1).unwrap();
    wait_until("the brokers are missed", is_failing);
    stage.broker.mock().broker_up(1).unwrap();
    wait_until("the brokers are seen again", || !is_failing());
    assert_eq!(running.stop().unwrap(), Outcome::Stopped);
}
