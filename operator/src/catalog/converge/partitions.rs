//! Registered partitions follow their table: each has a descriptor of its own, and a column that is missing there reads as null.
//!
//! A mark on the table says which descriptor all of its partitions have been given. Until it is the table's own they are gone through, a
//! page at a time, whoever has begun with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stockpipeline::operations::AdoptionPolicy;
use tokio::time::Instant;

use super::Look;
use super::tables::object;
use crate::catalog::aws::glue::{BATCH, GlueTable};
use crate::catalog::aws::{Failure, FailureKind};
use crate::catalog::decide::{Act, ObjectChange, Verdict, WantedTable, descriptor_hash, partitions_hash_mark};
use crate::error::Retry;
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

/// Time that has to be left for another page: two calls, and the mark.
const PAGE_TIME: Duration = Duration::from_secs(15);
/// Tables whose place is remembered; another one starts at its first page again.
const MAX_WALKS: usize = 256;

/// Where the walks through partitions that did not end within one look go on: database, table and descriptor to Glue's token.
#[derive(Debug, Clone, Default)]
pub(super) struct Walks(Arc<Mutex<HashMap<String, String>>>);

impl Walks {
    fn take(&self, walk: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(walk)
    }

    fn keep(&self, walk: String, token: String) {
        let mut walks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if walks.len() >= MAX_WALKS {
            walks.clear();
        }
        walks.insert(walk, token);
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
        let (updated, ended) = self.walk(wanted, &found, &hash).await?;
        if updated > 0 {
            verdict.change(change);
        }
        if !ended {
            let message = format!("the partitions of {} are being given its columns", object(wanted));
            verdict.waits(Finding { reason: CatalogSynced::Creating, message }, Retry::Fast);
            return Ok(found);
        }
        let mut input = found.found.input.clone();
        input.parameters.insert(mark, hash);
        self.glue.update_table(&wanted.database, &found, &input, false).await?;
        Ok(self.glue.table(&wanted.database, &wanted.input.name).await?.unwrap_or(found))
    }

    /// Returns how many partitions were written, and whether all have been looked at.
    async fn walk(&self, wanted: &WantedTable, found: &GlueTable, hash: &str) -> Result<(usize, bool), Failure> {
        let walk = format!("{:?} {}.{} {hash}", self.wanted.place, wanted.database, wanted.input.name);
        let table = &found.found.input;
        let mut token = self.shared.walks.take(&walk);
        let mut updated = 0;
        loop {
            let page = match self.glue.partitions(&wanted.database, table, token.clone()).await {
                Ok(page) => page,
                // The token has expired, or Glue has forgotten it.
                Err(failure) if failure.kind == FailureKind::Invalid && token.is_some() => {
                    token = None;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            for stale in page.stale.chunks(BATCH) {
                if Instant::now() + PAGE_TIME > self.glue.deadline() {
                    if let Some(token) = token {
                        self.shared.walks.keep(walk, token);
                    }
                    return Ok((updated, false));
                }
                self.glue.update_partitions(&wanted.database, table, stale).await?;
                updated += stale.len();
            }
            token = page.next;
            let Some(next) = &token else { return Ok((updated, true)) };
            if Instant::now() + PAGE_TIME > self.glue.deadline() {
                self.shared.walks.keep(walk, next.clone());
                return Ok((updated, false));
            }
        }
    }
}
