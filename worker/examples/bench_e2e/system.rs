//! What is compared: the worker with its zones, Kafka Connect, and the tutorial's consumer.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::bucket::{BUCKET, REGION};
use crate::document::{Wanted, document};
use crate::group::Group;
use crate::process::Running;
use crate::spec::{self, Raw};
use crate::stage::{PATIENCE, Stage};
use crate::topic::Topic;

/// Shortest time after which a group gives a dead member's partitions to others; the same for all.
pub(crate) const SESSION_SECONDS: u64 = 6;
/// Port of Kafka Connect's REST interface.
const CONNECT_PORT: u16 = 18_083;
/// How often Kafka Connect stores what it has taken.
const CONNECT_FLUSH_MILLIS: u32 = 2_000;

/// A system that takes ticks from Kafka to S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// The worker, raw zone alone, plain.
    Raw,
    /// The worker, raw zone alone, with zstd.
    RawZstd,
    /// The worker, processed zone alone: Parquet with zstd.
    Parquet,
    /// The worker, raw zone with zstd and processed zone.
    Both,
    /// Kafka Connect with an S3 sink that copies bytes.
    ConnectRaw,
    /// Kafka Connect with an S3 sink that parses each value and writes it again.
    ConnectJson,
    /// The tutorial's consumer in Python: an object a message.
    Tutorial,
}

/// What a system is given to do.
pub(crate) struct Work<'a> {
    /// Names the group and everything that is stored.
    pub(crate) run: String,
    /// Where the ticks are.
    pub(crate) topic: &'a Topic,
    /// Ticks of an object, where the system has objects of many.
    pub(crate) records: u64,
    /// Ticks to get warm with, for what runs in a Java machine.
    pub(crate) warm: Option<&'a Topic>,
    /// Ticks after which the tutorial's consumer says that it has them all.
    pub(crate) messages: u64,
}

impl System {
    /// Every system, the peers last.
    pub(crate) const ALL: [Self; 7] =
        [Self::Raw, Self::RawZstd, Self::Parquet, Self::Both, Self::ConnectRaw, Self::ConnectJson, Self::Tutorial];

    /// Returns the name in the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawZstd => "raw-zstd",
            Self::Parquet => "parquet",
            Self::Both => "both",
            Self::ConnectRaw => "connect-raw",
            Self::ConnectJson => "connect-json",
            Self::Tutorial => "tutorial",
        }
    }

    /// Returns whether it is a peer.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::ConnectRaw | Self::ConnectJson | Self::Tutorial)
    }

    /// Returns why it can't be measured here, where that is so.
    pub(crate) fn missing(self, stage: &Stage) -> Option<&'static str> {
        let options = &stage.options;
        match self {
            Self::ConnectRaw | Self::ConnectJson if options.connect_classpath.is_none() || options.connect_plugins.is_none() => {
                Some("Kafka Connect's S3 sink is not here: CONNECT_S3_SOURCE names a checkout of its sources")
            }
            Self::Tutorial if options.tutorial_python.is_none() => Some("its Python libraries are not here"),
            Self::Raw | Self::RawZstd | Self::Parquet | Self::Both | Self::ConnectRaw | Self::ConnectJson | Self::Tutorial => None,
        }
    }

    /// Returns the consumer group of a run.
    pub(crate) fn group(self, run: &str) -> String {
        match self {
            Self::ConnectRaw | Self::ConnectJson => format!("connect-{run}"),
            Self::Raw | Self::RawZstd | Self::Parquet | Self::Both | Self::Tutorial => run.to_owned(),
        }
    }

    /// Returns the zones of a run, each of which has every tick.
    pub(crate) fn zones(self, run: &str) -> Vec<String> {
        match self {
            Self::Raw | Self::RawZstd => vec![spec::raw(run)],
            Self::Parquet => vec![spec::processed(run)],
            Self::Both => vec![spec::raw(run), spec::processed(run)],
            Self::ConnectRaw | Self::ConnectJson | Self::Tutorial => vec![format!("{run}/ticks/")],
        }
    }

    /// Starts it. What it is given to do begins with this call, but for Kafka Connect: it first works through the ticks that it
    /// gets warm with, if there are any.
    pub(crate) fn start(self, stage: &Stage, work: &Work<'_>) -> anyhow::Result<Running> {
        match self {
            Self::Raw => raw_sink(stage, work, Raw::Plain),
            Self::RawZstd => raw_sink(stage, work, Raw::Zstd),
            Self::Parquet => sink(stage, work, Raw::Off),
            Self::Both => sink(stage, work, Raw::Zstd),
            Self::ConnectRaw => connect(stage, work, RAW),
            Self::ConnectJson => connect(stage, work, JSON),
            Self::Tutorial => tutorial(stage, work),
        }
    }
}

/// Returns a command of the worker's program; port 0 is for no endpoints.
pub(crate) fn worker(stage: &Stage, role: &str, config: &std::path::Path, http_port: u16) -> Command {
    let mut command = Command::new(&stage.options.worker);
    command.arg(role).arg("--config").arg(config).args(["--http-port", &http_port.to_string()]);
    command.args(["--session-timeout", &SESSION_SECONDS.to_string()]);
    command.args(["--memory", &format!("{}Mi", stage.options.memory_mib)]);
    command
}

fn written(stage: &Stage, work: &Work<'_>, raw: Raw) -> anyhow::Result<std::path::PathBuf> {
    let wanted = Wanted { run: &work.run, topic: work.topic, raw, records: work.records, interval: "5s" };
    stage.write(&format!("{}.json", work.run), &document(stage, &wanted).to_string())
}

