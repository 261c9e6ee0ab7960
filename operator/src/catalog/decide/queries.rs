//! What to do about saved queries. Their names are not unique in Athena, so each is known by its id, and by the mark in its description
//! where the id was lost.

use super::{Change, Owner, WantedAthena, WantedQuery};
use crate::hash;

/// A saved query as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundQuery {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Database.
    pub database: String,
    /// The query.
    pub sql: String,
    /// Workgroup.
    pub workgroup: String,
}

/// One thing to do about the saved queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryStep {
    /// Nothing: name and id.
    Keep(String, String),
    /// Make it.
    Create(WantedQuery),
    /// Write it.
    Update {
        /// Id.
        id: String,
        /// The query as it should be.
        query: WantedQuery,
        /// What differs.
        changes: Vec<Change>,
    },
    /// Delete it: name and id.
    Delete(String, String),
}

/// Returns what to do about the saved queries. `found` are those that are this pipeline's: their ids are in the status, or they carry its
/// mark. One that is in another workgroup or database is made anew, since neither can be changed.
#[must_use]
pub fn plan_queries(wanted: &WantedAthena, found: &[FoundQuery]) -> Vec<QueryStep> {
    let mut steps = Vec::with_capacity(wanted.queries.len());
    let mut kept = Vec::new();
    for query in &wanted.queries {
        let stays = |other: &&FoundQuery| other.workgroup == wanted.workgroup.name && other.database == wanted.database;
        let Some(known) = found.iter().filter(stays).find(|other| other.name == query.name && !kept.contains(&other.id.as_str())) else {
            steps.push(QueryStep::Create(query.clone()));
            continue;
        };
        kept.push(known.id.as_str());
        let changes = changes(query, known);
        steps.push(if changes.is_empty() {
            QueryStep::Keep(query.name.clone(), known.id.clone())
        } else {
            QueryStep::Update { id: known.id.clone(), query: query.clone(), changes }
        });
    }
    let surplus = found.iter().filter(|other| !kept.contains(&other.id.as_str()));
    steps.extend(surplus.map(|other| QueryStep::Delete(other.name.clone(), other.id.clone())));
    steps
}

fn changes(wanted: &WantedQuery, found: &FoundQuery) -> Vec<Change> {
    let mut changes = Vec::new();
    if found.description.as_deref() != Some(&wanted.description) {
        let (found, wanted) = (found.description.clone(), Some(wanted.description.clone()));
        changes.push(Change { field: "description".to_owned(), found, wanted });
    }
    if found.sql != wanted.sql {
        changes.push(Change { field: "sql".to_owned(), found: Some(found.sql.clone()), wanted: Some(wanted.sql.clone()) });
    }
    changes
}

/// Returns the token by which Athena takes a second request to make the same query for the first one again. `gone` is the id that the query
/// had before it was deleted by hand: the token that made that one is spent.
#[must_use]
pub fn creation_token(wanted: &WantedAthena, query: &WantedQuery, owner: &Owner, gone: Option<&str>) -> String {
    let parts =
        [owner.text(), &wanted.workgroup.name, &wanted.database, &query.name, &query.description, &query.sql, gone.unwrap_or_default()];
    let text = format!("{parts:?}");
    // Athena wants at least 32 characters.
    format!("stockpipeline-{}{}", hash::short(&text), hash::short(&format!("{text} again")))
}
