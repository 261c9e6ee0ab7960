//! The operator as a process in front of a real API server, under exactly the chart's roles; nodes and workers are played.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::{Value, json};
use stockpipeline::document;
use stockpipeline::launch::Exit;
use stockpipeline_operator::crd::StockPipeline;

use crate::aws_endpoint::AwsEndpoint;
use crate::chart::{CHART, repository};
use crate::cluster::{MINIMAL, Namespace, client, kubectl, run};
use crate::program::{AWS_CREDENTIALS, Operator, PROGRAM, until};
use crate::simulation::{Part, Simulation};

/// Name of the release whose roles are used.
const RELEASE: &str = "it";
/// Name of its objects, and of the lease.
const NAME: &str = "it-stockpipeline-operator";
/// Time within which everything that a pipeline needs is there.
const MADE_WITHIN: Duration = Duration::from_secs(30);
/// How long a hand-over may take.
const HANDOVER: Duration = Duration::from_secs(2);

/// A namespace with the operator's roles, AWS, and a cluster that is played.
struct Stage {
    namespace: Namespace,
    aws: AwsEndpoint,
    simulation: Simulation,
    cluster: Value,
}

impl Stage {
    async fn new(purpose: &str) -> Self {
        let client: Client = client().await;
        let namespace = Namespace::new(&client, purpose).await;
        let chart = repository(CHART).display().to_string();
        let watched = format!("watchNamespaces={{{}}}", namespace.name());
        let shown = ["-s", "templates/rbac.yaml", "-s", "templates/serviceaccount.yaml"];
        let template = ["template", RELEASE, &chart, "--namespace", namespace.name(), "--set", &watched];
        let (done, rendered) = run("helm", &[&template[..], &shown].concat(), "").await;
        assert!(done, "{rendered}");
        kubectl(&["apply", "-n", namespace.name(), "-f", "-"], &rendered).await;
        let view = kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"], "").await;
        let cluster = serde_json::from_str::<Value>(&view).unwrap()["clusters"][0]["cluster"].clone();
        let simulation = Simulation::start(client, Part::Nodes).await;
        Self { namespace, aws: AwsEndpoint::start().await, simulation, cluster }
    }

    fn settings(&self) -> Vec<String> {
        vec![
            format!("--namespace={}", self.namespace.name()),
            format!("--watch-namespace={}", self.namespace.name()),
            format!("--worker-port={}", self.simulation.port),
            format!("--allow-endpoint={}", self.aws.url),
            "--status-interval=1s".to_owned(),
            "--drift-interval=5s".to_owned(),
        ]
    }

