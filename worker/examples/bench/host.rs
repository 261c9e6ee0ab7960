//! The process beside the measured one: the embedded broker, filled with messages, and the embedded S3 server.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::{Deserialize, Serialize};
use stockpipeline_worker::embedded::{EmbeddedBroker, EmbeddedS3};

use crate::print_line;
use crate::tick::{self, Tick};

/// Topic with the messages.
pub(crate) const TOPIC: &str = "ticks";
/// Bucket of the S3 server.
pub(crate) const BUCKET: &str = "bench";
/// CSV file of as many rows, in the host's folder.
pub(crate) const CSV_FILE: &str = "ticks.csv";
/// Partitions of the topics that are produced to.
pub(crate) const PRODUCED_PARTITIONS: i32 = 16;
/// Slots of a producer, by default.
const SLOTS: i32 = 16;
/// Messages that go to one partition in a row, so that each makes full batches.
const BLOCK: usize = 5_000;
/// Wait for the last acknowledgement.
const FLUSH: Duration = Duration::from_mins(1);

/// What the broker is filled with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Messages in all.
    pub(crate) messages: u64,
    /// Kafka partitions.
    pub(crate) partitions: i32,
    /// How often each figure is measured.
    pub(crate) runs: u32,
    /// Folder of the objects and of the CSV file.
    pub(crate) folder: PathBuf,
}

impl Load {
    /// Returns the folder of the bucket.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.folder.join("bucket")
    }
}

/// Where the host's servers are, and what is in them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hosted {
    /// Of the broker.
    pub(crate) bootstrap_servers: String,
    /// Of the S3 server.
    pub(crate) s3_endpoint: String,
    /// What was filled in.
    pub(crate) load: Load,
    /// End of each partition.
    pub(crate) ends: Vec<i64>,
    /// Mean size of a message.
    pub(crate) message_bytes: usize,
    /// Number of the run, for names of its own.
    pub(crate) run: u32,
}

/// The running host; it ends with this process.
pub(crate) struct Host {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it has said of itself.
    pub(crate) hosted: Hosted,
}

impl Host {
    /// Starts the host and waits until the broker is full.
    pub(crate) fn start(load: &Load) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["host", &serde_json::to_string(load)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the host has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let hosted = serde_json::from_str(&line).context("the host did not start")?;
        Ok(Self { child, stdin, hosted })
    }

    /// Ends the host.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }
}

/// Runs the host: starts the servers, fills the broker, says where they are, and waits until its standard input ends.
pub(crate) fn run(load: &Load) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let s3 = runtime.block_on(EmbeddedS3::start(&load.bucket(), BUCKET))?;
    let broker = EmbeddedBroker::start()?;
    broker.create_topic(TOPIC, load.partitions)?;
    for run in 0..load.runs {
        broker.create_topic(&produced_topic(run), PRODUCED_PARTITIONS)?;
        broker.create_topic(&format!("{}.slots", produced_topic(run)), SLOTS)?;
    }
    let ticks = tick::ticks();
    write_csv(load, &ticks)?;
    let ends = fill(&broker.bootstrap_servers(), load, &ticks)?;
    let message_bytes = ticks.iter().map(|tick| tick.json.len()).sum::<usize>() / ticks.len();
    let hosted = Hosted {
        bootstrap_servers: broker.bootstrap_servers(),
        s3_endpoint: s3.endpoint(),
        load: load.clone(),
        ends,
        message_bytes,
        run: 0,
    };
    print_line(&serde_json::to_string(&hosted)?);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Returns the topic that a run of the producer fills.
pub(crate) fn produced_topic(run: u32) -> String {
    format!("produced-{run}")
}

fn write_csv(load: &Load, ticks: &[Tick]) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(load.folder.join(CSV_FILE))?);
    writeln!(file, "{}", tick::CSV_HEADER)?;
    for tick in ticks.iter().cycle().take(usize::try_from(load.messages)?) {
        writeln!(file, "{}", tick.csv)?;
    }
    Ok(file.flush()?)
}

/// Fills every partition, block by block, makes sure that the broker has dropped nothing, and returns where each ends.
fn fill(bootstrap_servers: &str, load: &Load, ticks: &[Tick]) -> anyhow::Result<Vec<i64>> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let partitions = usize::try_from(load.partitions)?;
    for number in 0..usize::try_from(load.messages)? {
        let partition = i32::try_from(number / BLOCK % partitions)?;
        let tick = &ticks[number % ticks.len()];
        let mut record = BaseRecord::to(TOPIC).partition(partition).key(tick.symbol).payload(&tick.json);
        while let Err((error, unsent)) = producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else { bail!(error) };
            record = unsent;
            producer.poll(Duration::from_millis(10));
        }
        if number % BLOCK == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH)?;
    let mut ends = Vec::new();
    for partition in 0..load.partitions {
        let (low, high) = producer.client().fetch_watermarks(TOPIC, partition, FLUSH)?;
        ensure!(low == 0, "the embedded broker has dropped messages of partition {partition}: use more partitions, or fewer messages");
        ends.push(high);
    }
    let stored: i64 = ends.iter().sum();
    ensure!(u64::try_from(stored)? == load.messages, "the embedded broker holds {stored} messages of {}", load.messages);
    Ok(ends)
}
