//! The whole data path in one process: an embedded broker, an embedded bucket over a folder, a producer and a sink.
//!
//! The broker is new every time and forgets; the bucket stays. A run that was killed goes on because production is
//! deterministic and the epoch comes from the source: the same records get the same offsets again, and the ledger in the
//! bucket says which of them are durable. Ends when a finite source is durable, or when it is asked to stop; then it audits.
//!
//! | file | what it does |
//! |---|---|
//! | [`mod@self`] | starts, waits, ends |
//! | `home` | the pipeline at home, and its epoch (pure) |
//! | `bar` | progress on a terminal or in lines |
//! | `summary` | what is said at the end (pure) |

mod bar;
mod error;
mod home;
mod summary;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockpipeline::checked::{Pipeline, Source};
use stockpipeline::ddl;
use stockpipeline::layout::Epoch;
use tokio::runtime::Handle;
use tokio::sync::oneshot::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

pub use self::bar::Screen;
pub use self::error::LocalError;
pub use self::summary::{Places, Summary};

use stockpipeline_program::clock::{boottime_millis, wall_millis};

use crate::audit::{self, Difference, DifferenceKind, Report, Tail};
use crate::contact::Contact;
use crate::embedded::{EmbeddedBroker, EmbeddedS3};
use crate::failpoint::Failpoints;
use crate::feed::{self, Feed};
use crate::kafka::{Clients, Identity};
use crate::metrics::{ProducerMetrics, SinkMetrics, StoreMetrics};
use crate::producer::{self, ProducerError};
use crate::progress::Progress;
use crate::sink::{self, SinkError};
use crate::status::{Role, Status, StatusCell};
use crate::store::{Credentials, Gate, Settings, Store};

/// Session time-out of the group: the embedded broker lets members join only after the sessions of those that are gone.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// Total time of one attempt of an S3 request; below [`SESSION_TIMEOUT`], and the server is in this process.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one S3 request is retried: the server is in this process, so what does not heal is a full disk or a bug.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);
/// How often a run looks whether everything is durable.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Name under which a local run seals plans.
const WORKER: &str = "local";

/// A thread answers unless it panics, and a panic ends the process.
const NO_ANSWER: &str = "it ended without an answer";

type SinkEnd = Result<sink::Outcome, Box<SinkError>>;
type ProducerEnd = Result<producer::Outcome, ProducerError>;

/// What a local run needs.
pub struct Local {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Client of a source in S3: unlike the bucket, the source stays where it is.
    pub source_client: Option<aws_sdk_s3::Client>,
    /// Folder that relative paths of the document start from.
    pub folder: PathBuf,
    /// Folder under which the bucket's folder is made.
    pub output: PathBuf,
    /// Writable folder for downloads.
    pub scratch_dir: PathBuf,
    /// Bytes that buffers, uploads and fetched messages may take.
    pub memory_bytes: usize,
    /// Threads that decode and encode.
    pub encoders: usize,
    /// Where progress is shown.
    pub screen: Screen,
    /// Asks the run to store what it has and to end.
    pub shutdown: CancellationToken,
    /// Crash points, in tests.
    pub failpoints: Failpoints,
}

/// Returns the folder of a pipeline's bucket under an output folder.
#[must_use]
pub fn bucket_folder(pipeline: &Pipeline, output: &Path) -> PathBuf {
    output.join(&pipeline.sink.bucket)
}

/// Serves a folder as the bucket of a pipeline; the server stops when it is dropped.
///
/// # Errors
/// When the folder can't be written or another process serves it.
pub async fn serve_bucket(pipeline: &Pipeline, folder: &Path) -> io::Result<(EmbeddedS3, Store)> {
    let server = EmbeddedS3::start(folder, &pipeline.sink.bucket).await?;
    let store = Store::connect(bucket_settings(pipeline, &server), None, StoreMetrics::default()).await;
    Ok((server, store))
}

fn bucket_settings(pipeline: &Pipeline, server: &EmbeddedS3) -> Settings {
    Settings {
        bucket: pipeline.sink.bucket.clone(),
        region: pipeline.aws.region.clone(),
        endpoint: Some(server.endpoint()),
        force_path_style: true,
        kms_key_arn: None,
        credentials: Credentials::Anonymous,
        attempt_timeout: ATTEMPT_TIMEOUT,
        give_up_after: Some(GIVE_UP_AFTER),
    }
}

