//! The operator's process: reads arguments and environment once, and turns how a command ended into an exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use stockpipeline::launch::Exit;
use stockpipeline_operator::catalog::converge::Catalogue;
use stockpipeline_operator::metrics::Metrics;
use stockpipeline_operator::plan::show::{Colour, show};
use stockpipeline_operator::plan::{Planner, documents, installed};
use stockpipeline_operator::process::arguments::{Arguments, Command, PlanArguments, PlanFormat, RunArguments};
use stockpipeline_operator::process::run::{LeaseSettings, Process, RunError};
use stockpipeline_operator::process::{run, telemetry};
use stockpipeline_operator::resource::crd;
use stockpipeline_program::ending::{Signals, end_on_panic, leave_message};
use tokio_util::sync::CancellationToken;

/// glibc keeps what a burst of changes took.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How it is set up: memory comes before speed here. What threads keep for themselves, arenas of their own and pages between large blocks
/// were a tenth of what the program takes. `_RJEM_MALLOC_CONF` in the environment says otherwise.
#[expect(unsafe_code, reason = "jemalloc looks for a pointer to C's text of this name before anything is allocated")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8; 45] = b"narenas:1,tcache:false,cache_oblivious:false\0";

/// What `plan` logs unless `RUST_LOG` says otherwise: its answer says what is wrong.
const PLAN_LOG: &str = "error";
/// What `run` logs unless `RUST_LOG` says otherwise.
const RUN_LOG: &str = "info";
/// How long tasks that nobody waits for may still run at the end: none of them may write any more.
const RUNTIME_GRACE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let Arguments { command, log_format } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let ended = match command {
        Command::Crd => print(&crd::definition_yaml()).map(|()| Exit::Done.code()),
        Command::Plan(arguments) => {
            telemetry::start(log_format, PLAN_LOG);
            start(plan(arguments))
        }
        Command::Run(arguments) => {
            telemetry::start(log_format, RUN_LOG);
            end_on_panic();
            start(keep_pipelines(*arguments))
        }
    };
    let code = match ended {
        Ok(code) => code,
        Err(Failure { error, exit }) => {
            eprintln!("error: {error:#}");
            leave_message(&format!("{error:#}"));
            exit.code()
        }
    };
    ExitCode::from(code)
}

/// A command that has not done what it was asked for.
struct Failure {
    error: anyhow::Error,
    exit: Exit,
}

impl Failure {
    fn external(error: anyhow::Error) -> Self {
        Self { error, exit: Exit::External }
    }

    fn user(error: anyhow::Error) -> Self {
        Self { error, exit: Exit::User }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = error.exit();
        Self { error: error.into(), exit }
    }
}

/// Prints help, the version or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    // Nobody reads what can't be written.
    drop(error.print());
    ExitCode::from(exit.code())
}

/// Prints a text. A reader that has seen enough and closes the pipe is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::external(anyhow::Error::new(error).context("failed to print"))),
    }
}

/// Runs a command to its exit code.
fn start(command: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the runtime");
    let runtime = runtime.map_err(Failure::external)?;
    let ended = runtime.block_on(command);
    runtime.shutdown_timeout(RUNTIME_GRACE);
    ended
}

async fn keep_pipelines(arguments: RunArguments) -> Result<u8, Failure> {
    let shutdown = CancellationToken::new();
    let signals = Signals::listen().context("failed to listen for signals").map_err(Failure::external)?;
    tokio::spawn(signals.cancel(shutdown.clone(), || tracing::info!("stopping")));
    let address = arguments.http_address;
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("failed to listen on {address}; choose another with --http-address"));
    run::run(Process {
        lease: LeaseSettings::new(&arguments.settings.namespace, &arguments.lease_name, &arguments.pod_name),
        settings: arguments.settings.settings(),
        kubernetes: kubernetes().await?,
        listener: listener.map_err(Failure::user)?,
        shutdown,
    })
    .await?;
    Ok(Exit::Done.code())
}

async fn kubernetes() -> Result<kube::Config, Failure> {
    let config = kube::Config::infer().await.context("failed to find an API server; run it in a pod, or set KUBECONFIG");
    config.map_err(Failure::user)
}

async fn plan(arguments: PlanArguments) -> Result<u8, Failure> {
    let documents = documents::read(&arguments.file).context("the document can't be planned").map_err(Failure::user)?;
    let config = kubernetes().await?;
    let documents = documents::place(documents, arguments.namespace.as_deref(), &config.default_namespace);
    let documents = documents.context("the document can't be planned").map_err(Failure::user)?;
    let client = kube::Client::try_from(config).context("failed to make a client of the API server").map_err(Failure::user)?;
    let settings = match arguments.operator_arguments.as_slice() {
        [] => installed::settings(&client, arguments.operator_namespace.as_deref()).await,
        given => installed::settings_of(given, "the command line"),
    };
    let settings = settings.map_err(|error| Failure::user(error.into()))?;
    let catalogue = (!arguments.without_aws).then(|| Catalogue::new(&settings, Metrics::default()));
    let planner = Planner { client, settings, catalogue, field_manager: arguments.field_manager };
    let plan = planner.plan(&documents).await.map_err(|error| Failure::user(error.into()))?;
    let colour = if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() { Colour::Always } else { Colour::Never };
    match arguments.output {
        PlanFormat::Text => print(&show(&plan, colour))?,
        PlanFormat::Json => {
            let text = serde_json::to_string_pretty(&plan).context("failed to write the plan as JSON").map_err(Failure::external)?;
            print(&(text + "\n"))?;
        }
    }
    Ok(plan.outcome().code())
}
