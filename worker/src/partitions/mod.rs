//! Hive partitions in Glue: each is registered before its first object lands, and what is missing is found and repaired.
//!
//! The sink hands over what a plan will write and never waits for longer than [`LONGEST_WAIT`]: data does not depend on the catalogue. What
//! could not be registered is tried again in the background, one partition or one table without the others; what was dropped, or lost with a
//! worker, is found by an audit: that of the sink that has dropped it, or that owns Kafka partition 0.
//!
//! | file | what it does |
//! |---|---|
//! | [`mod@self`] | the handle of the sink: hands over, waits, reports |
//! | `registrar` | registers what was handed over for a table, and tries again |
//! | `audit` | compares what is stored of a table with what is registered |
//! | `halving` | finds the bad entries of a batch that is refused (pure) |
//! | `state` | what is known, missing and counted (pure) |
//! | `glue` | Glue's API |

mod audit;
mod glue;
mod halving;
mod registrar;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use stockpipeline::Pipeline;
use stockpipeline::operations::PartitionMode;
use stockpipeline::plan::{Plan, ZoneName};
use stockpipeline::rules::Transform;
use stockpipeline::status::TablePartitions;
use stockpipeline::table::SEALED_DAY;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::metrics::PartitionMetrics;
use crate::store::{Credentials, Store};
use audit::Audit;
use glue::Glue;
use state::{Entry, State};

/// Longest time that an object waits until its partition is registered.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Plans that may wait for a table to be looked at; more are dropped, and an audit finds their partitions.
const MAX_WAITING: usize = 64;

/// What the registrar needs. Nothing else is read from anywhere.
#[derive(Debug, Clone)]
pub struct Settings {
    /// AWS region.
    pub region: String,
    /// Endpoint of Glue; AWS's own without it.
    pub endpoint: Option<String>,
    /// Catalogue (account); that of the credentials without it.
    pub catalog_id: Option<String>,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// Bucket of the zones.
    pub bucket: String,
    /// Database of the tables.
    pub database: String,
    /// The tables.
    pub tables: Vec<ZoneTable>,
    /// When things are done.
    pub timing: Timing,
}

/// The table of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneTable {
    /// Zone.
    pub zone: ZoneName,
    /// Name of the table.
    pub table: String,
    /// Prefix of the zone's objects, without a slash at its end.
    pub prefix: String,
    /// Names of the Hive partitions in path order, and whether their values grow with time.
    pub keys: Vec<(String, bool)>,
}

/// When things are done.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Time between two audits of the newest partitions.
    pub audit_newest: Duration,
    /// Time between two audits of all partitions.
    pub audit_all: Duration,
    /// Pause before the first retry; it doubles.
    pub first_retry: Duration,
}

/// The catalogue's partitions, as a sink sees them. Clones are the same.
#[derive(Debug, Clone)]
pub struct Partitions {
    shared: Arc<Shared>,
    /// The registrar of each table.
    registrars: Vec<mpsc::Sender<Handed>>,
}

/// What all tasks share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    glue: Glue,
    metrics: PartitionMetrics,
    state: Mutex<State>,
    is_auditor: AtomicBool,
}

/// Partitions of one table, and who waits for them.
#[derive(Debug)]
struct Handed {
    entries: Vec<Entry>,
    done: oneshot::Sender<()>,
}

/// Partitions that were handed over.
#[derive(Debug, Default)]
pub struct Announcement(Vec<oneshot::Receiver<()>>);

impl Default for Timing {
    fn default() -> Self {
        Self { audit_newest: Duration::from_mins(10), audit_all: Duration::from_hours(24), first_retry: Duration::from_secs(1) }
    }
}

