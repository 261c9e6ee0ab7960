//! One of several processes leads: the one that holds a Lease of Kubernetes.
//!
//! The leader renews the lease every two seconds, each time with the version that it has read, and writes only until ten seconds after the
//! last renewal was sent ([`Fence`]). Others take the lease once they have seen it unchanged for fifteen, or at once when it was released.
//! So no two processes write at one time, however their clocks are set, and also when one of them was stopped in between.

mod election;

pub use election::Candidate;

use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use stockpipeline_program::clock::boottime_millis;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::error::chain;
use crate::process::fence::Fence;
use crate::process::http::Health;
use election::{Sight, Step, holder, is_older, released, renewed};

/// How long the lease is fought for; `duration` of the [`Candidate`] is longer than all of these together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// How long after the last renewal was sent the leader may write.
    pub renew_deadline: Duration,
    /// Time between two renewals, and between two looks of one who stands by.
    pub retry: Duration,
    /// How long one request may take.
    pub request: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { renew_deadline: Duration::from_secs(10), retry: Duration::from_secs(2), request: Duration::from_secs(5) }
    }
}

/// Why this process does not lead any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The lease could not be renewed in time, or the process was stopped.
    #[error("lease {lease} was not renewed in time; check that the API server is reachable and that this process gets CPU")]
    Expired {
        /// Name of the lease.
        lease: String,
    },
    /// Another process holds it.
    #[error("lease {lease} was taken by {holder}")]
    Taken {
        /// Name of the lease.
        lease: String,
        /// Who has it.
        holder: String,
    },
    /// The cluster's state was set back behind what this process has seen, so nothing that it knows may be true.
    #[error("lease {lease} is older than this process wrote it: the cluster was set back to an older state; starting anew")]
    SetBack {
        /// Name of the lease.
        lease: String,
    },
}

/// A request about the lease that has failed.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("failed to {act} lease {lease}; the operator needs get, create, update and watch on leases of its namespace")]
    Request { act: &'static str, lease: String, source: Box<kube::Error> },
    #[error("failed to {act} lease {lease} in time; check that the API server is reachable")]
    Timeout { act: &'static str, lease: String },
}

impl LeaseError {
    fn is_conflict(&self) -> bool {
        match self {
            Self::Request { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() || status.is_not_found())
            }
            Self::Timeout { .. } => false,
        }
    }
}

/// One process's part in the election.
pub struct Elector {
    /// The leases of the operator's namespace. Their client is not fenced.
    pub leases: Api<Lease>,
    /// Who this is.
    pub candidate: Candidate,
    /// How often and how long.
    pub rhythm: Rhythm,
    /// What lets this process write.
    pub fence: Fence,
    /// What is told of each look.
    pub health: Health,
    sight: Sight,
    held: Option<Lease>,
}

impl Elector {
    /// Returns one who stands by; `leases` are those of the operator's namespace, by a client that no fence holds back.
    #[must_use]
    pub fn new(leases: Api<Lease>, candidate: Candidate, fence: Fence, health: Health) -> Self {
        Self { leases, candidate, rhythm: Rhythm::default(), fence, health, sight: Sight::default(), held: None }
    }

    /// Returns once this process holds the lease and its fence is open. What fails is tried again for ever.
    ///
    /// Dropped early, it may leave a lease that was just taken: [`Elector::release`] gives back that one too.
    pub async fn acquire(&mut self) -> Result<(), Lost> {
        info!(lease = self.candidate.lease, identity = self.candidate.identity, "standing by");
        loop {
            match self.stand_by().await {
                Ok(Some(sent_millis)) => {
                    self.open(sent_millis)?;
                    info!(lease = self.candidate.lease, identity = self.candidate.identity, "leading");
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) if error.is_conflict() => debug!(error = chain(&error), "another process was faster"),
                Err(error) => warn!(error = chain(&error), "failed to compete for the lease"),
            }
            self.health.beat();
            sleep(self.rhythm.retry).await;
        }
    }

    /// Renews the lease until it is lost, and returns why.
    pub async fn keep(&mut self) -> Lost {
        loop {
            sleep(self.rhythm.retry).await;
            if let Err(lost) = self.renew().await {
                self.fence.shut();
                return lost;
            }
            self.health.beat();
        }
    }

    /// Shuts the fence and gives the lease back if this process holds it, so that another one need not wait for its end.
    pub async fn release(&mut self) {
        self.fence.shut();
        match self.give_back().await {
            Ok(()) => {}
            Err(error) => warn!(error = chain(&error), "failed to release the lease; others wait for its end"),
        }
    }

