//! On a real broker: every row exactly once, whatever is killed, frozen or forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use stockpipeline_worker::kafka;
use stockpipeline_worker::metrics::{ProducerMetrics, Registry};
use stockpipeline_worker::producer::{self, Outcome, ProducerError, WhenDone};
use stockpipeline_worker::slots::key_hash;
use stockpipeline_worker::topic::{self, SlotsTopic};
use tempfile::TempDir;

use super::stage::{DEADLINE, Replay, Running, SLOTS, Times, assert_delivered, new_topic, quick, read, wait_until, write_file};
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
        day_format: None,
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

fn admin(replay: &Replay) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", replay.servers.join(",")).create().unwrap()
}

/// Deletes the producers' groups with their offsets.
fn delete_groups(replay: &Replay) {
    let admin = admin(replay);
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
fn replay_whose_progress_is_gone_is_refused_and_repeats_no_row() {
    let stage = stage(5_000);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    let admin = stage.replay.clients().admin().unwrap();
    // The group's offsets of it go with it.
    assert_eq!(admin.delete_topic(&stage.replay.slots_topic(), DEADLINE).unwrap(), kafka::Outcome::Done);
    wait_until("the slots topic is gone", || admin.partitions(&stage.replay.slots_topic(), DEADLINE).is_ok_and(|seen| seen.is_none()));
    let error = stage.replay.complete().unwrap_err();
    assert!(matches!(error, ProducerError::ProgressMissing { .. }), "{error}");
    assert_delivered(&stage.replay, 5_000, Times::Once);
    // The way out that fills the topic anew.
    make_again(&stage.replay);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 5_000, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn replay_whose_progress_is_gone_of_some_slots_is_refused_and_repeats_no_row() {
    let stage = stage(5_000);
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    delete_groups(&stage.replay);
    // As where a slots topic is made again under a replica that goes on with the other slots. No broker deletes records of what is compacted alone.
    let settings = stage.replay.clients().admin().unwrap();
    settings.set_configs(&stage.replay.slots_topic(), &[("cleanup.policy", "compact,delete")], DEADLINE).unwrap();
    let mut ends = TopicPartitionList::new();
    for slot in [1, 3] {
        ends.add_partition_offset(&stage.replay.slots_topic(), slot, Offset::End).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deleted = runtime.block_on(admin(&stage.replay).delete_records(&ends, &AdminOptions::new())).unwrap();
    assert!(deleted.elements().iter().all(|slot| slot.error().is_ok()), "{deleted:?}");
    settings.set_configs(&stage.replay.slots_topic(), &[("cleanup.policy", "compact")], DEADLINE).unwrap();
    let error = stage.replay.complete().unwrap_err();
    assert!(matches!(error, ProducerError::ProgressMissing { .. }), "{error}");
    assert_delivered(&stage.replay, 5_000, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn slots_topic_of_others_that_expires_is_waited_for() {
    let stage = stage(100);
    let slots = i32::try_from(SLOTS).unwrap();
    let config = BTreeMap::from([("cleanup.policy".to_owned(), "delete".to_owned())]);
    let admin = stage.replay.clients().admin().unwrap();
    let name = stage.replay.slots_topic();
    let topic = kafka::NewTopic { name: &name, partitions: slots, replication_factor: None, config: &config };
    assert_eq!(admin.create_topic(&topic, DEADLINE).unwrap(), kafka::Outcome::Done);
    drop(topic::ensure(&stage.replay.clients(), &stage.replay.kafka().topic, None));
    let mut context = stage.replay.context(WhenDone::Return, "");
    context.topic.managed = false;
    let running = Replay::start_with(context);
    wait_until("it is paused", || running.status.read().paused.is_some());
    assert!(running.status.read().paused.as_ref().unwrap().message.contains("set cleanup.policy=compact"));
    admin.set_configs(&name, &[("cleanup.policy", "compact")], DEADLINE).unwrap();
    wait_until("it ends", || running.is_complete());
    assert_eq!(running.join().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 100, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn producers_that_are_killed_in_a_transaction_leave_every_row_once() {
    let mut stage = stage(60_000);
    stage.replay.rows_per_second = Some(10_000);
    // The first transaction notes that the replay begins.
    let beginning = ["transaction-committing:1:kill"];
    let under_way = ["records-taken:2:kill", "transaction-open:2:kill", "transaction-committing:2:kill", "transaction-committed:2:kill"];
    for failpoint in beginning.into_iter().chain(under_way) {
        let mut killed = stage.replay.child(failpoint);
        killed.wait();
    }
    stage.replay.rows_per_second = None;
    assert_eq!(stage.replay.complete().unwrap(), Outcome::Completed);
    assert_delivered(&stage.replay, 60_000, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn replicas_that_begin_together_leave_every_row_once() {
    let stage = stage(60_000);
    let replicas = [0; 3].map(|_| stage.replay.start(WhenDone::Stay));
    wait_until("they are done", || replicas.iter().map(Running::completed_slots).sum::<usize>() == SLOTS as usize);
    for replica in replicas {
        assert_eq!(replica.stop().unwrap(), Outcome::Stopped);
    }
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

/// Deletes the data topic and makes it again, unless the producer does that first.
fn make_again(replay: &Replay) {
    let (clients, name) = (replay.clients(), replay.topic.as_str());
    let admin = clients.admin().unwrap();
    let before = admin.topic_id(name, DEADLINE).unwrap();
    assert_eq!(admin.delete_topic(name, DEADLINE).unwrap(), kafka::Outcome::Done);
    wait_until("the topic is another one", || {
        drop(topic::ensure(&clients, &replay.kafka().topic, None));
        admin.topic_id(name, DEADLINE).is_ok_and(|identity| identity != before)
    });
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn topic_that_is_made_again_under_a_replay_is_filled_from_the_first_row() {
    let mut stage = stage(40_000);
    stage.replay.rows_per_second = Some(4_000);
    let running = stage.replay.start(WhenDone::Stay);
    wait_until("some rows are acknowledged", || running.acknowledged() > 4_000);
    make_again(&stage.replay);
    wait_until("it is done", || running.is_complete());
    assert_eq!(running.stop().unwrap(), Outcome::Stopped);
    assert_delivered(&stage.replay, 40_000, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn topic_that_is_made_again_after_a_replay_is_filled_again() {
    let stage = stage(5_000);
    let running = stage.replay.start(WhenDone::Stay);
    wait_until("it is done", || running.is_complete());
    make_again(&stage.replay);
    wait_until("all is produced again", || running.acknowledged() == 10_000);
    assert_eq!(running.stop().unwrap(), Outcome::Stopped);
    assert_delivered(&stage.replay, 5_000, Times::Once);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn partitions_that_are_added_under_a_replay_are_used_by_all_replicas_at_once() {
    let mut stage = stage(60_000);
    stage.replay.rows_per_second = Some(4_000);
    let replicas = [stage.replay.start(WhenDone::Stay), stage.replay.start(WhenDone::Stay)];
    wait_until("they share", || replicas.iter().all(|replica| replica.slots().len() == 2 && replica.acknowledged() > 0));
    stage.replay.clients().admin().unwrap().create_partitions(&stage.replay.topic, 6, DEADLINE).unwrap();
    wait_until("both are done", || replicas.iter().all(super::stage::Running::is_complete));
    for replica in replicas {
        assert_eq!(replica.stop().unwrap(), Outcome::Stopped);
    }
    stage.replay.partitions = 6;
    let seen = read(&stage.replay);
    assert_eq!(seen.len(), 60_000);
    assert_eq!(seen.iter().map(super::stage::Seen::number).collect::<BTreeSet<_>>().len(), 60_000);
    let mut rows: BTreeMap<(Vec<u8>, i32), Vec<u64>> = BTreeMap::new();
    for record in &seen {
        rows.entry((record.key.clone(), record.partition)).or_default().push(record.number());
    }
    assert!(rows.keys().any(|(_, partition)| *partition >= 3), "no new partition is used");
    for ((key, partition), numbers) in &rows {
        assert!(numbers.is_sorted(), "order of {key:?} in partition {partition}");
        let (old, new) = ((key_hash(key) % 3).cast_signed(), (key_hash(key) % 6).cast_signed());
        assert!([old, new].contains(partition), "{key:?} in partition {partition}");
        if let (true, Some(before)) = (*partition == new && old != new, rows.get(&(key.clone(), old))) {
            assert!(before.last() < numbers.first(), "{key:?} goes to two partitions at a time");
        }
    }
}

/// Limits the bytes a second of a client by its name.
fn limit(client: &str, bytes_per_second: u32) {
    let script = std::env::var("E2E_KAFKA").expect("E2E_KAFKA names the script that has started the broker");
    let status = Command::new(script).args(["quota", client, &bytes_per_second.to_string()]).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "needs a real Kafka broker of e2e/kafka: KAFKA_BOOTSTRAP_SERVERS, E2E_KAFKA"]
fn rows_that_a_throttled_broker_cannot_take_within_one_transaction_arrive_in_several() {
    const ROWS: u64 = 40_000;
    let mut stage = stage(0);
    let mut text = "Index,Date,Number,Filler\n".to_owned();
    let filler = "x".repeat(1_000);
    for row in 0..ROWS {
        writeln!(text, "K{},2024-01-02,{row},{filler}", row * 7 % super::stage::KEYS).unwrap();
    }
    std::fs::write(&stage.replay.file, text).unwrap();
    // All of it, as fast as it is read, would take the broker 26 seconds: it ends a transaction after ten.
    let client = new_topic("slow");
    stage.replay.config = BTreeMap::from([("client.id", client.as_str()), ("compression.type", "none"), ("linger.ms", "5")])
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    limit(&client, 1_600_000);
    let mut registry = Registry::new("producer");
    let metrics = ProducerMetrics::register(&mut registry);
    let running = Replay::start_with(producer::Context { metrics, ..stage.replay.context(WhenDone::Return, "") });
    let mut is_throttled = false;
    wait_until("the producer ends", || {
        let text = registry.render();
        let throttle = text.lines().find_map(|line| line.strip_prefix("stockpipeline_throttle_seconds ")).unwrap();
        is_throttled |= throttle.parse::<f64>().unwrap() > 0.0;
        running.thread.as_ref().unwrap().is_finished()
    });
    assert_eq!(running.join().unwrap(), Outcome::Completed);
    assert!(is_throttled, "the metric says nothing of it");
    assert_delivered(&stage.replay, ROWS, Times::Once);
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
        let (start, cpu) = (Instant::now(), stockpipeline_program::clock::cpu_seconds());
        assert_eq!(running.join().unwrap(), Outcome::Completed);
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), stockpipeline_program::clock::cpu_seconds() - cpu);
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let rows = ROWS as f64;
        println!("transactional {is_transactional}, {codec}: {:.0} rows/s, {:.0} rows a CPU second", rows / seconds, rows / cpu);
        stage.replay.is_transactional = true;
    }
}

/// Writes daily bars as index files have them: JSON of about 155 bytes a row.
fn write_bars(file: &std::path::Path, rows: u64) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).unwrap());
    writeln!(out, "Index,Date,Number,Open,High,Low,Close,Volume").unwrap();
    for row in 0..rows {
        let price = 1000 + row % 977;
        writeln!(out, "K{},2024-01-02,{row},{price}.900024,{price}.950012,{price}.5,{price}.700073,{}", row * 7 % 10, row * 31 % 100_000)
            .unwrap();
    }
}
