//! The benchmark over real components: a Kafka cluster, an S3 server and Trino, with peers beside the worker's own program.
//!
//! ```text
//! e2e/bench [FIGURE…]     starts what is needed, runs this, and stops it
//! ```
//!
//! Nothing here is started in this process but the load: what is measured is a process of its own, whose CPU seconds and peak
//! memory the kernel counts. Runs of what is compared are interleaved over the same topic and the same bucket, and the fastest
//! of each is printed with its ratio to the goal or to the best peer: machines are shared and noisy. Nothing is asserted but
//! that what was measured is complete.

#[path = "../../src/allocator.rs"]
mod allocator;
mod bucket;
mod catalogue;
#[path = "../bench/chosen.rs"]
mod chosen;
mod crash;
mod document;
mod drain;
mod figure;
mod first_row;
mod group;
mod load;
mod process;
mod replay;
mod seen;
mod sink_alone;
#[path = "../bench/spec.rs"]
mod spec;
mod stage;
mod system;
mod takeover;
#[path = "../bench/tick.rs"]
mod tick;
mod topic;
mod trino;
mod visible;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::chosen::Chosen;
use crate::figure::{Line, print};
use crate::stage::{Options, Stage};

/// Measures the worker over real components, beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    chosen: Chosen<Figure>,
    /// Where everything is, and how much of it is measured.
    #[command(flatten)]
    options: Options,
    /// Prints one JSON object a line instead of the table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// From Kafka to S3, as fast as it goes, beside the peers.
    Drain,
    /// The same with SIGKILLs in the middle: what is there twice, what is missing.
    Crash,
    /// A CSV file into Kafka.
    Replay,
    /// From a tick's time in Kafka to its object, and to Trino's answer.
    Visible,
    /// A sink that leaves, and one that dies.
    Takeover,
    /// From `helm install` to the first row in Trino.
    FirstRow,
}

/// The processes that the benchmark starts for itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// Runs a sink that writes the raw zone alone, which no document can ask for.
    #[command(hide = true)]
    RawSink {
        /// The pipeline's document.
        config: std::path::PathBuf,
        /// Bytes that it may buffer.
        memory: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::RawSink { config, memory }) = &arguments.role {
        return sink_alone::run(config, *memory);
    }
    let figures = arguments.chosen.figures();
    let stage = Stage::new(arguments.options)?;
    let mut failed = Vec::new();
    for figure in figures {
        let lines = measure(&stage, figure).with_context(|| format!("figure {figure:?}"));
        match lines {
            Ok(lines) => {
                for line in &lines {
                    print(line, arguments.json);
                }
            }
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(format!("{figure:?}"));
            }
        }
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

fn measure(stage: &Stage, figure: Figure) -> anyhow::Result<Vec<Line>> {
    match figure {
        Figure::Drain => drain::measure(stage),
        Figure::Crash => crash::measure(stage),
        Figure::Replay => replay::measure(stage),
        Figure::Visible => visible::measure(stage),
        Figure::Takeover => takeover::measure(stage),
        Figure::FirstRow => first_row::measure(stage),
    }
}
