//! The worker's process: reads arguments and environment once, and turns how a command ended into an exit code.

mod allocator;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::MultiProgress;
use stockpipeline::launch::Exit;
use stockpipeline_program::ending::{Signals, end_on_panic, leave_message};
use stockpipeline_worker::command::{self, Arguments, Command, CommandError, LogFormat, Surroundings};
use stockpipeline_worker::failpoint::Failpoints;
use stockpipeline_worker::local::Screen;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Variable with crash points, for tests.
const FAILPOINTS_VARIABLE: &str = "STOCKPIPELINE_FAILPOINT";
/// How long tasks that nobody waits for may still run at the end.
const RUNTIME_GRACE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let screen = screen(&arguments.command);
    start_logging(&arguments, &screen);
    end_on_panic();
    let exit = match run(arguments.command, screen) {
        Ok(exit) => exit,
        // Whoever read the results has seen enough, as in a pipe to `head`.
        Err(failure) if failure.is_broken_pipe() => Exit::Done,
        Err(failure) => {
            eprintln!("error: {:#}", failure.error);
            leave_message(&format!("{:#}", failure.error));
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

/// A command that has not done what it was asked for.
struct Failure {
    error: anyhow::Error,
    exit: Exit,
}

impl Failure {
    fn of_command(error: CommandError) -> Self {
        let exit = error.class().exit();
        Self { error: error.into(), exit }
    }

    fn is_broken_pipe(&self) -> bool {
        self.error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
            && matches!(self.error.downcast_ref(), Some(CommandError::Output(_)))
    }

    fn of_system(error: io::Error, act: &'static str) -> Self {
        Self { error: anyhow::Error::new(error).context(act), exit: Exit::External }
    }
}

fn run(command: Command, screen: Screen) -> Result<Exit, Failure> {
    let points = std::env::var(FAILPOINTS_VARIABLE).unwrap_or_default();
    let failpoints = Failpoints::from_text(&points).map_err(|error| Failure { error: error.into(), exit: Exit::Usage })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of_system(error, "failed to start the runtime"))?;
    let shutdown = CancellationToken::new();
    let ended = runtime.block_on(async {
        let watch = Signals::listen().map_err(|error| Failure::of_system(error, "failed to listen for signals"))?;
        tokio::spawn(watch.cancel(shutdown.clone(), || tracing::info!("stopping; what is buffered is being stored")));
        let mut out = io::stdout();
        let surroundings = Surroundings { out: &mut out, screen, shutdown, failpoints };
        let ended = command::run(command, surroundings).await.map_err(Failure::of_command)?;
        out.flush().map_err(|error| Failure::of_command(CommandError::Output(error)))?;
        if let Some(message) = &ended.message {
            leave_message(message);
        }
        Ok(ended.exit)
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    ended
}

/// Prints help, the version or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    // Nobody reads what can't be written.
    drop(error.print());
    ExitCode::from(exit.code())
}

/// Returns where progress goes; only local runs have one to show.
fn screen(command: &Command) -> Screen {
    match command {
        Command::Local(_) if io::stderr().is_terminal() => Screen::Terminal(MultiProgress::new()),
        Command::Local(_)
        | Command::Producer(_)
        | Command::Sink(_)
        | Command::Check { .. }
        | Command::Audit(_)
        | Command::Topic(_)
        | Command::Data(_) => Screen::Lines,
    }
}

/// Starts logging to standard error; `RUST_LOG` chooses, in the usual syntax.
fn start_logging(arguments: &Arguments, screen: &Screen) {
    let default = match (&arguments.command, screen) {
        (Command::Producer(_) | Command::Sink(_), _) => "info",
        (Command::Local(_), Screen::Lines) => "warn,stockpipeline_worker::producer=error,stockpipeline_worker::local=info",
        // That the embedded broker has no transactions does no harm: a run that is killed produces the same records again.
        (Command::Local(_), Screen::Terminal(_)) => "warn,stockpipeline_worker::producer=error",
        (Command::Check { .. } | Command::Audit(_) | Command::Topic(_) | Command::Data(_), _) => "warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let screen = match screen {
        Screen::Terminal(screen) => Some(screen.clone()),
        Screen::Lines => None,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || Above { screen: screen.clone() });
    match arguments.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Standard error above the progress bar, where there is one.
struct Above {
    screen: Option<MultiProgress>,
}

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.screen {
            Some(screen) => screen.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
