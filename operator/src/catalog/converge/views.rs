//! Views: made by Athena, looked at and marked in Glue, since that is where they lie.

use std::collections::BTreeMap;

use super::Look;
use crate::catalog::aws::Failure;
use crate::catalog::aws::athena::Run;
use crate::catalog::aws::glue::GlueTable;
use crate::catalog::decide::{
    Act, CLAIMED, FoundView, ObjectChange, Verdict, ViewDecision, WantedAthena, WantedView, decide_view, owner_mark, written_hash_mark,
};
use crate::error::Retry;
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

impl Look<'_> {
    /// Brings the views to what is wanted; without the tables they wait.
    pub(super) async fn sync_views(
        &self,
        wanted: &WantedAthena,
        views: &mut BTreeMap<String, String>,
        verdict: &mut Verdict,
        tables_are_there: bool,
    ) {
        for view in &wanted.views {
            if !tables_are_there && verdict.may_write() {
                break;
            }
            if let Err(failure) = self.sync_view(wanted, view, views, verdict).await {
                verdict.failed(&format!("view {}", view.name), &failure);
            }
        }
        self.drop_views(&wanted.views, views, verdict).await;
    }

    async fn sync_view(
        &self,
        wanted: &WantedAthena,
        view: &WantedView,
        views: &mut BTreeMap<String, String>,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let found = self.glue.table(&wanted.database, &view.name).await?;
        let seen = self.seen.views.get(&view.name).map(String::as_str);
        let object = format!("view {}.{}", wanted.database, view.name);
        let decision = decide_view(view, found.as_ref().map(found_view).as_ref(), seen, &self.wanted.owner, self.policy);
        match decision {
            ViewDecision::Keep => {
                views.insert(view.name.clone(), view.hash.clone());
            }
            ViewDecision::Refuse(refusal) => verdict.refused(refusal),
            ViewDecision::Report(fields) => verdict.change(ObjectChange { object, act: Act::Report, fields }),
            ViewDecision::Claim if verdict.may_write() => {
                views.insert(view.name.clone(), CLAIMED.to_owned());
                verdict.waits(Finding { reason: CatalogSynced::Creating, message: format!("{object} is about to be made") }, Retry::Fast);
            }
            ViewDecision::Claim => verdict.change(ObjectChange { object, act: Act::Create, fields: Vec::new() }),
            ViewDecision::Run { changes, drift } => {
                let act = match (drift, found.is_some()) {
                    (true, _) => Act::Correct,
                    (false, true) => Act::Update,
                    (false, false) => Act::Create,
                };
                if verdict.may_write() {
                    if !self.make_view(wanted, view, &object, verdict).await? {
                        return Ok(());
                    }
                    views.insert(view.name.clone(), view.hash.clone());
                }
                verdict.change(ObjectChange { object, act, fields: changes });
            }
        }
        Ok(())
    }

    /// Returns whether the view is made and marked.
    async fn make_view(&self, wanted: &WantedAthena, view: &WantedView, object: &str, verdict: &mut Verdict) -> Result<bool, Failure> {
        let waits = |reason, message, retry| (Finding { reason, message }, retry);
        let (finding, retry) = match self.athena.run(&view.statement, &wanted.database, &wanted.workgroup).await? {
            Run::Succeeded => {
                // Athena says that it is made; where it is not to be seen, a later look finds that out.
                let Some(made) = self.glue.table(&wanted.database, &view.name).await? else { return Ok(true) };
                let mut input = made.found.input.clone();
                input.parameters.extend([(owner_mark(), self.wanted.owner.text().to_owned()), (written_hash_mark(), view.hash.clone())]);
                self.glue.update_table(&wanted.database, &made, &input, false).await?;
                return Ok(true);
            }
            Run::Refused(reason) => waits(
                CatalogSynced::QueryDefinitionFailed,
                format!("{object}: Athena does not take its statement: {reason}; correct it in spec.athena.views"),
                Retry::Terminal,
            ),
            Run::Failed(reason) => waits(CatalogSynced::Unavailable, format!("{object}: Athena failed: {reason}"), Retry::Backoff),
            Run::Unfinished => waits(CatalogSynced::Creating, format!("{object} is still being made"), Retry::Backoff),
        };
        verdict.waits(finding, retry);
        Ok(false)
    }

    /// Drops the views that the status knows and `wanted` has not.
    pub(super) async fn drop_views(&self, wanted: &[WantedView], views: &mut BTreeMap<String, String>, verdict: &mut Verdict) {
        for name in self.seen.views.keys().filter(|name| !wanted.iter().any(|view| view.name == **name)) {
            let object = format!("view {}.{name}", self.wanted.database.name);
            if !verdict.may_write() {
                verdict.change(ObjectChange { object, act: Act::Delete, fields: Vec::new() });
                continue;
            }
            match self.drop_view(name).await {
                Ok(was_there) => {
                    views.remove(name);
                    if was_there {
                        verdict.change(ObjectChange { object, act: Act::Delete, fields: Vec::new() });
                    }
                }
                Err(failure) => verdict.failed(&object, &failure),
            }
        }
    }

    /// Deletes a view that is this pipeline's; returns whether there was one. One that carries another owner's mark by now is theirs.
    pub(super) async fn drop_view(&self, name: &str) -> Result<bool, Failure> {
        let database = &self.wanted.database.name;
        let Some(found) = self.glue.table(database, name).await? else { return Ok(false) };
        let is_theirs = found.parameter(&owner_mark()).is_some_and(|owner| owner != self.wanted.owner.text());
        if !found.is_view() || is_theirs {
            return Ok(false);
        }
        self.glue.delete_table(database, name).await?;
        Ok(true)
    }
}

fn found_view(table: &GlueTable) -> FoundView {
    FoundView {
        is_view: table.is_view(),
        owner: table.parameter(&owner_mark()).map(str::to_owned),
        hash: table.parameter(&written_hash_mark()).map(str::to_owned),
    }
}
