//! Runs a whole producer over a CSV file until the broker has acknowledged its last row.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use serde_json::json;
use stockpipeline::Pipeline;
use stockpipeline::layout::Epoch;
use stockpipeline_program::clock::{boottime_millis, wall_millis};
use stockpipeline_worker::failpoint::Failpoints;
use stockpipeline_worker::feed::{Feed, Limits, Opening, Places};
use stockpipeline_worker::metrics::ProducerMetrics;
use stockpipeline_worker::producer::{self, Context, Delivery, Outcome, TopicDuty, WhenDone};
use stockpipeline_worker::progress::Progress;
use stockpipeline_worker::sink::SESSION_TIMEOUT;
use stockpipeline_worker::status::{Role, Status, StatusCell};
use tokio_util::sync::CancellationToken;

use crate::figure::Measurement;
use crate::host::{CSV_FILE, Hosted, PRODUCED_PARTITIONS, produced_topic};
use crate::pipeline::{Zones, check, clients, document};
use crate::usage::Meter;

/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(2);
/// End of all patience.
const DEADLINE: Duration = Duration::from_mins(10);

/// Measures from the start of the producer, its joining of the group included, until all rows are acknowledged. The broker forgets what it has no room for.
pub(crate) fn measure(hosted: &Hosted) -> anyhow::Result<Measurement> {
    let pipeline = pipeline(hosted)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let status = StatusCell::new(Status::starting(Role::Producer, "bench", wall_millis()), boottime_millis());
    let progress = Arc::new(Progress::new(usize::try_from(PRODUCED_PARTITIONS)?));
    let feed = runtime.block_on(open(hosted, &pipeline))?;
    let context = context(pipeline, feed, &progress, &status)?;
    let meter = Meter::start()?;
    let running = Builder::new().name("producer".to_owned()).spawn(move || producer::run(context))?;

    let deadline = Instant::now() + DEADLINE;
    while !progress.produced_all.load(Ordering::Acquire) {
        ensure!(!running.is_finished(), "the producer has ended: {:?}", status.read().last_error);
        ensure!(Instant::now() < deadline, "the producer has not ended: {:?}", status.read());
        sleep(LOOK);
    }
    let measured = meter.stop(hosted.load.messages);
    let outcome = running.join().map_err(|_| anyhow!("the producer has panicked"))??;
    ensure!(outcome == Outcome::Completed, "the producer has ended early");
    let produced: i64 = progress.partitions.iter().map(|partition| partition.produced.load(Ordering::Acquire)).sum();
    ensure!(u64::try_from(produced)? == hosted.load.messages, "the producer has produced {produced} rows");
    measured
}

fn pipeline(hosted: &Hosted) -> anyhow::Result<Pipeline> {
    let topic = produced_topic(hosted.run);
    let mut document = document(hosted, Zones::Processed, &topic);
    document["source"] = json!({ "type": "CsvReplay", "csvReplay": { "uri": CSV_FILE } });
    document["producer"] = json!({ "keyColumn": "index" });
    document["kafka"]["topic"] = json!({ "name": topic, "partitions": PRODUCED_PARTITIONS });
    check(document)
}

async fn open(hosted: &Hosted, pipeline: &Pipeline) -> anyhow::Result<Feed> {
    let folder = &hosted.load.folder;
    let places = Places {
        base_dir: folder.clone(),
        config_maps_dir: folder.clone(),
        scratch_dir: folder.clone(),
        s3: None,
        limits: Limits::default(),
    };
    let key_column = pipeline.producer.as_ref().context("the pipeline has no producer")?.key_column;
    let opening = Opening { schema: &pipeline.schema, key_column, places: &places, memory_bytes: 256 << 20 };
    Ok(Feed::open(&pipeline.source, &opening).await?)
}

fn context(pipeline: Pipeline, feed: Feed, progress: &Arc<Progress>, status: &StatusCell) -> anyhow::Result<Context> {
    Ok(Context {
        clients: clients(&pipeline)?,
        feed,
        settings: pipeline.producer.context("the pipeline has no producer")?,
        source: pipeline.source,
        schema: pipeline.schema,
        topic: pipeline.kafka.topic,
        consumer_group: pipeline.kafka.consumer_group,
        epoch: Some(Epoch::of("bench")),
        delivery: Delivery::Idempotent,
        topic_duty: TopicDuty::Given,
        hold_back: None,
        session_timeout: SESSION_TIMEOUT,
        when_done: WhenDone::Return,
        progress: Arc::clone(progress),
        status: status.clone(),
        metrics: ProducerMetrics::default(),
        shutdown: CancellationToken::new(),
        failpoints: Failpoints::default(),
    })
}
