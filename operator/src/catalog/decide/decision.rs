//! What to do about a table: create it, update it, say that it differs, or refuse and name the field to set.

use stockpipeline::operations::{AdoptionPolicy, GlueSettings};

use super::difference::{Change, descriptor_hash, differences, merge};
use super::indexes::indexes_hash;
use super::{FoundTable, TableInput, WantedTable, Zone, indexes_hash_mark, owner_mark, partitions_hash_mark, written_hash_mark};
use crate::status::reason::CatalogSynced;

/// What a pipeline allows the operator to do to its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What happens to a table that is not the pipeline's.
    pub adoption: AdoptionPolicy,
    /// Whether what others have changed is set right again.
    pub correct_drift: bool,
    /// Whether columns may go or change their type.
    pub unrestricted: bool,
    /// Whether the operator's settings let the pipeline take over what no pipeline has made.
    pub may_adopt: bool,
}

/// What to do about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is as it should be.
    Keep,
    /// Make it.
    Create(TableInput),
    /// Write it.
    Update {
        /// What Glue is given.
        input: TableInput,
        /// The version that this was decided on: Glue refuses if there is another by now.
        version: Option<String>,
        /// Every field that differs.
        changes: Vec<Change>,
        /// Whether others have changed it, so that the correction is counted and told.
        drift: bool,
        /// Whether Glue should keep the version before: only the schema's history is worth it.
        keep_history: bool,
    },
    /// Write nothing, and say in which fields it differs; in none, where it is only observed and as it should be.
    Report(Vec<Change>),
    /// Write nothing until the user has decided.
    Refuse(Refusal),
}

/// Why a table is not written, and what the user can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Reason of the condition CatalogSynced.
    pub reason: CatalogSynced,
    /// What stands in the way and the field to set.
    pub message: String,
}

impl Policy {
    /// Returns the policy of a pipeline that was granted nothing.
    #[must_use]
    pub fn of(settings: &GlueSettings, unrestricted: bool) -> Self {
        Self { adoption: settings.adoption, correct_drift: settings.correct_drift, unrestricted, may_adopt: false }
    }
}

/// Returns what to do about a table.
#[must_use]
pub fn decide(wanted: &WantedTable, found: Option<&FoundTable>, policy: Policy) -> Decision {
    let Some(found) = found else {
        return match policy.adoption {
            AdoptionPolicy::Observe => Decision::Report(vec![missing(wanted)]),
            AdoptionPolicy::FailIfExists | AdoptionPolicy::Adopt => Decision::Create(new(wanted)),
        };
    };
    let mark = |table: &TableInput, name: &str| table.parameters.get(name).cloned();
    let owner = mark(&found.input, &owner_mark());
    let is_own = owner == mark(&wanted.input, &owner_mark());
    let changes = differences(&wanted.input, &found.input);
    match (policy.adoption, &owner) {
        (AdoptionPolicy::Observe, _) => return Decision::Report(without_marks(changes)),
        (AdoptionPolicy::FailIfExists | AdoptionPolicy::Adopt, _) if is_own => {}
        // What a pipeline has made stays its own: two that took turns would write one table for ever.
        (AdoptionPolicy::FailIfExists | AdoptionPolicy::Adopt, Some(owner)) => return Decision::Refuse(of_another(wanted, owner)),
        (AdoptionPolicy::FailIfExists, None) => return Decision::Refuse(of_nobody(wanted)),
        (AdoptionPolicy::Adopt, None) if !policy.may_adopt => return Decision::Refuse(not_granted(wanted)),
        (AdoptionPolicy::Adopt, None) => {}
    }
    if changes.is_empty() {
        return Decision::Keep;
    }
    // What was written last is what is wanted now, so somebody else has changed the table.
    let drift = is_own && mark(&found.input, &written_hash_mark()) == mark(&wanted.input, &written_hash_mark());
    if drift && !policy.correct_drift {
        return Decision::Report(changes);
    }
    let breaking: Vec<&Change> = changes.iter().filter(|change| change.is_breaking()).collect();
    if !drift && !policy.unrestricted && !breaking.is_empty() {
        return Decision::Refuse(breaks(wanted, &breaking));
    }
    Decision::Update {
        input: merge(&wanted.input, &found.input),
        version: found.version.clone(),
        drift,
        keep_history: changes.iter().any(Change::is_of_schema),
        changes,
    }
}

/// A new table has no partitions that would have to follow it, and is made with its indexes.
fn new(wanted: &WantedTable) -> TableInput {
    let mut input = wanted.input.clone();
    input.parameters.insert(partitions_hash_mark(), descriptor_hash(&wanted.input));
    if !wanted.indexes.is_empty() {
        input.parameters.insert(indexes_hash_mark(), indexes_hash(&wanted.indexes));
    }
    input
}

fn missing(wanted: &WantedTable) -> Change {
    Change { field: "table".to_owned(), found: None, wanted: Some(full_name(wanted)) }
}

/// An observed table carries no marks of ours.
fn without_marks(changes: Vec<Change>) -> Vec<Change> {
    let marks = format!("parameters.{}/", stockpipeline::document::GROUP);
    changes.into_iter().filter(|change| !change.field.starts_with(&marks)).collect()
}

fn of_nobody(wanted: &WantedTable) -> Refusal {
    Refusal {
        reason: CatalogSynced::AlreadyExists,
        message: format!(
            "table {} exists and was not made by a pipeline; name another one in {}, or set spec.glue.adoptionPolicy to Adopt to take it \
             over or to Observe to leave it as it is",
            full_name(wanted),
            field(wanted)
        ),
    }
}

fn not_granted(wanted: &WantedTable) -> Refusal {
    Refusal {
        reason: CatalogSynced::AlreadyExists,
        message: format!(
            "table {} exists and was not made by a pipeline, and this namespace may take over nothing in database {}: grant it in the \
             operator's settings (allow.adopt), or name another one in {}",
            full_name(wanted),
            wanted.database,
            field(wanted)
        ),
    }
}

fn of_another(wanted: &WantedTable, owner: &str) -> Refusal {
    Refusal {
        reason: CatalogSynced::AlreadyExists,
        message: format!(
            "table {} exists and belongs to {owner}; name another one in {}, set spec.glue.adoptionPolicy to Observe to leave it as it is, \
             or, if that pipeline is gone for good, remove the table's parameter {} and set it to Adopt",
            full_name(wanted),
            field(wanted),
            owner_mark()
        ),
    }
}

/// Returns the field that names a table.
fn field(wanted: &WantedTable) -> &'static str {
    match wanted.zone {
        Zone::Processed => "spec.glue.tables.processed",
        Zone::Raw => "spec.glue.tables.raw",
        Zone::DeadLetters => "spec.glue.tables.dlq",
    }
}

fn breaks(wanted: &WantedTable, changes: &[&Change]) -> Refusal {
    let list = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Refusal {
        reason: CatalogSynced::UnrestrictedChange,
        message: format!(
            "table {} has columns that would go or change their type ({list}); declare them as they are, or set spec.schema.evolution to \
             Unrestricted",
            full_name(wanted)
        ),
    }
}

fn full_name(wanted: &WantedTable) -> String {
    format!("{}.{}", wanted.database, wanted.input.name)
}
