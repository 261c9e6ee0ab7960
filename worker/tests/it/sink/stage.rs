//! The stage of a sink's test: a broker, an S3 server with a faulty proxy before it, a pipeline, and sinks in this
//! process or in children.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCoordinator;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::Document;
use stockpipeline::layout::{Epoch, LedgerKeys};
use stockpipeline::plan::Plan;
use stockpipeline_program::clock::boottime_millis;
use stockpipeline_worker::audit::{self, Report, Tail};
use stockpipeline_worker::contact::Contact;
use stockpipeline_worker::embedded::{EmbeddedBroker, EmbeddedS3};
use stockpipeline_worker::failpoint::Failpoints;
use stockpipeline_worker::kafka::{Clients, Identity};
use stockpipeline_worker::metrics::{Registry, SinkMetrics, StoreMetrics};
use stockpipeline_worker::sink::{self, Context, Outcome, SinkError};
use stockpipeline_worker::status::{Role, Status, StatusCell};
use stockpipeline_worker::store::{Credentials, Settings, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::stored::{Place, Stored};
use crate::faults::FaultyProxy;
use crate::free_port::free_port;
use crate::topics::real_brokers;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_mins(4);
/// Session time-out of the group: the shortest that the embedded broker grants.
const SESSION: Duration = Duration::from_secs(6);
/// Topic of all tests.
pub(crate) const TOPIC: &str = "ticks";
const BUCKET: &str = "lake";

/// Everything a test runs on.
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    brokers: Vec<Broker>,
    pub(crate) proxy: FaultyProxy,
    server: EmbeddedS3,
    folder: TempDir,
    pub(crate) epoch: Epoch,
    partitions: i32,
    is_real: bool,
}

/// A broker with a producer of its own.
struct Broker {
    bootstrap_servers: String,
    topic: String,
    producer: BaseProducer,
    embedded: Option<EmbeddedBroker>,
}

impl Broker {
    fn start(partitions: i32) -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic(TOPIC, partitions).unwrap();
        let servers = broker.bootstrap_servers();
        Self::connect(servers, TOPIC, Some(broker))
    }

    fn connect(bootstrap_servers: String, topic: &str, embedded: Option<EmbeddedBroker>) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap_servers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create()
            .unwrap();
        Self { bootstrap_servers, topic: topic.to_owned(), producer, embedded }
    }

    fn send(&self, partition: i32, payload: &[u8]) {
        loop {
            let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).partition(partition).key(&b"k"[..]).payload(payload);
            if self.producer.send(record).is_ok() {
                return;
            }
            self.producer.poll(Duration::from_millis(5));
        }
    }
}

impl Stage {
    pub(crate) fn new(partitions: i32) -> Self {
        Self::with_brokers(partitions, 1)
    }

    /// Returns a stage on a real broker, with a topic of its own that nobody has made yet.
    pub(crate) fn on_real_broker(partitions: i32) -> Self {
        let topic = format!("sink-{}", std::process::id()) + &format!("-{}", boottime_millis());
        let mut stage = Self::with_brokers(partitions, 0);
        stage.brokers.push(Broker::connect(real_brokers().join(","), &topic, None));
        stage.is_real = true;
        stage
    }

    /// Returns a stage on one cluster of two brokers: the first leads the even partitions and coordinates the group, the second leads the odd ones.
    pub(crate) fn on_two_brokers(partitions: i32) -> Self {
        let mut stage = Self::with_brokers(partitions, 0);
        let cluster = EmbeddedBroker::cluster(2).unwrap();
        cluster.create_topic(TOPIC, partitions).unwrap();
        for partition in 0..partitions {
            cluster.mock().partition_leader(TOPIC, partition, Some(1 + partition % 2)).unwrap();
        }
        cluster.mock().coordinator(MockCoordinator::Group("sinks".to_owned()), 1).unwrap();
        let servers = cluster.bootstrap_servers();
        // What finds its way to all brokers needs only the one that stays.
        let first = servers.split(',').next().unwrap().to_owned();
        stage.brokers.push(Broker::connect(first, TOPIC, Some(cluster)));
        stage
    }