impl Settings {
    /// Returns the settings of a pipeline; None where it has no catalogue, or where Athena computes the partitions.
    #[must_use]
    pub fn of(pipeline: &Pipeline, credentials: Credentials) -> Option<Self> {
        let (names, settings) = (pipeline.glue.as_ref()?, pipeline.operations.glue.as_ref()?);
        if settings.partitions != PartitionMode::Registered {
            return None;
        }
        let rules = pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema);
        let mut tables = Vec::new();
        if let Some(zone) = &rules.processed {
            let keys = zone.partition_by.iter().map(|field| (field.name.clone(), grows(&field.transform))).collect();
            tables.push(ZoneTable { zone: ZoneName::Processed, table: names.processed_table.clone(), prefix: zone.prefix.clone(), keys });
        }
        let sealed_day = || vec![(SEALED_DAY.to_owned(), true)];
        if let (Some(zone), Some(table)) = (&rules.raw, &names.raw_table) {
            tables.push(ZoneTable { zone: ZoneName::Raw, table: table.clone(), prefix: zone.prefix.clone(), keys: sealed_day() });
        }
        if let Some(table) = &names.dead_letters_table {
            let prefix = rules.dead_letters.prefix.clone();
            tables.push(ZoneTable { zone: ZoneName::DeadLetters, table: table.clone(), prefix, keys: sealed_day() });
        }
        // Without partitions there is nothing to register.
        tables.retain(|table| !table.keys.is_empty());
        Some(Self {
            region: pipeline.aws.region.clone(),
            endpoint: pipeline.operations.control_plane.glue_endpoint.clone(),
            catalog_id: settings.catalog_id.clone(),
            credentials,
            bucket: pipeline.sink.bucket.clone(),
            database: names.database.clone(),
            tables,
            timing: Timing::default(),
        })
    }
}

fn grows(transform: &Transform) -> bool {
    match transform {
        Transform::Year { .. } | Transform::Month { .. } | Transform::Day { .. } | Transform::Hour { .. } => true,
        Transform::Identity | Transform::Bucket { .. } | Transform::Truncate { .. } => false,
    }
}

impl Partitions {
    /// Starts the tasks on a runtime; they end with `shutdown`. `store` is the audit's own: its trouble is not the sink's.
    pub async fn start(settings: Settings, store: Store, metrics: PartitionMetrics, shutdown: CancellationToken) -> Self {
        let glue = Glue::connect(&settings, metrics.clone()).await;
        let state = Mutex::new(State::new(&settings));
        let shared = Arc::new(Shared { settings, glue, metrics, state, is_auditor: AtomicBool::new(false) });
        let runtime = Handle::current();
        let mut registrars = Vec::with_capacity(shared.settings.tables.len());
        for table in 0..shared.settings.tables.len() {
            let (registrar, inbox) = mpsc::channel(MAX_WAITING);
            runtime.spawn(registrar::serve(Arc::clone(&shared), table, inbox, shutdown.clone()));
            let audit = Audit { shared: Arc::clone(&shared), store: store.clone(), table, registrar: registrar.clone() };
            runtime.spawn(audit.serve(shutdown.clone()));
            registrars.push(registrar);
        }
        Self { shared, registrars }
    }

    /// Hands over the partitions that a plan writes to. Never waits.
    #[must_use]
    pub fn announce(&self, plan: &Plan) -> Announcement {
        let unknown = self.shared.unknown(plan);
        let mut waiters = Vec::new();
        for (table, registrar) in self.registrars.iter().enumerate() {
            let entries: Vec<Entry> = unknown.iter().filter(|entry| entry.table == table).cloned().collect();
            if entries.is_empty() {
                continue;
            }
            let (done, waiter) = oneshot::channel();
            if registrar.try_send(Handed { entries, done }).is_ok() {
                waiters.push(waiter);
            } else {
                self.shared.metrics.dropped();
                self.shared.state().owe_audit(table);
            }
        }
        Announcement(waiters)
    }

    /// Says whether this sink audits the partitions of all: the owner of Kafka partition 0 does.
    pub fn audits(&self, is_auditor: bool) {
        self.shared.is_auditor.store(is_auditor, Ordering::Relaxed);
    }

    /// Returns what the catalogue lacks, in words, and what is known of each table's partitions.
    #[must_use]
    pub fn report(&self) -> (Vec<String>, Vec<TablePartitions>) {
        let state = self.shared.state();
        (state.lacks(), state.tables())
    }
}

impl Announcement {
    /// Waits until the partitions are registered, or cannot be at present, for [`LONGEST_WAIT`] at most.
    pub async fn settled(self) {
        if tokio::time::timeout(LONGEST_WAIT, join_all(self.0)).await.is_err() {
            tracing::debug!("objects go ahead of their partitions: Glue takes its time");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the partitions of a plan that are not known to be registered.
    fn unknown(&self, plan: &Plan) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let state = self.state();
        for object in &plan.objects {
            let Some(table) = self.settings.tables.iter().position(|table| table.zone == object.zone) else { continue };
            let Some((folder, _)) = object.key.rsplit_once('/') else { continue };
            let entry = Entry { table, hive: object.hive.clone(), folder: format!("{folder}/") };
            if !state.is_known(&entry) && !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        entries
    }
}
