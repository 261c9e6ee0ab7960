//! On a real broker: topic ids, transactions, group offsets, and the whole way from a file to the zones while workers die.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tokio::sync::Notify;

use stockpipeline_worker::kafka::{Clients, Identity};
use stockpipeline_worker::sink::SinkError;
use stockpipeline_worker::status::TopicState;
use stockpipeline_worker::topic;

use crate::faults::{Fault, Rule};

use super::stage::{DEADLINE, RunningSink, Stage, tick, until};

const RECORDS: i64 = 400;

fn admin(stage: &Stage) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", stage.bootstrap_servers(0)).create().unwrap()
}

fn make_topic(stage: &Stage, partitions: i32) {
    let topic = NewTopic::new(stage.topic(), partitions, TopicReplication::Fixed(1));
    until("the topic is made", || {
        let made = stage.runtime.block_on(admin(stage).create_topics([&topic], &AdminOptions::new())).unwrap();
        made.iter().all(Result::is_ok)
    });
}

fn delete_topic(stage: &Stage) {
    let kafka = stage.pipeline(|_| {}).kafka;
    let clients = Clients::new(&kafka, Path::new("/nonexistent"), Identity::default()).unwrap();
    topic::delete(&clients, &kafka.topic, None, DEADLINE).unwrap();
}

/// A producer of transactions in the stage's topic.
struct Transactions<'a> {
    topic: &'a str,
    producer: BaseProducer,
}

impl<'a> Transactions<'a> {
    fn of(stage: &'a Stage) -> Self {
        let topic = stage.topic();
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", stage.bootstrap_servers(0)).set("transactional.id", topic).create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        Self { topic, producer }
    }

    /// Sends so many ticks in a transaction, which the caller ends.
    fn send(&self, ticks: i64) -> &BaseProducer {
        self.producer.begin_transaction().unwrap();
        for number in 0..ticks {
            let payload = tick(number).to_string();
            self.producer.send(BaseRecord::<(), str>::to(self.topic).partition(0).payload(&payload)).unwrap();
        }
        self.producer.flush(DEADLINE).unwrap();
        &self.producer
    }
}

/// Asserts that a sink ends since its topic was replaced, and that its successor stores the new one's records beside the `old` ones.
fn assert_replaced(stage: &Stage, sink: RunningSink, old: i64, new: i64) {
    until("it has noticed", || !sink.is_running());
    let ended = sink.ended();
    assert!(matches!(ended, Err(SinkError::TopicReplaced { .. })), "{ended:?}");
    let next = stage.sink("new", stage.pipeline(|_| {}));
    until("the new topic is durable", || next.durable() == new);
    assert!(next.stop().unwrap().drained);
    let report = stage.audit(&stage.pipeline(|_| {}));
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.zones.processed.rows, u64::try_from(old + new).unwrap());
    assert_eq!(report.chains.len(), 2, "one chain an epoch");
    delete_topic(stage);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn a_topic_that_was_made_again_starts_a_new_ledger_and_keeps_the_old_rows() {
    let stage = Stage::on_real_broker(1);
    for round in 1..3 {
        make_topic(&stage, 1);
        stage.produce(0, 0, RECORDS * round);
        let sink = stage.sink("only", stage.pipeline(|_| {}));
        until("all is durable", || sink.durable() == RECORDS * round);
        assert!(sink.stop().unwrap().drained);
        delete_topic(&stage);
    }
    let report = stage.audit(&stage.pipeline(|_| {}));
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.zones.processed.rows, u64::try_from(3 * RECORDS).unwrap());
    assert_eq!(report.chains.len(), 2, "one chain an epoch");
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn a_sink_that_may_not_make_its_topic_says_so_and_waits_for_it() {
    let stage = Stage::on_real_broker(1);
    let pipeline = stage.pipeline(|spec| spec["kafka"]["topic"]["management"] = "Observe".into());
    let sink = stage.sink("early", pipeline.clone());
    until("it misses the topic", || sink.status.read().topic.as_ref().is_some_and(|topic| topic.state == TopicState::NotFound));
    make_topic(&stage, 1);
    stage.produce(0, 0, RECORDS);
    until("all is durable", || sink.durable() == RECORDS);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS)]);
    delete_topic(&stage);
}