/// Runs a pipeline until its source is durable or it is asked to stop, audits what is there, and returns what it did.
///
/// # Errors
/// [`LocalError`]; what was durable by then stays, and the next run goes on from it.
pub async fn run(local: Local) -> Result<Summary, LocalError> {
    if matches!(local.pipeline.source, Source::ExternalTopic) {
        return Err(LocalError::NoRows);
    }
    // Before anything is made: a source that can't be read leaves no folder.
    let feed = open_feed(&local).await?;
    let folder = bucket_folder(&local.pipeline, &local.output);
    let (server, auditor) = serve_bucket(&local.pipeline, &folder).await.map_err(|source| LocalError::Folder { folder, source })?;
    let ran = run_over(&local, feed, &server, &auditor).await;
    server.shutdown().await;
    ran
}

async fn run_over(local: &Local, feed: Feed, server: &EmbeddedS3, auditor: &Store) -> Result<Summary, LocalError> {
    let partitions = home::partitions(&local.pipeline);
    let broker = EmbeddedBroker::start().map_err(LocalError::Broker)?;
    broker.create_topic(&local.pipeline.kafka.topic.name, partitions).map_err(LocalError::Broker)?;
    if let Some(producer) = &local.pipeline.producer {
        let slots = i32::try_from(producer.slots).unwrap_or(i32::MAX);
        broker.create_topic(&producer.slots_topic, slots).map_err(LocalError::Broker)?;
    }
    let pipeline = Arc::new(home::at_home(local.pipeline.clone(), &broker.bootstrap_servers(), &server.endpoint()));
    let epoch = home::epoch(&local.pipeline, feed.fingerprint());
    let progress = Arc::new(Progress::new(usize::try_from(partitions).unwrap_or(0)));
    let journey = Journey { local, pipeline: Arc::clone(&pipeline), epoch, progress: Arc::clone(&progress) };
    let ended = CancellationToken::new();
    let watch = bar::watch(local.screen.clone(), &progress, ended.clone());
    let travel = async {
        let proven = journey.travel_and_prove(feed, server, auditor).await;
        ended.cancel();
        proven
    };
    let (proven, ()) = tokio::join!(travel, watch);
    let Proven { records, finished, elapsed, mut report } = proven?;
    let rows_read = progress.rows_read.load(Ordering::Acquire);
    if finished {
        compare_with_source(&mut report, &journey.epoch, rows_read);
    }
    if report.offsets_without_row > 0 {
        // The embedded broker has no control records, and nothing is compacted or aborted on it.
        let detail = format!("{} offsets have no row in any zone", report.offsets_without_row);
        report.differs(Difference { kind: DifferenceKind::Chain, subject: "all chains".to_owned(), detail });
    }
    Ok(Summary {
        name: pipeline.name.clone(),
        finished,
        rows_read,
        rows_stored: records,
        elapsed,
        report,
        places: Places::of(&pipeline, &local.output),
        tables: tables(&pipeline),
    })
}

async fn open_feed(local: &Local) -> Result<Feed, LocalError> {
    let places = feed::Places {
        base_dir: local.folder.clone(),
        config_maps_dir: local.folder.clone(),
        scratch_dir: local.scratch_dir.clone(),
        s3: local.source_client.clone(),
        limits: feed::Limits::default(),
    };
    let pipeline = &local.pipeline;
    let opening = feed::Opening {
        schema: &pipeline.schema,
        key_column: pipeline.producer.as_ref().map_or(0, |producer| producer.key_column),
        places: &places,
        memory_bytes: local.memory_bytes as u64,
    };
    Feed::open(&pipeline.source, &opening).await.map_err(LocalError::Feed)
}

/// Every row that was read has an offset of its own.
fn compare_with_source(report: &mut Report, epoch: &Epoch, rows_read: u64) {
    let chains = report.chains.iter().filter(|chain| chain.epoch == epoch.as_str());
    let offsets: i64 = chains.map(|chain| chain.next - chain.start).sum();
    if u64::try_from(offsets).ok() != Some(rows_read) {
        let detail = format!("{rows_read} rows were read from the source, and the chains hold {offsets} offsets");
        report.differs(Difference { kind: DifferenceKind::Chain, subject: epoch.as_str().to_owned(), detail });
    }
}

