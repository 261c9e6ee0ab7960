//! The whole of it: the chart's roles, the operator's program, workers' programs, a broker, and Glue, Athena and S3.

mod columns;
mod deletion;
mod failing;
mod queries;
mod secrets;
mod stage;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::StockPipeline;
use tokio::process::{Child, Command};

use super::node::Node;
use super::{MINIMAL, Namespace, client, kubectl, resource, run, until};
use crate::audit_log::AuditLog;
use crate::chart::{CHART, repository};
use crate::moto;

/// How long an applied pipeline may take until everything is made that it declares.
const MADE_WITHIN: Duration = Duration::from_secs(30);

/// A secret that must show up nowhere but where it is used.
const CANARY: &str = "canary-secret-9f3e71c0";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// An operator's process under the chart's roles of a release.
struct Operator {
    process: Child,
    user: String,
}

impl Operator {
    /// Installs the chart for one namespace, without pods, and starts the program as the Deployment would, with its service account's token.
    async fn install(namespace: &Namespace, folder: &Path, endpoints: &[String]) -> Self {
        let name = namespace.name();
        let (watched, allowed) = (format!("watchNamespaces={{{name}}}"), format!("allow.endpoints={{{}}}", endpoints.join(",")));
        let chart = repository(CHART).display().to_string();
        let adopted = format!("allow.adopt.{name}={{{}}}", name.replace('-', "_"));
        let timing = ["statusInterval=2s", "driftInterval=5s", "cleanupDeadline=5s"];
        let settings = [&["replicas=0", &watched, &allowed, &adopted, "aws.region=us-east-1"][..], &timing].concat();
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
        let install = ["install", name, &chart, "--namespace", name, "--take-ownership"];
        let (done, said) = run("helm", &[&install[..], &settings[..]].concat(), "").await;
        assert!(done, "{said}");
        let account = format!("{name}-stockpipeline-operator");
        let token = kubectl(&["-n", name, "create", "token", &account, "--duration=1h"], "").await;
        let config = folder.join("operator.kubeconfig");
        let mut own: Value = serde_yaml::from_str(&std::fs::read_to_string(variable("KUBECONFIG")).unwrap()).unwrap();
        own["users"][0]["user"] = json!({ "token": token.trim() });
        std::fs::write(&config, own.to_string()).unwrap();

        let deployment = namespace.api::<Deployment>().get(&account).await.unwrap();
        let container = deployment.spec.unwrap().template.spec.unwrap().containers.remove(0);
        let log = std::fs::File::create(folder.join("operator.log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_stockpipeline-operator"))
            .args(container.args.unwrap())
            .args(["--http-address", "127.0.0.1:0"])
            .envs([("KUBECONFIG", config.display().to_string()), ("POD_NAME", "operator-0".to_owned()), ("POD_NAMESPACE", name.to_owned())])
            .env("RUST_LOG", "info,stockpipeline_operator=debug")
            // What is meant for the tests' own clients; the pipeline names its endpoints itself.
            .env_remove("AWS_ENDPOINT_URL")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, user: format!("system:serviceaccount:{name}:{account}") }
    }

    fn assert_runs(&mut self) {
        assert!(self.process.try_wait().unwrap().is_none(), "the operator has ended");
    }
}

/// Waits until an API server that enforces permissions of owners has heard of a definition that is new: for up to half a minute it refuses
/// every object that such an owner's end has to wait for, whoever makes it.
async fn admission_knows_the_definition(namespace: &Namespace) {
    let owned: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "owned", "ownerReferences": [{
        "apiVersion": StockPipeline::api_version(&()), "kind": "StockPipeline", "name": "owner", "uid": "owner", "blockOwnerDeletion": true,
    }] } }))
    .unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    until("admission knows the definition", async || namespace.api::<ConfigMap>().create(&dry_run, &owned).await.is_ok().then_some(()))
        .await;
}

/// Returns a pipeline of 2,000 synthetic rows over the test's services.
fn pipeline(name: &str) -> StockPipeline {
    let endpoint = moto::endpoint();
    let database = name.replace('-', "_");
    resource(MINIMAL, name, |body| {
        let spec = &mut body["spec"];
        spec["aws"] = json!({
            "region": "us-east-1",
            "credentials": { "type": "Secret", "secretRef": { "name": "aws" } },
            "endpoints": { "s3": endpoint, "glue": endpoint, "athena": endpoint },
            "forcePathStyle": true,
        });
        spec["source"] = json!({ "type": "Synthetic", "synthetic": { "rows": 2_000 } });
        for column in spec["schema"]["columns"].as_array_mut().unwrap() {
            column.as_object_mut().unwrap().remove("from");
        }
        spec["kafka"] = json!({
            "bootstrapServers": [variable("KAFKA_BOOTSTRAP_SERVERS")],
            "topic": { "name": format!("ticks.{name}"), "partitions": 2, "replicationFactor": 1 },
        });
        spec["producer"] = json!({ "keyColumn": "symbol", "slots": 2 });
        spec["sink"]["bucket"]["name"] = json!(name);
        spec["sink"]["raw"] = json!({ "prefix": "raw" });
        spec["sink"]["rotation"] = json!({ "maxInterval": "2s" });
        spec["glue"] = json!({ "database": { "name": database, "create": true }, "tables": { "processed": "p", "raw": "r", "dlq": "d" } });
        spec["athena"] = json!({
            "workgroup": { "name": name, "create": true, "outputLocation": format!("s3://{name}/athena/") },
            "namedQueries": [{ "name": "count", "sql": "select count(*) from p" }],
        });
    })
}

