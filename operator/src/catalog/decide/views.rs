//! What to do about a view. Athena makes it, and knows no description or owner of it; the marks are put on afterwards. So that a view whose
//! marks are not on yet is known as ours, a claim stands in the status before it is made.

use stockpipeline::operations::AdoptionPolicy;

use super::{Change, Owner, Policy, Refusal, WantedView, written_hash_mark};
use crate::status::reason::CatalogSynced;

/// What stands under a view's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundView {
    /// Whether it is a view at all.
    pub is_view: bool,
    /// The owner's mark.
    pub owner: Option<String>,
    /// Hash of the statement that it was made by.
    pub hash: Option<String>,
}

/// What to do about a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewDecision {
    /// Nothing.
    Keep,
    /// Put a claim into the status, and make it at the next look.
    Claim,
    /// Run its statement, and mark it.
    Run {
        /// What differs; empty where there is no such view.
        changes: Vec<Change>,
        /// Whether others have changed it.
        drift: bool,
    },
    /// Write nothing, and say in which fields it differs.
    Report(Vec<Change>),
    /// Write nothing until the user has decided.
    Refuse(Refusal),
}

/// Returns what to do about a view; `seen` is what the status says of it.
#[must_use]
pub fn decide_view(view: &WantedView, found: Option<&FoundView>, seen: Option<&str>, owner: &Owner, policy: Policy) -> ViewDecision {
    let Some(found) = found else {
        // What the status says was made, and is gone, was deleted by others.
        let drift = seen == Some(&view.hash);
        let missing = Change { field: "view".to_owned(), found: None, wanted: Some(view.name.clone()) };
        return match seen {
            None => ViewDecision::Claim,
            Some(_) if drift && !policy.correct_drift => ViewDecision::Report(vec![missing]),
            Some(_) => ViewDecision::Run { changes: Vec::new(), drift },
        };
    };
    let is_marked = found.owner.as_deref() == Some(owner.text());
    if !found.is_view {
        return ViewDecision::Refuse(in_the_way(view, "is a table", "name the view otherwise in spec.athena.views"));
    }
    // Whatever the status says: another pipeline that has made it since would make it again, and both for ever.
    if let Some(owner) = found.owner.as_ref().filter(|_| !is_marked) {
        let remedy = "name another one in spec.athena.views, or delete it if that pipeline is gone for good";
        return ViewDecision::Refuse(in_the_way(view, &format!("belongs to {owner}"), remedy));
    }
    if !is_marked && seen.is_none() && policy.adoption != AdoptionPolicy::Adopt {
        let remedy = "name another one in spec.athena.views, delete it, or set spec.glue.adoptionPolicy to Adopt to take it over";
        return ViewDecision::Refuse(in_the_way(view, "was not made by a pipeline", remedy));
    }
    if !is_marked && seen.is_none() && !policy.may_adopt {
        let remedy =
            "grant this namespace in the operator's settings (allow.adopt) to take it over, or name another one in spec.athena.views";
        return ViewDecision::Refuse(in_the_way(view, "was not made by a pipeline", remedy));
    }
    if is_marked && found.hash.as_deref() == Some(&view.hash) {
        return ViewDecision::Keep;
    }
    let changes = vec![Change { field: written_hash_mark(), found: found.hash.clone(), wanted: Some(view.hash.clone()) }];
    let drift = seen == Some(&view.hash);
    if drift && !policy.correct_drift { ViewDecision::Report(changes) } else { ViewDecision::Run { changes, drift } }
}

fn in_the_way(view: &WantedView, whose: &str, remedy: &str) -> Refusal {
    Refusal { reason: CatalogSynced::AlreadyExists, message: format!("view {} exists and {whose}; {remedy}", view.name) }
}
