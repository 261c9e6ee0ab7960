//! A file, a broker and producers of it: as threads, or as processes of this very binary that may be killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use stockpipeline::checked::{self, CsvReplay, Location, Order, Pace, Source};
use stockpipeline::layout::Epoch;
use stockpipeline::schema::{Column, ColumnType, Schema};
use stockpipeline_worker::failpoint::Failpoints;
use stockpipeline_worker::feed::{Feed, Limits, Opening, Places};
use stockpipeline_worker::kafka::Clients;
use stockpipeline_worker::metrics::ProducerMetrics;
use stockpipeline_worker::producer::{self, Delivery, HoldBack, Outcome, ProducerError, TopicDuty, WhenDone};
use stockpipeline_worker::progress::Progress;
use stockpipeline_worker::slots::key_hash;
use stockpipeline_worker::status::{Role, Status, StatusCell};
use tokio_util::sync::CancellationToken;

use crate::topics::{clients, kafka, unique};

pub(super) const DEADLINE: Duration = Duration::from_mins(2);
pub(super) const SLOTS: u32 = 4;
pub(super) const KEYS: u64 = 10;
const CHILD: &str = "STOCKPIPELINE_PRODUCER_CHILD";

/// One replay: everything that its producers share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Replay {
    pub(super) servers: Vec<String>,
    pub(super) topic: String,
    pub(super) partitions: i32,
    pub(super) file: PathBuf,
    pub(super) is_transactional: bool,
    pub(super) epoch: Option<String>,
    pub(super) interval_millis: u64,
    pub(super) rows_per_second: Option<u32>,
    /// How days are written, for a replay by event time.
    pub(super) day_format: Option<String>,
    pub(super) config: BTreeMap<String, String>,
}

impl Replay {
    pub(super) fn slots_topic(&self) -> String {
        format!("{}.slots", self.topic)
    }

    pub(super) fn kafka(&self) -> checked::Kafka {
        kafka(self.servers.clone(), &self.topic, self.partitions)
    }

    pub(super) fn clients(&self) -> Clients {
        clients(&self.kafka())
    }

    fn source(&self) -> Source {
        Source::CsvReplay(CsvReplay {
            location: Location::Path(self.file.display().to_string()),
            header: None,
            delimiter: b',',
            null_values: vec![String::new()],
            order: if self.day_format.is_some() { Order::EventTime } else { Order::File },
            pace: self.rows_per_second.map_or(Pace::Unlimited, Pace::RowsPerSecond),
            repeat: false,
            seed: 0,
        })
    }

    /// Returns what a producer of this replay works with.
    pub(super) fn context(&self, when_done: WhenDone, failpoints: &str) -> producer::Context {
        let kafka = self.kafka();
        let (source, schema) = (self.source(), schema(self.day_format.clone()));
        let places = Places {
            base_dir: PathBuf::from("/"),
            config_maps_dir: PathBuf::from("/"),
            scratch_dir: std::env::temp_dir(),
            s3: None,
            limits: Limits::default(),
        };
        let opening = Opening { schema: &schema, key_column: 0, places: &places, memory_bytes: 1 << 20 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let feed = runtime.block_on(Feed::open(&source, &opening)).unwrap();
        producer::Context {
            clients: self.clients(),
            feed,
            source,
            settings: checked::Producer {
                slots: SLOTS,
                slots_topic: self.slots_topic(),
                key_column: 0,
                transaction_interval: Duration::from_millis(self.interval_millis),
                config: self.config.clone(),
            },
            schema,
            topic: kafka.topic,
            consumer_group: kafka.consumer_group,
            epoch: self.epoch.as_deref().map(Epoch::of),
            delivery: if self.is_transactional { Delivery::Transactional } else { Delivery::Idempotent },
            topic_duty: if self.is_transactional { TopicDuty::Ensure } else { TopicDuty::Given },
            hold_back: None,
            session_timeout: Duration::from_secs(6),
            when_done,
            progress: Arc::new(Progress::new(usize::try_from(self.partitions).unwrap())),
            status: StatusCell::new(Status::starting(Role::Producer, "test", 0), 0),
            metrics: ProducerMetrics::default(),
            shutdown: CancellationToken::new(),
            failpoints: Failpoints::from_text(failpoints).unwrap(),
        }
    }

    /// Starts a producer as a thread.
    pub(super) fn start(&self, when_done: WhenDone) -> Running {
        Self::start_with(self.context(when_done, ""))
    }

    pub(super) fn start_held_back(&self, limit: HoldBack) -> Running {
        Self::start_with(producer::Context { hold_back: Some(limit), ..self.context(WhenDone::Return, "") })
    }

    pub(super) fn start_with(context: producer::Context) -> Running {
        let (shutdown, progress, status) = (context.shutdown.clone(), Arc::clone(&context.progress), context.status.clone());
        Running { thread: Some(std::thread::spawn(move || producer::run(context))), shutdown, progress, status }
    }

    /// Produces the whole file and returns.
    pub(super) fn complete(&self) -> Result<Outcome, ProducerError> {
        let running = self.start(WhenDone::Return);
        wait_until("the producer ends", || running.thread.as_ref().unwrap().is_finished());
        running.join()
    }

    /// Starts a producer as a process of this binary.
    pub(super) fn child(&self, failpoints: &str) -> ProducerProcess {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "producer::stage::child_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CHILD, serde_json::to_string(&(self, failpoints)).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        ProducerProcess(child)
    }
}

/// What [`Replay::child`] runs; as a test of its own it does nothing.
#[test]
#[ignore = "needs to be started by another test"]
fn child_process() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let (replay, failpoints): (Replay, String) = serde_json::from_str(&text).unwrap();
    producer::run(replay.context(WhenDone::Stay, &failpoints)).unwrap();
}