    /// Looks at the lease, and then at its changes, until it is taken (returns when that was sent) or nothing more can be seen.
    async fn stand_by(&mut self) -> Result<Option<u64>, LeaseError> {
        let mut found = self.read().await?;
        let version = found.as_ref().and_then(|lease| lease.metadata.resource_version.clone()).unwrap_or_default();
        let mut changes = None;
        loop {
            self.health.reached();
            let sent_millis = boottime_millis();
            let left = match self.sight.judge(&self.candidate, found, sent_millis, Timestamp::now()) {
                Step::Create(lease) => {
                    self.held = Some(self.create(&lease).await?);
                    return Ok(Some(sent_millis));
                }
                Step::Take(lease) => {
                    self.held = Some(self.replace("take", &lease).await?);
                    return Ok(Some(sent_millis));
                }
                Step::Wait(left) => left,
            };
            if changes.is_none() {
                changes = Some(Box::pin(self.watch(&version).await?));
            }
            let Some(stream) = changes.as_mut() else { return Ok(None) };
            found = match timeout(left, stream.next()).await {
                Ok(Some(change)) => change,
                Ok(None) | Err(_) => return Ok(None),
            };
        }
    }

    fn open(&self, sent_millis: u64) -> Result<(), Lost> {
        let deadline_millis = u64::try_from(self.rhythm.renew_deadline.as_millis()).unwrap_or(u64::MAX);
        self.fence.open_until(sent_millis.saturating_add(deadline_millis)).map_err(|_fenced| self.expired())
    }

    fn expired(&self) -> Lost {
        Lost::Expired { lease: self.candidate.lease.clone() }
    }

    async fn renew(&mut self) -> Result<(), Lost> {
        let Some(held) = self.held.clone() else { return Err(self.expired()) };
        self.fence.check().map_err(|_fenced| self.expired())?;
        let sent_millis = boottime_millis();
        match self.replace("renew", &renewed(held, Timestamp::now())).await {
            Ok(lease) => {
                self.open(sent_millis)?;
                self.held = Some(lease);
                self.health.reached();
            }
            Err(error) if error.is_conflict() => self.look_who_holds().await?,
            Err(error) => warn!(error = chain(&error), "failed to renew the lease"),
        }
        Ok(())
    }

    /// The reply of an earlier renewal may have been lost, or somebody has edited the lease: then it is still ours, in another version.
    async fn look_who_holds(&mut self) -> Result<(), Lost> {
        match self.read().await {
            // Watches that go on from a version of the future would hear of nothing until it has come again.
            Ok(Some(lease)) if self.held.as_ref().is_some_and(|held| is_older(&lease, held)) => {
                return Err(Lost::SetBack { lease: self.candidate.lease.clone() });
            }
            Ok(Some(lease)) if self.candidate.holds(&lease) => self.held = Some(lease),
            Ok(found) => {
                let holder = found.as_ref().and_then(holder).unwrap_or("nobody").to_owned();
                return Err(Lost::Taken { lease: self.candidate.lease.clone(), holder });
            }
            Err(error) => warn!(error = chain(&error), "failed to see who holds the lease"),
        }
        Ok(())
    }

    async fn give_back(&mut self) -> Result<(), LeaseError> {
        self.held = None;
        let Some(lease) = self.read().await?.filter(|lease| self.candidate.holds(lease)) else { return Ok(()) };
        self.replace("release", &released(lease, Timestamp::now())).await?;
        info!(lease = self.candidate.lease, "released the lease");
        Ok(())
    }

    async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        self.within("read", self.leases.get_opt(&self.candidate.lease)).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.within("create", self.leases.create(&PostParams::default(), lease)).await
    }

    /// Fails with a conflict when somebody has written since the lease was read.
    async fn replace(&self, act: &'static str, lease: &Lease) -> Result<Lease, LeaseError> {
        self.within(act, self.leases.replace(&self.candidate.lease, &PostParams::default(), lease)).await
    }

    /// Returns the lease after each change from a version on; None once it is deleted. Ends with the watch.
    async fn watch(&self, version: &str) -> Result<impl Stream<Item = Option<Lease>> + use<>, LeaseError> {
        let parameters = WatchParams::default().fields(&format!("metadata.name={}", self.candidate.lease));
        let events = self.within("watch", self.leases.watch(&parameters, version)).await?;
        Ok(events.take_while(|event| std::future::ready(event.is_ok())).filter_map(async |event| match event {
            Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => Some(Some(lease)),
            Ok(WatchEvent::Deleted(_)) => Some(None),
            Ok(WatchEvent::Bookmark(_) | WatchEvent::Error(_)) | Err(_) => None,
        }))
    }

    async fn within<T>(&self, act: &'static str, request: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
        let lease = || self.candidate.lease.clone();
        match timeout(self.rhythm.request, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(LeaseError::Request { act, lease: lease(), source: Box::new(source) }),
            Err(_elapsed) => Err(LeaseError::Timeout { act, lease: lease() }),
        }
    }
}
