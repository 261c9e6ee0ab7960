//! A file for `kubectl apply`, read: YAML (or JSON) text to the `StockPipeline` documents in it.
//!
//! Looks at nothing but the envelope (`apiVersion` and `kind`); what stands in a document is for [`crate::check`] to judge.
//! Documents of other kinds are skipped, a `List` is opened, `status` is ignored.

use serde::Deserialize;
use serde_json::{Map, Number, Value};

/// API version of a `StockPipeline`.
pub const API_VERSION: &str = "stockpipeline.dev/v1alpha1";
/// API group of a `StockPipeline`.
pub const GROUP: &str = "stockpipeline.dev";
/// Kind of a `StockPipeline`.
pub const KIND: &str = "StockPipeline";
/// Bytes that a file may have: the API server takes no larger object.
pub const MAX_BYTES: usize = 1_572_864;
/// Documents that a file may have.
pub const MAX_DOCUMENTS: usize = 1_000;

/// One `StockPipeline` as it was written, unchecked.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    body: Map<String, Value>,
}

/// A file that cannot be read as `StockPipeline` documents.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DocumentError {
    /// The file is too large.
    #[error("the file has {bytes} bytes, more than the {MAX_BYTES} that Kubernetes takes; make it smaller")]
    TooLarge {
        /// Bytes of the file.
        bytes: usize,
    },
    /// The file has too many documents.
    #[error("the file has more than {MAX_DOCUMENTS} documents; split it")]
    TooMany,
    /// Not YAML.
    #[error("document {document}: not YAML: {reason}")]
    Syntax {
        /// Number of the document, from 1.
        document: usize,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// YAML that no Kubernetes object can hold.
    #[error("document {document}: {path}: {reason}")]
    Unsupported {
        /// Number of the document, from 1.
        document: usize,
        /// Path of the value.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A document that is meant to be a `StockPipeline`, but says otherwise.
    #[error("document {document}: apiVersion is {api_version} and kind is {kind}; write apiVersion: {API_VERSION} and kind: {KIND}")]
    WrongKind {
        /// Number of the document, from 1.
        document: usize,
        /// What it says.
        api_version: String,
        /// What it says.
        kind: String,
    },
    /// No document is a `StockPipeline`.
    #[error("the file holds no StockPipeline; start it with apiVersion: {API_VERSION} and kind: {KIND}")]
    Missing,
}

/// Returns every `StockPipeline` of a file, at least one.
///
/// # Errors
/// [`DocumentError`], always the user's, when the text is not YAML, too large or holds no `StockPipeline`.
pub fn read(text: &str) -> Result<Vec<Document>, DocumentError> {
    if text.len() > MAX_BYTES {
        return Err(DocumentError::TooLarge { bytes: text.len() });
    }
    // Left in, it would shift the first line's column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for (index, part) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let document = index + 1;
        if document > MAX_DOCUMENTS {
            return Err(DocumentError::TooMany);
        }
        let syntax = |error: serde_yaml::Error| DocumentError::Syntax { document, reason: describe(&error) };
        let mut yaml = serde_yaml::Value::deserialize(part).map_err(syntax)?;
        yaml.apply_merge().map_err(syntax)?;
        let unsupported = |(path, reason)| DocumentError::Unsupported { document, path, reason };
        let value = to_json(yaml, "document").map_err(unsupported)?;
        collect(value, document, &mut documents)?;
    }
    if documents.is_empty() { Err(DocumentError::Missing) } else { Ok(documents) }
}

impl Document {
    /// Returns the document of an object that was read elsewhere, such as from the API server.
    #[must_use]
    pub fn new(name: &str, namespace: Option<&str>, spec: Value) -> Self {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), name.into());
        if let Some(namespace) = namespace {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        let mut body = Map::new();
        body.insert("apiVersion".to_owned(), API_VERSION.into());
        body.insert("kind".to_owned(), KIND.into());
        body.insert("metadata".to_owned(), metadata.into());
        body.insert("spec".to_owned(), spec);
        Self { body }
    }

    /// Returns the whole document.
    #[must_use]
    pub fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// Returns `metadata.name`, where there is a text.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.body.get("metadata")?.get("name")?.as_str()
    }

    /// Returns `metadata.namespace`, where there is a text.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.body.get("metadata")?.get("namespace")?.as_str()
    }

    /// Returns an annotation of the group, by its name without `stockpipeline.dev/`.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.body.get("metadata")?.get("annotations")?.get(format!("{GROUP}/{name}"))?.as_str()
    }

    /// Returns the document as YAML text that [`read`] takes.
    ///
    /// # Panics
    /// Never: what a document holds is always YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(&self.body).expect("JSON values with text keys are always YAML")
    }
}

