//! Runs a whole sink over the broker's messages until the last of them is durable in S3.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use stockpipeline::Pipeline;
use stockpipeline::layout::Epoch;
use stockpipeline_program::clock::{boottime_millis, wall_millis};
use stockpipeline_worker::contact::Contact;
use stockpipeline_worker::failpoint::Failpoints;
use stockpipeline_worker::metrics::{SinkMetrics, StoreMetrics};
use stockpipeline_worker::progress::Progress;
use stockpipeline_worker::sink::{self, Context, LOOK_AGAIN, SESSION_TIMEOUT, TAIL_TRUSTED_FOR, attempt_timeout};
use stockpipeline_worker::status::{Role, Status, StatusCell};
use stockpipeline_worker::store::{Credentials, Gate, Settings, Store};
use tokio_util::sync::CancellationToken;

use crate::figure::Measurement;
use crate::host::{BUCKET, Hosted};
use crate::pipeline::{Zones, clients, pipeline};
use crate::usage::Meter;

/// The memory budget: what a pod of 512 MiB gives to its buffers.
const MEMORY_BYTES: usize = 300 << 20;
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(2);
/// End of all patience.
const DEADLINE: Duration = Duration::from_mins(10);

/// Measures from the start of the sink, its joining of the group included, until all messages are durable.
pub(crate) fn measure(hosted: &Hosted, zones: Zones, name: &str) -> anyhow::Result<Measurement> {
    let pipeline = pipeline(hosted, zones, &format!("{name}-{}", hosted.run))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let progress = Arc::new(filled(hosted)?);
    let status = StatusCell::new(Status::starting(Role::Sink, name, wall_millis()), boottime_millis());
    let shutdown = CancellationToken::new();
    let context = runtime.block_on(context(hosted, pipeline, zones, &progress, &status, &shutdown))?;
    let handle = runtime.handle().clone();
    let meter = Meter::start()?;
    let sink = Builder::new().name("sink".to_owned()).spawn(move || sink::run(context, &handle).map_err(anyhow::Error::from))?;

    let deadline = Instant::now() + DEADLINE;
    while !progress.drained() {
        ensure!(!sink.is_finished(), "the sink has ended: {:?}", status.read().last_error);
        ensure!(Instant::now() < deadline, "the sink has not ended: {:?}", status.read());
        sleep(LOOK);
    }
    let measured = meter.stop(hosted.load.messages);
    shutdown.cancel();
    let outcome = sink.join().map_err(|_| anyhow!("the sink has panicked"))??;
    ensure!(outcome.records == hosted.load.messages, "the sink has stored {} messages", outcome.records);
    measured
}

/// Returns progress as a producer of the same process leaves it behind: the sink then knows the end.
fn filled(hosted: &Hosted) -> anyhow::Result<Progress> {
    let progress = Progress::new(usize::try_from(hosted.load.partitions)?);
    for (partition, &messages) in progress.partitions.iter().zip(&hosted.ends) {
        partition.produced.store(messages, Ordering::Release);
    }
    progress.produced_all.store(true, Ordering::Release);
    Ok(progress)
}

async fn context(
    hosted: &Hosted,
    pipeline: Pipeline,
    zones: Zones,
    progress: &Arc<Progress>,
    status: &StatusCell,
    shutdown: &CancellationToken,
) -> anyhow::Result<Context> {
    let contact = Arc::new(Contact::new(SESSION_TIMEOUT));
    let gate: Arc<dyn Gate> = contact.clone();
    let store = Store::connect(settings(hosted), Some(gate), StoreMetrics::default()).await;
    let mut rules = pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema);
    if matches!(zones, Zones::Raw(_)) {
        rules.processed = None;
    }
    Ok(Context {
        rules: Arc::new(rules),
        clients: clients(&pipeline)?,
        pipeline: Arc::new(pipeline),
        store,
        partitions: None,
        contact,
        session_timeout: SESSION_TIMEOUT,
        tail_trusted_for: TAIL_TRUSTED_FOR,
        look_again: LOOK_AGAIN,
        epoch: Some(Epoch::of("bench")),
        memory_bytes: MEMORY_BYTES,
        encoders: std::thread::available_parallelism()?.get(),
        worker: "bench".to_owned(),
        progress: Some(Arc::clone(progress)),
        metrics: SinkMetrics::default(),
        status: status.clone(),
        shutdown: shutdown.clone(),
        failpoints: Failpoints::default(),
    })
}

fn settings(hosted: &Hosted) -> Settings {
    Settings {
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(hosted.s3_endpoint.clone()),
        force_path_style: true,
        kms_key_arn: None,
        credentials: Credentials::Anonymous,
        attempt_timeout: attempt_timeout(SESSION_TIMEOUT),
        give_up_after: None,
    }
}
