//! Plays the cluster and AWS, applies the pipelines, and measures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use stockpipeline::document::{self, Document};
use stockpipeline_operator::catalog::converge::{Catalogue, Options};
use stockpipeline_operator::metrics::Metrics;
use stockpipeline_operator::plan::{Planner, installed};
use stockpipeline_operator::resource::crd::StockPipeline;

use crate::api_server::ApiServer;
use crate::aws_endpoint::AwsEndpoint;
use crate::simulation::{Part, Simulation};

const MINIMAL: &str = include_str!("../../../pipeline/tests/fixtures/minimal.yaml");
const NAMESPACE: &str = "bench";
const OPERATOR: &str = "operator";
/// Pipelines that are applied at one time.
const SIDE_BY_SIDE: usize = 32;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_mins(30);
/// Goal of the seconds until a thousand pipelines are ready.
const GOAL_READY_SECONDS: f64 = 60.0;
/// Goal of the Kubernetes writes for each pipeline.
const GOAL_WRITES: f64 = 8.0;
/// Goal of the memory at rest with a thousand pipelines: 40 MB.
const GOAL_MEBIBYTES: f64 = 40e6 / 1_048_576.0;
/// Goal of the seconds of a plan.
const GOAL_PLAN_SECONDS: f64 = 2.0;

/// The operator; killed when it is dropped. Where this program is killed itself, one that leads loses its lease and ends.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Measures and prints every figure.
pub(crate) async fn measure(pipelines: u32, rest: Duration) -> anyhow::Result<()> {
    let (server, aws) = (ApiServer::start().await, AwsEndpoint::start().await);
    let client = client_of(&server, "cluster").await?;
    let simulation = Simulation::start(client.clone(), Part::NodesAndControllers).await;
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig(OPERATOR))?;
    let settings = vec![
        "--worker-image=worker:1".to_owned(),
        format!("--worker-port={}", simulation.port),
        format!("--allow-endpoint={}", aws.url),
        "--glue-rate=100000".to_owned(),
        "--athena-rate=100000".to_owned(),
        "--namespace=system".to_owned(),
    ];
    let child = Command::new(program()?)
        .args(["run", "--http-address=127.0.0.1:0"])
        .args(&settings)
        .env("KUBECONFIG", &kubeconfig)
        .env("RUST_LOG", "warn")
        .envs([("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "bench")])
        .spawn()
        .context("failed to start the operator")?;
    let operator = Operator(child);
    until("the operator leads", || !server.list("leases").is_empty()).await?;

    let started = Instant::now();
    apply_all(&client, pipelines, &aws.url).await?;
    until("all pipelines are ready", || ready(&server) == pipelines as usize).await?;
    let seconds = started.elapsed().as_secs_f64();
    // Whatever is still on its way is part of it.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let writes = operator_writes(&server);
    let peak = memory(operator.0.id(), "VmHWM:")?;
    print(&format!(
        "ready    {pipelines} pipelines in {seconds:.1} s = {:.2} x goal {GOAL_READY_SECONDS} s a thousand",
        ratio(pipelines, seconds)
    ));
    let each = f64::from(u32::try_from(writes.values().sum::<usize>())?) / f64::from(pipelines);
    let aws_writes = f64::from(u32::try_from(aws.writes().values().sum::<u64>())?) / f64::from(pipelines);
    print(&format!("writes   {each:.2} to Kubernetes each (goal {GOAL_WRITES}), {aws_writes:.2} to AWS each; {writes:?}"));

    let (before, aws_before) = (writes.values().sum::<usize>(), aws.writes().values().sum::<u64>());
    tokio::time::sleep(rest).await;
    let after = operator_writes(&server).values().sum::<usize>();
    let aws_after = aws.writes().values().sum::<u64>();
    print(&format!(
        "rest     {} writes to Kubernetes and {} to AWS in {} s (goal 0)",
        after - before,
        aws_after - aws_before,
        rest.as_secs()
    ));
    let resident = memory(operator.0.id(), "VmRSS:")?;
    print(&format!(
        "memory   {resident:.1} MiB at rest = {:.2} x goal {GOAL_MEBIBYTES:.1} MiB | peak {peak:.1} MiB",
        resident / GOAL_MEBIBYTES
    ));
    plan_one(&client_of(&server, "planner").await?, &settings, &aws.url).await
}

/// Returns the operator's program, which cargo puts in the folder above the one of examples.
fn program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let program = this.ancestors().nth(2).context("an example lies in a folder")?.join("stockpipeline-operator");
    ensure!(program.is_file(), "there is no {}: build it with the same profile, as `make bench` does", program.display());
    Ok(program)
}

async fn client_of(server: &ApiServer, user: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig(user))?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}

