//! The documents that are planned: read and checked as `check` does, where unknown fields are errors.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::{self, Document};

/// Why documents can't be planned: always the user's.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// The file can't be read.
    #[error("failed to read {file}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it is wrong; every error is a line.
    #[error("{file} can't be applied:\n{}", errors.join("\n"))]
    Wrong {
        /// The file.
        file: PathBuf,
        /// What is wrong, one sentence each.
        errors: Vec<String>,
    },
    /// A document names another namespace than the one that was asked for.
    #[error("{name} is for namespace {given}, not {asked}; remove one of the two")]
    Namespace {
        /// The pipeline.
        name: String,
        /// What the document says.
        given: String,
        /// What was asked for.
        asked: String,
    },
}

/// Returns every pipeline of a file; - is standard input.
///
/// # Errors
/// [`DocumentsError`] with everything that is wrong.
pub fn read(file: &Path) -> Result<Vec<Document>, DocumentsError> {
    let text = read_text(file).map_err(|source| DocumentsError::Read { file: file.to_owned(), source })?;
    let wrong = |errors| DocumentsError::Wrong { file: file.to_owned(), errors };
    let documents = document::read(&text).map_err(|error| wrong(vec![error.to_string()]))?;
    let mut errors = Vec::new();
    for document in &documents {
        let name = document.name().map(|name| format!("{name}: ")).unwrap_or_default();
        if let Err(found) = Pipeline::check(document, UnknownFields::Error) {
            errors.extend(found.iter().map(|error| format!("{name}{error}")));
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(wrong(errors)) }
}

/// Returns the documents with their namespaces: their own, or the one that is asked for, or the default.
///
/// # Errors
/// [`DocumentsError::Namespace`] when the two differ.
pub fn place(documents: Vec<Document>, asked: Option<&str>, default: &str) -> Result<Vec<(String, Document)>, DocumentsError> {
    let mut placed = Vec::with_capacity(documents.len());
    for document in documents {
        let namespace = match (document.namespace(), asked) {
            (Some(given), Some(asked)) if given != asked => {
                let name = document.name().unwrap_or_default().to_owned();
                return Err(DocumentsError::Namespace { name, given: given.to_owned(), asked: asked.to_owned() });
            }
            (Some(namespace), _) | (None, Some(namespace)) => namespace,
            (None, None) => default,
        };
        placed.push((namespace.to_owned(), document));
    }
    Ok(placed)
}

fn read_text(file: &Path) -> std::io::Result<String> {
    // One byte more than allowed, so that the reader of the text sees that there is too much.
    let limit = document::MAX_BYTES as u64 + 1;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_string(&mut text)?;
    } else {
        File::open(file)?.take(limit).read_to_string(&mut text)?;
    }
    Ok(text)
}
