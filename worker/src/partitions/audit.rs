//! Compares what is stored of one table with what is registered, and repairs: the newest partitions often, all of them once a day, and all of
//! them soon where some went by unseen.
//!
//! The folders of a zone are listed level by level, so an audit costs one listing a folder of folders and one call of Glue a hundred
//! partitions, however many objects there are. What is missing is the registrar's to register.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockpipeline::layout::{NULL_PARTITION, unescape};
use stockpipeline_program::clock::wall_millis;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::glue::{BATCH, Failure, NewPartition, Registered, TableDescriptor};
use super::halving::Halving;
use super::state::{Entry, told};
use super::{Handed, Shared, ZoneTable};
use crate::error::line;
use crate::store::Store;

/// Time between two looks at whether an audit is due, and the first pause after one that failed.
const TICK: Duration = Duration::from_secs(1);
/// Values of a level of time that count as its newest.
const NEWEST: usize = 2;
/// Listings of one audit of the newest partitions; zones that are partitioned by something else than time have more folders.
const MAX_LISTINGS: usize = 200;
/// Pause between two calls of Glue, so that an audit takes little of what the account may call.
const PAUSE: Duration = Duration::from_millis(50);

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Newest,
    All,
}

/// Folders that are left to look into: path, level, and whether its newest values were chosen already.
type Folder = (String, usize, bool);

/// The audits of one table.
#[derive(Debug)]
pub(super) struct Audit {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) table: usize,
    pub(super) registrar: mpsc::Sender<Handed>,
}

/// What one audit has found.
#[derive(Debug, Default)]
struct Found {
    seen: u64,
    repaired: u64,
    /// The first partition that cannot be given the table's descriptor, and why.
    stale: Option<String>,
    /// What may heal by itself, so that the audit is to be repeated.
    trouble: Option<String>,
}

/// A registered partition that does not follow the table.
#[derive(Debug)]
struct Stale {
    entry: Entry,
    partition: NewPartition,
    registered: Registered,
}

