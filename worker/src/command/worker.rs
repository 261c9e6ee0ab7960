//! `producer` and `sink`: what runs in a pod, with its endpoints, until it is asked to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stockpipeline::check::UnknownFields;
use stockpipeline::checked::{Pipeline, Producer};
use stockpipeline::launch::Exit;
use stockpipeline_program::clock::{self, boottime_millis, wall_millis};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::connect::{self, StoreOptions};
use super::documents::{folder_of, load};
use super::zone::zone;
use super::{CommandError, Surroundings, WorkerArguments};
use crate::contact::Contact;
use crate::feed::{self, Feed};
use crate::http;
use crate::kafka::Clients;
use crate::memory;
use crate::metrics::{PartitionMetrics, ProducerMetrics, Registry, SinkMetrics, StoreMetrics};
use crate::producer;
use crate::progress::Progress;
use crate::sink;
use crate::status::{Role, Status, StatusCell};
use crate::store::Gate;

/// Memory limit that is assumed where the control group has none.
const ASSUMED_LIMIT_BYTES: u64 = 1 << 30;
/// Tenths of the limit that buffers, uploads and fetched messages may take; the rest is for everything else.
const BUDGET_TENTHS: u64 = 6;
/// Folder beside the document in which `ConfigMaps` are mounted, one folder each.
const CONFIG_MAPS_FOLDER: &str = "configmaps";
/// How often the heartbeat is touched while the source is being opened.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often mounted secrets are compared with what was read at the start.
const SECRETS_INTERVAL: Duration = Duration::from_secs(30);

/// Writes the records of the pipeline's topic to S3 until it is asked to stop.
///
/// # Errors
/// [`CommandError`] when the document can't be used, or the sink can't go on.
pub(super) async fn sink(arguments: WorkerArguments, surroundings: Surroundings<'_>) -> Result<Exit, CommandError> {
    let pipeline = Arc::new(load(&arguments.config, UnknownFields::Warn)?);
    let secrets_dir = &arguments.shared.secrets_dir;
    let clients = connect::kafka(&pipeline, secrets_dir, &arguments.worker_name, zone(&arguments).await)?;
    let mut registry = Registry::new("sink");
    let metrics = SinkMetrics::register(&mut registry);
    let session_timeout = Duration::from_secs(arguments.session_timeout);
    let contact = Arc::new(Contact::new(session_timeout));
    let gate: Arc<dyn Gate> = contact.clone();
    let options = StoreOptions {
        attempt_timeout: sink::attempt_timeout(session_timeout),
        give_up_after: None,
        gate: Some(gate),
        metrics: StoreMetrics::register(&mut registry),
    };
    let store = connect::store(&pipeline, secrets_dir, options).await?;
    let partition_metrics = PartitionMetrics::register(&mut registry);
    let partitions = connect::partitions(&pipeline, secrets_dir, partition_metrics, &surroundings.shutdown).await?;
    let status = StatusCell::new(Status::starting(Role::Sink, &arguments.worker_name, wall_millis()), boottime_millis());
    let endpoints = Endpoints::open(arguments.http_port, &status, registry).await?;
    watch_secrets(&pipeline, &clients, secrets_dir, &surroundings.shutdown);
    let context = sink::Context {
        rules: Arc::new(pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema)),
        pipeline,
        clients,
        store,
        partitions,
        contact,
        session_timeout,
        tail_trusted_for: sink::TAIL_TRUSTED_FOR,
        look_again: sink::LOOK_AGAIN,
        epoch: arguments.epoch,
        memory_bytes: memory_bytes(arguments.memory),
        encoders: encoders(),
        worker: arguments.worker_name,
        progress: None,
        metrics,
        status,
        shutdown: surroundings.shutdown,
        failpoints: surroundings.failpoints,
    };
    let runtime = Handle::current();
    let running = on_thread("sink", move || sink::run(context, &runtime).map_err(Box::new));
    let outcome = unless_set_back(running).await?.map_err(CommandError::Sink)?;
    endpoints.close().await;
    if outcome.drained {
        tracing::info!(records = outcome.records, "stopped; everything that was buffered is stored");
    } else {
        tracing::warn!(records = outcome.records, "stopped before everything that was buffered is stored; the next owner reads it again");
    }
    Ok(Exit::Done)
}

