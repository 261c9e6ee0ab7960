//! What the operator remembers of the catalogue, and what a look at it says.

use std::collections::BTreeMap;
use std::fmt;

use super::{Change, WantedCatalogue};
use crate::act::Act;
use crate::error::Retry;
use crate::resource::crd::report::{AthenaStatus, CrawlerStatus, GlueStatus, StockPipelineStatus, TableStatus};
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

/// Whether anything may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What differs is written.
    Apply,
    /// Nothing is written; the report says what would be.
    DryRun,
}

/// What the status remembers of the catalogue, since AWS does not: ids, and what is being made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogState {
    /// Ids of the saved queries by name.
    pub named_queries: BTreeMap<String, String>,
    /// Hashes of the views' statements by name; [`CLAIMED`] before a view is made.
    pub views: BTreeMap<String, String>,
    /// Whether there was a crawler.
    pub has_crawler: bool,
    /// The workgroup that was searched for this pipeline's queries.
    pub workgroup: Option<String>,
    /// Corrections so far.
    pub drift_corrections: i64,
    /// Hash of workgroup and saved queries as they were last in order.
    pub athena_hash: Option<String>,
}

/// In place of a view's hash: it will be made as soon as this stands in the status, so that it is known as ours whatever happens then.
pub const CLAIMED: &str = "claimed";

/// What a look at the catalogue says.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogReport {
    /// The condition.
    pub finding: Finding<CatalogSynced>,
    /// The tables, for the status; what was known before stays the caller's where AWS did not answer.
    pub tables: Vec<TableStatus>,
    /// The crawler, for the status.
    pub crawler: Option<CrawlerStatus>,
    /// The Athena objects, for the status; an empty one where nothing is left to remember. They have to be written before the next look: ids
    /// and claims are nowhere else.
    pub athena: Option<AthenaStatus>,
    /// Why a table may lack a declared column, so that nothing may be written for it yet; None where every table is as it should be, or is only
    /// looked at. Nothing else about the catalogue keeps a record from being stored.
    pub columns_wait: Option<String>,
    /// Things that others had changed and that were set right.
    pub corrections: i64,
    /// What was written, or would be, or differs and is left.
    pub changes: Vec<ObjectChange>,
    /// When to look again because of this report; None leaves it to the drift interval.
    pub retry: Option<Retry>,
    /// Whether long work has got further, so that going on with it is no failure.
    pub got_further: bool,
}

/// One thing of the catalogue that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectChange {
    /// What: `table market_data.us_equities`.
    pub object: String,
    /// What was done, or would be.
    pub act: Act,
    /// In which fields it differs; empty for something that is made or deleted as a whole.
    pub fields: Vec<Change>,
}

impl fmt::Display for ObjectChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.act.label(), self.object)?;
        let fields: Vec<String> = self.fields.iter().map(ToString::to_string).collect();
        if fields.is_empty() { Ok(()) } else { write!(formatter, " ({})", fields.join(", ")) }
    }
}

/// What a deletion policy has removed, and what it has left for which reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// What is gone.
    pub removed: Vec<String>,
    /// What was left, and why.
    pub kept: Vec<String>,
}

impl CatalogState {
    /// Returns what a status remembers.
    #[must_use]
    pub fn of(status: Option<&StockPipelineStatus>) -> Self {
        let athena = status.and_then(|status| status.athena.as_ref());
        let glue = status.and_then(|status| status.glue.as_ref());
        Self {
            named_queries: athena.map(|athena| athena.named_queries.clone()).unwrap_or_default(),
            views: athena.map(|athena| athena.views.clone()).unwrap_or_default(),
            has_crawler: glue.is_some_and(|glue| glue.crawler.is_some()),
            workgroup: athena.map(|athena| athena.workgroup.clone()).filter(|name| !name.is_empty()),
            drift_corrections: glue.map_or(0, |glue| glue.drift_corrections),
            athena_hash: athena.and_then(|athena| athena.hash.clone()),
        }
    }
}

impl CatalogState {
    /// Returns whether nothing is remembered that somebody would have to take away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_crawler && self.named_queries.is_empty() && self.views.is_empty()
    }

    /// Returns what is remembered, in words.
    fn list(&self) -> String {
        let crawler = self.has_crawler.then(|| "the crawler".to_owned());
        let queries = self.named_queries.keys().map(|name| format!("saved query {name}"));
        let views = self.views.keys().map(|name| format!("view {name}"));
        crawler.into_iter().chain(queries).chain(views).collect::<Vec<_>>().join(", ")
    }

    /// Returns what the status remembers of Athena; None where that is nothing.
    #[must_use]
    pub fn remembered(&self) -> Option<AthenaStatus> {
        let workgroup = self.workgroup.clone().unwrap_or_default();
        let (named_queries, views, hash) = (self.named_queries.clone(), self.views.clone(), self.athena_hash.clone());
        let status = AthenaStatus { workgroup, named_queries, views, hash };
        (status != AthenaStatus::default()).then_some(status)
    }
}

impl CatalogReport {
    /// Returns the report of a pipeline without a catalogue.
    #[must_use]
    pub fn not_required() -> Self {
        Self::empty(CatalogSynced::NotRequired, "the pipeline has no catalogue")
    }

    /// Returns the report of a pipeline without a catalogue that still has to take away what one has left, and cannot.
    #[must_use]
    pub fn left(seen: &CatalogState, why: Finding<CatalogSynced>, retry: Retry) -> Self {
        let Finding { reason, message: why } = why;
        let message = format!("the pipeline has no catalogue; of an earlier one there is still {}: {why}", seen.list());
        let crawler = seen.has_crawler.then(CrawlerStatus::default);
        Self { athena: seen.remembered(), crawler, retry: Some(retry), ..Self::empty(reason, &message) }
    }

    pub(super) fn empty(reason: CatalogSynced, message: &str) -> Self {
        Self {
            finding: Finding { reason, message: message.to_owned() },
            tables: Vec::new(),
            crawler: None,
            athena: None,
            columns_wait: None,
            corrections: 0,
            changes: Vec::new(),
            retry: None,
            got_further: false,
        }
    }

    /// Returns the Glue part of the status. Partition counts are the workers' to report and stay as they were, as does a table that AWS
    /// did not show this time.
    #[must_use]
    pub fn glue_status(&self, wanted: &WantedCatalogue, before: Option<&GlueStatus>) -> GlueStatus {
        let known = |name: &str| before.and_then(|before| before.tables.iter().find(|table| table.name == name));
        let tables = wanted.tables.iter().filter_map(|table| {
            let name = &table.input.name;
            let found = self.tables.iter().find(|table| table.name == *name);
            let known = known(name);
            let base = found.or(known)?.clone();
            let (partitions, last_partition) = known.map_or((None, None), |known| (known.partitions, known.last_partition.clone()));
            Some(TableStatus { partitions, last_partition, ..base })
        });
        GlueStatus {
            processed_table: wanted.processed_table(),
            tables: tables.collect(),
            drift_corrections: before.map_or(0, |before| before.drift_corrections) + self.corrections,
            crawler: self.crawler.clone().or_else(|| before.and_then(|before| before.crawler.clone()).filter(|_| wanted.crawler.is_some())),
        }
    }
}