/// Returns the DDL of the pipeline's tables, under the catalogue's names where it has one.
fn tables(pipeline: &Pipeline) -> String {
    let rules = pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema);
    let bucket = &pipeline.sink.bucket;
    let plain = pipeline.name.replace(['-', '.'], "_");
    let (database, processed, raw, dead_letters) = match &pipeline.glue {
        Some(glue) => (glue.database.clone(), Some(glue.processed_table.clone()), glue.raw_table.clone(), glue.dead_letters_table.clone()),
        None => ("default".to_owned(), Some(plain.clone()), Some(format!("{plain}_raw")), Some(format!("{plain}_dlq"))),
    };
    let tables = [
        (processed, rules.processed_table(bucket)),
        (raw, rules.raw_table(bucket)),
        (dead_letters, Some(rules.dead_letters_table(bucket))),
    ];
    let mut text = Vec::new();
    for (name, table) in tables {
        if let (Some(name), Some(table)) = (name, table) {
            match ddl::create_table(&database, &name, &table) {
                Ok(sql) => text.push(sql),
                Err(error) => tracing::warn!(table = name, error = %error, "a table has no DDL"),
            }
        }
    }
    text.join("\n")
}

/// What a run has made durable, and what the audit says of it.
struct Proven {
    records: u64,
    finished: bool,
    elapsed: Duration,
    report: Report,
}

/// Producer and sink of one run.
struct Journey<'a> {
    local: &'a Local,
    pipeline: Arc<Pipeline>,
    epoch: Epoch,
    progress: Arc<Progress>,
}

