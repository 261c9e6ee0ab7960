//! What a reason of a condition means: whether the condition holds, and what comes next.

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody has looked yet, or nobody can.
    Unknown,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing: this is a state to stay in.
    Settled,
    /// The operator or the cluster is at it.
    Progressing,
    /// It heals by itself once something outside is well again.
    Waiting,
    /// It stays until the user changes something.
    Stalled,
}

/// What a reason means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The reason's name in the condition.
    pub label: &'static str,
    /// Whether the condition holds.
    pub truth: Truth,
    /// What comes next.
    pub outlook: Outlook,
}

/// Returns a meaning; a short name for the tables below.
pub(super) const fn of(label: &'static str, truth: Truth, outlook: Outlook) -> Meaning {
    Meaning { label, truth, outlook }
}

/// A list of reasons: those of one type of condition.
pub trait Reason: Copy {
    /// Returns what the reason means.
    fn meaning(self) -> Meaning;
}
