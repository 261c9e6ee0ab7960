//! A source that cannot be read, and who can do something about it.

use std::path::PathBuf;

use crate::error::Class;

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The source has no rows of its own.
    #[error("a source of type ExternalTopic has no rows to produce; remove the producer")]
    NotProduced,
    /// The file cannot be opened or read.
    #[error("failed to read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
}

impl FeedError {
    /// Returns who can do something about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NotProduced => Class::Bug,
            Self::Read { .. } => Class::User,
        }
    }
}