/// A producer in its own process; killed when dropped.
pub(super) struct ProducerProcess(pub(super) Child);

impl ProducerProcess {
    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits until the process has ended, by SIGKILL and nothing else.
    pub(super) fn wait(&mut self) {
        let mut ended = None;
        wait_until("the process ends", || {
            ended = self.0.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().signal(), Some(rustix::process::Signal::KILL.as_raw()), "{ended:?}");
    }

    pub(super) fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }
}

impl Drop for ProducerProcess {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// A producer on a thread; stopped when dropped.
pub(super) struct Running {
    pub(super) thread: Option<JoinHandle<Result<Outcome, ProducerError>>>,
    pub(super) shutdown: CancellationToken,
    pub(super) progress: Arc<Progress>,
    pub(super) status: StatusCell,
}

impl Running {
    pub(super) fn join(mut self) -> Result<Outcome, ProducerError> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub(super) fn stop(self) -> Result<Outcome, ProducerError> {
        self.shutdown.cancel();
        self.join()
    }

    /// Returns how many of its slots the source has ended for.
    pub(super) fn completed_slots(&self) -> usize {
        self.status.read().producer.iter().flat_map(|producer| &producer.slots).filter(|slot| slot.completed).count()
    }

    pub(super) fn slots(&self) -> BTreeSet<u32> {
        self.status.read().producer.iter().flat_map(|producer| &producer.slots).map(|slot| slot.slot).collect()
    }

    pub(super) fn acknowledged(&self) -> i64 {
        self.progress.partitions.iter().map(|partition| partition.produced.load(Ordering::Acquire)).sum()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.status.read().producer.as_ref().is_some_and(|producer| producer.completed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a producer panicked");
        }
    }
}

fn schema(day_format: Option<String>) -> Schema {
    let column = |name: &str, from: &str, column_type| Column {
        name: name.to_owned(),
        from: from.to_owned(),
        column_type,
        nullable: true,
        comment: None,
    };
    Schema {
        columns: vec![
            column("symbol", "Index", ColumnType::String),
            column("day", "Date", ColumnType::Date { format: day_format }),
            column("number", "Number", ColumnType::Bigint),
        ],
        event_time: 1,
        max_future_seconds: 86_400,
    }
}

/// Writes a file of numbered rows over [`KEYS`] keys.
pub(super) fn write_file(file: &Path, rows: u64) {
    let mut text = "Index,Date,Number\n".to_owned();
    for row in 0..rows {
        writeln!(text, "K{},2024-01-02,{row}", row * 7 % KEYS).unwrap();
    }
    std::fs::write(file, text).unwrap();
}

/// Returns producer settings for short tests.
pub(super) fn quick() -> BTreeMap<String, String> {
    BTreeMap::from([("linger.ms".to_owned(), "5".to_owned())])
}

pub(super) fn new_topic(name: &str) -> String {
    unique(name)
}

/// One record of the data topic, as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) partition: i32,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) headers: BTreeMap<String, String>,
}