/// Feeds the rows of the pipeline's source into Kafka until it is asked to stop.
///
/// # Errors
/// [`CommandError`] when the document can't be used, or the producer can't go on.
pub(super) async fn produce(arguments: WorkerArguments, surroundings: Surroundings<'_>) -> Result<Exit, CommandError> {
    let pipeline = Arc::new(load(&arguments.config, UnknownFields::Warn)?);
    let settings = pipeline.producer.clone().ok_or(CommandError::NoProducer)?;
    let clients = connect::kafka(&pipeline, &arguments.shared.secrets_dir, &arguments.worker_name, zone(&arguments).await)?;
    let mut registry = Registry::new("producer");
    let metrics = ProducerMetrics::register(&mut registry);
    let status = StatusCell::new(Status::starting(Role::Producer, &arguments.worker_name, wall_millis()), boottime_millis());
    let endpoints = Endpoints::open(arguments.http_port, &status, registry).await?;
    // On the heap: it is a large one.
    let opening = Box::pin(open_feed(&pipeline, &settings, &arguments));
    let Some(feed) = opened(opening, &status, &surroundings.shutdown).await else {
        endpoints.close().await;
        tracing::info!("stopped before the source was open");
        return Ok(Exit::Done);
    };
    let feed = feed?;
    watch_secrets(&pipeline, &clients, &arguments.shared.secrets_dir, &surroundings.shutdown);
    let context = producer::Context {
        clients,
        feed,
        source: pipeline.source.clone(),
        schema: pipeline.schema.clone(),
        settings,
        topic: pipeline.kafka.topic.clone(),
        consumer_group: pipeline.kafka.consumer_group.clone(),
        // A broker without topic ids has no transactions either.
        delivery: if arguments.epoch.is_some() { producer::Delivery::Idempotent } else { producer::Delivery::Transactional },
        epoch: arguments.epoch,
        topic_duty: if pipeline.kafka.topic.managed { producer::TopicDuty::Ensure } else { producer::TopicDuty::Given },
        hold_back: None,
        session_timeout: Duration::from_secs(arguments.session_timeout),
        when_done: producer::WhenDone::Stay,
        progress: Arc::new(Progress::new(0)),
        status,
        metrics,
        shutdown: surroundings.shutdown,
        failpoints: surroundings.failpoints,
    };
    let outcome = unless_set_back(on_thread("producer", move || producer::run(context))).await?.map_err(CommandError::Producer)?;
    endpoints.close().await;
    tracing::info!(?outcome, "stopped");
    Ok(Exit::Done)
}

/// Opens the source; a download is fetched first.
async fn open_feed(pipeline: &Pipeline, settings: &Producer, arguments: &WorkerArguments) -> Result<Feed, CommandError> {
    let folder = folder_of(&arguments.config);
    let places = feed::Places {
        config_maps_dir: folder.join(CONFIG_MAPS_FOLDER),
        base_dir: folder,
        scratch_dir: arguments.shared.scratch_dir.clone().unwrap_or_else(std::env::temp_dir),
        s3: connect::source(pipeline, &arguments.shared.secrets_dir).await?,
        limits: feed::Limits::default(),
    };
    let memory_bytes = memory_bytes(arguments.memory) as u64;
    let opening = feed::Opening { schema: &pipeline.schema, key_column: settings.key_column, places: &places, memory_bytes };
    Feed::open(&pipeline.source, &opening).await.map_err(CommandError::Feed)
}

/// Waits for a source, which may be an hour's download, and keeps the heartbeat meanwhile; None when it is told to stop before.
async fn opened<T>(opening: impl Future<Output = T>, status: &StatusCell, shutdown: &CancellationToken) -> Option<T> {
    let mut opening = std::pin::pin!(opening);
    loop {
        status.beat(boottime_millis());
        tokio::select! {
            opened = &mut opening => return Some(opened),
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(BEAT_INTERVAL) => {}
        }
    }
}

