//! The process in a cluster: serves its endpoints, waits until it leads, keeps the pipelines, and hands over when it is stopped.

use std::sync::Arc;
use std::time::Duration;

use kube::api::Api;
use stockpipeline::launch::Exit;
use stockpipeline_program::clock::{self, boottime_millis};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::catalog::converge::Catalogue;
use crate::error::chain;
use crate::hash;
use crate::metrics::Metrics;
use crate::process::client;
use crate::process::fence::Fence;
use crate::process::http::{self, Health};
use crate::process::leader::{Candidate, Elector, Lost, Rhythm};
use crate::reconcile::controller::{self, Context, ControllerError};
use crate::settings::Settings;

/// How long others wait for a leader who does not renew.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a controller that is told to stop may finish what it has begun. With the release of the lease it stays under two seconds.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What a process needs.
pub struct Process {
    /// What all pipelines share.
    pub settings: Settings,
    /// How the API server is reached.
    pub kubernetes: kube::Config,
    /// Name of the Lease in `kubernetes`' default namespace.
    pub lease: LeaseSettings,
    /// Where the endpoints listen.
    pub listener: TcpListener,
    /// Cancelled to stop the process.
    pub shutdown: CancellationToken,
}

/// The lease by which one of several processes leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of this process's pod.
    pub pod: String,
    /// How long others wait for a leader who does not renew.
    pub duration: Duration,
    /// How often it is renewed.
    pub rhythm: Rhythm,
}

/// Why a process has ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The client could not be made.
    #[error("failed to make a client of the API server; check the kubeconfig or the pod's service account")]
    Client(#[source] Box<kube::Error>),
    /// Another process leads now.
    #[error("this process does not lead any more")]
    Lost(#[source] Lost),
    /// The controller could not go on.
    #[error("the controller could not go on")]
    Controller(#[source] Box<ControllerError>),
    /// The wall clock was set back.
    #[error(
        "the wall clock was set back by {} s, and whatever waits for a moment on it would wait for as long again: the operator starts anew; look \
         at how the node's clock is kept",
        .0.as_secs()
    )]
    ClockSetBack(Duration),
}

impl RunError {
    /// Returns the exit code: each of these heals when the process is started again.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(_) => Exit::User,
            Self::Lost(_) | Self::Controller(_) | Self::ClockSetBack(_) => Exit::External,
        }
    }
}

/// How the time as leader has ended.
enum Ended {
    Stopped,
    /// The lease is another one's, so that there is nothing to release.
    Lost(Lost),
    Failed(RunError),
}

/// Runs a process until it is stopped or may not go on.
///
/// # Errors
/// [`RunError`]; the process has to end then, since whatever it still does is refused by its [`Fence`].
pub async fn run(process: Process) -> Result<(), RunError> {
    let Process { settings, kubernetes, lease, listener, shutdown } = process;
    let (metrics, health, fence) = (Metrics::default(), Health::default(), Fence::closed());
    let client_error = |error| RunError::Client(Box::new(error));
    let unfenced = client::unfenced(kubernetes.clone()).map_err(client_error)?;
    let fenced = client::fenced(&kubernetes, &fence).map_err(client_error)?;
    let endpoints_shutdown = shutdown.child_token().drop_guard();
    tokio::spawn(http::serve(listener, health.clone(), metrics.clone(), endpoints_shutdown.token().clone()));

    let leases = Api::namespaced(unfenced, &lease.namespace);
    let mut elector = Elector::new(leases, lease.candidate(), fence, health);
    elector.rhythm = lease.rhythm;
    let acquired = tokio::select! {
        acquired = elector.acquire() => Some(acquired),
        () = shutdown.cancelled() => None,
    };
    match acquired {
        Some(Ok(())) => {}
        Some(Err(lost)) => return Err(RunError::Lost(lost)),
        None => {
            elector.release().await;
            return Ok(());
        }
    }
    metrics.leader(true);
    let catalogue = Some(Catalogue::new(&settings, metrics.clone()).behind(elector.fence.clone()));
    let context = Context { client: fenced, settings: Arc::new(settings), catalogue, metrics: metrics.clone() };
    let ended = lead(context, &mut elector, &shutdown).await;
    metrics.leader(false);
    match ended {
        Ended::Stopped => {
            elector.release().await;
            info!("stopped");
            Ok(())
        }
        Ended::Failed(error) => {
            elector.release().await;
            Err(error)
        }
        Ended::Lost(lost) => {
            error!(error = %lost, "this process does not lead any more");
            Err(RunError::Lost(lost))
        }
    }
}

/// Keeps the pipelines for as long as this process leads and is not stopped.
async fn lead(context: Context, elector: &mut Elector, shutdown: &CancellationToken) -> Ended {
    let stop = shutdown.child_token();
    let mut controller = tokio::spawn(controller::run_with_pulse(context, elector.health.pulse.clone(), stop.clone()));
    let ended = tokio::select! {
        biased;
        lost = elector.keep() => Ended::Lost(lost),
        () = shutdown.cancelled() => Ended::Stopped,
        by = clock::set_back() => Ended::Failed(RunError::ClockSetBack(by)),
        joined = &mut controller => return how_ended(joined),
    };
    stop.cancel();
    if !matches!(ended, Ended::Lost(_)) && timeout(STOP_GRACE, &mut controller).await.is_err() {
        warn!("some reconciles did not end in time; whoever leads next does them again");
    }
    controller.abort();
    ended
}

/// A controller ends by itself only with an error, or with the process's own stop.
fn how_ended(joined: Result<Result<(), ControllerError>, tokio::task::JoinError>) -> Ended {
    match joined {
        Ok(Ok(())) => Ended::Stopped,
        Ok(Err(error)) => Ended::Failed(RunError::Controller(Box::new(error))),
        // A panic ends the process before anybody joins; nothing else cancels the task.
        Err(error) => std::panic::resume_unwind(Box::new(chain(&error))),
    }
}

impl LeaseSettings {
    /// Returns the lease of the operator's namespace, held and renewed as usual.
    #[must_use]
    pub fn new(namespace: &str, name: &str, pod: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            pod: pod.to_owned(),
            duration: LEASE_DURATION,
            rhythm: Rhythm::default(),
        }
    }

    /// A container that starts again in its pod is another process: it must not take the lease for its own.
    fn candidate(&self) -> Candidate {
        let start = hash::short(&format!("{} {} {}", self.pod, std::process::id(), boottime_millis()));
        Candidate { lease: self.name.clone(), identity: format!("{}_{start}", self.pod), duration: self.duration }
    }
}
