//! What is done to one thing, in the cluster or in the catalogue.

use serde::Serialize;

/// What is done to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Act {
    /// Nothing: it is as declared.
    None,
    /// It is made.
    Create,
    /// It is written because what is declared has changed.
    Update,
    /// It is written because others have changed or deleted it.
    Correct,
    /// It is deleted.
    Delete,
    /// It is left as it is, and reported.
    Report,
}

impl Act {
    /// Returns the name of the act.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Create => "create",
            Self::Update => "update",
            Self::Correct => "correct",
            Self::Delete => "delete",
            Self::Report => "report",
        }
    }

    /// Returns whether the act writes.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::None | Self::Report => false,
            Self::Create | Self::Update | Self::Correct | Self::Delete => true,
        }
    }
}
