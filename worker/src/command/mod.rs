//! The commands of the binary: from arguments to the modules that do the work, and back to an exit code.
//!
//! Reads no environment and no arguments of its own: `main.rs` gives both.

mod arguments;
mod audit;
mod check;
mod connect;
mod delete;
mod documents;
mod error;
mod local;
mod worker;
mod zone;

use std::io::Write;

use futures::future::LocalBoxFuture;
use stockpipeline::launch::Exit;
use tokio_util::sync::CancellationToken;

pub use self::arguments::{
    Arguments, AuditArguments, Command, DeleteArguments, LocalArguments, LogFormat, ReportFormat, SharedArguments, WorkerArguments,
};
pub use self::error::CommandError;

use crate::failpoint::Failpoints;
use crate::local::Screen;

/// What a command is given of the process that it runs in.
pub struct Surroundings<'a> {
    /// Where results go; logs and errors go elsewhere.
    pub out: &'a mut (dyn Write + Send),
    /// Where progress is shown.
    pub screen: Screen,
    /// Asks the command to finish what it has and to end.
    pub shutdown: CancellationToken,
    /// Crash points, in tests.
    pub failpoints: Failpoints,
}

/// How a command has ended.
pub struct Ended {
    /// The exit code's meaning.
    pub exit: Exit,
    /// What whoever started it has to know although it is done, such as what is left.
    pub message: Option<String>,
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        Self { exit, message: None }
    }
}

/// Runs a command to its end.
///
/// # Errors
/// [`CommandError`]; its class decides the exit code.
pub async fn run(command: Command, surroundings: Surroundings<'_>) -> Result<Ended, CommandError> {
    // Boxed, since a state machine of all commands together is deeper than the compiler looks.
    let running: LocalBoxFuture<'_, Result<Exit, CommandError>> = match command {
        Command::Producer(arguments) => Box::pin(worker::produce(arguments, surroundings)),
        Command::Sink(arguments) => Box::pin(worker::sink(arguments, surroundings)),
        Command::Local(arguments) => Box::pin(local::run(arguments, surroundings)),
        Command::Check { files } => return check::run(&files, surroundings.out).map(Ended::from),
        Command::Audit(arguments) => Box::pin(async move { audit::run(&arguments, surroundings.out).await }),
        Command::Topic(arguments) => Box::pin(async move { delete::topic(&arguments, surroundings.out).await }),
        Command::Data(arguments) => return Box::pin(delete::data(&arguments, surroundings.out)).await,
    };
    running.await.map(Ended::from)
}
