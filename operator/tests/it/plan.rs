//! `plan` as a program, beside an operator that does what it says.

use std::io::Write;
use std::process::{Command, Stdio};

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use stockpipeline::document;
use stockpipeline_operator::resource::crd::StockPipeline;

use crate::api_server::{ApiServer, Key, Write as Written};
use crate::aws_endpoint::AwsEndpoint;
use crate::program::{AWS_CREDENTIALS, Operator, PROGRAM, until};

const NAMESPACE: &str = "quotes";

/// A cluster with an operator's Deployment, and AWS.
struct Stage {
    server: ApiServer,
    aws: AwsEndpoint,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let (server, aws) = (ApiServer::start().await, AwsEndpoint::start().await);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig("planner")).unwrap();
        let stage = Self { server, aws, folder };
        stage.install().await;
        stage
    }

    fn arguments(&self) -> [String; 2] {
        [format!("--allow-endpoint={}", self.aws.url), "--no-network-policies".to_owned()]
    }

    /// Puts the operator's Deployment there, as the chart does.
    async fn install(&self) {
        let [endpoint, policies] = self.arguments();
        let labels = json!({ "app.kubernetes.io/name": "stockpipeline-operator" });
        let container =
            json!({ "name": "operator", "image": "operator:1", "args": ["run", "--worker-image=worker:1", endpoint, policies] });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "operator", "namespace": "system", "labels": labels },
            "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } } },
        });
        let resource = ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.server.client(), "system", &resource);
        api.patch("operator", &PatchParams::apply("helm"), &Patch::Apply(&deployment)).await.unwrap();
    }

    /// Starts the operator with the arguments that its Deployment has.
    async fn operate(&self) -> Operator {
        let arguments = self.arguments();
        let operator = Operator::start(&self.server.kubeconfig("operator"), "operator-0", &[&arguments[0], &arguments[1]]);
        until("the operator leads", async || operator.leads().await).await;
        operator
    }

    /// Returns a document with a catalogue, after a change of its spec.
    fn document(&self, change: impl FnOnce(&mut Value)) -> Value {
        let text = include_str!("../../../pipeline/tests/fixtures/minimal.yaml");
        let mut body = Value::Object(document::read(text).unwrap()[0].body().clone());
        body["metadata"]["namespace"] = NAMESPACE.into();
        body["spec"]["aws"] = json!({ "region": "us-east-1", "endpoints": { "glue": self.aws.url, "athena": self.aws.url } });
        body["spec"]["glue"] = json!({ "database": { "name": "market", "create": true }, "tables": { "processed": "ticks" } });
        change(&mut body["spec"]);
        body
    }

    /// Does what `kubectl apply --server-side` does.
    async fn apply(&self, document: &Value) {
        let api: Api<StockPipeline> = Api::namespaced(self.server.client(), NAMESPACE);
        api.patch("demo", &PatchParams::apply("kubectl").force(), &Patch::Apply(document)).await.unwrap();
    }

    /// Returns exit code and what was said.
    fn plan(&self, document: &Value, arguments: &[&str]) -> (i32, String, String) {
        let mut child = Command::new(PROGRAM)
            .args(["plan", "-f", "-"])
            .args(arguments)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .envs(AWS_CREDENTIALS)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(document.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Plans, and makes sure that it was only a plan.
    fn plan_and_write_nothing(&self, document: &Value, arguments: &[&str]) -> (i32, String, String) {
        let before = (self.state(), self.aws.writes());
        let outcome = tokio::task::block_in_place(|| self.plan(document, arguments));
        let written: Vec<Written> = self.server.writes().into_iter().filter(|write| write.user == "planner" && !write.dry_run).collect();
        assert_eq!(written, []);
        assert_eq!((self.state(), self.aws.writes()), before);
        outcome
    }

    /// Returns everything that is stored, but for what the operator's own process keeps.
    fn state(&self) -> Vec<Value> {
        ["configmaps", "controllerrevisions", "deployments", "networkpolicies", "poddisruptionbudgets", "serviceaccounts", "stockpipelines"]
            .iter()
            .flat_map(|plural| self.server.list(plural))
            .map(|mut object| {
                object.as_object_mut().unwrap().remove("status");
                object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
                object
            })
            .collect()
    }

    async fn settled(&self) {
        let is_there = |plural: &str, name: &str| self.server.get(&Key::new(plural, NAMESPACE, name)).is_some();
        until("children and tables are there", async || {
            is_there("deployments", "demo-sink")
                && is_there("deployments", "demo-producer")
                && self.aws.calls("CreateTable") >= 1
                && self.synced()
        })
        .await;
    }

    fn synced(&self) -> bool {
        let status = self.server.get(&Key::new("stockpipelines", NAMESPACE, "demo")).unwrap_or_default()["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "CatalogSynced" && condition["status"] == "True")
    }
}

fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pipeline_is_planned_and_written_nowhere() {
    let stage = Stage::new().await;
    let document = stage.document(|_| {});
    let (code, text, said) = stage.plan_and_write_nothing(&document, &[]);
    assert_eq!(code, 2, "{text}{said}");
    contains_all(
        &text,
        &[
            "+ StockPipeline quotes/demo (create)",
            "+ ConfigMap demo-pipeline (create)",
            "+ Deployment demo-sink (create)",
            "+ Deployment demo-producer (create)",
            "+ ServiceAccount demo-workers (create)",
            "+ ControllerRevision demo-1-",
            "+ database market (create)",
            "+ table market.ticks (create)",
            "Nothing was written.",
        ],
    );
    assert!(!text.contains("NetworkPolicy"), "the installed operator makes none:\n{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");
    let (code, text, _) = stage.plan_and_write_nothing(&document, &["-o", "json"]);
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &plan["pipelines"][0]["resource"]["act"]), (2, &json!("create")));
    assert_eq!(plan["pipelines"][0]["problems"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_has_done_is_planned_no_more_and_what_changes_is() {
    let stage = Stage::new().await;
    let operator = stage.operate().await;
    stage.apply(&stage.document(|_| {})).await;
    stage.settled().await;
    let (code, text, said) = stage.plan_and_write_nothing(&stage.document(|_| {}), &[]);
    assert_eq!((code, text.contains("Nothing to change.")), (0, true), "{text}{said}");

    let grown = stage.document(|spec| {
        spec["sink"]["worker"] = json!({ "replicas": 2 });
        spec["schema"]["columns"].as_array_mut().unwrap().push(json!({ "name": "volume", "type": "Bigint" }));
    });
    let (code, text, said) = stage.plan_and_write_nothing(&grown, &[]);
    assert_eq!(code, 2, "{text}{said}");
    contains_all(
        &text,
        &[
            "~ StockPipeline quotes/demo (update)",
            "spec.schema.columns[volume]: {",
            "~ Deployment demo-sink (update, its pods restart one by one)",
            "~ spec.replicas: 1 -> 2",
            "+ PodDisruptionBudget demo-sink (create)",
            "~ table market.ticks (update)",
            "columns.volume",
        ],
    );
    stage.apply(&grown).await;
    let is_there = || stage.server.get(&Key::new("poddisruptionbudgets", NAMESPACE, "demo-sink")).is_some();
    until("the change is there", async || is_there() && stage.aws.calls("UpdateTable") > 0).await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_changed_is_planned_as_a_correction() {
    let stage = Stage::new().await;
    let mut operator = stage.operate().await;
    let document = stage.document(|_| {});
    stage.apply(&document).await;
    stage.settled().await;
    operator.signal("TERM");
    operator.ended().await;
    let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(stage.server.client(), NAMESPACE);
    let patch = json!({ "spec": { "replicas": 7 } });
    api.patch("demo-sink", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let (code, text, said) = stage.plan_and_write_nothing(&document, &[]);
    assert_eq!(code, 2, "{text}{said}");
    contains_all(&text, &["~ Deployment demo-sink (correct what others have changed)", "~ spec.replicas: 7 -> 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_said_and_ends_with_1() {
    let stage = Stage::new().await;
    let foreign = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "demo-pipeline", "namespace": NAMESPACE } });
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(stage.server.client(), NAMESPACE);
    api.patch("demo-pipeline", &PatchParams::apply("somebody"), &Patch::Apply(&foreign)).await.unwrap();
    let misspelt = stage.document(|spec| spec["sink"]["rotaton"] = json!({}));
    let elsewhere = stage.document(|spec| spec["aws"]["endpoints"]["glue"] = "http://127.0.0.1:1".into());
    let granted = stage.document(|spec| spec["aws"]["controlPlaneRoleArn"] = "arn:aws:iam::123456789012:role/x".into());
    let good = stage.document(|_| {});
    for (document, arguments, expected) in [
        (&misspelt, &[][..], "demo: spec.sink.rotaton"),
        (&misspelt, &[], "rotation"),
        (&good, &[], "ConfigMap demo-pipeline is there and belongs to somebody else"),
        (&elsewhere, &[], "the operator signs no requests to http://127.0.0.1:1"),
        (&granted, &[], "is not granted to namespace quotes"),
        (&good, &["-n", "other"], "demo is for namespace quotes, not other"),
        (&good, &["--operator-namespace=nowhere"], "found no Deployment of the operator"),
        (&good, &["--", "--no-such-argument"], "--no-such-argument"),
    ] {
        let (code, text, said) = stage.plan_and_write_nothing(document, arguments);
        assert_eq!(code, 1, "{expected}: {text}{said}");
        assert!(format!("{text}{said}").contains(expected), "{expected} is not in\n{text}{said}");
    }
}
