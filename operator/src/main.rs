//! The operator of StockPipeline. Only its command line stands so far: no command does anything yet.

use std::process::ExitCode;

use clap::Parser;
use stockpipeline::launch::Exit;

/// Keeps the workers, Glue tables and Athena objects of `StockPipeline` resources. Has no commands yet.
#[derive(Debug, Parser)]
#[command(name = "stockpipeline-operator", version)]
struct Arguments {}

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(Arguments {}) => ExitCode::from(usage("no command stands here yet; the data path is in stockpipeline-worker")),
        Err(error) if error.use_stderr() => ExitCode::from(usage(&error.to_string())),
        Err(error) => {
            error.exit();
        }
    }
}

fn usage(message: &str) -> u8 {
    eprintln!("{message}");
    Exit::Usage.code()
}
