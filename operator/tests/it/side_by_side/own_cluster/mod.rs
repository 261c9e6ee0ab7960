//! What can only be tried on an API server of a test's own: killed, set back, with rights taken away, with another definition.

mod disaster;
mod rights;
mod topic;
