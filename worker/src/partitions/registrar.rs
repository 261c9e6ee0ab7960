//! Registers what was handed over for one table, and tries again what failed. What is wrong with one partition is put aside with it; what is
//! wrong with the table makes that table wait, and no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::glue::{BATCH, NewPartition, Outcome, TableDescriptor};
use super::halving::Halving;
use super::state::{Entry, LONGEST_RETRY, told, values};
use super::{Handed, Shared};

/// Plans that are looked at together.
const TOGETHER: usize = 32;
/// Longest pause before a partition that Glue refuses is tried again.
const LONGEST_ASIDE: Duration = Duration::from_hours(1);
/// Longest pause before the search for the bad ones of a batch goes on.
const SEARCH_AGAIN: Duration = Duration::from_secs(30);

/// Works for one table until `shutdown`.
pub(super) async fn serve(shared: Arc<Shared>, table: usize, mut inbox: Receiver<Handed>, shutdown: CancellationToken) {
    let mut handed = Vec::with_capacity(TOGETHER);
    loop {
        let next_try = shared.state().next_try(table, Instant::now());
        let wait = async {
            match next_try {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            count = inbox.recv_many(&mut handed, TOGETHER) => {
                if count == 0 {
                    return;
                }
            }
            () = wait => {}
        }
        let (entries, waiters) = shared.take(&mut handed);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = async {
                shared.register_handed(table, &entries).await;
                // What failed before is nobody's to wait for.
                drop(waiters);
                shared.try_again(table).await;
            } => {}
        }
        shared.metrics.set_missing(shared.state().missing());
    }
}

impl Shared {
    /// Returns what is to be registered of what was handed over, and who waits for it.
    fn take(&self, handed: &mut Vec<Handed>) -> (Vec<Entry>, Vec<oneshot::Sender<()>>) {
        let (state, now) = (self.state(), Instant::now());
        let (mut entries, mut waiters) = (BTreeMap::new(), Vec::with_capacity(handed.len()));
        for handed in handed.drain(..) {
            let is_new = |entry: &Entry| !state.is_known(entry) && !state.is_put_aside(entry, now);
            entries.extend(handed.entries.into_iter().filter(is_new).map(|entry| (entry.folder.clone(), entry)));
            waiters.push(handed.done);
        }
        (entries.into_values().collect(), waiters)
    }

    /// Registers what was handed over. While the table fails it is noted as missing, and nobody waits for it.
    async fn register_handed(&self, table: usize, entries: &[Entry]) {
        for batch in entries.chunks(BATCH) {
            let may_try = !self.state().is_paused(table, Instant::now());
            if may_try && self.attempt(table, batch).await {
                continue;
            }
            let mut state = self.state();
            for entry in batch {
                if !state.is_known(entry) && !state.lacks_one(entry.clone()) {
                    self.metrics.dropped();
                }
            }
        }
    }

    /// Registers a batch of what is missing and due.
    async fn try_again(&self, table: usize) {
        let now = Instant::now();
        let batch = if self.state().is_paused(table, now) { Vec::new() } else { self.state().due(table, BATCH, now) };
        if !batch.is_empty() {
            self.attempt(table, &batch).await;
        }
    }

    /// Returns whether the table took partitions; those that it did not take are put aside.
    async fn attempt(&self, table: usize, batch: &[Entry]) -> bool {
        match self.register(table, batch).await {
            Ok(()) => {
                self.state().succeeded(table);
                true
            }
            Err(reason) => {
                self.state().failed(table, reason, Instant::now());
                false
            }
        }
    }

