//! Brings Glue and Athena to what [`crate::catalog::decide`] decides, or says what it would do.
//!
//! | file | what it does |
//! |---|---|
//! | [`mod@self`] | clients, limits and the order of things |
//! | `tables` | database, tables and crawler |
//! | `partitions` | registered partitions that follow their table |
//! | `indexes` | partition indexes of tables that are there |
//! | `athena` | workgroup and saved queries |
//! | `views` | views |
//! | `removal` | what a deletion policy names |
//!
//! Each write is decided on what was read just before, and each step finds on its own what an earlier look has left undone, so that a
//! process that dies in between, or a second one, comes to the same end.

mod athena;
mod indexes;
mod partitions;
mod removal;
mod tables;
mod views;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use stockpipeline::operations::DeletionPolicy;
use thiserror::Error;
use tokio::time::Instant;

use crate::catalog::aws::athena::{Athena, AthenaClient};
use crate::catalog::aws::glue::{Glue, GlueClient};
use crate::catalog::aws::limiter::{Limiter, Limiters, Scope};
use crate::catalog::aws::{Caller, Failure, FailureKind, NotGranted, check_grants, configuration};
use crate::catalog::decide::{CatalogReport, CatalogState, Mode, Place, Policy, Removal, Verdict, WantedCatalogue, account_of};
use crate::error::Retry;
use crate::metrics::{Metrics, Service};
use crate::process::fence::Fence;
use crate::settings::{Grants, Rates, Settings};
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

use athena::Listings;
use partitions::Walks;

/// How long one look at a catalogue may take; below the minute that a reconcile has.
const LOOK_TIMEOUT: Duration = Duration::from_secs(50);
/// Places whose clients are kept; more only cost new connections.
const MAX_PLACES: usize = 64;

/// Glue and Athena of all pipelines. Clones share clients and limits.
#[derive(Debug, Clone)]
pub struct Catalogue {
    shared: Arc<Shared>,
    fence: Fence,
}

#[derive(Debug)]
struct Shared {
    grants: Grants,
    metrics: Metrics,
    limiters: Limiters,
    options: Options,
    clients: Mutex<HashMap<Key, Clients>>,
    walks: Walks,
    listings: Listings,
}

/// How AWS is called, where the defaults do not fit.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests a second to Glue, of each account and region.
    pub glue_per_second: u32,
    /// Requests a second to Athena, of each account and region.
    pub athena_per_second: u32,
    /// Credentials in place of those that AWS' default chain finds, for endpoints that check none.
    pub credentials: Option<Credentials>,
}

/// Whose clients can be shared: the place, and the namespace where a role is taken, since that shows in its session.
type Key = (Place, Option<String>);

#[derive(Debug, Clone)]
struct Clients {
    glue: GlueClient,
    athena: AthenaClient,
}

/// One look at one pipeline's catalogue.
struct Look<'a> {
    shared: &'a Shared,
    wanted: &'a WantedCatalogue,
    /// What may be done to tables and views, with what the operator's settings grant.
    policy: Policy,
    seen: &'a CatalogState,
    glue: Glue,
    athena: Athena,
}

/// Why the catalogue of a deleted pipeline cannot be removed.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The operator's settings do not grant it.
    #[error("failed to reach the catalogue")]
    NotGranted(#[source] NotGranted),
    /// AWS did not serve a call.
    #[error("failed to remove {object}")]
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
                FailureKind::AccessDenied | FailureKind::Limit => Retry::User,
                FailureKind::Throttled | FailureKind::Unavailable => Retry::Backoff,
                FailureKind::Concurrent | FailureKind::NotFound => Retry::Fast,
                FailureKind::Invalid | FailureKind::AlreadyExists => Retry::Terminal,
            },
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        let Rates { glue_per_second, athena_per_second } = Rates::default();
        Self { glue_per_second, athena_per_second, credentials: None }
    }
}

impl Catalogue {
    /// Returns the catalogue; connects to nothing yet.
    #[must_use]
    pub fn new(settings: &Settings, metrics: Metrics) -> Self {
        let Rates { glue_per_second, athena_per_second } = settings.rates;
        Self::with_options(settings, metrics, Options { glue_per_second, athena_per_second, credentials: None })
    }

    /// Returns a catalogue that calls AWS in another way than by default.
    #[must_use]
    pub fn with_options(settings: &Settings, metrics: Metrics, options: Options) -> Self {
        let shared = Shared {
            grants: settings.grants.clone(),
            metrics,
            limiters: Limiters::default(),
            options,
            clients: Mutex::default(),
            walks: Walks::default(),
            listings: Listings::default(),
        };
        Self { shared: Arc::new(shared), fence: Fence::open() }
    }

    /// Returns the same catalogue for a process that may write only while a fence is open.
    #[must_use]
    pub fn behind(self, fence: Fence) -> Self {
        Self { fence, ..self }
    }

    /// Brings Glue and Athena to what is wanted, or says what that would take. Ends within a minute and never fails: what goes wrong is in
    /// the report. Cancelling it leaves nothing that the next look does not find.
    pub async fn sync(&self, wanted: &WantedCatalogue, seen: &CatalogState, mode: Mode) -> CatalogReport {
        let mut verdict = Verdict::new(mode);
        let look = match self.look(wanted, seen).await {
            Ok(look) => look,
            Err(refusal) => {
                verdict.not_granted(&refusal);
                let columns_wait = Some(refusal.to_string());
                return CatalogReport { athena: seen.remembered(), columns_wait, ..verdict.report("") };
            }
        };
        // Boxed, since whoever waits for this holds all of it in its own future.
        let tables = Box::pin(look.sync_tables(&mut verdict)).await;
        let athena = Box::pin(look.sync_athena(&mut verdict, tables.are_there)).await;
        let mut report = verdict.report(&summary(wanted));
        report.tables = tables.statuses;
        report.crawler = tables.crawler;
        report.columns_wait = tables.columns_wait;
        report.athena = athena;
        report
    }

