//! Database, tables and crawler.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stockpipeline::operations::AdoptionPolicy;

use super::Look;
use crate::catalog::aws::glue::GlueTable;
use crate::catalog::aws::{CRAWLER_ROLE, Failure, FailureKind, check_role};
use crate::catalog::decide::{
    Act, CrawlerDecision, Decision, FoundCrawler, ObjectChange, SharedDecision, Verdict, WantedTable, decide, decide_crawler,
    decide_database,
};
use crate::resource::crd::report::{CrawlerStatus, TableStatus};

/// How often a table is read and decided on within one look, where others write it at the same time.
const ATTEMPTS: usize = 3;
/// Characters of what the status says of a crawler's run.
const MAX_CRAWL: usize = 400;

/// What a look at the tables says.
#[derive(Default)]
pub(super) struct TablesSeen {
    pub(super) statuses: Vec<TableStatus>,
    pub(super) crawler: Option<CrawlerStatus>,
    /// Whether all tables are there, so that views can be made of them.
    pub(super) are_there: bool,
    /// Why a table may lack a declared column.
    pub(super) columns_wait: Option<String>,
}

impl Look<'_> {
    /// Brings database, tables and crawler to what is wanted.
    pub(super) async fn sync_tables(&self, verdict: &mut Verdict) -> TablesSeen {
        let mut seen = TablesSeen::default();
        match self.sync_database(verdict).await {
            Ok(true) => {}
            Ok(false) => {
                seen.columns_wait = verdict.trouble().map(str::to_owned);
                return seen;
            }
            Err(failure) => {
                verdict.failed(&format!("database {}", self.wanted.database.name), &failure);
                seen.columns_wait = verdict.trouble().map(str::to_owned);
                return seen;
            }
        }
        seen.are_there = true;
        let mut tables = Vec::new();
        for table in &self.wanted.tables {
            match self.sync_table(table, verdict).await {
                Ok(Some(found)) => tables.push((table, found)),
                Ok(None) => seen.are_there = false,
                Err(failure) => {
                    seen.are_there = false;
                    verdict.failed(&object(table), &failure);
                }
            }
        }
        // Whatever is met from here on is not about columns.
        seen.columns_wait = verdict.trouble().map(str::to_owned);
        for (table, found) in tables {
            seen.statuses.push(status(&self.sync_indexes(table, found, verdict).await));
        }
        seen.crawler = match self.sync_crawler(verdict, seen.are_there).await {
            Ok(crawler) => crawler,
            Err(failure) => {
                verdict.failed(&format!("crawler {}", self.wanted.crawler_name), &failure);
                None
            }
        };
        seen
    }

    /// Returns whether there is a database to look for tables in.
    async fn sync_database(&self, verdict: &mut Verdict) -> Result<bool, Failure> {
        let wanted = &self.wanted.database;
        let found = self.glue.database(&wanted.name).await?;
        match decide_database(wanted, found.as_ref()) {
            // Nobody changes what others share.
            SharedDecision::Keep | SharedDecision::Update(_) => Ok(true),
            SharedDecision::Missing(finding) => {
                verdict.waits(finding, crate::error::Retry::User);
                Ok(false)
            }
            SharedDecision::Create => {
                let change = ObjectChange { object: format!("database {}", wanted.name), act: Act::Create, fields: Vec::new() };
                if verdict.may_write() {
                    match self.glue.create_database(&wanted.name, self.wanted.owner.text(), &self.wanted.tags).await {
                        Ok(()) => verdict.change(change),
                        Err(failure) if failure.kind == FailureKind::AlreadyExists => {}
                        Err(failure) => return Err(failure),
                    }
                    return Ok(true);
                }
                verdict.change(change);
                for table in &self.wanted.tables {
                    if self.policy.adoption != AdoptionPolicy::Observe {
                        verdict.change(ObjectChange { object: object(table), act: Act::Create, fields: Vec::new() });
                    }
                }
                Ok(false)
            }
        }
    }

    /// Returns the table as it is in the end; None while it is not there.
    async fn sync_table(&self, wanted: &WantedTable, verdict: &mut Verdict) -> Result<Option<GlueTable>, Failure> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let found = self.glue.table(&wanted.database, &wanted.input.name).await?;
            let decision = decide(wanted, found.as_ref().map(|found| &found.found), self.policy);
            let Some(change) = change(wanted, &decision) else {
                return match (decision, found) {
                    (Decision::Refuse(refusal), found) => {
                        verdict.refused(refusal);
                        Ok(found)
                    }
                    (_, Some(found)) => self.follow_partitions(wanted, found, verdict).await.map(Some),
                    (_, None) => Ok(None),
                };
            };
            if !verdict.may_write() || !change.act.writes() {
                verdict.change(change);
                return Ok(found);
            }
            match self.write(wanted, found.as_ref(), &decision).await {
                Ok(()) => {
                    verdict.change(change);
                    // The version, and whether partitions have to follow, are read back.
                    let Some(found) = self.glue.table(&wanted.database, &wanted.input.name).await? else { return Ok(None) };
                    return self.follow_partitions(wanted, found, verdict).await.map(Some);
                }
                Err(failure) => match failure.kind {
                    FailureKind::Concurrent | FailureKind::AlreadyExists | FailureKind::NotFound => last = Some(failure),
                    FailureKind::AccessDenied
                    | FailureKind::Throttled
                    | FailureKind::Invalid
                    | FailureKind::Limit
                    | FailureKind::Unavailable => return Err(failure),
                },
            }
        }
        last.map_or(Ok(None), Err)
    }

    async fn write(&self, wanted: &WantedTable, found: Option<&GlueTable>, decision: &Decision) -> Result<(), Failure> {
        match (decision, found) {
            (Decision::Create(input), _) => self.glue.create_table(&wanted.database, input, &wanted.indexes).await,
            (Decision::Update { input, keep_history, .. }, Some(found)) => {
                self.glue.update_table(&wanted.database, found, input, *keep_history).await
            }
            (Decision::Update { .. }, None) | (Decision::Keep | Decision::Report(_) | Decision::Refuse(_), _) => Ok(()),
        }
    }

    /// Returns the crawler for the status.
    async fn sync_crawler(&self, verdict: &mut Verdict, tables_are_there: bool) -> Result<Option<CrawlerStatus>, Failure> {
        let wanted = self.wanted.crawler.as_ref();
        if wanted.is_none() && !self.seen.has_crawler {
            return Ok(None);
        }
        // Glue takes the operator's word for the role: whose it is has to be known before.
        if let Some(wanted) = wanted
            && let Err(refusal) = check_role(CRAWLER_ROLE, &wanted.role_arn, &self.wanted.namespace, &self.shared.grants)
        {
            verdict.not_granted(&refusal);
            return Ok(None);
        }
        let name = &self.wanted.crawler_name;
        let found = self.glue.crawler(name).await?;
        let change = |act, fields| ObjectChange { object: format!("crawler {name}"), act, fields };
        let change = match decide_crawler(wanted, found.as_ref(), &self.wanted.owner) {
            CrawlerDecision::Keep => return self.crawler_status(wanted.is_some(), found).await,
            CrawlerDecision::Refuse(refusal) => {
                verdict.refused(refusal);
                return Ok(None);
            }
            // Glue takes no crawler of tables that are not there.
            CrawlerDecision::Create if !tables_are_there && verdict.may_write() => return Ok(None),
            CrawlerDecision::Create => change(Act::Create, Vec::new()),
            CrawlerDecision::Update(fields) => change(Act::Update, fields),
            CrawlerDecision::Delete => change(Act::Delete, Vec::new()),
        };
        if verdict.may_write() {
            match (change.act, wanted) {
                (Act::Create, Some(wanted)) => self.glue.create_crawler(wanted, &self.wanted.tags).await?,
                (Act::Update | Act::Correct, Some(wanted)) => self.glue.update_crawler(wanted).await?,
                (Act::Delete, _) => self.glue.delete_crawler(name).await?,
                (Act::None | Act::Create | Act::Update | Act::Correct | Act::Report, _) => {}
            }
        }
        verdict.change(change);
        self.crawler_status(wanted.is_some(), found).await
    }

    /// Takes the crawler away that the spec has no longer. Returns what the status has to remember of it.
    pub(super) async fn leave_crawler(&self, verdict: &mut Verdict) -> Option<CrawlerStatus> {
        let left = CrawlerStatus { name: self.wanted.crawler_name.clone(), ..CrawlerStatus::default() };
        match self.sync_crawler(verdict, true).await {
            Ok(_) => (self.seen.has_crawler && !verdict.may_write()).then_some(left),
            Err(failure) => {
                verdict.failed(&format!("crawler {}", self.wanted.crawler_name), &failure);
                Some(left)
            }
        }
    }

    async fn crawler_status(&self, is_wanted: bool, found: Option<FoundCrawler>) -> Result<Option<CrawlerStatus>, Failure> {
        if !is_wanted {
            return Ok(None);
        }
        let name = self.wanted.crawler_name.clone();
        let Some(run) = found.and_then(|found| found.last_run) else { return Ok(Some(CrawlerStatus { name, ..CrawlerStatus::default() })) };
        let findings = match run.message {
            Some(message) => Some(message),
            None => self.glue.last_crawl(&name).await?,
        };
        Ok(Some(CrawlerStatus {
            name,
            last_run: Some(run.outcome),
            last_run_time: run.started_seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).map(Time),
            findings: findings.map(|text| text.chars().take(MAX_CRAWL).collect()),
        }))
    }
}

/// Returns what a decision changes, or reports; None where it does neither.
fn change(wanted: &WantedTable, decision: &Decision) -> Option<ObjectChange> {
    let (act, fields) = match decision {
        Decision::Keep | Decision::Refuse(_) => return None,
        Decision::Create(_) => (Act::Create, Vec::new()),
        Decision::Update { changes, drift: true, .. } => (Act::Correct, changes.clone()),
        Decision::Update { changes, drift: false, .. } => (Act::Update, changes.clone()),
        Decision::Report(changes) if changes.is_empty() => return None,
        Decision::Report(changes) => (Act::Report, changes.clone()),
    };
    Some(ObjectChange { object: object(wanted), act, fields })
}

pub(super) fn object(wanted: &WantedTable) -> String {
    format!("table {}.{}", wanted.database, wanted.input.name)
}

fn status(found: &GlueTable) -> TableStatus {
    TableStatus {
        name: found.found.input.name.clone(),
        version: found.found.version.clone(),
        schema_hash: Some(found.found.input.schema_hash()),
        partitions: None,
        last_partition: None,
    }
}
