//! The conductor: keeps every pipeline as it is declared until it is told to stop.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::error::Retry;
use crate::settings::Settings;

/// What every reconcile shares.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// The operator's settings.
    pub settings: Arc<Settings>,
}

/// Why the operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// A watch has ended.
    #[error("the watch of pipelines has ended")]
    WatchEnded,
}

impl ControllerError {
    /// Returns when to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::WatchEnded => Retry::Backoff,
        }
    }
}

/// Keeps every pipeline as it is declared until `shutdown` is cancelled.
///
/// # Errors
/// [`ControllerError`] when it cannot go on; the process ends then.
pub async fn run(_context: Context, shutdown: CancellationToken) -> Result<(), ControllerError> {
    shutdown.cancelled().await;
    Ok(())
}
