//! Compares what is stored with what is registered, and repairs: the newest partitions often, all of them once a day.
//!
//! The folders of a zone are listed level by level, so an audit costs one listing a folder of folders and one call of Glue a hundred
//! partitions, however many objects there are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockpipeline::layout::unescape;
use tokio_util::sync::CancellationToken;

use super::glue::{BATCH, NewPartition, Registered};
use super::state::{Entry, told};
use super::{Shared, ZoneTable};
use crate::clock::wall_millis;
use crate::error::line;
use crate::store::Store;

/// Time between two looks at whether an audit is due.
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

/// Audits while this sink is the one that does, until `shutdown`.
pub(super) async fn serve(shared: Arc<Shared>, store: Store, shutdown: CancellationToken) {
    let (mut newest_at, mut all_at): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(TICK.min(shared.settings.timing.audit_newest)) => {}
        }
        if !shared.is_auditor.load(Ordering::Relaxed) {
            continue;
        }
        let now = Instant::now();
        let is_due = |at: Option<Instant>, every| at.is_none_or(|at| now.duration_since(at) >= every);
        let extent = match (is_due(all_at, shared.settings.timing.audit_all), is_due(newest_at, shared.settings.timing.audit_newest)) {
            (true, _) => Extent::All,
            (false, true) => Extent::Newest,
            (false, false) => continue,
        };
        newest_at = Some(now);
        tokio::select! {
            () = shutdown.cancelled() => return,
            is_whole = shared.audit(&store, extent) => {
                // What could not be looked at is looked at with the next pass.
                if extent == Extent::All && is_whole {
                    all_at = Some(now);
                }
            }
        }
    }
}

impl Shared {
    /// Looks at the partitions of all tables; returns whether nothing was left out.
    async fn audit(&self, store: &Store, extent: Extent) -> bool {
        let mut is_whole = true;
        for (index, table) in self.settings.tables.iter().enumerate() {
            match self.audit_table(store, index, table, extent).await {
                Ok(repaired) => {
                    if repaired > 0 {
                        tracing::info!(table = table.table, repaired, "partitions that the catalogue lacked are registered");
                    }
                }
                Err(reason) => {
                    is_whole = false;
                    tracing::warn!(table = table.table, reason, "failed to audit partitions; trying again with the next pass");
                }
            }
        }
        is_whole
    }

    /// Returns how many partitions were repaired.
    async fn audit_table(&self, store: &Store, index: usize, table: &ZoneTable, extent: Extent) -> Result<u64, String> {
        // Without a table there is nothing to compare with; the status says that it is missing.
        if self.descriptor(index).await?.is_none() {
            return Err("the table is not there".to_owned());
        }
        let mut folders: Vec<Folder> = vec![(format!("{}/", table.prefix), 0, false)];
        let (mut batch, mut seen, mut repaired, mut listings): (Vec<Entry>, u64, u64, usize) = (Vec::new(), 0, 0, 0);
        let mut newest: Option<String> = None;
        while let Some((folder, level, chosen)) = folders.pop() {
            if extent == Extent::Newest && listings >= MAX_LISTINGS {
                break;
            }
            listings += 1;
            let mut found = store.prefixes(&folder, "/").await.map_err(|error| line(&error))?;
            let Some((key, grows)) = table.keys.get(level) else { continue };
            found.retain(|path| value(path, key).is_some());
            let choose = extent == Extent::Newest && *grows && !chosen;
            if choose {
                found = found.split_off(found.len().saturating_sub(NEWEST));
            }
            let is_last = level + 1 == table.keys.len();
            for path in found {
                if !is_last {
                    folders.push((path, level + 1, chosen || choose));
                    continue;
                }
                seen += 1;
                if newest.as_ref().is_none_or(|newest| *newest < path) {
                    newest = Some(path.clone());
                }
                batch.extend(entry(index, table, path));
                if batch.len() == BATCH {
                    repaired += self.compare(index, &std::mem::take(&mut batch)).await?;
                }
            }
        }
        if !batch.is_empty() {
            repaired += self.compare(index, &batch).await?;
        }
        let all = (extent == Extent::All).then_some(seen);
        self.state().audited(index, all, newest.as_deref(), wall_millis());
        Ok(repaired)
    }

    /// Compares partitions of one table, [`BATCH`] at most, and returns how many were repaired.
    async fn compare(&self, index: usize, entries: &[Entry]) -> Result<u64, String> {
        tokio::time::sleep(PAUSE).await;
        let Some(descriptor) = self.descriptor(index).await? else { return Ok(0) };
        let Some(table) = self.settings.tables.get(index) else { return Ok(0) };
        let partitions: Vec<(&Entry, NewPartition)> =
            entries.iter().filter_map(|entry| Some((entry, self.partition(entry, &descriptor)?))).collect();
        if partitions.len() < entries.len() {
            return Err(format!("the partition keys of table {} are not those of its zone", table.table));
        }
        let wanted: Vec<NewPartition> = partitions.iter().map(|(_, partition)| partition.clone()).collect();
        let mut found = self.glue.find(&table.table, &wanted).await.map_err(|failure| told(&failure))?;
        let mut missing = Vec::new();
        let mut stale: Vec<(NewPartition, Registered)> = Vec::new();
        for (entry, partition) in partitions {
            match found.remove(&partition.values) {
                None => missing.push(entry.clone()),
                Some(registered) if registered.follows(&descriptor, &partition.location) => self.state().registered(entry, false),
                Some(registered) => stale.push((partition, registered)),
            }
        }
        if !stale.is_empty() {
            self.glue.update(&table.table, &descriptor, &stale).await.map_err(|failure| told(&failure))?;
        }
        if !missing.is_empty()
            && let Some(reason) = self.register(index, &missing).await?
        {
            return Err(reason);
        }
        Ok((missing.len() + stale.len()) as u64)
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
