//! The benchmark: how fast the data path is, what it costs, and how far that is from the goals.
//!
//! ```text
//! cargo run --release -p stockpipeline-worker --example bench -- [FIGURE…] [--messages N] [--runs N]
//! ```
//!
//! Three processes: this one prints; a host runs the embedded broker, filled before any clock starts, and the embedded S3 server;
//! and each figure is measured in a process of its own, so that its CPU seconds and its peak memory are its own. Figures are
//! measured in turn, several times, and the fastest run of each is printed: machines are shared and noisy, so CPU seconds say
//! more than the clock. Nothing here is asserted.

#[path = "../../src/allocator.rs"]
mod allocator;
mod chosen;
mod consume;
mod figure;
mod host;
mod pipeline;
mod produce;
mod sink;
mod spec;
mod tick;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

use crate::chosen::Chosen;
use crate::figure::{Figure, Measurement};
use crate::host::{Host, Hosted, Load};
use crate::pipeline::Zones;
use crate::spec::Raw;

/// Measures the data path against the embedded broker and S3 server.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    chosen: Chosen<Figure>,
    /// Messages of about 155 bytes a run.
    #[arg(long, default_value_t = 4_800_000)]
    messages: u64,
    /// Kafka partitions; the embedded broker keeps 5 MiB of each.
    #[arg(long, default_value_t = 60)]
    partitions: i32,
    /// Runs of each figure; the fastest is printed.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Folder of the objects, removed at the end: `/dev/shm` where there is one, so that no disk is measured.
    #[arg(long)]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The processes that the benchmark starts for itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// Runs the broker and the S3 server until its standard input ends.
    #[command(hide = true)]
    Host {
        /// A [`Load`] as JSON.
        load: String,
    },
    /// Measures one figure once.
    #[command(hide = true)]
    Measure {
        /// The figure.
        #[arg(value_enum)]
        figure: Figure,
        /// A [`Hosted`] as JSON.
        hosted: String,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Host { load }) => host::run(&serde_json::from_str(load)?),
        Some(Role::Measure { figure, hosted }) => measure(*figure, &serde_json::from_str(hosted)?),
        None => compare(&arguments),
    }
}

/// Measures each figure in turn, as often as asked for, and prints the fastest run of each.
fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    let figures = arguments.chosen.figures();
    let folder = workspace(arguments.folder.as_deref())?;
    let load =
        Load { messages: arguments.messages, partitions: arguments.partitions, runs: arguments.runs, folder: folder.path().to_owned() };
    let mut host = Host::start(&load)?;
    eprintln!("{} messages of {} bytes in {} partitions", load.messages, host.hosted.message_bytes, load.partitions);
    let mut best: Vec<Option<Measurement>> = vec![None; figures.len()];
    for run in 0..arguments.runs {
        for (figure, best) in figures.iter().zip(&mut best) {
            host.hosted.run = run;
            let measured = match measure_in_child(*figure, &host.hosted) {
                Ok(measured) => measured,
                Err(error) => {
                    eprintln!("  run {}: {error:#}", run + 1);
                    continue;
                }
            };
            remove_objects(&load.bucket().join(format!("{figure}-{run}")))?;
            eprintln!("  run {}: {}", run + 1, figure.line(&measured));
            if best.as_ref().is_none_or(|best| measured.seconds < best.seconds) {
                *best = Some(measured);
            }
        }
    }
    host.stop()?;
    let mut missing = Vec::new();
    for (figure, best) in figures.iter().zip(best) {
        match best {
            Some(best) => print_line(&figure.line(&best)),
            None => missing.push(figure.name()),
        }
    }
    ensure!(missing.is_empty(), "not measured: {}", missing.join(", "));
    Ok(())
}

fn workspace(folder: Option<&Path>) -> anyhow::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let parent = folder.map_or_else(|| if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }, ToOwned::to_owned);
    tempfile::Builder::new()
        .prefix("stockpipeline-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("failed to make a folder in {}", parent.display()))
}

/// Removes what a run has stored, so that the next one finds as much room. Every tick is a good one.
fn remove_objects(folder: &Path) -> anyhow::Result<()> {
    ensure!(!folder.join("dlq").exists(), "ticks have become dead letters");
    if folder.is_dir() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn measure_in_child(figure: Figure, hosted: &Hosted) -> anyhow::Result<Measurement> {
    let output = Command::new(std::env::current_exe()?)
        .args(["measure", figure.name(), &serde_json::to_string(hosted)?])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "figure {figure} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("figure {figure} printed no measurement"))
}

fn measure(figure: Figure, hosted: &Hosted) -> anyhow::Result<()> {
    let measured = match figure {
        Figure::Consume => consume::measure(hosted)?,
        Figure::Produce => produce::measure(hosted)?,
        Figure::Raw => sink::measure(hosted, Zones::Raw(Raw::Plain), figure.name())?,
        Figure::RawZstd => sink::measure(hosted, Zones::Raw(Raw::Zstd), figure.name())?,
        Figure::Processed => sink::measure(hosted, Zones::Processed, figure.name())?,
        Figure::Both => sink::measure(hosted, Zones::Both, figure.name())?,
    };
    print_line(&serde_json::to_string(&measured)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the lines are the program's product")]
fn print_line(line: &str) {
    println!("{line}");
}