    /// Returns a stage of several brokers that are given the same records: a sink on each owns every partition.
    pub(crate) fn with_brokers(partitions: i32, brokers: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let server = runtime.block_on(EmbeddedS3::start(&folder.path().join(BUCKET), BUCKET)).unwrap();
        let proxy = runtime.block_on(FaultyProxy::start(&server.endpoint()));
        let brokers = (0..brokers).map(|_| Broker::start(partitions)).collect();
        Self { runtime, brokers, proxy, server, folder, epoch: Epoch::of("test"), partitions, is_real: false }
    }

    /// Returns the folder that the bucket's objects stand in.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Returns the pipeline's document: raw and processed by day, rotation every second, changed by `edit`.
    pub(crate) fn document(&self, edit: impl FnOnce(&mut Value)) -> Document {
        let mut spec = json!({
            "aws": {
                "region": "us-east-1",
                "endpoints": { "s3": self.proxy.endpoint() },
                "forcePathStyle": true,
            },
            "source": { "type": "ExternalTopic" },
            "schema": {
                "eventTimeColumn": "ts",
                "columns": [
                    { "name": "symbol", "type": "String", "nullable": false },
                    { "name": "ts", "type": "Timestamp", "nullable": false },
                    { "name": "price", "type": "Decimal", "precision": 18, "scale": 4 },
                    { "name": "size", "type": "Bigint" },
                ],
            },
            "kafka": {
                "bootstrapServers": [self.bootstrap_servers(0)],
                "topic": { "name": self.topic(), "partitions": self.partitions },
                "consumerGroup": self.group(),
            },
            "sink": {
                "bucket": { "name": BUCKET },
                "raw": { "prefix": "raw" },
                "processed": { "prefix": "processed", "partitionBy": [{ "name": "dt", "transform": "day", "column": "ts" }] },
                "onBadRecord": { "prefix": "dlq", "haltAbovePerMinute": 0 },
                "rotation": { "maxInterval": "1s" },
                "worker": { "replicas": 1 },
            },
        });
        edit(&mut spec);
        Document::new("it", None, spec)
    }

    /// Returns the topic.
    pub(crate) fn topic(&self) -> &str {
        &self.brokers[0].topic
    }

    /// Returns the sinks' consumer group.
    pub(crate) fn group(&self) -> String {
        if self.is_real { format!("{}-sinks", self.topic()) } else { "sinks".to_owned() }
    }

