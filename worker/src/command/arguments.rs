//! The command line. Says what there is to choose; decides nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stockpipeline::launch::{HTTP_PORT, SECRETS_DIR, ZONE_VARIABLE};

/// Stock ticks through Kafka into queryable files on S3, every record exactly once.
#[derive(Debug, Clone, Parser)]
#[command(name = "stockpipeline-worker", version, max_term_width = 120)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How log lines are written.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Feed the rows of the pipeline's source into Kafka, until stopped
    Producer(WorkerArguments),
    /// Write the records of the pipeline's topic to S3, until stopped
    Sink(WorkerArguments),
    /// Run the whole pipeline in this process, over a broker and an S3 server of its own
    ///
    /// Ends when a finite source is stored, proves it and prints what there is; Ctrl-C ends an endless one.
    /// A run that was killed goes on where it was; a second run of a finished file adds nothing.
    Local(LocalArguments),
    /// Check documents: every error with its path, reason and remedy
    Check {
        /// Files as for `kubectl apply`.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Prove from what is stored that every record is there exactly once
    Audit(AuditArguments),
    /// Delete the pipeline's topic and slots topic
    Topic(DeleteArguments),
    /// Delete the pipeline's zones and ledger from its bucket
    Data(DeleteArguments),
}

/// Arguments of producer and sink.
#[derive(Debug, Clone, Args)]
pub struct WorkerArguments {
    /// The pipeline's document.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Where credentials and temporary files are.
    #[command(flatten)]
    pub shared: SharedArguments,

    /// Memory that buffers, uploads and fetched messages may take together, such as 512Mi [default: 0.6 of the control
    /// group's limit; of 1Gi where there is none].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<u64>,

    /// Port of /livez, /readyz, /status and /metrics; 0 for none.
    #[arg(long, value_name = "PORT", default_value_t = HTTP_PORT)]
    pub http_port: u16,

    /// Name of this worker in plans, logs and /status.
    #[arg(long, value_name = "NAME", env = "HOSTNAME", default_value = "worker")]
    pub worker_name: String,

    /// Availability zone of this worker's node, so that it fetches from replicas of its own zone.
    #[arg(long, value_name = "ZONE", env = ZONE_VARIABLE, default_value = "")]
    pub zone: String,

    /// Ask EC2's instance metadata for the zone where --zone is empty; without an answer within a second there is none.
    #[arg(long)]
    pub zone_from_ec2: bool,

    /// Seconds for which the consumer group keeps the partitions of a worker that has died; an upload has to end within
    /// five sixths of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(6..=300))]
    pub session_timeout: u64,

    /// Incarnation of the topic, for a broker that has no topic ids: 16 hexadecimal digits.
    #[arg(long, value_name = "EPOCH", hide = true, value_parser = parse_epoch)]
    pub epoch: Option<stockpipeline::layout::Epoch>,
}

/// Where credentials and temporary files are.
#[derive(Debug, Clone, Args)]
pub struct SharedArguments {
    /// Folder with one folder for each Secret of the document, in it one file a key.
    #[arg(long, value_name = "DIR", default_value = SECRETS_DIR)]
    pub secrets_dir: PathBuf,

    /// Writable folder for downloads [default: the system's].
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
}

/// Arguments of `local`.
#[derive(Debug, Clone, Args)]
pub struct LocalArguments {
    /// A file as for `kubectl apply`; paths in it are relative to its folder.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Folder under which the bucket's folder is made.
    #[arg(long, value_name = "DIR", default_value = "stockpipeline-output")]
    pub output: PathBuf,

    /// Where credentials and temporary files are.
    #[command(flatten)]
    pub shared: SharedArguments,

    /// Memory that buffers, uploads and fetched messages may take together, such as 512Mi [default: 0.6 of the control
    /// group's limit; of 1Gi where there is none].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<u64>,
}

/// Arguments of `audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArguments {
    /// The pipeline's document.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Audit what `local` has written under this folder, instead of the bucket.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// A rotation that isn't finished is a difference: nothing is running.
    #[arg(long)]
    pub complete: bool,

    /// How the report is written.
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub format: ReportFormat,

    /// Where credentials and temporary files are.
    #[command(flatten)]
    pub shared: SharedArguments,
}

/// Arguments of `topic` and `data`.
#[derive(Debug, Clone, Args)]
pub struct DeleteArguments {
    /// The pipeline's document.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Really delete; there is nothing else that the command does.
    #[arg(long, required = true)]
    pub delete: bool,

    /// Where credentials and temporary files are.
    #[command(flatten)]
    pub shared: SharedArguments,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A table to read.
    Table,
    /// One JSON object.
    Json,
}

fn parse_epoch(text: &str) -> Result<stockpipeline::layout::Epoch, String> {
    stockpipeline::layout::Epoch::parse(text).ok_or_else(|| "an epoch has 16 lower-case hexadecimal digits".to_owned())
}

/// Reads `1048576`, `64Mi`, `1Gi`, `500M` and their likes, as Kubernetes writes quantities.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "k" => 1000,
        "M" => 1000 * 1000,
        "G" => 1000 * 1000 * 1000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        other => return Err(format!("{other:?} is no unit; write bytes, or k, M, G, Ki, Mi or Gi")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no whole number"))?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(|| "must lie between 1 byte and 16 EiB".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, bytes) in [("1", 1), ("64Mi", 64 << 20), ("1Gi", 1 << 30), ("500M", 500_000_000), ("3Ki", 3072), ("2k", 2000)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "-1", "1.5Gi", "1Ti", "0", "99999999999999999999", "18446744073709551615Gi", "1 Gi"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deleting_has_to_be_said() {
        assert!(Arguments::try_parse_from(["stockpipeline-worker", "topic", "a.yaml"]).is_err());
        assert!(Arguments::try_parse_from(["stockpipeline-worker", "topic", "a.yaml", "--delete"]).is_ok());
    }
}
