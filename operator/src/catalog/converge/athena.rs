//! Workgroup and saved queries.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Look;
use crate::catalog::aws::{Failure, FailureKind};
use crate::catalog::decide::{
    Act, FoundQuery, ObjectChange, QueryStep, SharedDecision, Verdict, WantedAthena, creation_token, decide_workgroup, plan_queries,
};
use crate::error::Retry;
use crate::resource::crd::report::AthenaStatus;

/// Pages of a workgroup's saved queries that are searched for lost ones.
const MAX_PAGES: usize = 40;
/// How long the marks of a workgroup's saved queries are remembered: many pipelines share one, and start together.
const LISTING_LASTS: Duration = Duration::from_mins(1);
/// Workgroups whose marks are remembered.
const MAX_LISTINGS: usize = 64;

/// Ids of a workgroup's saved queries by the mark at the end of their descriptions.
type Marks = Arc<HashMap<String, Vec<String>>>;

/// The marks of workgroups' saved queries, as they were a short while ago.
#[derive(Debug, Clone, Default)]
pub(super) struct Listings(Arc<Mutex<HashMap<String, (Instant, Marks)>>>);

impl Listings {
    fn get(&self, key: &str) -> Option<Marks> {
        let listings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listings.get(key).filter(|(since, _)| since.elapsed() < LISTING_LASTS).map(|(_, marks)| Arc::clone(marks))
    }

    fn put(&self, key: String, marks: &Marks) {
        let mut listings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listings.len() >= MAX_LISTINGS {
            listings.clear();
        }
        listings.insert(key, (Instant::now(), Arc::clone(marks)));
    }
}

/// Who is the reason for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The spec, which wants something else than before.
    Spec,
    /// Others, who have changed or deleted what was in order.
    Others,
}

impl Writer {
    fn or(self, act: Act) -> Act {
        match self {
            Self::Spec => act,
            Self::Others => Act::Correct,
        }
    }
}