    pub(crate) fn pipeline(&self, edit: impl FnOnce(&mut Value)) -> Pipeline {
        let document = self.document(edit);
        match Pipeline::check(&document, UnknownFields::Error) {
            Ok((pipeline, _)) => pipeline,
            Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    /// Writes the document where a child process reads it.
    pub(crate) fn file(&self, name: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, self.document(edit).to_yaml()).unwrap();
        path
    }

    /// Produces so many ticks to a partition, numbered from `from`, and waits until they are there.
    pub(crate) fn produce(&self, partition: i32, from: i64, count: i64) {
        for number in from..from + count {
            let tick = tick(number).to_string();
            self.brokers.iter().for_each(|broker| broker.send(partition, tick.as_bytes()));
        }
        self.flush();
    }

    /// Produces one payload and waits until it is there.
    pub(crate) fn produce_payload(&self, partition: i32, payload: &[u8]) {
        self.send(partition, payload);
        self.flush();
    }

    /// Sends one payload; [`Stage::flush`] waits until it is there.
    pub(crate) fn send(&self, partition: i32, payload: &[u8]) {
        self.brokers.iter().for_each(|broker| broker.send(partition, payload));
    }

    pub(crate) fn flush(&self) {
        self.brokers.iter().for_each(|broker| broker.producer.flush(DEADLINE).unwrap());
    }

    pub(crate) fn bootstrap_servers(&self, broker: usize) -> String {
        self.brokers[broker].bootstrap_servers.clone()
    }

    /// Puts a broker without any record, and without any group offset, in place of the first one.
    pub(crate) fn replace_broker(&mut self) {
        self.brokers[0] = Broker::start(self.partitions);
    }

    /// Returns the embedded broker, whose answers can be made to fail.
    pub(crate) fn broker(&self) -> &EmbeddedBroker {
        self.brokers[0].embedded.as_ref().unwrap()
    }

    /// Makes the group end the membership of its one member, which then joins again.
    pub(crate) fn end_membership(&self) {
        let unknown = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
        self.broker().mock().request_errors(rdkafka::types::RDKafkaApiKey::Heartbeat, &[unknown]);
    }

    /// Returns a store that asks the server directly, without the proxy's faults.
    pub(crate) fn store(&self) -> Store {
        let settings = Self::settings(self.server.endpoint());
        self.runtime.block_on(Store::connect(settings, None, StoreMetrics::default()))
    }

    fn settings(endpoint: String) -> Settings {
        Settings {
            bucket: BUCKET.to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(endpoint),
            force_path_style: true,
            kms_key_arn: None,
            credentials: Credentials::Anonymous,
            attempt_timeout: Duration::from_secs(5),
            give_up_after: None,
        }
    }

    /// Starts a sink on a thread of this process.
    pub(crate) fn sink(&self, worker: &str, pipeline: Pipeline) -> RunningSink {
        self.sink_with(worker, pipeline, |_| {})
    }

    /// Starts a sink on a thread of this process, its context changed by `edit`.
    pub(crate) fn sink_with(&self, worker: &str, pipeline: Pipeline, edit: impl FnOnce(&mut Context)) -> RunningSink {
        let contact = Arc::new(Contact::new(SESSION));
        let gate: Arc<dyn stockpipeline_worker::store::Gate> = contact.clone();
        let store = self.runtime.block_on(Store::connect(Self::settings(self.proxy.endpoint()), Some(gate), StoreMetrics::default()));
        let status = StatusCell::new(Status::starting(Role::Sink, worker, 0), boottime_millis());
        let shutdown = CancellationToken::new();
        let mut registry = Registry::new("sink");
        let identity = Identity { client_id: worker.to_owned(), ..Identity::default() };
        let mut context = Context {
            rules: Arc::new(pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema)),
            clients: Clients::new(&pipeline.kafka, Path::new("/nonexistent"), identity).unwrap(),
            pipeline: Arc::new(pipeline),
            store,
            partitions: None,
            contact,
            session_timeout: SESSION,
            tail_trusted_for: sink::TAIL_TRUSTED_FOR,
            look_again: sink::LOOK_AGAIN,
            epoch: (!self.is_real).then(|| self.epoch.clone()),
            memory_bytes: 256 << 20,
            encoders: 2,
            worker: worker.to_owned(),
            progress: None,
            metrics: SinkMetrics::register(&mut registry),
            status: status.clone(),
            shutdown: shutdown.clone(),
            failpoints: Failpoints::default(),
        };
        edit(&mut context);
        let handle = self.runtime.handle().clone();
        let thread = std::thread::spawn(move || sink::run(context, &handle));
        RunningSink { thread, status, shutdown, registry }
    }

    /// Starts a sink as a process of its own, that dies, or freezes, where `failpoint` says.
    pub(crate) fn child(&self, worker: &str, file: &Path, failpoint: &str) -> ChildSink {
        self.child_of("sink", worker, file, failpoint)
    }

