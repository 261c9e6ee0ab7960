//! Files as for `kubectl apply`, read and checked.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use stockpipeline::check::{UnknownFields, Warning};
use stockpipeline::checked::Pipeline;
use stockpipeline::document;

use super::CommandError;
use crate::error::line;

/// What is said of one document.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It can be used.
    Fine {
        /// The pipeline.
        pipeline: Box<Pipeline>,
        /// What is probably not meant.
        warnings: Vec<Warning>,
    },
    /// It can't be used.
    Wrong {
        /// Name of the pipeline, where the file was readable and holds one.
        name: Option<String>,
        /// What is wrong, one sentence each.
        errors: Vec<String>,
    },
}

/// Returns what is to be said of every document in a file that people write: unknown fields are errors.
pub(super) fn judge(file: &Path) -> Vec<Verdict> {
    judge_with(file, UnknownFields::Error)
}

/// Returns the one pipeline of a file; relative paths in it start at the file's folder. Warnings are logged.
///
/// # Errors
/// [`CommandError::Document`] with everything that is wrong.
pub(super) fn load(file: &Path, unknown: UnknownFields) -> Result<Pipeline, CommandError> {
    let wrong = |errors| CommandError::Document { file: file.to_owned(), errors };
    let mut verdicts = judge_with(file, unknown);
    if verdicts.len() > 1 {
        let several =
            format!("the file holds {} StockPipelines and this command takes one; write each into a file of its own", verdicts.len());
        return Err(wrong(vec![several]));
    }
    match verdicts.pop() {
        Some(Verdict::Fine { pipeline, warnings }) => {
            for warning in warnings {
                tracing::warn!(file = %file.display(), "{warning}");
            }
            Ok(*pipeline)
        }
        Some(Verdict::Wrong { errors, .. }) => Err(wrong(errors)),
        None => Err(wrong(vec!["the file holds no document".to_owned()])),
    }
}

/// Returns the folder that relative paths of a file start from.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn judge_with(file: &Path, unknown: UnknownFields) -> Vec<Verdict> {
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => return vec![Verdict::Wrong { name: None, errors: vec![error] }],
    };
    let documents = match document::read(&text) {
        Ok(documents) => documents,
        Err(error) => return vec![Verdict::Wrong { name: None, errors: vec![line(&error)] }],
    };
    let judge_one = |document| match Pipeline::check(document, unknown) {
        Ok((pipeline, warnings)) => Verdict::Fine { pipeline: Box::new(pipeline), warnings },
        Err(errors) => {
            Verdict::Wrong { name: document.name().map(str::to_owned), errors: errors.iter().map(ToString::to_string).collect() }
        }
    };
    documents.iter().map(judge_one).collect()
}

fn read(file: &Path) -> Result<String, String> {
    // One byte more than allowed, so that the reader of the text sees that there is too much.
    let limit = document::MAX_BYTES as u64 + 1;
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut text));
    if let Err(error) = read {
        return Err(format!("can't be read: {error}"));
    }
    if text.len() > document::MAX_BYTES {
        return Err(format!("has more than {} bytes; Kubernetes takes no larger object", document::MAX_BYTES));
    }
    String::from_utf8(text).map_err(|error| format!("is no UTF-8 text: {}", error.utf8_error()))
}
