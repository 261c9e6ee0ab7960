//! What a check finds: errors and warnings, each with the path of its field.

use std::fmt;

use serde_json::Value;

/// Characters of a value that a message shows.
const SHOWN_CHARACTERS: usize = 60;
/// Errors that one check reports; more would help nobody.
const MAX_ERRORS: usize = 200;

/// One thing that is wrong: where, what stands there, why it is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FieldError {
    /// Path of the field, such as `spec.schema.columns[2].scale`.
    pub path: String,
    /// What stands there, shortened; empty where nothing does.
    pub value: String,
    /// Why it is wrong, as the rest of a sentence about the value.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// One thing that is allowed and yet probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Path of the field.
    pub path: String,
    /// What to know about it.
    pub message: String,
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<FieldError>,
    pub(crate) warnings: Vec<Warning>,
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, value, reason, remedy } = self;
        let space = if value.is_empty() { "" } else { " " };
        write!(formatter, "{path}: {value}{space}{reason}; {remedy}")
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

impl Findings {
    /// Adds an error about a value.
    pub(crate) fn wrong(&mut self, path: &str, value: impl Into<Value>, reason: &str, remedy: &str) {
        self.add(path, shown(&value.into()), reason, remedy);
    }

    /// Adds an error about a field as a whole, or one that is missing.
    pub(crate) fn broken(&mut self, path: &str, reason: &str, remedy: &str) {
        self.add(path, String::new(), reason, remedy);
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, path: &str, message: &str) {
        if self.warnings.len() < MAX_ERRORS {
            self.warnings.push(Warning { path: path.to_owned(), message: message.to_owned() });
        }
    }

    fn add(&mut self, path: &str, value: String, reason: &str, remedy: &str) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError { path: path.to_owned(), value, reason: reason.to_owned(), remedy: remedy.to_owned() });
        }
    }
}

/// Returns the value as one line of JSON, shortened. What looks like `name:password@host` is not shown.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.split_once('@').is_some_and(|(before, _)| before.contains(':')) {
        return "(not shown, as it may hold a password)".to_owned();
    }
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text;
    }
    text.chars().take(SHOWN_CHARACTERS).chain("...".chars()).collect()
}