impl Audit {
    /// Audits until `shutdown`, while this sink is the one that does, or owes it.
    pub(super) async fn serve(self, shutdown: CancellationToken) {
        let timing = self.shared.settings.timing;
        let first_pause = TICK.min(timing.audit_newest);
        let (mut next_at, mut all_at, mut pause): (Option<Instant>, Option<Instant>, Duration) = (None, None, first_pause);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(first_pause) => {}
            }
            let (now, owes) = (Instant::now(), self.shared.state().owes_audit(self.table));
            let is_ours = owes || self.shared.is_auditor.load(Ordering::Relaxed);
            if !is_ours || next_at.is_some_and(|at| at > now) {
                continue;
            }
            let is_whole = owes || all_at.is_none_or(|at| now.duration_since(at) >= timing.audit_all);
            let extent = if is_whole { Extent::All } else { Extent::Newest };
            let is_done = tokio::select! {
                () = shutdown.cancelled() => return,
                is_done = self.run(extent) => is_done,
            };
            // What could not be looked at is looked at again, ever more rarely.
            next_at = Some(Instant::now() + if is_done { timing.audit_newest } else { pause });
            pause = if is_done { first_pause } else { (pause * 2).min(timing.audit_newest) };
            if is_done && is_whole {
                all_at = Some(now);
            }
        }
    }

    /// Returns whether an audit came to its end.
    async fn run(&self, extent: Extent) -> bool {
        let Some(table) = self.shared.settings.tables.get(self.table) else { return true };
        if extent == Extent::All {
            self.shared.state().pay_audit(self.table);
        }
        match self.look(table, extent).await {
            Ok(0) => true,
            Ok(repaired) => {
                tracing::info!(table = table.table, repaired, "partitions that the catalogue lacked are registered");
                true
            }
            Err(reason) => {
                if extent == Extent::All {
                    self.shared.state().owe_audit(self.table);
                }
                tracing::warn!(table = table.table, reason, "failed to audit partitions; trying again");
                false
            }
        }
    }

    /// Returns how many partitions were repaired.
    async fn look(&self, table: &ZoneTable, extent: Extent) -> Result<u64, String> {
        // Without a table there is nothing to compare with; the status says that it is missing.
        self.descriptor().await?;
        let mut folders: Vec<Folder> = vec![(format!("{}/", table.prefix), 0, false)];
        let (mut batch, mut found, mut listings): (Vec<Entry>, Found, usize) = (Vec::new(), Found::default(), 0);
        while let Some((folder, level, chosen)) = folders.pop() {
            if extent == Extent::Newest && listings >= MAX_LISTINGS {
                break;
            }
            listings += 1;
            let mut paths = self.store.prefixes(&folder, "/").await.map_err(|error| line(&error))?;
            let Some((key, grows)) = table.keys.get(level) else { continue };
            let choose = extent == Extent::Newest && *grows && !chosen;
            // Rows without a time are not new, though their folder is the last one.
            paths.retain(|path| value(path, key).is_some_and(|value| !choose || value != NULL_PARTITION));
            if choose {
                paths = paths.split_off(paths.len().saturating_sub(NEWEST));
            }
            let is_last = level + 1 == table.keys.len();
            for path in paths {
                if !is_last {
                    folders.push((path, level + 1, chosen || choose));
                    continue;
                }
                found.seen += 1;
                batch.extend(entry(self.table, table, path));
                if batch.len() == BATCH {
                    self.compare(table, std::mem::take(&mut batch), &mut found).await?;
                }
            }
        }
        self.compare(table, batch, &mut found).await?;
        let all = (extent == Extent::All).then_some(found.seen);
        self.shared.state().audited(self.table, all, found.stale, wall_millis());
        found.trouble.map_or(Ok(found.repaired), Err)
    }

    async fn descriptor(&self) -> Result<Arc<TableDescriptor>, String> {
        self.shared.descriptor(self.table).await?.ok_or_else(|| "the table is not there".to_owned())
    }

    /// Compares partitions, [`BATCH`] at most. What Glue refuses of them is told and passed over.
    async fn compare(&self, table: &ZoneTable, entries: Vec<Entry>, found: &mut Found) -> Result<(), String> {
        tokio::time::sleep(PAUSE).await;
        let descriptor = self.descriptor().await?;
        let mut partitions = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(partition) = self.shared.partition(&entry, &descriptor) else {
                return Err(format!("the partition keys of table {} are not those of its zone", table.table));
            };
            partitions.push((entry, partition));
        }
        let (mut missing, mut stale) = (Vec::new(), Vec::new());
        let mut halving = Halving::of(partitions);
        while let Some((pause, part)) = halving.next() {
            tokio::time::sleep(pause).await;
            let wanted: Vec<NewPartition> = part.iter().map(|(_, partition)| partition.clone()).collect();
            let mut registered = match self.shared.glue.find(&table.table, &wanted).await {
                Ok(registered) => registered,
                Err(failure) if failure.is_about_input() => {
                    halving.refused(part, failure);
                    continue;
                }
                Err(failure) => return Err(told(&failure)),
            };
            for (entry, partition) in part {
                match registered.remove(&partition.values) {
                    None => missing.push(entry),
                    Some(registered) if registered.follows(&descriptor, &partition.location) => {
                        let mut known = self.shared.state();
                        known.registered(&entry, false);
                    }
                    Some(registered) => stale.push(Stale { entry, partition, registered }),
                }
            }
        }
        // Whether Glue takes what it does not look up is the registrar's to find out.
        let untaken = halving.end();
        missing.extend(untaken.alone.into_iter().chain(untaken.rest).map(|((entry, _), _)| entry));
        found.repaired += self.hand_over(missing).await;
        self.update(table, &descriptor, stale, found).await
    }

    /// Has partitions registered and returns how many are then.
    async fn hand_over(&self, missing: Vec<Entry>) -> u64 {
        if missing.is_empty() {
            return 0;
        }
        // Somebody has taken away what was registered before.
        for entry in &missing {
            self.shared.state().forget(entry);
        }
        let (done, waiter) = oneshot::channel();
        if self.registrar.send(Handed { entries: missing.clone(), done }).await.is_err() {
            return 0;
        }
        // It says that it is done by letting go.
        drop(waiter.await);
        let state = self.shared.state();
        missing.iter().filter(|entry| state.is_known(entry)).count() as u64
    }

    /// Gives partitions the table's descriptor.
    async fn update(&self, table: &ZoneTable, descriptor: &TableDescriptor, stale: Vec<Stale>, found: &mut Found) -> Result<(), String> {
        let mut halving = Halving::of(stale);
        while let Some((pause, part)) = halving.next() {
            tokio::time::sleep(pause).await;
            let wanted: Vec<_> = part.iter().map(|stale| (&stale.partition, &stale.registered)).collect();
            match self.shared.glue.update(&table.table, descriptor, &wanted).await {
                Ok(failures) => {
                    for (stale, failure) in part.iter().zip(failures) {
                        if let Some(failure) = failure {
                            found.refused(&stale.entry, &failure);
                        } else {
                            found.repaired += 1;
                            self.shared.state().registered(&stale.entry, false);
                        }
                    }
                }
                Err(failure) if failure.is_about_input() => halving.refused(part, failure),
                Err(failure) => return Err(told(&failure)),
            }
        }
        let untaken = halving.end();
        untaken.alone.iter().for_each(|(stale, failure)| found.refused(&stale.entry, failure));
        if let Some((_, failure)) = untaken.rest.first() {
            found.trouble = Some(told(failure));
        }
        Ok(())
    }
}

impl Found {
    fn refused(&mut self, entry: &Entry, failure: &Failure) {
        let reason = format!("{} is not as the table says: {}", entry.folder, told(failure));
        if !failure.is_about_input() {
            self.trouble = Some(reason.clone());
        }
        self.stale.get_or_insert(reason);
    }
}

/// Returns the value that the last folder of a path has for a key.
fn value(path: &str, key: &str) -> Option<String> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    unescape(name.strip_prefix(key)?.strip_prefix('=')?)
}

/// Returns the partition whose folder a path is.
fn entry(index: usize, table: &ZoneTable, path: String) -> Option<Entry> {
    let inside = path.strip_prefix(&table.prefix)?.trim_matches('/');
    let hive: Option<Vec<(String, String)>> =
        inside.split('/').zip(&table.keys).map(|(folder, (key, _))| Some((key.clone(), value(folder, key)?))).collect();
    Some(Entry { table: index, hive: hive?, folder: path })
}
