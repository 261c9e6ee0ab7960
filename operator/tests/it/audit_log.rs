//! What the API server's audit log has of somebody's requests.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A place in the log from which on it is read.
pub(crate) struct AuditLog {
    file: PathBuf,
    start: u64,
}

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) user: String,
    pub(crate) verb: String,
    /// Group and resource with its part: `apps/deployments`, `stockpipeline.dev/stockpipelines/status`.
    pub(crate) resource: String,
    /// Empty for a request to all namespaces.
    pub(crate) namespace: String,
    pub(crate) code: u64,
    /// Whether no role allowed it.
    pub(crate) is_refused: bool,
}

impl Request {
    /// Returns whether it writes.
    pub(crate) fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
    }

    /// Returns the rights that it took: a patch that makes an object takes two.
    pub(crate) fn rights(&self) -> BTreeSet<String> {
        let verbs: &[&str] = if self.verb == "patch" && self.code == 201 { &["patch", "create"] } else { &[&self.verb] };
        verbs.iter().map(|verb| format!("{verb} {}", self.resource)).collect()
    }
}

impl AuditLog {
    /// Returns the suite's log from here on.
    pub(crate) fn from_here() -> Self {
        Self::of(Path::new(&std::env::var("E2E_AUDIT_LOG").expect("the audit log is named")))
    }

    /// Returns the suite's log from its beginning.
    pub(crate) fn whole() -> Self {
        Self { start: 0, ..Self::from_here() }
    }

    /// Returns another log from here on.
    pub(crate) fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), start: std::fs::metadata(file).map_or(0, |metadata| metadata.len()) }
    }

    /// Returns all requests of users whose names pass, in order.
    pub(crate) fn requests(&self, mut is_meant: impl FnMut(&str) -> bool) -> Vec<Request> {
        let mut log = std::fs::File::open(&self.file).unwrap();
        log.seek(SeekFrom::Start(self.start)).unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        // The last line may be half written.
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| is_meant(event["user"]["username"].as_str().unwrap_or_default())).map(|event| request(&event)).collect()
    }
}

fn request(event: &Value) -> Request {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let parts = ["/objectRef/apiGroup", "/objectRef/resource", "/objectRef/subresource"].map(text);
    Request {
        user: text("/user/username"),
        verb: text("/verb"),
        resource: format!("{}/{}/{}", parts[0], parts[1], parts[2]).trim_end_matches('/').to_owned(),
        namespace: text("/objectRef/namespace"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
        // What admission refuses is answered with 403 as well.
        is_refused: event["annotations"]["authorization.k8s.io/decision"] == "forbid",
    }
}
