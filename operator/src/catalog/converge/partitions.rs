//! Registered partitions follow their table: each has a descriptor of its own, and a column that is missing there reads as null.
//!
//! A mark on the table says which descriptor all of its partitions have been given. Until it is the table's own they are gone through, a
//! page at a time, whoever has begun with it. One that Glue does not take is told and passed over: it holds up neither the others nor a column.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stockpipeline::operations::AdoptionPolicy;
use tokio::time::Instant;

use super::Look;
use super::tables::object;
use crate::catalog::aws::glue::{BATCH, GlueTable, RefusedPartition};
use crate::catalog::aws::{Failure, FailureKind};
use crate::catalog::decide::{Act, ObjectChange, Verdict, WantedTable, descriptor_hash, partitions_hash_mark};
use crate::error::Retry;
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

/// Time that has to be left for another page: two calls, and the mark.
const PAGE_TIME: Duration = Duration::from_secs(15);
/// Tables whose place is remembered; another one starts at its first page again.
const MAX_WALKS: usize = 256;

/// Where the walks through partitions that did not end within one look go on, by database, table and descriptor.
#[derive(Debug, Clone, Default)]
pub(super) struct Walks(Arc<Mutex<HashMap<String, Place>>>);

/// How far a walk has come.
#[derive(Debug, Clone, Default)]
struct Place {
    /// Glue's token of the next page; None for the first.
    token: Option<String>,
    /// Partitions before it that Glue did not take.
    refused: usize,
    /// The first of them.
    first_refused: Option<RefusedPartition>,
}

/// What one look adds to a walk.
#[derive(Debug, Default)]
struct Stint {
    place: Place,
    updated: usize,
    pages: usize,
}

impl Walks {
    fn take(&self, walk: &str) -> Place {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(walk).unwrap_or_default()
    }

    fn keep(&self, walk: String, place: Place) {
        let mut walks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if walks.len() >= MAX_WALKS {
            walks.clear();
        }
        walks.insert(walk, place);
    }
}

impl Look<'_> {
    /// Gives the partitions the table's descriptor, where not all of them have it. Returns the table as it is then.
    pub(super) async fn follow_partitions(
        &self,
        wanted: &WantedTable,
        found: GlueTable,
        verdict: &mut Verdict,
    ) -> Result<GlueTable, Failure> {
        let hash = descriptor_hash(&wanted.input);
        let mark = partitions_hash_mark();
        let follows = found.parameter(&mark) == Some(&hash);
        if follows || !self.wanted.registers_partitions || self.policy.adoption == AdoptionPolicy::Observe {
            return Ok(found);
        }
        let change = ObjectChange { object: format!("partitions of {}", object(wanted)), act: Act::Update, fields: Vec::new() };
        if !verdict.may_write() {
            verdict.change(change);
            return Ok(found);
        }
        let walk = format!("{:?} {}.{} {hash}", self.wanted.place, wanted.database, wanted.input.name);
        let mut stint = Stint { place: self.shared.walks.take(&walk), ..Stint::default() };
        let ended = self.walk(wanted, &found, &mut stint).await;
        if stint.updated > 0 {
            verdict.change(change);
        }
        if !matches!(ended, Ok(true)) {
            if stint.updated > 0 || stint.pages > 0 {
                verdict.got_further();
            }
            self.shared.walks.keep(walk, stint.place);
            ended?;
            let message = format!("the partitions of {} are being given its columns", object(wanted));
            verdict.waits(Finding { reason: CatalogSynced::Creating, message }, Retry::Fast);
            return Ok(found);
        }
        if let Some(finding) = stint.place.finding(wanted) {
            // Without the mark they are gone through again, until Glue takes them or they are gone.
            verdict.tells(finding, Retry::Backoff);
            return Ok(found);
        }
        let mut input = found.found.input.clone();
        input.parameters.insert(mark, hash);
        self.glue.update_table(&wanted.database, &found, &input, false).await?;
        Ok(self.glue.table(&wanted.database, &wanted.input.name).await?.unwrap_or(found))
    }

    /// Goes on from the place of a stint, which then says how far it came whatever happens. Returns whether all pages have been looked at.
    async fn walk(&self, wanted: &WantedTable, found: &GlueTable, stint: &mut Stint) -> Result<bool, Failure> {
        let table = &found.found.input;
        loop {
            let page = match self.glue.partitions(&wanted.database, table, stint.place.token.clone()).await {
                Ok(page) => page,
                // The token has expired, or Glue has forgotten it.
                Err(failure) if failure.kind == FailureKind::Invalid && stint.place.token.is_some() => {
                    stint.place = Place::default();
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let mut refused = Vec::new();
            for stale in page.stale.chunks(BATCH) {
                if !self.has_time_for_a_page() {
                    return Ok(false);
                }
                let not_taken = self.glue.update_partitions(&wanted.database, table, stale).await?;
                stint.updated += stale.len().saturating_sub(not_taken.len());
                refused.extend(not_taken);
            }
            // A page that is not done to its end is read again, and so are those that it refuses.
            stint.pages += 1;
            stint.place.pass(page.next, refused);
            if stint.place.token.is_none() {
                return Ok(true);
            }
            if !self.has_time_for_a_page() {
                return Ok(false);
            }
        }
    }

    fn has_time_for_a_page(&self) -> bool {
        Instant::now() + PAGE_TIME <= self.glue.deadline()
    }
}

impl Place {
    fn pass(&mut self, next: Option<String>, refused: Vec<RefusedPartition>) {
        self.token = next;
        self.refused += refused.len();
        self.first_refused = self.first_refused.take().or_else(|| refused.into_iter().next());
    }

    /// Returns what is to be said of partitions that Glue did not take.
    fn finding(&self, wanted: &WantedTable) -> Option<Finding<CatalogSynced>> {
        let RefusedPartition { values, code, message } = self.first_refused.as_ref()?;
        let message = format!(
            "Glue did not take {} of the partitions of {}, in which new columns read as null until it does; correct or delete them there; the \
             first is {}: {code}: {message}",
            self.refused,
            object(wanted),
            values.join("/"),
        );
        Some(Finding { reason: CatalogSynced::Unavailable, message })
    }
}