/// Offsets begin again in a topic of the same name: nothing of the new one may be taken for what the old one's ledger holds already.
#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn a_topic_that_is_replaced_under_a_running_sink_ends_it_and_its_successor_stores_the_new_one() {
    let stage = Stage::on_real_broker(1);
    make_topic(&stage, 1);
    stage.produce(0, 0, RECORDS);
    let sink = stage.sink("old", stage.pipeline(|_| {}));
    until("the old topic is durable", || sink.durable() == RECORDS);
    delete_topic(&stage);
    make_topic(&stage, 1);
    stage.produce(0, 0, RECORDS / 2);
    assert_replaced(&stage, sink, RECORDS, RECORDS / 2);
}

/// No record comes that would make it ask; and what the old topic's leader had been elected for is nothing in the new one.
#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn a_topic_that_is_replaced_under_an_idle_sink_ends_it_without_a_record() {
    let stage = Stage::on_real_broker(1);
    make_topic(&stage, 1);
    let sink = stage.sink_with("old", stage.pipeline(|_| {}), |context| context.look_again = Duration::from_millis(200));
    until("it has its partition", || sink.status.read().sink.as_ref().is_some_and(|sink| !sink.partitions.is_empty()));
    delete_topic(&stage);
    make_topic(&stage, 1);
    let ended = sink.ended();
    assert!(matches!(ended, Err(SinkError::TopicReplaced { .. })), "{ended:?}");
    delete_topic(&stage);
}

/// While a sink waits for its store, its consumer goes on in the new topic at the old offset, and nothing tells it.
#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn a_topic_that_is_replaced_and_refilled_while_the_store_is_away_is_not_taken_for_the_old_one() {
    let stage = Stage::on_real_broker(1);
    make_topic(&stage, 1);
    stage.produce(0, 0, RECORDS);
    let sink = stage.sink("old", stage.pipeline(|_| {}));
    until("the old topic is durable", || sink.durable() == RECORDS);
    let back = Arc::new(Notify::new());
    stage.proxy.inject(Rule::new(Fault::Hold(Arc::clone(&back))).method("PUT").key(".plan.json").times(1));
    let plans = stage.proxy.count("PUT", ".plan.json");
    stage.produce(0, RECORDS, RECORDS);
    stage.runtime.block_on(stage.proxy.wait_for("PUT", ".plan.json", plans + 1));
    delete_topic(&stage);
    make_topic(&stage, 1);
    stage.produce(0, 0, 4 * RECORDS);
    back.notify_one();
    assert_replaced(&stage, sink, 2 * RECORDS, 4 * RECORDS);
}

/// Retention takes the marker of a transaction, too: nothing that anyone could have read.
#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn control_records_that_retention_removes_are_no_loss() {
    let stage = Stage::on_real_broker(1);
    make_topic(&stage, 1);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    let producer = Transactions::of(&stage);
    producer.send(RECORDS).commit_transaction(DEADLINE).unwrap();
    let end = RECORDS + 1;
    until("the end of the log is durable", || sink.durable() == end);
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(stage.topic(), 0, Offset::Offset(end)).unwrap();
    stage.runtime.block_on(admin(&stage).delete_records(&all, &AdminOptions::new())).unwrap();
    // A second member makes the group rebalance, and the first seek its position.
    let second = stage.sink("second", stage.pipeline(|_| {}));
    stage.produce(0, end, 10);
    until("what comes later is durable", || sink.durable().max(second.durable()) == end + 10);
    for sink in [sink, second] {
        assert!(sink.status.read().sink.as_ref().is_none_or(|status| status.data_loss.is_none()));
        assert!(sink.stop().unwrap().drained);
    }
    let group = stage.group();
    until("the group has forgotten its offsets", || {
        let deleted = stage.runtime.block_on(admin(&stage).delete_groups(&[&group], &AdminOptions::new())).unwrap();
        deleted.iter().all(Result::is_ok)
    });
    delete_topic(&stage);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn aborted_transactions_are_not_stored_and_their_markers_are_no_lag() {
    let stage = Stage::on_real_broker(1);
    make_topic(&stage, 1);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    let producer = Transactions::of(&stage);
    for transaction in 0..6 {
        let producer = producer.send(100);
        if transaction % 2 == 0 { producer.abort_transaction(DEADLINE) } else { producer.commit_transaction(DEADLINE) }.unwrap();
    }
    // Six transactions of a hundred records, and a marker behind each.
    until("the end of the log is durable", || sink.durable() == 606);
    assert!(sink.stop().unwrap().drained);
    let stored = stage.stored();
    assert_eq!((stored.processed.len(), stored.raw.len(), stored.twice.len()), (300, 300, 0));
    let next = stage.sink("next", stage.pipeline(|_| {}));
    stage.produce(0, 0, 10);
    until("what comes later is stored, too", || next.durable() == 616);
    assert!(next.stop().unwrap().drained);
    assert_eq!(stage.stored().processed.len(), 310);
    assert!(stage.audit(&stage.pipeline(|_| {})).is_clean());
    delete_topic(&stage);
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn deleted_group_offsets_lose_and_repeat_nothing() {
    let stage = Stage::on_real_broker(1);
    make_topic(&stage, 1);
    stage.produce(0, 0, RECORDS);
    let first = stage.sink("first", stage.pipeline(|_| {}));
    until("all is durable", || first.durable() == RECORDS);
    assert!(first.stop().unwrap().drained);
    let group = stage.group();
    until("the group is deleted", || {
        let deleted = stage.runtime.block_on(admin(&stage).delete_groups(&[&group], &AdminOptions::new())).unwrap();
        deleted.iter().all(Result::is_ok)
    });
    stage.produce(0, RECORDS, RECORDS);
    let second = stage.sink("second", stage.pipeline(|_| {}));
    until("all is durable", || second.durable() == 2 * RECORDS);
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS)]);
    delete_topic(&stage);
}

