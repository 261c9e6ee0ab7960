//! Registers what was handed over, and tries again what failed.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::glue::{BATCH, NewPartition, Outcome, TableDescriptor};
use super::state::{Entry, told, values};
use super::{Handed, Shared};

/// Plans that are looked at together.
const TOGETHER: usize = 32;

/// Works until `shutdown`.
pub(super) async fn serve(shared: Arc<Shared>, mut inbox: Receiver<Handed>, shutdown: CancellationToken) {
    let mut handed = Vec::with_capacity(TOGETHER);
    loop {
        let next_try = shared.state().next_try();
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
        let waiters: Vec<_> = handed.drain(..).map(|handed| shared.take(handed)).collect();
        // While Glue fails nobody waits for it.
        let may_try = shared.state().next_try().is_none_or(|at| at <= Instant::now());
        if may_try {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = shared.register_missing() => {}
            }
        }
        shared.metrics.set_missing(shared.state().missing());
        drop(waiters);
    }
}

impl Shared {
    /// Notes what was handed over and returns who waits for it.
    fn take(&self, handed: Handed) -> tokio::sync::oneshot::Sender<()> {
        let mut state = self.state();
        for entry in handed.entries {
            if !state.is_known(&entry) && !state.lacks_one(entry) {
                self.metrics.dropped();
            }
        }
        handed.done
    }

    /// Registers everything that is missing. Ends at the first call that fails: what is left waits for the next try.
    pub(super) async fn register_missing(&self) {
        let mut trouble = None;
        for table in 0..self.settings.tables.len() {
            let mut after = String::new();
            loop {
                let batch = self.state().batch(table, &after, BATCH);
                let Some(last) = batch.last() else { break };
                match self.descriptor(table).await {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        trouble = Some("the table is not there".to_owned());
                        break;
                    }
                    Err(reason) => {
                        self.state().failed(reason, Instant::now());
                        return;
                    }
                }
                after.clone_from(&last.folder);
                match self.register(table, &batch).await {
                    Ok(None) => {}
                    Ok(Some(reason)) => trouble = Some(reason),
                    Err(reason) => {
                        self.state().failed(reason, Instant::now());
                        return;
                    }
                }
            }
        }
        match trouble {
            Some(reason) => self.state().failed(reason, Instant::now()),
            None => self.state().succeeded(),
        }
    }

    /// Registers partitions of one table, [`BATCH`] at most. Returns why some were not taken; an error where none was.
    pub(super) async fn register(&self, table: usize, entries: &[Entry]) -> Result<Option<String>, String> {
        let Some(descriptor) = self.descriptor(table).await? else { return Ok(Some("the table is not there".to_owned())) };
        let Some(name) = self.settings.tables.get(table).map(|table| table.table.clone()) else { return Ok(None) };
        let mut partitions = Vec::with_capacity(entries.len());
        let mut ours = Vec::with_capacity(entries.len());
        let mut trouble = None;
        for entry in entries {
            match self.partition(entry, &descriptor) {
                Some(partition) => {
                    partitions.push(partition);
                    ours.push(entry);
                }
                None => trouble = Some(format!("the table's partition keys are not those of {}", entry.folder)),
            }
        }
        if partitions.is_empty() {
            return Ok(trouble);
        }
        let outcomes = self.glue.create(&name, &descriptor, &partitions).await;
        let outcomes = outcomes.map_err(|failure| {
            if failure.is_about_input() {
                self.state().forget_descriptor(table);
            }
            tracing::warn!(table = name, code = failure.code, message = failure.message, "failed to register partitions; trying again");
            told(&failure)
        })?;
        let mut created = 0;
        for (entry, outcome) in ours.into_iter().zip(outcomes) {
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
                    trouble = Some(told(&failure));
                }
            }
        }
        self.metrics.registered(created);
        Ok(trouble)
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