    /// Registers partitions of one table, [`BATCH`] at most. An error is about the table: what is not registered then is left to the caller.
    async fn register(&self, table: usize, entries: &[Entry]) -> Result<(), String> {
        let Some(descriptor) = self.descriptor(table).await? else { return Err("the table is not there".to_owned()) };
        let Some(name) = self.settings.tables.get(table).map(|table| table.table.clone()) else { return Ok(()) };
        let mut partitions = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.partition(entry, &descriptor) {
                Some(partition) => partitions.push((entry, partition)),
                None => self.put_aside(entry, format!("the table's partition keys are not those of {}", entry.folder), LONGEST_RETRY),
            }
        }
        let mut halving = Halving::of(partitions);
        let mut ended = Ok(());
        while let Some((pause, part)) = halving.next() {
            tokio::time::sleep(pause).await;
            let wanted: Vec<NewPartition> = part.iter().map(|(_, partition)| partition.clone()).collect();
            match self.glue.create(&name, &descriptor, &wanted).await {
                Ok(outcomes) => {
                    halving.taken();
                    self.settle(part.into_iter().map(|(entry, _)| entry).zip(outcomes));
                }
                Err(failure) if failure.is_about_input() => {
                    let reason = told(&failure);
                    halving.refused(part, failure);
                    if halving.is_hopeless() {
                        ended = Err(reason);
                        break;
                    }
                }
                Err(failure) => {
                    tracing::warn!(table = name, code = failure.code, message = failure.message, "failed to register partitions");
                    ended = Err(told(&failure));
                    break;
                }
            }
        }
        let untaken = halving.end();
        if ended.is_err() || !untaken.alone.is_empty() {
            // What Glue does not take was made of it.
            self.state().forget_descriptor(table);
        }
        for ((entry, _), failure) in untaken.alone {
            tracing::warn!(partition = entry.folder, code = failure.code, message = failure.message, "a partition is refused");
            self.put_aside(entry, told(&failure), LONGEST_ASIDE);
        }
        for ((entry, _), failure) in untaken.rest {
            self.put_aside(entry, told(&failure), SEARCH_AGAIN);
        }
        ended
    }

    /// Notes what became of each partition of a call.
    fn settle<'a>(&self, outcomes: impl Iterator<Item = (&'a Entry, Outcome)>) {
        let mut created = 0;
        for (entry, outcome) in outcomes {
            match outcome {
                Outcome::Created => {
                    created += 1;
                    self.state().registered(entry, true);
                }
                Outcome::Exists => self.state().registered(entry, false),
                Outcome::Failed(failure) => {
                    tracing::warn!(
                        partition = entry.folder,
                        code = failure.code,
                        message = failure.message,
                        "failed to register a partition"
                    );
                    let longest = if failure.is_about_input() { LONGEST_ASIDE } else { LONGEST_RETRY };
                    self.put_aside(entry, told(&failure), longest);
                }
            }
        }
        self.metrics.registered(created);
    }

    fn put_aside(&self, entry: &Entry, reason: String, longest: Duration) {
        if !self.state().put_aside(entry, reason, longest, Instant::now()) {
            self.metrics.dropped();
        }
    }

    pub(super) fn partition(&self, entry: &Entry, descriptor: &TableDescriptor) -> Option<NewPartition> {
        let values = values(entry, &descriptor.keys)?;
        Some(NewPartition { values, location: format!("s3://{}/{}", self.settings.bucket, entry.folder) })
    }

    /// Returns how a table's partitions are described; None where there is no table of ours.
    pub(super) async fn descriptor(&self, table: usize) -> Result<Option<Arc<TableDescriptor>>, String> {
        if let Some(known) = self.state().descriptor(table, Instant::now()) {
            return Ok(Some(known));
        }
        let Some(settings) = self.settings.tables.get(table) else { return Ok(None) };
        let found = self.glue.table(&settings.table).await.map_err(|failure| told(&failure))?;
        let name = format!("{}.{}", self.settings.database, settings.table);
        let place = format!("s3://{}/{}", self.settings.bucket, settings.prefix);
        let result = match found {
            None => {
                Err(format!("table {name} does not exist; the operator makes it, or set spec.glue.adoptionPolicy to other than Observe"))
            }
            Some(found) if found.location.trim_end_matches('/') != place => {
                Err(format!("table {name} lies at {} and not at {place}/; nothing is registered in it", found.location))
            }
            Some(found) => Ok(Arc::new(found)),
        };
        let descriptor = result.as_ref().ok().cloned();
        self.state().described(table, result, Instant::now());
        Ok(descriptor)
    }
}