    /// Returns a kubeconfig of a service account.
    async fn kubeconfig(&self, account: &str) -> String {
        let token = kubectl(&["create", "token", account, "-n", self.namespace.name(), "--duration=1h"], "").await;
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": self.cluster }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it", "namespace": self.namespace.name() } }],
            "users": [{ "name": "it", "user": { "token": token.trim() } }],
        })
        .to_string()
    }

    /// Starts the operator as a service account.
    async fn operate(&self, account: &str) -> Operator {
        let lease = format!("--lease-name={NAME}");
        let settings = self.settings();
        let arguments: Vec<&str> = settings.iter().map(String::as_str).chain([lease.as_str()]).collect();
        Operator::start(&self.kubeconfig(account).await, account, &arguments)
    }

    async fn lead(&self, account: &str) -> Operator {
        let operator = self.operate(account).await;
        until("it leads", async || operator.leads().await).await;
        operator
    }

    /// Lets another service account do what the operator's may.
    async fn add_account(&self, account: &str) {
        let namespace = self.namespace.name();
        kubectl(&["create", "serviceaccount", account, "-n", namespace], "").await;
        let subject = format!("--serviceaccount={namespace}:{account}");
        for role in [NAME.to_owned(), format!("{NAME}-leader")] {
            let binding = format!("{account}-{role}");
            kubectl(&["create", "rolebinding", &binding, "-n", namespace, &format!("--role={role}"), &subject], "").await;
        }
    }

    /// Returns a pipeline that shares nothing but its database with another, after a change of its spec.
    fn document(&self, name: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut body = Value::Object(document::read(MINIMAL).unwrap()[0].body().clone());
        body["metadata"] = json!({ "name": name, "namespace": self.namespace.name() });
        let spec = &mut body["spec"];
        spec["aws"] = json!({ "region": "us-east-1", "endpoints": { "glue": self.aws.url, "athena": self.aws.url } });
        // Of its own: another test's pipelines may still be on their way out.
        let own = self.namespace.name();
        spec["kafka"]["topic"]["name"] = format!("{name}.{own}").into();
        spec["sink"]["bucket"]["name"] = format!("{own}-{name}").into();
        spec["glue"] =
            json!({ "database": { "name": own.replace('-', "_"), "create": true }, "tables": { "processed": name.replace('-', "_") } });
        change(spec);
        body.to_string()
    }

    /// Applies pipelines as users do.
    async fn apply(&self, names: &[String]) {
        let documents: Vec<String> = names.iter().map(|name| self.document(name, |_| {})).collect();
        kubectl(&["apply", "-f", "-"], &documents.join("\n---\n")).await;
    }

    async fn wait(&self, names: &[String]) {
        let mut arguments = vec!["wait", "--for=condition=Ready", "--timeout=120s", "-n", self.namespace.name()];
        let objects: Vec<String> = names.iter().map(|name| format!("stockpipelines/{name}")).collect();
        arguments.extend(objects.iter().map(String::as_str));
        kubectl(&arguments, "").await;
    }

    /// Returns how often a service account has written each resource, its lease aside: what the API server's audit log says.
    fn writes(&self, account: &str) -> BTreeMap<String, usize> {
        let log = std::fs::read_to_string(std::env::var("E2E_AUDIT_LOG").expect("the audit log is named")).unwrap();
        let user = format!("system:serviceaccount:{}:{account}", self.namespace.name());
        let mut counts = BTreeMap::new();
        for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let is_write = ["create", "update", "patch", "delete", "deletecollection"].contains(&text("/verb").as_str());
            let resource = text("/objectRef/resource");
            if text("/user/username") == user && is_write && resource != "leases" {
                let refused = event.pointer("/responseStatus/code").and_then(Value::as_i64) == Some(403);
                assert!(!refused, "the chart's roles do not allow {event}");
                *counts.entry(resource).or_default() += 1;
            }
        }
        counts
    }

    /// Plans as the administrator; returns exit code and what was said.
    async fn plan(&self, document: String) -> (i32, String) {
        let settings = self.settings();
        tokio::task::spawn_blocking(move || {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("pipeline.json");
            std::fs::write(&file, document).unwrap();
            let output = std::process::Command::new(PROGRAM)
                .args(["plan", "-f", &file.display().to_string(), "--", "--worker-image=worker:1"])
                .args(settings)
                .envs(AWS_CREDENTIALS)
                .env_remove("RUST_LOG")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            (output.status.code().unwrap(), said)
        })
        .await
        .unwrap()
    }

    async fn holder(&self) -> String {
        let path = "{.spec.holderIdentity}";
        kubectl(&["get", "lease", NAME, "-n", self.namespace.name(), "-o", &format!("jsonpath={path}")], "").await
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("ticks-{number:02}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn an_applied_pipeline_becomes_ready_and_is_planned_exactly() {
    let stage = Stage::new("ready").await;
    let operator = stage.lead(NAME).await;
    let names = names(1);
    let applied = Instant::now();
    stage.apply(&names).await;
    until("the children are there", async || {
        let (done, _) =
            run("kubectl", &["get", "-n", stage.namespace.name(), "deployment/ticks-00-sink", "deployment/ticks-00-producer"], "").await;
        done && stage.aws.calls("CreateTable") > 0
    })
    .await;
    assert!(applied.elapsed() < MADE_WITHIN, "{:?}", applied.elapsed());
    stage.wait(&names).await;

    let (code, text) = stage.plan(stage.document("ticks-00", |_| {})).await;
    assert_eq!((code, text.contains("Nothing to change.")), (0, true), "{text}");
    let (code, text) = stage.plan(stage.document("ticks-00", |spec| spec["sink"]["worker"] = json!({ "replicas": 2 }))).await;
    assert_eq!(code, 2, "{text}");
    for part in [
        "spec.sink.worker.replicas: 1 -> 2",
        "~ spec.replicas: 1 -> 2",
        "+ PodDisruptionBudget ticks-00-sink (create)",
        "2 to create, 2 to change",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (code, text) = stage.plan(stage.document("ticks-00", |spec| spec["kafka"]["topic"]["name"] = "other".into())).await;
    assert_eq!((code, text.contains("the API server would not apply")), (1, true), "{text}");
    let (code, text) = stage.plan(stage.document("brand-new", |_| {})).await;
    assert_eq!((code, text.contains("+ Deployment brand-new-sink (create)")), (2, true), "{text}");
    let object = stage.namespace.api::<StockPipeline>().get("ticks-00").await.unwrap();
    assert_eq!(object.metadata.generation, Some(1), "plans are written nowhere");
    drop(operator);
    stage.namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn fifty_pipelines_at_rest_are_written_nowhere() {
    let stage = Stage::new("rest").await;
    let operator = stage.lead(NAME).await;
    let names = names(50);
    stage.apply(&names).await;
    stage.wait(&names).await;
    let mut last = (BTreeMap::new(), Instant::now());
    until("nothing is written for ten seconds", async || {
        let writes = stage.writes(NAME);
        if writes != last.0 {
            last = (writes, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(10)
    })
    .await;
    let (before, aws_before, looks) = (stage.writes(NAME), stage.aws.writes(), stage.aws.calls("GetTable"));
    until("every pipeline's drift was looked for twice", async || stage.aws.calls("GetTable") >= looks + 2 * 50 + 50).await;
    assert_eq!(stage.writes(NAME), before);
    assert_eq!(stage.aws.writes(), aws_before);
    drop(operator);
    stage.namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn a_leader_that_was_stopped_at_work_writes_nothing_after_its_lease() {
    let stage = Stage::new("frozen").await;
    stage.add_account("second").await;
    let mut first = stage.lead(NAME).await;
    let second = stage.operate("second").await;
    until("the second is ready", async || second.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    let names = names(20);
    stage.apply(&names).await;
    until("the first is at work", async || stage.writes(NAME).values().sum::<usize>() > 10).await;
    first.signal("STOP");
    until("the second leads", async || second.leads().await).await;
    stage.wait(&names).await;
    let before = stage.writes(NAME);
    first.signal("CONT");
    assert_eq!(first.ended().await.code(), Some(i32::from(Exit::External.code())));
    assert_eq!(stage.writes(NAME), before);
    assert!(second.leads().await);

    let mut second = second;
    let again = stage.operate(NAME).await;
    until("the first is back", async || again.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    let told = Instant::now();
    second.signal("TERM");
    until("the first leads again", async || stage.holder().await.starts_with(NAME)).await;
    assert!(told.elapsed() < HANDOVER, "{:?}", told.elapsed());
    assert_eq!(second.ended().await.code(), Some(0));
    drop(again);
    stage.namespace.remove().await;
}
