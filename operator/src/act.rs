//! What is done to one thing, in the cluster or in the catalogue.

/// What is done to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
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
        self != Self::Report
    }
}
