//! `kubectl explain` at every level.

use serde_json::Value;
use stockpipeline_operator::resource::crd::definition;

use super::{client, kubectl, run, until};

/// Calls `visit` with the path and the schema of everything that has members.
fn objects(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    let schema = if schema["items"].is_object() { &schema["items"] } else { schema };
    if schema["properties"].as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    visit(path, schema);
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        objects(&format!("{path}.{name}"), member, visit);
    }
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn every_level_explains_each_of_its_fields() {
    drop(client().await);
    // The API server publishes a new definition's texts some seconds after it serves its objects.
    until("the definition is explained", async || run("kubectl", &["explain", "sp"], "").await.0.then_some(())).await;
    let root = serde_json::to_value(definition()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    let mut levels = Vec::new();
    objects("sp", &root, &mut |path, schema| levels.push((path.to_owned(), schema["properties"].clone())));
    assert!(levels.len() > 30, "{}", levels.len());
    for (path, members) in levels {
        let said = kubectl(&["explain", &path], "").await;
        assert!(said.contains("DESCRIPTION:\n") && !said.contains("<empty>"), "{path} is not described:\n{said}");
        for (name, member) in members.as_object().unwrap() {
            if path == "sp" && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                continue;
            }
            let line = format!("  {name}\t<");
            let (_, after) = said.split_once(&line).unwrap_or_else(|| panic!("{path}.{name} is not listed:\n{said}"));
            let described = after.lines().skip(1).take_while(|line| line.starts_with("    ")).any(|line| !line.trim().is_empty());
            assert!(described || member["enum"].is_array(), "{path}.{name} is not described:\n{said}");
        }
    }
    let said = kubectl(&["explain", "sp.spec.sink.worker.scaling.mode"], "").await;
    for mode in ["Fixed", "External", "Lag"] {
        assert!(said.contains(mode), "{said}");
    }
}
