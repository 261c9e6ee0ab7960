//! Partition indexes: a query that names partitions is answered without them all, so a missing one costs time and no row.
//!
//! Glue makes one at a time, of the partitions that are there, and goes on with it after its answer. A mark on the table says which
//! indexes have all been made, so that one that others delete is told from one that the spec has just got.

use stockpipeline::operations::AdoptionPolicy;

use super::Look;
use super::tables::object;
use crate::catalog::aws::glue::GlueTable;
use crate::catalog::aws::{Failure, FailureKind};
use crate::catalog::decide::{
    Act, IndexPlan, ObjectChange, Verdict, WantedTable, index_name, indexes_hash, indexes_hash_mark, owner_mark, plan_indexes,
};
use crate::error::Retry;
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

impl Look<'_> {
    /// Makes the next partition index that is missing. Returns the table as it is then.
    pub(super) async fn sync_indexes(&self, wanted: &WantedTable, found: GlueTable, verdict: &mut Verdict) -> GlueTable {
        let is_own = found.parameter(&owner_mark()) == Some(self.wanted.owner.text());
        let is_observed = self.wanted.policy.adoption == AdoptionPolicy::Observe;
        if wanted.indexes.is_empty() || !(is_own || is_observed) {
            return found;
        }
        match self.make_index(wanted, &found, is_observed, verdict).await {
            Ok(changed) => changed.unwrap_or(found),
            Err(failure) => {
                verdict.failed(&format!("partition indexes of {}", object(wanted)), &failure);
                found
            }
        }
    }

    /// Returns the table where it was written.
    async fn make_index(
        &self,
        wanted: &WantedTable,
        found: &GlueTable,
        is_observed: bool,
        verdict: &mut Verdict,
    ) -> Result<Option<GlueTable>, Failure> {
        let (database, table) = (&wanted.database, &wanted.input.name);
        let plan = plan_indexes(&wanted.indexes, &self.glue.indexes(database, table).await?);
        told(wanted, &plan, verdict);
        let were_made = found.parameter(&indexes_hash_mark()) == Some(&indexes_hash(&wanted.indexes));
        let act = match (is_observed, were_made) {
            (true, _) => Act::Report,
            (false, true) if !self.wanted.policy.correct_drift => Act::Report,
            (false, true) => Act::Correct,
            (false, false) => Act::Create,
        };
        let change = |keys: &[String]| ObjectChange {
            object: format!("partition index {} of {}", index_name(keys), object(wanted)),
            act,
            fields: Vec::new(),
        };
        if !act.writes() || !verdict.may_write() {
            plan.missing.iter().for_each(|keys| verdict.change(change(keys)));
            return Ok(None);
        }
        let Some((next, rest)) = plan.missing.split_first() else {
            // The mark is still to be written where that has failed, and where others made the last one.
            let is_due = !were_made && plan.failed.is_empty();
            return if is_due { self.mark_indexes(wanted, found).await } else { Ok(None) };
        };
        if let Some(other) = plan.at_work {
            verdict.waits(waiting(wanted, next, &other), Retry::Backoff);
            return Ok(None);
        }
        match self.glue.create_index(database, table, next).await {
            Ok(()) => verdict.change(change(next)),
            Err(failure) if failure.kind == FailureKind::Limit => {
                verdict.waits(full(wanted, next, &failure), Retry::User);
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        }
        if let Some(after) = rest.first() {
            verdict.waits(waiting(wanted, after, &index_name(next)), Retry::Backoff);
            return Ok(None);
        }
        if were_made { Ok(None) } else { self.mark_indexes(wanted, found).await }
    }

    /// Writes on the table that its indexes have all been made.
    async fn mark_indexes(&self, wanted: &WantedTable, found: &GlueTable) -> Result<Option<GlueTable>, Failure> {
        let (database, table) = (&wanted.database, &wanted.input.name);
        let mut input = found.found.input.clone();
        input.parameters.insert(indexes_hash_mark(), indexes_hash(&wanted.indexes));
        self.glue.update_table(database, found, &input, false).await?;
        self.glue.table(database, table).await
    }
}

/// Says which indexes Glue could not make. It keeps them as they are until somebody deletes them.
fn told(wanted: &WantedTable, plan: &IndexPlan, verdict: &mut Verdict) {
    for (name, why) in &plan.failed {
        let message = format!("Glue could not make partition index {name} of {}: {why}; delete it, and it is made again", object(wanted));
        verdict.waits(Finding { reason: CatalogSynced::InvalidInput, message }, Retry::User);
    }
}

fn waiting(wanted: &WantedTable, keys: &[String], other: &str) -> Finding<CatalogSynced> {
    let message = format!("partition index {} of {} waits until Glue is done with {other}", index_name(keys), object(wanted));
    Finding { reason: CatalogSynced::Creating, message }
}

fn full(wanted: &WantedTable, keys: &[String], failure: &Failure) -> Finding<CatalogSynced> {
    let message = format!(
        "Glue does not take partition index {} of {}: {}; delete one that is not needed, or take it out of spec.glue.partitions.indexes",
        index_name(keys),
        object(wanted),
        failure.message
    );
    Finding { reason: CatalogSynced::InvalidInput, message }
}