#[tokio::test]
#[ignore = "needs KUBECONFIG, AWS_ENDPOINT_URL, KAFKA_BOOTSTRAP_SERVERS and helm"]
async fn an_applied_pipeline_runs_and_is_ready_under_the_roles_of_the_chart() {
    let client = client().await;
    let namespace = Namespace::new(&client, "live").await;
    let folder = tempfile::tempdir().unwrap();
    let name = namespace.name().to_owned();
    reqwest::Client::new().put(format!("{}/{name}", moto::endpoint())).send().await.unwrap().error_for_status().unwrap();
    let mut operator = Operator::install(&namespace, folder.path(), &[moto::endpoint()]).await;
    let mut node = Node::start(&namespace, folder.path(), &[("RUST_LOG", "info".to_owned())]);
    let secrets: Api<Secret> = namespace.api();
    let keys = [("accessKeyId", "e2e"), ("secretAccessKey", CANARY)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "aws" }, "stringData": std::collections::BTreeMap::from(keys) })).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    admission_knows_the_definition(&namespace).await;

    let began = Instant::now();
    let pipelines = namespace.api::<StockPipeline>();
    let document = serde_json::to_string(&pipeline(&name)).unwrap();
    kubectl(&["-n", &name, "apply", "-f", "-"], &document).await;
    let database = name.replace('-', "_");
    until("everything is made", async || {
        operator.assert_runs();
        let deployments: Api<Deployment> = namespace.api();
        for role in ["sink", "producer"] {
            deployments.get_opt(&format!("{name}-{role}")).await.unwrap()?;
        }
        namespace.api::<ConfigMap>().get_opt(&format!("{name}-pipeline")).await.unwrap()?;
        for table in ["p", "r", "d"] {
            let found = moto::glue("GetTable", json!({ "DatabaseName": database, "Name": table })).await;
            found["Table"]["StorageDescriptor"]["Columns"].as_array()?;
        }
        let group = moto::athena("GetWorkGroup", json!({ "WorkGroup": name })).await;
        group["WorkGroup"]["Name"].as_str()?;
        let queries = moto::athena("ListNamedQueries", json!({ "WorkGroup": name })).await;
        (queries["NamedQueryIds"].as_array()?.len() == 1).then_some(())
    })
    .await;
    assert!(began.elapsed() < MADE_WITHIN, "{:?}", began.elapsed());

    let status = until("the pipeline is ready with all rows stored", async || {
        operator.assert_runs();
        node.assert_works();
        let status = serde_json::to_value(pipelines.get_status(&name).await.unwrap().status?).unwrap();
        let is_ready =
            status["conditions"].as_array()?.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        (is_ready && status["phase"] == "Completed").then_some(status)
    })
    .await;
    let stored = (&status["sink"]["committedRecords"], &status["kafka"]["lag"]["total"]);
    assert_eq!(stored, (&json!(2_000), &json!(0)), "Completed means that nothing is left to store: {status:#}");
    assert_eq!(status["kafka"]["partitions"], 2, "{status:#}");
    assert_eq!(status["glue"]["processedTable"], format!("{database}.p"), "{status:#}");
    kubectl(&["-n", &name, "wait", "--for=condition=Ready", "--timeout=10s", &format!("sp/{name}")], "").await;

    pipelines.delete(&name, &DeleteParams::default()).await.unwrap();
    until("the resource is gone, and its children with it", async || {
        let is_gone = pipelines.get_opt(&name).await.unwrap().is_none();
        let deployments: Api<Deployment> = namespace.api();
        let left = deployments.list(&ListParams::default().labels("app.kubernetes.io/name=stockpipeline")).await.unwrap();
        (is_gone && left.items.is_empty()).then_some(())
    })
    .await;
    let kept = moto::glue("GetTable", json!({ "DatabaseName": database, "Name": "p" })).await;
    assert!(kept["Table"]["Name"].is_string(), "what is retained stays: {kept}");

    let requests = AuditLog::whole().requests(|user| user == operator.user);
    assert!(requests.len() > 20, "its requests are in the audit log: {}", requests.len());
    let refused: Vec<_> = requests.iter().filter(|request| request.is_refused || request.code == 401).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(!requests.iter().any(|request| request.resource.starts_with("/secrets")));
    namespace.remove().await;
}
