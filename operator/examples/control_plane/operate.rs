//! The operator's part: what its program does with the arguments of `run`.

use anyhow::bail;
use clap::Parser;
use stockpipeline_operator::process::arguments::{Arguments, Command, LogFormat};
use stockpipeline_operator::process::run::{self, LeaseSettings, Process};
use stockpipeline_operator::process::telemetry;
use tokio_util::sync::CancellationToken;

/// Ends this process at once when whoever started it is gone, and with it the other end of the pipe.
fn end_with_parent() {
    drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    std::process::exit(0);
}

/// Keeps pipelines until it is killed.
pub(crate) async fn run() -> anyhow::Result<()> {
    std::thread::spawn(end_with_parent);
    telemetry::start(LogFormat::Text, "warn");
    let Command::Run(arguments) = Arguments::parse().command else { bail!("this is not run") };
    let process = Process {
        lease: LeaseSettings::new(&arguments.settings.namespace, &arguments.lease_name, &arguments.pod_name),
        settings: arguments.settings.settings(),
        kubernetes: kube::Config::infer().await?,
        listener: tokio::net::TcpListener::bind(arguments.http_address).await?,
        shutdown: CancellationToken::new(),
    };
    Ok(run::run(process).await?)
}
