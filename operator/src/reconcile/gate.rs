//! When looks begin: a namespace's pipelines are looked at once everything of it has been listed, and none waits for another one for long.
//!
//! A namespace without its Role, or one that is gone, cannot be listed for as long as that lasts. It keeps no other from being looked at,
//! and until then the statuses of its pipelines say what is theirs.

use std::time::Duration;

use futures::future::try_join_all;
use kube::runtime::reflector::Store;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::accept;
use crate::error::chain;
use crate::observe::Stored;
use crate::reconcile::controller::{ControllerError, Shared};

/// Time between two looks at a list that several wait for: it wakes the last of them alone.
const AGAIN: Duration = Duration::from_secs(1);

/// What the looks at one namespace's pipelines, or at all, wait for.
pub(crate) struct Gate {
    namespace: Option<String>,
    pub(crate) store: Store<Stored>,
    listed: Vec<CancellationToken>,
    /// Cancelled once everything is listed.
    seen: CancellationToken,
    opened: CancellationToken,
}

impl Gate {
    /// Returns a gate that is shut. `listed` is cancelled by whoever has seen all that there is of a kind.
    pub(crate) fn new(namespace: Option<String>, store: Store<Stored>, listed: Vec<CancellationToken>) -> Self {
        Self { namespace, store, listed, seen: CancellationToken::new(), opened: CancellationToken::new() }
    }

    /// Returns the token that is cancelled when looks may begin.
    pub(crate) fn opened(&self) -> CancellationToken {
        self.opened.clone()
    }

    /// Returns whether it is the gate of a namespace.
    pub(crate) fn is_of(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Returns whether everything is listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.seen.is_cancelled()
    }

    async fn listing(&self) -> Result<(), ControllerError> {
        for token in &self.listed {
            token.cancelled().await;
        }
        loop {
            match tokio::time::timeout(AGAIN, self.store.wait_until_ready()).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return Err(ControllerError::WatchEnded),
                Err(_) => {}
            }
        }
        self.seen.cancel();
        Ok(())
    }

    async fn open(&self, shared: &Shared) -> Result<(), ControllerError> {
        self.listing().await?;
        register(shared).await;
        let (namespace, pipelines) = (self.namespace.as_deref().unwrap_or("all"), self.store.state().len());
        info!(namespace, pipelines, "caches are filled");
        self.opened.cancel();
        Ok(())
    }
}

/// Opens each gate when its time has come; returns once all are open.
///
/// # Errors
/// [`ControllerError`] when a watch has ended.
pub(crate) async fn open(shared: &Shared) -> Result<(), ControllerError> {
    let gates = &shared.gates;
    // Which of two pipelines keeps what both claim is best decided where both are known.
    let all = try_join_all(gates.iter().map(Gate::listing));
    match tokio::time::timeout(shared.context.settings.timing.listing_timeout, all).await {
        Ok(listed) => drop(listed?),
        Err(_) => {
            for gate in gates.iter().filter(|gate| !gate.is_listed()) {
                let namespace = gate.namespace.as_deref().unwrap_or("all");
                error!(
                    namespace,
                    "failed to list a namespace in time; its pipelines wait until the operator's role allows it, others do not"
                );
            }
        }
    }
    register(shared).await;
    try_join_all(gates.iter().map(|gate| gate.open(shared))).await.map(drop)
}

/// Notes what every pipeline claims that is not known yet. One whose revision cannot be read is asked for again before anything is decided
/// against it.
async fn register(shared: &Shared) {
    for object in shared.unregistered(None) {
        if let Err(error) = accept::register(shared, &object).await {
            let (namespace, name) = (object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
            warn!(namespace, name, error = chain(&error), "failed to read an accepted spec; it is tried again");
        }
    }
}
