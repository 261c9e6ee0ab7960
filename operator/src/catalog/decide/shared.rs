//! What to do about things that many pipelines share: the database and the workgroup.
//!
//! `create` means "if it is missing". One that is there is never refused, and changed only by the pipeline that made it.

use super::{Change, Owner, WantedDatabase, WantedWorkgroup};
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

/// A database as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDatabase {
    /// The owner's mark.
    pub owner: Option<String>,
}

/// A workgroup as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundWorkgroup {
    /// Description, which carries the owner's mark.
    pub description: Option<String>,
    /// Where query results go.
    pub output_location: Option<String>,
    /// Bytes that one query may scan.
    pub bytes_scanned_cutoff: Option<i64>,
}

/// What to do about something shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedDecision {
    /// Nothing.
    Keep,
    /// Make it.
    Create,
    /// Write it; only where the pipeline has made it.
    Update(Vec<Change>),
    /// It is missing and not to be made: what to say.
    Missing(Finding<CatalogSynced>),
}

/// Returns what to do about the database.
#[must_use]
pub fn decide_database(wanted: &WantedDatabase, found: Option<&FoundDatabase>) -> SharedDecision {
    match (found, wanted.create) {
        (Some(_), _) => SharedDecision::Keep,
        (None, true) => SharedDecision::Create,
        (None, false) => missing(&format!("database {}", wanted.name), "spec.glue.database.create"),
    }
}

/// Returns what to do about the workgroup.
#[must_use]
pub fn decide_workgroup(wanted: &WantedWorkgroup, found: Option<&FoundWorkgroup>, owner: &Owner) -> SharedDecision {
    let Some(found) = found else {
        return if wanted.create {
            SharedDecision::Create
        } else {
            missing(&format!("workgroup {}", wanted.name), "spec.athena.workgroup.create")
        };
    };
    if !owner.has_described(found.description.as_deref()) {
        return SharedDecision::Keep;
    }
    let mut changes = Vec::new();
    let location = |location: &Option<String>| location.as_deref().map(|location| location.trim_end_matches('/').to_owned());
    // Without a location of its own the spec leaves the workgroup's; without a cut-off there should be none.
    if wanted.output_location.is_some() && location(&wanted.output_location) != location(&found.output_location) {
        let (found, wanted) = (found.output_location.clone(), wanted.output_location.clone());
        changes.push(Change { field: "outputLocation".to_owned(), found, wanted });
    }
    if wanted.bytes_scanned_cutoff != found.bytes_scanned_cutoff {
        let text = |bytes: Option<i64>| bytes.map(|bytes| bytes.to_string());
        let (found, wanted) = (text(found.bytes_scanned_cutoff), text(wanted.bytes_scanned_cutoff));
        changes.push(Change { field: "bytesScannedCutoff".to_owned(), found, wanted });
    }
    if changes.is_empty() { SharedDecision::Keep } else { SharedDecision::Update(changes) }
}

fn missing(what: &str, field: &str) -> SharedDecision {
    SharedDecision::Missing(Finding {
        reason: CatalogSynced::NotFound,
        message: format!("{what} does not exist; make it, or set {field} to true"),
    })
}
