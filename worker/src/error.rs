//! Errors as text. Their classes, the only place that decides about retry, exit code and metric label, are the contract's.

pub use stockpipeline::status::Class;

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
