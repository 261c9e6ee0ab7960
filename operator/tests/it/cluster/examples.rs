//! Every manifest of the examples is one that the API server would take.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Namespace, client, kubectl};
use crate::chart::repository;

/// Kinds of extensions that a bare API server lacks.
const ELSEWHERE: [&str; 3] = ["ClusterConfig", "EC2NodeClass", "NodePool"];

/// Finds every manifest of a folder.
pub(crate) fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            manifests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("values.yaml") {
            found.push(path);
        }
    }
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn every_manifest_of_the_examples_can_be_applied() {
    let client = client().await;
    let namespace = Namespace::new(&client, "examples").await;
    let mut files = Vec::new();
    manifests(&repository("examples"), &mut files);
    let mut applied = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let mut object = Value::deserialize(document).unwrap();
            let kind = object["kind"].as_str().unwrap_or_else(|| panic!("{}: no kind", file.display())).to_owned();
            if ELSEWHERE.contains(&kind.as_str()) {
                continue;
            }
            if kind != "Namespace" {
                object["metadata"]["namespace"] = json!(namespace.name());
            }
            let said = kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"], &object.to_string()).await;
            assert!(said.contains("serverside-applied"), "{}: {kind}: {said}", file.display());
            // A pod that the standard refuses is a warning about what makes it.
            assert!(!said.contains("violate PodSecurity"), "{}: {kind}: {said}", file.display());
            applied += 1;
        }
    }
    assert!(applied > 12, "{applied}");
    namespace.remove().await;
}
