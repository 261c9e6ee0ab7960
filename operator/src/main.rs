//! The operator of StockPipeline: its command line. Reads arguments, calls the library, maps the end to an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stockpipeline::launch::Exit;
use stockpipeline_operator::crd;

/// Keeps the workers, Glue tables and Athena objects of `StockPipeline` resources.
///
/// So far it only prints the custom resource's definition. It does not run in a cluster yet; the data path is in
/// stockpipeline-worker.
#[derive(Debug, Parser)]
#[command(name = "stockpipeline-operator", version, max_term_width = 120)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Print the definition of the custom resource, for `kubectl apply -f -`
    Crd,
}

fn main() -> ExitCode {
    let exit = match Arguments::try_parse() {
        Ok(Arguments { command: Command::Crd }) => print(&crd::definition_yaml()),
        Err(error) if error.use_stderr() => {
            eprintln!("{error}");
            Exit::Usage
        }
        Err(error) => error.exit(),
    };
    ExitCode::from(exit.code())
}

/// Prints a text. A reader that has seen enough and closes the pipe is no failure.
fn print(text: &str) -> Exit {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            eprintln!("failed to print: {error}");
            Exit::External
        }
    }
}