fn sink(stage: &Stage, work: &Work<'_>, raw: Raw) -> anyhow::Result<Running> {
    let config = written(stage, work, raw)?;
    Running::start(stage, &work.run, &mut worker(stage, "sink", &config, 0))
}

fn raw_sink(stage: &Stage, work: &Work<'_>, raw: Raw) -> anyhow::Result<Running> {
    let config = written(stage, work, raw)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("raw-sink").arg(config).arg((stage.options.memory_mib << 20).to_string());
    Running::start(stage, &work.run, &mut command)
}

fn tutorial(stage: &Stage, work: &Work<'_>) -> anyhow::Result<Running> {
    let mut command = Command::new(stage.options.tutorial_python.as_ref().context("there is no Python")?);
    command.arg(&stage.options.tutorial).args([&stage.kafka, &work.topic.name, &work.run, &stage.s3]);
    command.arg(format!("{BUCKET}/{}/ticks", work.run)).arg(work.messages.to_string());
    Running::start(stage, &work.run, &mut command)
}

/// How a connector treats values.
type Treatment = [(&'static str, &'static str); 4];

/// Bytes as they are: an output of one field that is not encoded.
const RAW: Treatment = [
    ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
    ("format.output.type", "csv"),
    ("format.output.fields", "value"),
    ("format.output.fields.value.encoding", "none"),
];
/// Each value parsed, and written as a line.
const JSON: Treatment = [
    ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
    ("value.converter.schemas.enable", "false"),
    ("format.output.type", "jsonl"),
    ("format.output.envelope", "false"),
];

fn connect(stage: &Stage, work: &Work<'_>, treatment: Treatment) -> anyhow::Result<Running> {
    let options = &stage.options;
    let (classpath, plugins) = (options.connect_classpath.as_ref().context("no class path")?, options.connect_plugins.as_ref());
    let properties = format!(
        "bootstrap.servers={}\nlisteners=http://127.0.0.1:{CONNECT_PORT}\nplugin.path={}\nplugin.discovery=service_load\n\
         key.converter=org.apache.kafka.connect.storage.StringConverter\nvalue.converter=org.apache.kafka.connect.json.JsonConverter\n\
         offset.storage.file.filename={}\noffset.flush.interval.ms={CONNECT_FLUSH_MILLIS}\nconnector.client.config.override.policy=All\n",
        stage.kafka,
        plugins.context("no plugins")?.display(),
        stage.folder().join(format!("{}.offsets", work.run)).display(),
    );
    let file = stage.write(&format!("{}.properties", work.run), &properties)?;
    let mut command = Command::new("java");
    command.args(["-Xms512m", "-Xmx2g", "-XX:+UseG1GC", "-cp", classpath, "org.apache.kafka.connect.cli.ConnectStandalone"]).arg(file);
    let mut running = Running::start(stage, &work.run, &mut command)?;
    let connect = Connect { client: reqwest::Client::builder().no_proxy().build()?, runtime: tokio::runtime::Runtime::new()? };
    connect.wait(&mut running)?;
    if let Some(topic) = work.warm {
        let name = format!("{}-warm", work.run);
        connect.create(&name, topic, &format!("{name}/"), treatment)?;
        let messages = topic.ends()?.iter().sum::<i64>().unsigned_abs();
        Group::of(&stage.kafka, &format!("connect-{name}"), topic)?.wait(messages, &mut running)?;
        connect.delete(&name)?;
        stage.bucket.empty(&format!("{name}/"))?;
    }
    connect.create(&work.run, work.topic, &format!("{}/ticks/", work.run), treatment)?;
    Ok(running)
}

/// Kafka Connect's REST interface.
struct Connect {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Connect {
    fn wait(&self, running: &mut Running) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.answer(self.client.get(url("connectors"))).is_err() {
            running.check()?;
            ensure!(Instant::now() < deadline, "Kafka Connect does not answer:\n{}", running.last_lines());
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn create(&self, name: &str, topic: &Topic, prefix: &str, treatment: Treatment) -> anyhow::Result<()> {
        let mut config = json!({
            "connector.class": "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector",
            "tasks.max": "1",
            "topics": topic.name,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "format.output.fields": "value",
            "file.compression.type": "none",
            "file.name.template": format!("{prefix}{{{{topic}}}}-{{{{partition}}}}-{{{{start_offset}}}}"),
            "aws.access.key.id": std::env::var("AWS_ACCESS_KEY_ID")?,
            "aws.secret.access.key": std::env::var("AWS_SECRET_ACCESS_KEY")?,
            "aws.s3.bucket.name": BUCKET,
            "aws.s3.region": REGION,
            "aws.s3.endpoint": std::env::var("AWS_ENDPOINT_URL_S3")?,
            "consumer.override.auto.offset.reset": "earliest",
            "consumer.override.max.poll.records": "5000",
            "consumer.override.session.timeout.ms": (SESSION_SECONDS * 1_000).to_string(),
            "consumer.override.heartbeat.interval.ms": "2000",
        });
        for (setting, value) in treatment {
            config[setting] = json!(value);
        }
        let body = json!({ "name": name, "config": config }).to_string();
        let request = self.client.post(url("connectors")).header("content-type", "application/json").body(body);
        self.answer(request)
    }

    fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.answer(self.client.delete(url(&format!("connectors/{name}"))))
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let answer = request.send().await?;
            let status = answer.status();
            ensure!(status.is_success(), "Kafka Connect answers {status}: {}", answer.text().await?);
            Ok(())
        })
    }
}

fn url(path: &str) -> String {
    format!("http://127.0.0.1:{CONNECT_PORT}/{path}")
}