    /// Starts a sink or a producer as a process of its own.
    pub(crate) fn child_of(&self, role: &str, worker: &str, file: &Path, failpoint: &str) -> ChildSink {
        let port = free_port();
        let epoch = if self.is_real { vec![] } else { vec!["--epoch", self.epoch.as_str()] };
        let child = Command::new(env!("CARGO_BIN_EXE_stockpipeline-worker"))
            .arg(role)
            .arg("--config")
            .arg(file)
            .args(epoch)
            .args(["--worker-name", worker, "--http-port", &port.to_string(), "--session-timeout", "6"])
            .env("STOCKPIPELINE_FAILPOINT", failpoint)
            .env("AWS_ACCESS_KEY_ID", EmbeddedS3::ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", EmbeddedS3::SECRET_ACCESS_KEY)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        ChildSink { child, port }
    }

    pub(crate) fn stored(&self) -> Stored {
        Stored::read(&self.bucket())
    }

    /// Returns the plans of the ledger, in key order.
    pub(crate) fn plans(&self) -> Vec<Plan> {
        let keys = LedgerKeys::new("_stockpipeline", &self.group(), &self.epoch);
        let store = self.store();
        let mut plans = Vec::new();
        for partition in 0..self.partitions {
            for entry in self.runtime.block_on(store.list(&keys.partition(partition), None, 1000)).unwrap() {
                if LedgerKeys::parse_plan(&entry.key).is_some() {
                    plans.push(Plan::from_json(&self.runtime.block_on(store.get(&entry.key)).unwrap().unwrap()).unwrap());
                }
            }
        }
        plans
    }

    /// Waits until so many rows and dead letters are stored.
    pub(crate) fn wait_for_rows(&self, rows: usize) {
        let mut seen = 0;
        until(&format!("{rows} rows are stored"), || {
            seen = self.stored_rows();
            seen >= rows
        });
    }

    /// Counts the rows that the plans of the ledger list for processed and dead letters, once their objects are there.
    fn stored_rows(&self) -> usize {
        self.stored().delivered()
    }

    /// Asserts that everything that was produced is stored exactly once, by the files and by the audit.
    pub(crate) fn assert_exactly_once(&self, produced: &[(i32, i64)]) {
        let expected: Vec<Place> =
            produced.iter().flat_map(|&(partition, count)| (0..count).map(move |offset| (partition, offset))).collect();
        self.stored().assert_exactly(&expected);
        let report = self.audit(&self.pipeline(|_| {}));
        assert!(report.is_clean(), "{report:#?}");
    }

    pub(crate) fn audit(&self, pipeline: &Pipeline) -> Report {
        self.runtime.block_on(audit::run(&self.store(), pipeline, Tail::MustBeComplete)).unwrap()
    }
}

/// A sink on a thread of this process.
pub(crate) struct RunningSink {
    thread: std::thread::JoinHandle<Result<Outcome, SinkError>>,
    pub(crate) status: StatusCell,
    pub(crate) shutdown: CancellationToken,
    registry: Registry,
}

impl RunningSink {
    /// Asks it to stop and returns how it ended.
    pub(crate) fn stop(self) -> Result<Outcome, SinkError> {
        self.shutdown.cancel();
        self.thread.join().unwrap()
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(self) -> Result<Outcome, SinkError> {
        until("the sink ends", || self.thread.is_finished());
        self.thread.join().unwrap()
    }

    /// Returns the records that its status calls durable, over all partitions.
    pub(crate) fn durable(&self) -> i64 {
        self.status.read().sink.as_ref().map_or(0, |sink| sink.partitions.iter().map(|partition| partition.durable).sum())
    }

    /// Returns a metric, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.registry.render();
        let values =
            text.lines().filter(|line| line.starts_with(name)).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        values.sum()
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// A sink in a process of its own; killed when dropped.
pub(crate) struct ChildSink {
    pub(crate) child: Child,
    port: u16,
}

impl ChildSink {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits until it has taken a record that is not durable yet.
    pub(crate) fn wait_until_it_buffers(&self, stage: &Stage) {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        until("the child has taken records", || {
            let metrics = stage.runtime.block_on(async { reqwest::get(&url).await.ok()?.text().await.ok() }).unwrap_or_default();
            metrics.lines().any(|line| line.starts_with("stockpipeline_lag_seconds ") && !line.ends_with(" 0.0"))
        });
    }

    /// Waits until it has ended, by whatever cause.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "the child did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a signal has stopped it.
    pub(crate) fn wait_until_frozen(&self) {
        until("the child is frozen", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
        });
    }
}

impl Drop for ChildSink {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the `number`th tick.
pub(crate) fn tick(number: i64) -> Value {
    json!({
        "symbol": format!("SYM{}", number % 7),
        "ts": format!("2026-01-{:02}T10:00:{:02}.{:06}Z", 1 + number % 3, number % 60, number % 1_000_000),
        "price": format!("{}.{:04}", 100 + number % 50, number % 10_000),
        "size": number,
    })
}

/// Waits until a condition holds.
pub(crate) fn until(claim: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain until {claim}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