fn collect(value: Value, document: usize, documents: &mut Vec<Document>) -> Result<(), DocumentError> {
    let Value::Object(mut body) = value else {
        // An empty document between two `---` is nothing; anything else that is not an object cannot be applied.
        if value.is_null() {
            return Ok(());
        }
        let reason = "is not an object; indent the fields of a StockPipeline under their names".to_owned();
        return Err(DocumentError::Unsupported { document, path: "document".to_owned(), reason });
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("missing").to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version == "v1" && kind == "List" {
        if let Some(Value::Array(items)) = body.remove("items") {
            for item in items {
                collect(item, document, documents)?;
            }
        }
        return Ok(());
    }
    if api_version == API_VERSION && kind == KIND {
        documents.push(Document { body });
        return Ok(());
    }
    let meant = api_version == "missing" || kind == "missing" || kind == KIND || api_version.split('/').next() == Some(GROUP);
    if meant { Err(DocumentError::WrongKind { document, api_version, kind }) } else { Ok(()) }
}

fn describe(error: &serde_yaml::Error) -> String {
    let mut text = error.to_string();
    // What libyaml says of a tab at a line's start helps nobody.
    if text.contains("cannot start any token") {
        text.push_str("; indent with spaces, not tabs, and quote texts that start with @, ` or %");
    }
    match error.location() {
        Some(place) if !text.contains(" line ") => format!("{text} at line {} column {}", place.line(), place.column()),
        Some(_) | None => text,
    }
}

/// Depth is bounded by the YAML parser (128).
fn to_json(yaml: serde_yaml::Value, path: &str) -> Result<Value, (String, String)> {
    match yaml {
        serde_yaml::Value::Null => Ok(Value::Null),
        serde_yaml::Value::Bool(flag) => Ok(Value::Bool(flag)),
        serde_yaml::Value::Number(number) => number_to_json(&number).ok_or_else(|| {
            let reason = format!("{number} is no number that JSON can hold; write a finite number, or quote it");
            (path.to_owned(), reason)
        }),
        serde_yaml::Value::String(text) => Ok(Value::String(text)),
        serde_yaml::Value::Sequence(items) => {
            let mut array = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                array.push(to_json(item, &format!("{path}[{index}]"))?);
            }
            Ok(Value::Array(array))
        }
        serde_yaml::Value::Mapping(entries) => {
            let mut object = Map::with_capacity(entries.len());
            for (key, value) in entries {
                let name = key_to_text(&key, path)?;
                let value = to_json(value, &format!("{path}.{name}"))?;
                if object.insert(name.clone(), value).is_some() {
                    return Err((path.to_owned(), format!("the key {name} stands twice; remove one")));
                }
            }
            Ok(Value::Object(object))
        }
        serde_yaml::Value::Tagged(tagged) => {
            Err((path.to_owned(), format!("the YAML tag {} has no meaning here; remove it, or quote the text", tagged.tag)))
        }
    }
}

fn number_to_json(number: &serde_yaml::Number) -> Option<Value> {
    let integer = number.as_i64().map(Number::from).or_else(|| number.as_u64().map(Number::from));
    integer.or_else(|| number.as_f64().and_then(Number::from_f64)).map(Value::Number)
}

fn key_to_text(key: &serde_yaml::Value, path: &str) -> Result<String, (String, String)> {
    match key {
        serde_yaml::Value::String(text) => Ok(text.clone()),
        serde_yaml::Value::Bool(flag) => Ok(flag.to_string()),
        serde_yaml::Value::Number(number) => Ok(number.to_string()),
        serde_yaml::Value::Null | serde_yaml::Value::Sequence(_) | serde_yaml::Value::Mapping(_) | serde_yaml::Value::Tagged(_) => {
            Err((path.to_owned(), "holds a key that is not text; quote the key".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
