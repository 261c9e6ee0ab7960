//! What a request asks for: the resource, the object and the act, from method, path and query.

use std::collections::BTreeMap;

use axum::http::{Method, Uri};

use super::answer::Refused;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Patch,
    Delete,
    DeleteCollection,
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) act: Act,
    /// `v1`, `apps/v1`.
    pub(super) api_version: String,
    /// `deployments`.
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// `status`, `scale`.
    pub(super) subresource: Option<String>,
    pub(super) dry_run: bool,
    pub(super) manager: Option<String>,
    pub(super) force: bool,
    /// Version after which a watch starts; None sends what there is first.
    pub(super) since: Option<u64>,
    labels: Vec<(String, String)>,
    fields: Vec<(String, String)>,
}

impl Target {
    pub(super) fn parse(method: &Method, uri: &Uri) -> Result<Self, Refused> {
        let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let (api_version, rest) = match path.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return Err(Refused::not_found(uri.path())),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some((*name).to_owned()), None),
            [plural, name, subresource] => (*plural, Some((*name).to_owned()), Some((*subresource).to_owned())),
            _ => return Err(Refused::not_found(uri.path())),
        };
        let query: BTreeMap<String, String> = pairs(uri.query().unwrap_or_default(), '&').into_iter().collect();
        let given = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
        let act = match (method.as_str(), name.is_some()) {
            ("GET", false) if matches!(given("watch"), "true" | "1") => Act::Watch,
            ("GET", true) => Act::Get,
            ("GET", false) => Act::List,
            ("POST", false) => Act::Create,
            ("PUT", true) => Act::Replace,
            ("PATCH", true) => Act::Patch,
            ("DELETE", true) => Act::Delete,
            ("DELETE", false) => Act::DeleteCollection,
            _ => return Err(Refused::bad("no such method here")),
        };
        Ok(Self {
            act,
            api_version,
            plural: plural.to_owned(),
            namespace,
            name,
            subresource,
            dry_run: given("dryRun") == "All",
            manager: query.get("fieldManager").cloned(),
            force: given("force") == "true",
            since: given("resourceVersion").parse().ok(),
            labels: pairs(given("labelSelector"), ','),
            fields: pairs(given("fieldSelector"), ','),
        })
    }

    /// Returns whether an object of this resource is among those that a list or watch asks for.
    pub(super) fn selects(&self, object: &serde_json::Value) -> bool {
        let metadata = &object["metadata"];
        let namespace = self.namespace.as_ref().is_none_or(|namespace| metadata["namespace"] == **namespace);
        let labels = self.labels.iter().all(|(name, value)| metadata["labels"][name.as_str()] == **value);
        let fields = self.fields.iter().all(|(path, value)| {
            let found = path.split('.').try_fold(object, |object, member| object.get(member));
            found.and_then(serde_json::Value::as_str).unwrap_or_default() == value
        });
        namespace && labels && fields
    }
}

/// Reads `a=b&c=d`, percent-encoded, and selectors `a=b,c=d`.
fn pairs(text: &str, separator: char) -> Vec<(String, String)> {
    let decode = |text: &str| decode(&text.replace('+', " "));
    let split = text.split(separator).filter_map(|pair| pair.split_once('='));
    split.map(|(name, value)| (decode(name), decode(value.trim_start_matches('=')))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