impl Journey<'_> {
    /// Runs producer and sink, and audits what is stored then.
    async fn travel_and_prove(&self, feed: Feed, server: &EmbeddedS3, auditor: &Store) -> Result<Proven, LocalError> {
        let started = Instant::now();
        let outcome = self.travel(feed, server).await?;
        let (finished, elapsed) = (self.progress.drained(), started.elapsed());
        let tail = if outcome.drained { Tail::MustBeComplete } else { Tail::MayBeInProgress };
        let report = audit::run(auditor, &self.pipeline, tail).await.map_err(LocalError::Audit)?;
        Ok(Proven { records: outcome.records, finished, elapsed, report })
    }

    /// Runs producer and sink until everything is durable, or until the run is asked to stop or can't go on.
    async fn travel(&self, feed: Feed, server: &EmbeddedS3) -> Result<sink::Outcome, LocalError> {
        let identity = Identity { client_id: WORKER.to_owned(), ..Identity::default() };
        let clients = Clients::new(&self.pipeline.kafka, &self.local.folder, identity).map_err(LocalError::Kafka)?;
        let status = StatusCell::new(Status::starting(Role::Sink, WORKER, wall_millis()), boottime_millis());
        let (stop_producer, stop_sink) = (self.local.shutdown.child_token(), CancellationToken::new());
        // Whatever ends this future early stops both.
        let _guards = (stop_producer.clone().drop_guard(), stop_sink.clone().drop_guard());
        let mut sink = self.start_sink(server, &clients, &status, &stop_sink).await?;
        let feeding = self.start_producer(feed, &clients, &stop_producer)?;
        let mut outcome = None;
        let answer = tokio::select! {
            answer = feeding => Some(answer),
            ended = &mut sink => {
                outcome = Some(ended);
                None
            }
        };
        let failure = match answer {
            Some(Ok(Err(error))) => Some(LocalError::Producer(error)),
            Some(Ok(Ok(_))) | None => None,
            Some(Err(_)) => Some(LocalError::Thread(io::Error::other(NO_ANSWER))),
        };
        if outcome.is_none() && failure.is_none() {
            outcome = self.wait(&status, &mut sink).await;
        }
        stop_sink.cancel();
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => sink.await,
        };
        match failure {
            Some(failure) => Err(failure),
            None => self.judge(outcome, &status),
        }
    }

    /// Waits until everything is durable, the run is asked to stop, or the sink can't go on or ends.
    async fn wait(&self, status: &StatusCell, sink: &mut oneshot::Receiver<SinkEnd>) -> Option<Result<SinkEnd, RecvError>> {
        loop {
            tokio::select! {
                () = self.local.shutdown.cancelled() => return None,
                ended = &mut *sink => return Some(ended),
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            if self.progress.drained() || status.read().fatal.is_some() {
                return None;
            }
        }
    }

    fn judge(&self, outcome: Result<SinkEnd, RecvError>, status: &StatusCell) -> Result<sink::Outcome, LocalError> {
        match (outcome, &status.read().fatal) {
            (Ok(Err(error)), _) => Err(self.sink_failed(error)),
            (Ok(Ok(_)) | Err(_), Some(failure)) => {
                let (reason, message, class) = (failure.reason.label(), failure.message.clone(), failure.class);
                Err(LocalError::Stopped { reason, message, class })
            }
            (Ok(Ok(outcome)), None) => Ok(outcome),
            (Err(_), None) => Err(LocalError::Thread(io::Error::other(NO_ANSWER))),
        }
    }

    /// Starts the producer on a thread of its own; what it returns comes through the receiver.
    fn start_producer(
        &self,
        feed: Feed,
        clients: &Clients,
        shutdown: &CancellationToken,
    ) -> Result<oneshot::Receiver<ProducerEnd>, LocalError> {
        let settings = self.pipeline.producer.clone().ok_or(LocalError::NoRows)?;
        let context = producer::Context {
            clients: clients.clone(),
            feed,
            // As the user wrote it.
            source: self.local.pipeline.source.clone(),
            schema: self.pipeline.schema.clone(),
            settings,
            topic: self.pipeline.kafka.topic.clone(),
            consumer_group: self.pipeline.kafka.consumer_group.clone(),
            epoch: Some(self.epoch.clone()),
            delivery: producer::Delivery::Idempotent,
            topic_duty: producer::TopicDuty::Given,
            hold_back: Some(producer::HoldBack::EMBEDDED),
            session_timeout: SESSION_TIMEOUT,
            when_done: producer::WhenDone::Return,
            progress: Arc::clone(&self.progress),
            status: StatusCell::new(Status::starting(Role::Producer, WORKER, wall_millis()), boottime_millis()),
            metrics: ProducerMetrics::default(),
            shutdown: shutdown.clone(),
            failpoints: self.local.failpoints.clone(),
        };
        on_thread("producer", move || producer::run(context))
    }

    /// Starts the sink on a thread of its own; what it returns comes through the receiver.
    async fn start_sink(
        &self,
        server: &EmbeddedS3,
        clients: &Clients,
        status: &StatusCell,
        shutdown: &CancellationToken,
    ) -> Result<oneshot::Receiver<SinkEnd>, LocalError> {
        let contact = Arc::new(Contact::new(SESSION_TIMEOUT));
        let gate: Arc<dyn Gate> = contact.clone();
        let store = Store::connect(bucket_settings(&self.pipeline, server), Some(gate), StoreMetrics::default()).await;
        let context = sink::Context {
            pipeline: Arc::clone(&self.pipeline),
            rules: Arc::new(self.pipeline.sink.rules(&self.pipeline.kafka.topic.name, &self.pipeline.schema)),
            clients: clients.clone(),
            store,
            partitions: None,
            contact,
            session_timeout: SESSION_TIMEOUT,
            tail_trusted_for: sink::TAIL_TRUSTED_FOR,
            look_again: sink::LOOK_AGAIN,
            epoch: Some(self.epoch.clone()),
            memory_bytes: self.local.memory_bytes,
            encoders: self.local.encoders,
            worker: WORKER.to_owned(),
            progress: Some(Arc::clone(&self.progress)),
            metrics: SinkMetrics::default(),
            status: status.clone(),
            shutdown: shutdown.clone(),
            failpoints: self.local.failpoints.clone(),
        };
        let runtime = Handle::current();
        on_thread("sink", move || sink::run(context, &runtime).map_err(Box::new))
    }

    fn sink_failed(&self, source: Box<SinkError>) -> LocalError {
        match &*source {
            SinkError::Start(sink::StartError::LedgerMissing { .. }) => {
                LocalError::OthersData { folder: bucket_folder(&self.pipeline, &self.local.output), source }
            }
            SinkError::Start(_)
            | SinkError::Source(_)
            | SinkError::TopicReplaced { .. }
            | SinkError::Threads { .. }
            | SinkError::Stopped { .. } => LocalError::Sink(source),
        }
    }
}

/// Runs blocking work on a thread of its own; what it returns comes through the receiver.
fn on_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<oneshot::Receiver<T>, LocalError> {
    let (sender, receiver) = oneshot::channel();
    // The receiver is gone only when the whole run is.
    let run = move || drop(sender.send(work()));
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(LocalError::Thread)?;
    Ok(receiver)
}