impl Seen {
    pub(super) fn number(&self) -> u64 {
        let value: serde_json::Value = serde_json::from_slice(&self.value).unwrap();
        value["Number"].to_string().trim_matches('"').parse().unwrap()
    }
}

/// Reads everything that is committed.
pub(super) fn read(replay: &Replay) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", replay.servers.join(","))
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", if replay.is_transactional { "read_committed" } else { "read_uncommitted" })
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let ends: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", replay.servers.join(","))
        // Without it the client sees no more than decided transactions either, and nothing would be waited for.
        .set("isolation.level", "read_uncommitted")
        .create()
        .unwrap();
    for partition in 0..replay.partitions {
        // Markers of the last transactions may land after their commit has returned; a killed producer's time out.
        let end = ends.fetch_watermarks(&replay.topic, partition, DEADLINE).unwrap().1;
        wait_until("all transactions are decided", || consumer.fetch_watermarks(&replay.topic, partition, DEADLINE).unwrap().1 >= end);
    }
    let mut list = TopicPartitionList::new();
    for partition in 0..replay.partitions {
        list.add_partition_offset(&replay.topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut seen, mut ended, start) = (Vec::new(), 0, Instant::now());
    while ended < replay.partitions {
        assert!(start.elapsed() < DEADLINE, "reading ends: {} records, {ended} partitions", seen.len());
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Ok(message)) => seen.push(seen_of(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
        }
    }
    seen
}

fn seen_of(message: &BorrowedMessage<'_>) -> Seen {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Seen {
        partition: message.partition(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers
            .map(|header| (header.key.to_owned(), String::from_utf8(header.value.unwrap_or_default().to_vec()).unwrap()))
            .collect(),
    }
}

/// How often a row may have been delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    OnceOrMore,
}

/// Checks that every row is there, in the order of its key, in the partition of its key.
pub(super) fn assert_delivered(replay: &Replay, rows: u64, times: Times) {
    let seen = read(replay);
    let mut by_key: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    for record in &seen {
        let expected = i32::try_from(key_hash(&record.key)).unwrap() % replay.partitions;
        assert_eq!(record.partition, expected, "{record:?}");
        let names: Vec<&str> = record.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["stockpipeline-origin"]);
        let (schema, source) = record.headers["stockpipeline-origin"].split_once(' ').unwrap();
        assert_eq!((schema.is_empty(), source), (false, replay.file.display().to_string().as_str()));
        by_key.entry(record.key.clone()).or_default().push(record.number());
    }
    for (key, numbers) in by_key {
        let expected: Vec<u64> = (0..rows).filter(|row| format!("K{}", row * 7 % KEYS).as_bytes() == key).collect();
        match times {
            Times::Once => assert_same(&numbers, &expected, &key),
            Times::OnceOrMore => {
                let mut first_seen = Vec::new();
                let mut known = BTreeSet::new();
                for number in numbers {
                    if known.insert(number) {
                        first_seen.push(number);
                    }
                }
                assert_same(&first_seen, &expected, &key);
            }
        }
    }
    if times == Times::Once {
        assert_eq!(u64::try_from(seen.len()).unwrap(), rows);
    }
}

/// Compares rows, and names the first difference instead of all of them.
fn assert_same(seen: &[u64], expected: &[u64], key: &[u8]) {
    let first = seen.iter().zip(expected).position(|(seen, expected)| seen != expected).unwrap_or(seen.len().min(expected.len()));
    let key = String::from_utf8_lossy(key);
    let (got, wanted) = (seen.get(first), expected.get(first));
    assert!(seen == expected, "{key}: {} rows in place of {}; row {first} is {got:?} in place of {wanted:?}", seen.len(), expected.len());
}

/// Waits for a condition.
pub(super) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
