//! On a real broker: every row exactly once, whatever is killed, frozen or forgotten.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rustix::process::Signal;
use stockpipeline_worker::producer::{Outcome, ProducerError, WhenDone};
use stockpipeline_worker::topic::{self, SlotsTopic};
use tempfile::TempDir;

use super::stage::{DEADLINE, Replay, SLOTS, Times, assert_delivered, new_topic, quick, wait_until, write_file};
use crate::topics::real_brokers;

struct Stage {
    replay: Replay,
    _folder: TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let name = self.replay.slots_topic();
        let slots = Some(SlotsTopic { name: &name, slots: SLOTS });
        let deleted = topic::delete(&self.replay.clients(), &self.replay.kafka().topic, slots, DEADLINE);
        assert!(deleted.is_ok() || std::thread::panicking(), "{deleted:?}");
    }
}

fn stage(rows: u64) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ticks.csv");
    write_file(&file, rows);
    let replay = Replay {
        servers: real_brokers(),
        topic: new_topic("replay"),
        partitions: 3,
        file,
        is_transactional: true,
        epoch: None,
        interval_millis: 200,
        rows_per_second: None,
        config: quick(),
    };
    Stage { replay, _folder: folder }
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn transactional_replay_arrives_once_and_progress_outlives_the_groups_offsets() {
    let stage = stage(50_000);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 50_000, Times::Once);
    delete_groups(&stage.replay);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 50_000, Times::Once);
    write_file(&stage.replay.file, 50_001);
    let error = stage.replay.complete().unwrap_err();
    assert!(matches!(error, ProducerError::SourceChanged { .. }), "{error}");
}

/// Deletes the producers' groups with their offsets.
fn delete_groups(replay: &Replay) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", replay.servers.join(",")).create().unwrap();
    let prefix = format!("{}-producer-", replay.kafka().consumer_group);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    wait_until("the groups are deleted", || {
        let groups = admin.inner().fetch_group_list(None, DEADLINE).unwrap();
        let names: Vec<&str> =
            groups.groups().iter().map(rdkafka::groups::GroupInfo::name).filter(|name| name.starts_with(&prefix)).collect();
        let deleted = runtime.block_on(admin.delete_groups(&names, &AdminOptions::new())).unwrap();
        !deleted.is_empty() && deleted.iter().all(Result::is_ok)
    });
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn producers_that_are_killed_in_a_transaction_leave_every_row_once() {
    let mut stage = stage(60_000);
    stage.replay.rows_per_second = Some(10_000);
    for failpoint in ["records-taken:2:kill", "transaction-open:2:kill", "transaction-committing:2:kill", "transaction-committed:2:kill"] {
        let mut killed = stage.replay.child(failpoint);
        killed.wait();
    }
    stage.replay.rows_per_second = None;
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 60_000, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn replicas_that_come_and_go_leave_every_row_once() {
    let mut stage = stage(60_000);
    stage.replay.rows_per_second = Some(3_000);
    let survivor = stage.replay.start(WhenDone::Stay);
    wait_until("the first has all slots", || survivor.slots().len() == SLOTS as usize);
    let second = stage.replay.start(WhenDone::Stay);
    wait_until("they share", || survivor.slots().len() == 2 && second.slots().len() == 2);
    assert_eq!(second.stop().unwrap(), Outcome::Stopped);
    wait_until("the first has all slots again", || survivor.slots().len() == SLOTS as usize);
    let mut killed = stage.replay.child("");
    wait_until("they share again", || survivor.slots().len() == 2);
    killed.0.kill().unwrap();
    killed.wait();
    wait_until("the first has all slots at last", || survivor.slots().len() == SLOTS as usize);
    wait_until("all is done", || survivor.is_complete());
    assert_eq!(survivor.stop().unwrap(), Outcome::Stopped);
    assert_delivered(&stage.replay, 60_000, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn frozen_producer_that_wakes_beside_its_successor_is_fenced() {
    for failpoint in ["transaction-open:2:stop", "transaction-committing:2:stop", "transaction-committed:2:stop"] {
        let mut stage = stage(40_000);
        stage.replay.rows_per_second = Some(10_000);
        let frozen = stage.replay.child(failpoint);
        wait_until("it is frozen", || frozen.is_stopped());
        let successor = stage.replay.start(WhenDone::Stay);
        wait_until("the successor has all slots", || successor.slots().len() == SLOTS as usize);
        wait_until("the successor is under way", || successor.acknowledged() > 0);
        frozen.signal(Signal::CONT);
        wait_until("they share", || successor.slots().len() == 2);
        wait_until("the successor is done", || successor.is_complete());
        drop(frozen);
        wait_until("the successor has all slots again, and is done", || successor.completed_slots() == SLOTS as usize);
        assert_eq!(successor.stop().unwrap(), Outcome::Stopped);
        assert_delivered(&stage.replay, 40_000, Times::Once);
    }
}

/// Prints rows a second and CPU of this process, both ways of delivery in turn.
#[test]
#[ignore = "a benchmark; needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn replay_throughput() {
    const ROWS: u64 = 2_000_000;
    for (is_transactional, codec) in [(false, "zstd"), (true, "zstd"), (false, "lz4"), (true, "lz4"), (false, "zstd"), (true, "zstd")] {
        let mut stage = stage(0);
        write_bars(&stage.replay.file, ROWS);
        stage.replay.interval_millis = 1_000;
        stage.replay.config = [("compression.type".to_owned(), codec.to_owned())].into();
        // The topics are made by a first, empty look, so that only rows are measured.
        let name = stage.replay.slots_topic();
        let slots = Some(SlotsTopic { name: &name, slots: SLOTS });
        wait_until("the topics are there", || {
            topic::is_usable(&topic::ensure(&stage.replay.clients(), &stage.replay.kafka().topic, slots))
        });
        stage.replay.is_transactional = is_transactional;
        let running = stage.replay.start(WhenDone::Return);
        wait_until("it feeds", || running.progress.rows_read.load(Ordering::Relaxed) > 0);
        let (start, cpu) = (Instant::now(), stockpipeline_worker::clock::cpu_seconds());
        assert_eq!(running.join().unwrap(), Outcome::Completed);
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), stockpipeline_worker::clock::cpu_seconds() - cpu);
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let rows = ROWS as f64;
        println!("transactional {is_transactional}, {codec}: {:.0} rows/s, {:.0} rows a CPU second", rows / seconds, rows / cpu);
        stage.replay.is_transactional = true;
    }
}

/// Writes daily bars as index files have them: JSON of about 155 bytes a row.
fn write_bars(file: &std::path::Path, rows: u64) {
    use std::io::Write;
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).unwrap());
    writeln!(out, "Index,Date,Number,Open,High,Low,Close,Volume").unwrap();
    for row in 0..rows {
        let price = 1000 + row % 977;
        writeln!(out, "K{},2024-01-02,{row},{price}.900024,{price}.950012,{price}.5,{price}.700073,{}", row * 7 % 10, row * 31 % 100_000)
            .unwrap();
    }
}
