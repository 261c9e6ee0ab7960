//! Every manifest of the examples is one that its reader takes: the API server, with Karpenter's definitions beside ours, or eksctl.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stockpipeline_e2e::program::{kubectl, must};
use stockpipeline_e2e::stage::repository;
use stockpipeline_e2e::{Stage, claim};

/// Namespaces that the examples name.
const NAMESPACES: [&str; 3] = ["kafka", "market-data", "stockpipeline-demo"];
/// Where Karpenter's definitions and eksctl's schema are published: as Go modules.
const KARPENTER: &str = "github.com/aws/karpenter-provider-aws@v1.8.2";
const EKSCTL: &str = "github.com/weaveworks/eksctl@v0.215.0";
const EKSCTL_SCHEMA: &str = "pkg/apis/eksctl.io/v1alpha5/assets/schema.json";
/// The cluster itself is eksctl's to read.
const CLUSTER: &str = "examples/eks/cluster.yaml";
/// Says what a JSON schema has against a YAML document.
const VALIDATE: &str = r#"
import json, sys, jsonschema, yaml
schema, document = json.load(open(sys.argv[1])), yaml.safe_load(open(sys.argv[2]))
errors = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(document))
print("\n".join(f"{error.json_path}: {error.message}" for error in errors))
sys.exit(bool(errors))
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn every_example_is_one_that_its_reader_takes() {
    let stage = Stage::open().await;
    let definitions = module(KARPENTER).await.join("pkg/apis/crds").display().to_string();
    kubectl(&["apply", "--server-side", "-f", &definitions]).await;
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &definitions]).await;
    let mut taken = 0;
    for namespace in NAMESPACES {
        must("bash", &["-c", &format!("kubectl create namespace {namespace} --dry-run=client -o yaml | kubectl apply -f -")], "").await;
    }
    for file in manifests(&repository().join("examples")) {
        let said = kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &file.display().to_string()]).await;
        let objects = said.lines().filter(|line| line.ends_with("(server dry run)")).count();
        assert!(objects > 0, "{}: {said}", file.display());
        taken += objects;
    }
    kubectl(&["delete", "--wait=false", "-f", &definitions]).await;
    for namespace in NAMESPACES {
        kubectl(&["delete", "namespace", namespace, "--wait=false"]).await;
    }
    let schema = module(EKSCTL).await.join(EKSCTL_SCHEMA).display().to_string();
    let cluster = repository().join(CLUSTER).display().to_string();
    must(&stage.settings.python, &["-c", VALIDATE, &schema, &cluster], "").await;
    claim(format_args!(
        "{taken} objects of the examples pass a server-side dry run, Karpenter's by its own definitions; the cluster passes eksctl's schema"
    ));
}

/// Returns the files of a folder that are manifests.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml")
            && !path.ends_with("values.yaml")
            && !path.ends_with(CLUSTER)
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the folder of a Go module.
async fn module(name: &str) -> PathBuf {
    let said = must("go", &["mod", "download", "-json", name], "").await;
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("go said {said}: {error}"));
    PathBuf::from(told["Dir"].as_str().unwrap_or_else(|| panic!("go said {said}")))
}