/// The endpoints of a worker.
struct Endpoints {
    stop: CancellationToken,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl Endpoints {
    /// Serves status and metrics on a port of all addresses; port 0 serves nothing.
    async fn open(port: u16, status: &StatusCell, registry: Registry) -> Result<Self, CommandError> {
        let stop = CancellationToken::new();
        if port == 0 {
            return Ok(Self { stop, served: None });
        }
        let listener = match TcpListener::bind(("::", port)).await {
            Ok(listener) => Ok(listener),
            // A machine without IPv6.
            Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
        };
        let listener = listener.map_err(|source| CommandError::Listen { port, source })?;
        let served = tokio::spawn(http::serve(listener, status.clone(), registry.share(), stop.clone()));
        Ok(Self { stop, served: Some(served) })
    }

    async fn close(self) {
        self.stop.cancel();
        if let Some(served) = self.served
            && let Err(error) = served.await
        {
            tracing::warn!(error = %error, "failed to stop the endpoints");
        }
    }
}

/// Asks the worker to stop once a mounted secret has changed: it drains, and starts again with the new one.
fn watch_secrets(pipeline: &Arc<Pipeline>, clients: &Clients, secrets_dir: &Path, shutdown: &CancellationToken) {
    let (pipeline, clients, shutdown, secrets_dir) = (Arc::clone(pipeline), clients.clone(), shutdown.clone(), secrets_dir.to_owned());
    let at_start = connect::static_keys(&pipeline, &secrets_dir).ok();
    tokio::spawn(async move {
        while tokio::time::timeout(SECRETS_INTERVAL, shutdown.cancelled()).await.is_err() {
            // A secret that can't be read just now is being replaced.
            let keys_changed = connect::static_keys(&pipeline, &secrets_dir).is_ok_and(|keys| Some(keys) != at_start);
            if keys_changed || clients.secrets_changed() {
                tracing::info!("a mounted secret has changed; draining to start again with the new one");
                shutdown.cancel();
            }
        }
    });
}

/// Waits for work to end, unless the wall clock is set back meanwhile: librdkafka's threads wait for moments on it.
async fn unless_set_back<T>(work: impl Future<Output = T>) -> Result<T, CommandError> {
    tokio::select! {
        ended = work => Ok(ended),
        by = clock::set_back() => Err(CommandError::ClockSetBack { by }),
    }
}

/// Runs blocking work on a thread of its own and waits for its answer.
async fn on_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = oneshot::channel();
    let run = move || drop(sender.send(work()));
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("a process that starts can have a few threads");
    receiver.await.expect("the thread answers unless it panics, and a panic ends the process")
}

/// Returns the bytes that a worker may hold: what was asked for, or a share of the control group's limit.
pub(super) fn memory_bytes(asked: Option<u64>) -> usize {
    let bytes = asked.unwrap_or_else(|| memory::limit_bytes(Path::new("/")).unwrap_or(ASSUMED_LIMIT_BYTES) / 10 * BUDGET_TENTHS);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Returns the number of threads that decode and encode: one for each core that this process may use.
pub(super) fn encoders() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{HEARTBEAT_LIMIT_MILLIS, live};

    fn cell() -> StatusCell {
        StatusCell::new(Status::starting(Role::Producer, "test", 0), boottime_millis())
    }

    #[tokio::test]
    async fn heart_beats_while_a_source_is_being_opened() {
        let status = cell();
        let opening = async {
            for _ in 0..2 {
                // As if nobody had touched it since the machine was started, and for longer than a probe allows.
                let now = boottime_millis() + HEARTBEAT_LIMIT_MILLIS + 1;
                status.beat(0);
                assert!(live(status.silent_millis(now)).is_err());
                while status.silent_millis(now) >= now {
                    tokio::task::yield_now().await;
                }
            }
            "open"
        };
        let shutdown = CancellationToken::new();
        assert_eq!(tokio::time::timeout(Duration::from_mins(1), opened(opening, &status, &shutdown)).await, Ok(Some("open")));
    }

    #[tokio::test]
    async fn source_that_never_opens_is_left_when_told_to_stop() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        assert_eq!(opened(std::future::pending::<()>(), &cell(), &shutdown).await, None);
    }
}
