//! The custom resource on a real API server: what it accepts, refuses, stores and shows.

pub(crate) mod control_plane;
mod definition;
pub(crate) mod examples;
mod explain;
mod live;
mod namespace;
mod node;
mod rules;
mod scale;
mod show;
mod stored;

use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Config};
use serde_json::Value;
use stockpipeline::document;
use stockpipeline_operator::resource::crd::{StockPipeline, definition};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub(crate) use namespace::Namespace;

/// A document with every field.
pub(crate) const FULL: &str = include_str!("../../../../pipeline/tests/fixtures/full.yaml");
/// The smallest useful document.
pub(crate) const MINIMAL: &str = include_str!("../../../../pipeline/tests/fixtures/minimal.yaml");
/// How long anything may take to be as a test wants it.
const DEADLINE: Duration = Duration::from_mins(2);

/// Returns a client of the API server of `KUBECONFIG`, which knows the custom resource.
pub(crate) async fn client() -> Client {
    let client = Client::try_from(Config::infer().await.unwrap()).unwrap();
    define(&client, &definition()).await;
    client
}

/// Applies a definition and waits until objects of it can be made.
pub(crate) async fn define(client: &Client, definition: &CustomResourceDefinition) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = definition.metadata.name.clone().unwrap();
    definitions.patch(&name, &PatchParams::apply("stockpipeline-tests").force(), &Patch::Apply(definition)).await.unwrap();
    until("the definition is established", async || {
        let conditions = definitions.get(&name).await.unwrap().status.and_then(|status| status.conditions).unwrap_or_default();
        let problem = conditions.iter().find(|condition| condition.type_ == "NonStructuralSchema" && condition.status == "True");
        assert!(problem.is_none(), "{problem:?}");
        conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True").then_some(())
    })
    .await;
}

/// Returns what `look` finds once it finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the resource of a document under another name, after a change of its body.
pub(crate) fn resource(text: &str, name: &str, change: impl FnOnce(&mut Value)) -> StockPipeline {
    let mut body = Value::Object(document::read(text).unwrap()[0].body().clone());
    body["metadata"] = serde_json::json!({ "name": name });
    change(&mut body);
    serde_json::from_value(body).unwrap()
}

/// Sets a member by its pointer; its parent has to be there.
pub(crate) fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not there")) {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
}

/// Returns what the operator reports of one role, whose Deployment has as many pods as it should.
pub(crate) fn workers(replicas: u32, selector: &str) -> Value {
    serde_json::json!({
        "desired": replicas, "replicas": replicas, "readyReplicas": replicas, "summary": format!("{replicas}/{replicas}"),
        "selector": selector, "configHash": "0123456789abcdef", "image": "worker:1",
    })
}

/// Runs a program with a text as its input, and returns whether it ended well and all it said.
pub(crate) async fn run(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// Runs `kubectl` and returns what it said; it has to end well.
pub(crate) async fn kubectl(arguments: &[&str], input: &str) -> String {
    let (done, said) = run("kubectl", arguments, input).await;
    assert!(done, "kubectl {arguments:?}: {said}");
    said
}