    /// Takes away crawler, saved queries and views of a pipeline that has no catalogue any more; `last` is what it wanted when it had one. Its
    /// tables stay. Never fails: what goes wrong is in the report.
    pub async fn leave(&self, last: WantedCatalogue, seen: &CatalogState, mode: Mode) -> CatalogReport {
        let nothing = WantedCatalogue { crawler: None, athena: None, ..last };
        let look = match self.look(&nothing, seen).await {
            Ok(look) => look,
            Err(refusal) => {
                let finding = Finding { reason: CatalogSynced::AccessDenied, message: refusal.to_string() };
                return CatalogReport::left(seen, finding, Retry::User);
            }
        };
        let mut verdict = Verdict::new(mode);
        let crawler = Box::pin(look.leave_crawler(&mut verdict)).await;
        let athena = Box::pin(look.leave_athena(&mut verdict)).await;
        let report = CatalogReport { crawler, athena, ..verdict.report("") };
        let finding = match (report.retry, report.finding.reason) {
            (Some(retry), _) => CatalogReport::left(seen, report.finding, retry).finding,
            (None, CatalogSynced::DriftReported) => report.finding,
            (None, _) => CatalogReport::not_required().finding,
        };
        CatalogReport { finding, ..report }
    }

    /// Removes what a deletion policy names and the pipeline has made. What is gone already is fine.
    ///
    /// # Errors
    /// [`CatalogError`]; what was removed before stays removed, and the next call goes on.
    pub async fn remove(&self, wanted: &WantedCatalogue, seen: &CatalogState, policy: DeletionPolicy) -> Result<Removal, CatalogError> {
        let look = self.look(wanted, seen).await.map_err(CatalogError::NotGranted)?;
        Box::pin(look.remove(policy)).await
    }

    async fn look<'a>(&'a self, wanted: &'a WantedCatalogue, seen: &'a CatalogState) -> Result<Look<'a>, NotGranted> {
        check_grants(&wanted.place, &wanted.namespace, &self.shared.grants)?;
        let clients = Box::pin(self.clients(wanted)).await;
        let deadline = Instant::now() + LOOK_TIMEOUT;
        let caller = |service| Caller {
            service,
            limiter: self.limiter(&wanted.place, service),
            metrics: self.shared.metrics.clone(),
            fence: self.fence.clone(),
            deadline,
        };
        // A role of its own reaches what was given to it; the operator's reaches what is others'.
        let may_adopt = wanted.place.role_arn.is_some() || self.shared.grants.adoption(&wanted.namespace, &wanted.database.name);
        Ok(Look {
            shared: &self.shared,
            wanted,
            policy: Policy { may_adopt, ..wanted.policy },
            seen,
            glue: clients.glue.with(caller(Service::Glue), wanted.place.catalog_id.clone()),
            athena: clients.athena.with(caller(Service::Athena)),
        })
    }

    async fn clients(&self, wanted: &WantedCatalogue) -> Clients {
        let place = Place { catalog_id: None, ..wanted.place.clone() };
        let key: Key = (place, wanted.place.role_arn.as_ref().map(|_| wanted.namespace.clone()));
        if let Some(clients) = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return clients.clone();
        }
        let credentials = self.shared.options.credentials.clone();
        let configuration = configuration(&wanted.place, &wanted.namespace, credentials, &self.shared.metrics).await;
        let made = Clients {
            glue: GlueClient::new(&configuration, wanted.place.glue_endpoint.as_deref(), &self.fence),
            athena: AthenaClient::new(&configuration, wanted.place.athena_endpoint.as_deref(), &self.fence),
        };
        let mut kept = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_PLACES {
            kept.clear();
        }
        // Another look may have made some in the meantime.
        kept.entry(key).or_insert(made).clone()
    }

    fn limiter(&self, place: &Place, service: Service) -> Limiter {
        let (endpoint, name, rate) = match service {
            Service::Glue => (&place.glue_endpoint, "glue", self.shared.options.glue_per_second),
            Service::Athena => (&place.athena_endpoint, "athena", self.shared.options.athena_per_second),
            Service::Sts => (&place.sts_endpoint, "sts", self.shared.options.glue_per_second),
        };
        // A role's ARN holds the account; without a role it is the operator's own.
        let account = place.role_arn.as_deref().and_then(account_of).unwrap_or("own");
        let account = endpoint.clone().unwrap_or_else(|| account.to_owned());
        self.shared.limiters.of(&Scope { account, region: place.region.clone(), service: name }, rate)
    }
}

/// Returns what is in order if all is.
fn summary(wanted: &WantedCatalogue) -> String {
    let mut parts = vec![format!("{} tables in database {}", wanted.tables.len(), wanted.database.name)];
    if let Some(athena) = &wanted.athena {
        parts.push(format!("workgroup {}", athena.workgroup.name));
        for (count, what) in [(athena.queries.len(), "saved queries"), (athena.views.len(), "views")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
    }
    format!("{} as declared", parts.join(", "))
}
