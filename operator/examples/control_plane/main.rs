//! Measures the control plane: `cargo run --release -p stockpipeline-operator --example control_plane`.
//!
//! A thousand pipelines in front of an API server and a Glue endpoint in this process; Deployments, pods and workers are played. The
//! operator is a process of its own, so its memory is its own. One line a figure, with its goal.

#![expect(clippy::unwrap_used, reason = "a benchmark may end at the first surprise, as tests do, whose servers it shares")]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/api_server/mod.rs"]
mod api_server;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/aws_endpoint/mod.rs"]
mod aws_endpoint;
mod host;
mod operate;
#[path = "../../tests/simulation/mod.rs"]
mod simulation;

use std::time::Duration;

use clap::Parser;

/// The operator's, so that its memory is measured as it is.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the control plane.
#[derive(Debug, Parser)]
struct Options {
    /// Pipelines.
    #[arg(long, default_value_t = 1_000)]
    pipelines: u32,

    /// Seconds for which everything is at rest.
    #[arg(long, default_value_t = 60)]
    rest_seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // This program starts itself as the operator.
    if std::env::args().nth(1).as_deref() == Some("run") {
        return runtime.block_on(operate::run());
    }
    let options = Options::parse();
    runtime.block_on(host::measure(options.pipelines, Duration::from_secs(options.rest_seconds)))
}
