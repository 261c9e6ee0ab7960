//! Classes of errors: the only place that decides about retry, exit code and metric label.

use serde::{Deserialize, Serialize};
use stockpipeline::launch::Exit;

/// Who can do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The user: input, configuration, permissions.
    User,
    /// An outside system; it may heal.
    External,
    /// A bug in this program.
    Bug,
}

impl Class {
    /// Returns the label used in metrics and in `/status`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::External => "external",
            Self::Bug => "bug",
        }
    }

    /// Returns how a process ends on an error of this class.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::User => Exit::User,
            Self::External => Exit::External,
            Self::Bug => Exit::Bug,
        }
    }
}

/// Returns an error with its sources in one line.
#[must_use]
pub fn line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