/// From a file through killed producers and killed sinks: the rows of the file, each once, in order per key.
#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn a_file_arrives_once_through_producers_and_sinks_that_are_killed() {
    const ROWS: usize = 60_000;
    let stage = Stage::on_real_broker(4);
    let mut csv = String::from("symbol,ts,price,size\n");
    for row in 0..ROWS {
        writeln!(csv, "S{},2026-01-{:02}T10:00:00Z,{}.25,{row}", row % 97, 1 + row % 5, row % 300).unwrap();
    }
    let source = stage.file("pipeline", |_| {}).with_file_name("ticks.csv");
    std::fs::write(&source, csv).unwrap();
    let document = stage.file("pipeline", |spec| {
        spec["source"] = json!({ "type": "CsvReplay", "csvReplay": { "uri": source.to_str().unwrap(), "rowsPerSecond": 4000 } });
        spec["producer"] = json!({ "slots": 4, "keyColumn": "symbol", "transactionInterval": "500ms" });
        spec["kafka"]["topic"]["replicationFactor"] = 1.into();
    });
    let role = |number: usize| if number < 2 { "producer" } else { "sink" };
    let start = |number: usize, life: usize| stage.child_of(role(number), &format!("w{number}-{life}"), &document, "");
    let mut workers: Vec<_> = (0..4).map(|number| start(number, 0)).collect();
    let begun = Instant::now();
    // One of the four dies every two seconds while the replay runs.
    for life in 1..14 {
        until("it is time for the next kill", || begun.elapsed() >= Duration::from_secs(2) * u32::try_from(life).unwrap());
        let number = (life * 7) % 4;
        workers[number].child.kill().unwrap();
        workers[number].wait();
        workers[number] = start(number, life);
    }
    let mut stored = 0;
    until("all rows are stored", || {
        stored = stage.stored().delivered();
        stored >= ROWS
    });
    drop(workers);
    let stored = stage.stored();
    assert_eq!((stored.processed.len(), stored.raw.len(), stored.twice.len(), stored.dead_letters.len()), (ROWS, ROWS, 0, 0));
    let mut last = std::collections::BTreeMap::new();
    let mut rows: Vec<usize> = Vec::with_capacity(ROWS);
    for line in stored.raw.values() {
        let row: usize = line["size"].as_u64().unwrap().try_into().unwrap();
        let before = last.insert(line["symbol"].as_str().unwrap().to_owned(), row);
        assert!(before.is_none_or(|before| before < row), "{row} of {} came after {before:?}", line["symbol"]);
        rows.push(row);
    }
    rows.sort_unstable();
    assert!(rows.iter().copied().eq(0..ROWS), "the rows of the file");
    delete_topic(&stage);
}
