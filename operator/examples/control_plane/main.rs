//! Measures the control plane: `make bench`.
//!
//! A thousand pipelines in front of an API server and a Glue endpoint in this process; Deployments, pods and workers are played. The
//! operator is the program itself, which has to be built with the same profile. One line a figure, with its goal.

#![expect(clippy::unwrap_used, reason = "a benchmark may end at the first surprise, as tests do, whose servers it shares")]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/api_server/mod.rs"]
mod api_server;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/aws_endpoint/mod.rs"]
mod aws_endpoint;
mod host;
#[path = "../../tests/simulation/mod.rs"]
mod simulation;

use std::time::Duration;

use clap::Parser;

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
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(host::measure(options.pipelines, Duration::from_secs(options.rest_seconds)))
}