fn ratio(pipelines: u32, seconds: f64) -> f64 {
    seconds / (GOAL_READY_SECONDS * f64::from(pipelines) / 1_000.0)
}

/// Returns a pipeline that shares nothing with any other but its database.
fn body(number: u32, endpoint: &str) -> Value {
    let mut body = Value::Object(document::read(MINIMAL).unwrap()[0].body().clone());
    body["metadata"] = json!({ "name": format!("ticks-{number:04}"), "namespace": NAMESPACE });
    let spec = &mut body["spec"];
    spec["aws"] = json!({ "region": "us-east-1", "endpoints": { "glue": endpoint, "athena": endpoint } });
    spec["kafka"]["topic"]["name"] = format!("ticks-{number:04}").into();
    spec["sink"]["bucket"]["name"] = format!("bench-{number:04}").into();
    spec["glue"] = json!({ "database": { "name": "market", "create": true }, "tables": { "processed": format!("ticks_{number:04}") } });
    body
}

async fn apply_all(client: &Client, pipelines: u32, endpoint: &str) -> anyhow::Result<()> {
    let api: Api<StockPipeline> = Api::namespaced(client.clone(), NAMESPACE);
    let applied = futures::stream::iter(0..pipelines).map(|number| {
        let (api, body) = (api.clone(), body(number, endpoint));
        async move {
            let name = format!("ticks-{number:04}");
            api.patch(&name, &PatchParams::apply("kubectl").force(), &Patch::Apply(&body)).await.map(|_| ())
        }
    });
    let applied: Vec<kube::Result<()>> = applied.buffer_unordered(SIDE_BY_SIDE).collect().await;
    applied.into_iter().collect::<kube::Result<()>>().context("failed to apply the pipelines")
}

fn ready(server: &ApiServer) -> usize {
    let is_ready = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    server.list("stockpipelines").iter().filter(|object| is_ready(object)).count()
}

/// Returns how often the operator has written each kind of object. Its lease is not about pipelines.
fn operator_writes(server: &ApiServer) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in server.writes().into_iter().filter(|write| write.user == OPERATOR && !write.path.contains("/leases")) {
        let parts: Vec<&str> = write.path.split('/').collect();
        let place = parts.iter().position(|part| *part == NAMESPACE).map_or(0, |place| place + 1);
        let kind = parts.get(place).copied().unwrap_or_default();
        let kind = if write.path.ends_with("/status") { format!("{kind}/status") } else { kind.to_owned() };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds() {
        ensure!(started.elapsed() < DEADLINE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Returns a size of a process in MiB.
fn memory(process: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("the kernel does not say it")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kibibytes / 1_024.0)
}

async fn plan_one(client: &Client, settings: &[String], endpoint: &str) -> anyhow::Result<()> {
    let settings = installed::settings_of(settings, "the benchmark")?;
    let credentials = Some(aws_credential_types::Credentials::new("bench", "bench", None, None, "bench"));
    let catalogue = Catalogue::with_options(&settings, Metrics::default(), Options { credentials, ..Options::default() });
    let planner = Planner { client: client.clone(), settings, catalogue: Some(catalogue), field_manager: "kubectl".to_owned() };
    let mut changed = body(0, endpoint);
    changed["spec"]["sink"]["worker"] = json!({ "replicas": 2 });
    let read = document::read(&changed.to_string())?;
    let documents: Vec<(String, Document)> = read.into_iter().map(|document| (NAMESPACE.to_owned(), document)).collect();
    let started = Instant::now();
    let plan = planner.plan(&documents).await?;
    let seconds = started.elapsed().as_secs_f64();
    let expected = "the resource, its revision, a Deployment and a disruption budget";
    ensure!(plan.changes().count() == 4, "{expected} change, not {plan:?}");
    print(&format!("plan     {seconds:.2} s = {:.2} x goal {GOAL_PLAN_SECONDS} s", seconds / GOAL_PLAN_SECONDS));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the lines are the program's product")]
fn print(line: &str) {
    println!("{line}");
}
