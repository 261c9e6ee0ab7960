//! A sink that writes the raw zone alone, which no document can ask for: the raw path's own figure.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::Document;
use stockpipeline_program::clock::{boottime_millis, wall_millis};
use stockpipeline_worker::contact::Contact;
use stockpipeline_worker::failpoint::Failpoints;
use stockpipeline_worker::kafka::{Clients, Identity};
use stockpipeline_worker::metrics::{SinkMetrics, StoreMetrics};
use stockpipeline_worker::sink::{self, Context, LOOK_AGAIN, TAIL_TRUSTED_FOR, attempt_timeout};
use stockpipeline_worker::status::{Role, Status, StatusCell};
use stockpipeline_worker::store::{Credentials, Gate, Settings, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::bucket::{BUCKET, REGION};
use crate::system::SESSION_SECONDS;

/// Runs the sink of a document, but for its processed zone, until SIGTERM.
pub(crate) fn run(config: &Path, memory: usize) -> anyhow::Result<()> {
    let document: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(config)?)?;
    let document = Document::new("bench", None, document["spec"].clone());
    let (pipeline, _warnings) = Pipeline::check(&document, UnknownFields::Error)
        .map_err(|errors| anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let shutdown = CancellationToken::new();
    let context = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let cancelled = shutdown.clone();
        tokio::spawn(async move {
            terminate.recv().await;
            cancelled.cancel();
        });
        Box::pin(context(pipeline, memory, shutdown)).await
    })?;
    let handle = runtime.handle().clone();
    sink::run(context, &handle).context("the sink has ended")?;
    Ok(())
}

async fn context(pipeline: Pipeline, memory_bytes: usize, shutdown: CancellationToken) -> anyhow::Result<Context> {
    let session_timeout = Duration::from_secs(SESSION_SECONDS);
    let contact = Arc::new(Contact::new(session_timeout));
    let gate: Arc<dyn Gate> = contact.clone();
    let settings = Settings {
        bucket: BUCKET.to_owned(),
        region: REGION.to_owned(),
        endpoint: pipeline.aws.s3_endpoint.clone(),
        force_path_style: true,
        kms_key_arn: None,
        credentials: Credentials::Chain,
        attempt_timeout: attempt_timeout(session_timeout),
        give_up_after: None,
    };
    let store = Store::connect(settings, Some(gate), StoreMetrics::default()).await;
    let mut rules = pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema);
    rules.processed = None;
    Ok(Context {
        rules: Arc::new(rules),
        clients: Clients::new(&pipeline.kafka, Path::new("/nonexistent"), Identity::default())?,
        pipeline: Arc::new(pipeline),
        store,
        partitions: None,
        contact,
        session_timeout,
        tail_trusted_for: TAIL_TRUSTED_FOR,
        look_again: LOOK_AGAIN,
        epoch: None,
        memory_bytes,
        encoders: std::thread::available_parallelism()?.get(),
        worker: "bench".to_owned(),
        progress: None,
        metrics: SinkMetrics::default(),
        status: StatusCell::new(Status::starting(Role::Sink, "bench", wall_millis()), boottime_millis()),
        shutdown,
        failpoints: Failpoints::default(),
    })
}