impl Look<'_> {
    /// Brings workgroup, saved queries and views to what is wanted, and returns what the status has to remember of them.
    pub(super) async fn sync_athena(&self, verdict: &mut Verdict, tables_are_there: bool) -> Option<AthenaStatus> {
        let Some(wanted) = &self.wanted.athena else { return self.leave_athena(verdict).await };
        // The new workgroup stands in the status once it was searched for queries that carry this pipeline's mark.
        let mut status = self.seen.remembered().unwrap_or_default();
        let hash = wanted.hash();
        let writer = if status.hash.as_ref() == Some(&hash) { Writer::Others } else { Writer::Spec };
        let troubles = verdict.troubles();
        match self.sync_workgroup(wanted, writer, verdict).await {
            Ok(true) => {}
            Ok(false) => return Some(status),
            Err(failure) => {
                verdict.failed(&format!("workgroup {}", wanted.workgroup.name), &failure);
                return Some(status);
            }
        }
        match self.sync_queries(wanted, writer, &mut status.named_queries, verdict).await {
            Ok(()) => status.workgroup.clone_from(&wanted.workgroup.name),
            Err(failure) => verdict.failed("saved queries", &failure),
        }
        if verdict.may_write() && verdict.troubles() == troubles {
            status.hash = Some(hash);
        }
        self.sync_views(wanted, &mut status.views, verdict, tables_are_there).await;
        Some(status)
    }

    /// Takes away what the spec has no longer, as far as the status remembers it.
    pub(super) async fn leave_athena(&self, verdict: &mut Verdict) -> Option<AthenaStatus> {
        let mut status = self.seen.remembered()?;
        for (name, id) in &self.seen.named_queries {
            self.delete_query(name, id, &mut status.named_queries, verdict).await;
        }
        self.drop_views(&[], &mut status.views, verdict).await;
        let is_left = !status.named_queries.is_empty() || !status.views.is_empty();
        Some(if is_left || !verdict.may_write() { status } else { AthenaStatus::default() })
    }

    /// Returns whether there is a workgroup to work in.
    async fn sync_workgroup(&self, wanted: &WantedAthena, writer: Writer, verdict: &mut Verdict) -> Result<bool, Failure> {
        let group = &wanted.workgroup;
        let found = self.athena.workgroup(&group.name).await?;
        let object = format!("workgroup {}", group.name);
        match decide_workgroup(group, found.as_ref(), &self.wanted.owner) {
            SharedDecision::Keep => Ok(true),
            SharedDecision::Missing(finding) => {
                verdict.waits(finding, Retry::User);
                Ok(false)
            }
            SharedDecision::Create => {
                if verdict.may_write() {
                    match self.athena.create_workgroup(group, &self.wanted.tags).await {
                        Ok(()) => {}
                        Err(failure) if failure.kind == FailureKind::AlreadyExists => return Ok(true),
                        Err(failure) => return Err(failure),
                    }
                }
                verdict.change(ObjectChange { object, act: writer.or(Act::Create), fields: Vec::new() });
                Ok(true)
            }
            SharedDecision::Update(fields) => {
                if verdict.may_write() {
                    self.athena.update_workgroup(group).await?;
                }
                verdict.change(ObjectChange { object, act: writer.or(Act::Update), fields });
                Ok(true)
            }
        }
    }

    /// One query that Athena does not take leaves the others as they are.
    async fn sync_queries(
        &self,
        wanted: &WantedAthena,
        writer: Writer,
        ids: &mut BTreeMap<String, String>,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        if wanted.queries.is_empty() && ids.is_empty() {
            return Ok(());
        }
        let found = self.own_queries(&wanted.workgroup.name).await?;
        for step in plan_queries(wanted, &found) {
            match step {
                QueryStep::Keep(name, id) => {
                    ids.insert(name, id);
                }
                QueryStep::Create(query) => {
                    let object = format!("saved query {}", query.name);
                    if verdict.may_write() {
                        let token = creation_token(wanted, &query, &self.wanted.owner, ids.get(&query.name).map(String::as_str));
                        match self.athena.create_query(&query, &wanted.database, &wanted.workgroup.name, token).await {
                            Ok(id) => {
                                ids.insert(query.name.clone(), id);
                            }
                            Err(failure) => {
                                verdict.failed(&object, &failure);
                                continue;
                            }
                        }
                    }
                    verdict.change(ObjectChange { object, act: writer.or(Act::Create), fields: Vec::new() });
                }
                QueryStep::Update { id, query, changes } => {
                    let object = format!("saved query {}", query.name);
                    if verdict.may_write()
                        && let Err(failure) = self.athena.update_query(&id, &query).await
                    {
                        verdict.failed(&object, &failure);
                        continue;
                    }
                    ids.insert(query.name.clone(), id);
                    verdict.change(ObjectChange { object, act: writer.or(Act::Update), fields: changes });
                }
                QueryStep::Delete(name, id) => self.delete_query(&name, &id, ids, verdict).await,
            }
        }
        // What was deleted by hand and is wanted no longer is nowhere.
        if verdict.may_write() {
            ids.retain(|name, id| wanted.queries.iter().any(|query| query.name == *name) || found.iter().any(|query| query.id == *id));
        }
        Ok(())
    }

    async fn delete_query(&self, name: &str, id: &str, ids: &mut BTreeMap<String, String>, verdict: &mut Verdict) {
        let object = format!("saved query {name}");
        if verdict.may_write() {
            if let Err(failure) = self.athena.delete_query(id).await {
                verdict.failed(&object, &failure);
                return;
            }
            if ids.get(name).is_some_and(|known| known == id) {
                ids.remove(name);
            }
        }
        verdict.change(ObjectChange { object, act: Act::Delete, fields: Vec::new() });
    }

    /// Returns this pipeline's saved queries: those whose ids the status knows, and, before it knows any, those with its mark.
    pub(super) async fn own_queries(&self, workgroup: &str) -> Result<Vec<FoundQuery>, Failure> {
        let mut ids: Vec<String> = self.seen.named_queries.values().cloned().collect();
        if self.seen.workgroup.as_deref() != Some(workgroup) {
            let marks = self.marks(workgroup).await?;
            let marked = marks.get(&self.wanted.owner.mark()).cloned().unwrap_or_default();
            ids.extend(marked.into_iter().filter(|id| !self.seen.named_queries.values().any(|known| known == id)));
        }
        if ids.is_empty() { Ok(Vec::new()) } else { self.athena.queries(&ids).await }
    }

    async fn marks(&self, workgroup: &str) -> Result<Marks, Failure> {
        let key = format!("{:?} {workgroup}", self.wanted.place);
        if let Some(marks) = self.shared.listings.get(&key) {
            return Ok(marks);
        }
        let mut marks: HashMap<String, Vec<String>> = HashMap::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let (ids, next) = self.athena.query_ids(workgroup, token).await?;
            for query in self.athena.queries(&ids).await? {
                if let Some(mark) = query.description.as_deref().and_then(|text| text.rfind('(').map(|start| text[start..].to_owned())) {
                    marks.entry(mark).or_default().push(query.id);
                }
            }
            token = next;
            if token.is_none() {
                break;
            }
        }
        let marks = Arc::new(marks);
        self.shared.listings.put(key, &marks);
        Ok(marks)
    }
}
