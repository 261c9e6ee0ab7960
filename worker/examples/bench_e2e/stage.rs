//! Where everything is, and how much of it is measured: read from arguments and environment once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use crate::bucket::Bucket;
use crate::load::MOST_MESSAGES;

/// End of all patience with one thing.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// Where everything is, and how much of it is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Kafka.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub(crate) kafka: Option<String>,
    /// S3.
    #[arg(long, env = "AWS_ENDPOINT_URL_S3")]
    pub(crate) s3: Option<String>,
    /// Glue, where Trino reads tables.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    pub(crate) glue: Option<String>,
    /// Trino; what it sees is skipped without it.
    #[arg(long, env = "TRINO_URL")]
    pub(crate) trino: Option<String>,
    /// Cluster to install on; the first row is skipped without it.
    #[arg(long, env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Image of the operator that the nodes have.
    #[arg(long, env = "OPERATOR_IMAGE")]
    pub(crate) operator_image: Option<String>,
    /// Image of the worker that the nodes have.
    #[arg(long, env = "WORKER_IMAGE")]
    pub(crate) worker_image: Option<String>,
    /// The worker's program, in a release build.
    #[arg(long, env = "BENCH_E2E_WORKER", default_value = "target/release/stockpipeline-worker")]
    pub(crate) worker: PathBuf,
    /// Python with the tutorial's libraries; the tutorial's consumer is skipped without it.
    #[arg(long, env = "BENCH_E2E_TUTORIAL_PYTHON")]
    pub(crate) tutorial_python: Option<PathBuf>,
    /// The tutorial's consumer.
    #[arg(long, env = "BENCH_E2E_TUTORIAL", default_value = "e2e/peers/tutorial.py")]
    pub(crate) tutorial: PathBuf,
    /// Class path of Kafka Connect; Connect is skipped without it.
    #[arg(long, env = "BENCH_E2E_CONNECT_CLASSPATH")]
    pub(crate) connect_classpath: Option<String>,
    /// Folder with the folder of the S3 sink connector.
    #[arg(long, env = "BENCH_E2E_CONNECT_PLUGINS")]
    pub(crate) connect_plugins: Option<PathBuf>,
    /// Ticks of a drain.
    #[arg(long, env = "BENCH_E2E_MESSAGES", default_value_t = 5_000_000)]
    pub(crate) messages: u64,
    /// Ticks of the tutorial's consumer, which takes a second for some hundred.
    #[arg(long, env = "BENCH_E2E_TUTORIAL_MESSAGES", default_value_t = 4_000)]
    pub(crate) tutorial_messages: u64,
    /// Runs of each thing that is compared.
    #[arg(long, env = "BENCH_E2E_RUNS", default_value_t = 3)]
    pub(crate) runs: u32,
    /// Seconds of a steady load.
    #[arg(long, env = "BENCH_E2E_SECONDS", default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Buffers of a sink, in MiB.
    #[arg(long, env = "BENCH_E2E_MEMORY_MIB", default_value_t = 300)]
    pub(crate) memory_mib: usize,
}

/// The components, and a folder for documents, logs and the CSV file.
pub(crate) struct Stage {
    /// As asked for.
    pub(crate) options: Options,
    /// Kafka.
    pub(crate) kafka: String,
    /// S3's endpoint.
    pub(crate) s3: String,
    /// The bucket that everything writes to.
    pub(crate) bucket: Bucket,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Connects, and makes the bucket.
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let kafka = options.kafka.clone().context("KAFKA_BOOTSTRAP_SERVERS names no Kafka (e2e/bench starts one)")?;
        let s3 = options.s3.clone().context("AWS_ENDPOINT_URL_S3 names no S3 server (e2e/bench starts one)")?;
        ensure!(options.worker.is_file(), "{} is not there; build it: cargo build --release --locked --bins", options.worker.display());
        ensure!((1..=MOST_MESSAGES).contains(&options.messages), "from 1 to {MOST_MESSAGES} messages can be told apart");
        let bucket = Bucket::connect(&s3)?;
        let folder = tempfile::Builder::new().prefix("stockpipeline-bench-").tempdir()?;
        Ok(Self { options, kafka, s3, bucket, folder })
    }

    /// Returns the folder for documents, logs and the CSV file.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of the folder, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder().join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }
}
