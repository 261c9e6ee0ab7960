//! What to do about the crawler, which looks at the tables and changes none of them.

use super::{Change, Owner, Refusal, WantedCrawler};
use crate::status::reason::CatalogSynced;

/// A crawler as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundCrawler {
    /// Description, which carries the owner's mark.
    pub description: Option<String>,
    /// Role that it runs as: an ARN, or what follows `role/` in it.
    pub role: String,
    /// When it runs.
    pub schedule: Option<String>,
    /// The tables that it looks at, with their databases.
    pub tables: Vec<String>,
    /// Whether it writes what it finds to a log and nowhere else.
    pub only_logs: bool,
    /// Its last run.
    pub last_run: Option<LastRun>,
}

/// The last run of a crawler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastRun {
    /// How it ended, in Glue's words.
    pub outcome: String,
    /// When it started, seconds since 1970.
    pub started_seconds: Option<i64>,
    /// Why it failed.
    pub message: Option<String>,
}

/// What to do about the crawler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrawlerDecision {
    /// Nothing.
    Keep,
    /// Make it.
    Create,
    /// Write it.
    Update(Vec<Change>),
    /// Delete it: the spec has none any more.
    Delete,
    /// Leave it until the user has decided.
    Refuse(Refusal),
}

/// Returns what to do about the pipeline's crawler.
#[must_use]
pub fn decide_crawler(wanted: Option<&WantedCrawler>, found: Option<&FoundCrawler>, owner: &Owner) -> CrawlerDecision {
    let is_own = found.is_some_and(|found| owner.has_described(found.description.as_deref()));
    let (wanted, found) = match (wanted, found) {
        (None, None) => return CrawlerDecision::Keep,
        (None, Some(_)) => return if is_own { CrawlerDecision::Delete } else { CrawlerDecision::Keep },
        (Some(_), None) => return CrawlerDecision::Create,
        (Some(wanted), Some(found)) => (wanted, found),
    };
    if !is_own {
        return CrawlerDecision::Refuse(Refusal {
            reason: CatalogSynced::AlreadyExists,
            message: format!(
                "crawler {} exists and was not made for this pipeline; delete it, or set spec.glue.crawler.enabled to false",
                wanted.name
            ),
        });
    }
    let changes = changes(wanted, found);
    if changes.is_empty() { CrawlerDecision::Keep } else { CrawlerDecision::Update(changes) }
}

fn changes(wanted: &WantedCrawler, found: &FoundCrawler) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |field: &str, found: Option<String>, wanted: Option<String>| {
        if found != wanted {
            changes.push(Change { field: field.to_owned(), found, wanted });
        }
    };
    // Glue may tell the role without the part of the ARN that is the account's.
    let same_role = wanted.role_arn == found.role || wanted.role_arn.ends_with(&format!(":role/{}", found.role));
    if !same_role {
        compare("role", Some(found.role.clone()), Some(wanted.role_arn.clone()));
    }
    compare("schedule", found.schedule.clone(), wanted.schedule.clone());
    let list = |tables: &[String]| {
        let mut tables = tables.to_vec();
        tables.sort_unstable();
        Some(tables.join(", "))
    };
    let tables: Vec<String> = wanted.tables.iter().map(|table| format!("{}.{table}", wanted.database)).collect();
    compare("tables", list(&found.tables), list(&tables));
    if !found.only_logs {
        compare("schemaChangePolicy", Some("changes tables".to_owned()), Some("only logs".to_owned()));
    }
    changes
}
