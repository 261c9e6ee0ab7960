//! A controller in front of an API server in process, with someone who plays the cluster's own controllers and kubelets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use stockpipeline::document;
use stockpipeline::status::{PartitionState, PartitionStatus, Role, Status, TopicReport, TopicState};
use stockpipeline_operator::catalog::converge::{Catalogue, Options};
use stockpipeline_operator::metrics::Metrics;
use stockpipeline_operator::reconcile::controller::{self, Context, ControllerError};
use stockpipeline_operator::resource::crd::StockPipeline;
use stockpipeline_operator::settings::Settings;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api_server::{ApiServer, Key, Write};
use crate::aws_endpoint::AwsEndpoint;

/// How long anything may take to be as a test wants it.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// Looks after which nothing more is expected to be written.
const LOOKS_AT_REST: usize = 4;
/// The smallest useful document, which has no catalogue.
pub(super) const MINIMAL: &str = include_str!("../../../../pipeline/tests/fixtures/minimal.yaml");
/// Namespace of every test.
pub(super) const NAMESPACE: &str = "market-data";
/// Who writes in place of the user and of the cluster.
const TESTER: &str = "tests";
/// Who the controller is.
const OPERATOR: &str = "operator";

/// A controller in front of an API server.
pub(super) struct Stage {
    pub(super) server: ApiServer,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) client: Client,
    pub(super) aws: Option<AwsEndpoint>,
    workers: Workers,
    running: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ControllerError>>,
}

/// What the workers of each role say, and how often they were asked.
type Said = BTreeMap<&'static str, (Option<Status>, usize)>;

/// The workers' endpoints.
#[derive(Clone, Default)]
struct Workers(Arc<Mutex<Said>>);

impl Stage {
    /// Starts an API server, workers' endpoints and a controller.
    pub(super) async fn new() -> Self {
        let mut stage = Self::idle().await;
        stage.start().await;
        stage
    }

    /// Starts everything but the controller.
    pub(super) async fn idle() -> Self {
        let server = ApiServer::start().await;
        let (workers, port) = Workers::serve().await;
        let mut settings = Settings::new("registry.example/worker:1", "system");
        settings.worker_port = port;
        settings.timing.status_interval = Duration::from_millis(100);
        settings.timing.worker_timeout = Duration::from_millis(500);
        let client = server.client();
        Self { server, settings, metrics: Metrics::default(), client, aws: None, workers, running: None }
    }

    /// Starts a controller that remembers nothing.
    pub(super) async fn start(&mut self) {
        let stop = CancellationToken::new();
        let kubeconfig = Kubeconfig::from_yaml(&self.server.kubeconfig(OPERATOR)).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let context = Context {
            client: Client::try_from(config).unwrap(),
            settings: Arc::new(self.settings.clone()),
            catalogue: self.aws.as_ref().map(|_| self.catalogue()),
            metrics: self.metrics.clone(),
        };
        let task = tokio::spawn(controller::run(context, stop.clone()));
        self.running = Some(Running { stop, task });
    }

    /// Starts Glue and Athena as well, which the controller may call.
    pub(super) async fn with_aws() -> Self {
        let mut stage = Self::idle_with_aws().await;
        stage.start().await;
        stage
    }

    /// Starts Glue and Athena as well, and no controller yet.
    pub(super) async fn idle_with_aws() -> Self {
        let mut stage = Self::idle().await;
        let aws = AwsEndpoint::start().await;
        stage.settings.grants.endpoints = [aws.url.clone()].into();
        stage.settings.timing.drift_interval = Some(Duration::from_secs(1));
        stage.aws = Some(aws);
        stage
    }

    fn catalogue(&self) -> Catalogue {
        let credentials = Some(Credentials::new("AKIAOWN", "secret", None, None, "test"));
        let options = Options { glue_per_second: 10_000, athena_per_second: 10_000, credentials };
        Catalogue::with_options(&self.settings, self.metrics.clone(), options)
    }

    /// Gives a spec a catalogue at the endpoint.
    pub(super) fn catalogued(&self) -> impl Fn(&mut Value) + use<> {
        let url = self.aws.as_ref().unwrap().url.clone();
        move |spec| {
            spec["aws"] = json!({ "region": "us-east-1", "endpoints": { "glue": url, "athena": url } });
            spec["glue"] = json!({ "database": { "name": "market", "create": true }, "tables": { "processed": "ticks" } });
        }
    }

    /// Stops the controller, and says how long that took.
    pub(super) async fn stop(&mut self) -> Duration {
        let Some(running) = self.running.take() else { return Duration::ZERO };
        let started = Instant::now();
        running.stop.cancel();
        running.task.await.unwrap().unwrap();
        started.elapsed()
    }

    /// Kills the controller where it stands.
    pub(super) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            drop(running.task.await);
        }
    }

    pub(super) async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    fn pipelines(&self) -> Api<StockPipeline> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Applies the smallest document under a name, after a change of its spec.
    pub(super) async fn apply(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut body = Value::Object(document::read(MINIMAL).unwrap()[0].body().clone());
        change(&mut body["spec"]);
        body["metadata"] = json!({ "name": name, "namespace": NAMESPACE });
        let parameters = PatchParams::apply(TESTER).force();
        self.pipelines().patch(name, &parameters, &Patch::Apply(&body)).await.unwrap();
    }

    /// Sets an annotation of the operator's; null removes it.
    pub(super) async fn annotate(&self, name: &str, annotation: &str, value: Value) {
        let body = json!({ "metadata": { "annotations": { format!("stockpipeline.dev/{annotation}"): value } } });
        self.pipelines().patch(name, &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    }

    pub(super) async fn delete(&self, name: &str) {
        self.pipelines().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Returns an object, or null.
    pub(super) fn get(&self, plural: &str, name: &str) -> Value {
        self.server.get(&Key::new(plural, NAMESPACE, name)).unwrap_or_default()
    }

    /// Changes an object behind the controller's back.
    pub(super) async fn edit(&self, plural: &str, name: &str, patch: &Value) {
        let resource = resource(plural);
        let api: Api<kube::api::DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Changes the status of a Deployment.
    pub(super) async fn edit_status(&self, deployment: &str, status: &Value) {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = json!({ "status": status });
        api.patch_status(deployment, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Changes the status of a pod.
    pub(super) async fn edit_pod_status(&self, pod: &str, status: &Value) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = json!({ "status": status });
        api.patch_status(pod, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Changes the status of a pipeline.
    pub(super) async fn edit_pipeline_status(&self, name: &str, status: &Value) {
        let patch = json!({ "status": status });
        self.pipelines().patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Makes an object behind the controller's back.
    pub(super) async fn make(&self, plural: &str, object: &Value) {
        let resource = resource(plural);
        let api: Api<kube::api::DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        api.create(&kube::api::PostParams::default(), &serde_json::from_value(object.clone()).unwrap()).await.unwrap();
    }

    /// Deletes an object behind the controller's back.
    pub(super) async fn remove(&self, plural: &str, name: &str) {
        let resource = resource(plural);
        let api: Api<kube::api::DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Returns `status/reason` of a condition, and its message.
    pub(super) fn condition(&self, name: &str, type_: &str) -> (String, String) {
        let object = self.get("stockpipelines", name);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
        let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
        (format!("{}/{}", text("status"), text("reason")), text("message"))
    }

    /// Waits until a condition has a status and reason, and returns its message.
    pub(super) async fn until_condition(&self, name: &str, type_: &str, expected: &str) -> String {
        let started = Instant::now();
        loop {
            let (found, message) = self.condition(name, type_);
            if found == expected {
                return message;
            }
            let status = &self.get("stockpipelines", name)["status"];
            assert!(started.elapsed() < DEADLINE, "{type_} of {name} is {found} ({message}), not {expected}: {status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the newest spec is in force.
    pub(super) async fn until_accepted(&self, name: &str) {
        self.until("the newest spec is in force", |stage| {
            let object = stage.get("stockpipelines", name);
            let is_observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            is_observed && stage.condition(name, "Accepted").0 == "True/Valid"
        })
        .await;
    }

    /// Waits until something holds.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            let objects: Vec<Value> = self.server.list("stockpipelines");
            assert!(started.elapsed() < DEADLINE, "in vain: {what}; {objects:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Plays the cluster for a pipeline: Deployments are rolled out, and a pod of each role runs.
    pub(super) async fn roll_out(&self, name: &str) {
        for (role, address) in ROLES {
            let deployment = format!("{name}-{role}");
            self.until("the deployment is there", |stage| !stage.get("deployments", &deployment).is_null()).await;
            self.roll_out_role(name, role, address).await;
        }
    }

    /// Plays the cluster for the Deployment of one role.
    pub(super) async fn roll_out_role(&self, name: &str, role: &str, address: &str) {
        let deployment = format!("{name}-{role}");
        let object = self.get("deployments", &deployment);
        let replicas = &object["spec"]["replicas"];
        let status = json!({ "status": {
            "observedGeneration": object["metadata"]["generation"], "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas,
        } });
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.patch_status(&deployment, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pod = format!("{deployment}-1");
        if *replicas == 0 {
            drop(pods.delete(&pod, &DeleteParams::default()).await);
            return;
        }
        if self.get("pods", &pod).is_null() {
            self.make_pod(name, role, &pod, true).await;
        }
        let running = json!({ "status": {
            "phase": "Running", "podIP": address, "conditions": [{ "type": "Ready", "status": "True" }],
        } });
        pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(&running)).await.unwrap();
    }

    /// Makes a pod with the labels of a role: one of its Deployment's, or one of somebody else.
    pub(super) async fn make_pod(&self, name: &str, role: &str, pod: &str, is_deployed: bool) {
        let deployment = format!("{name}-{role}");
        let labels = self.get("deployments", &deployment)["spec"]["template"]["metadata"]["labels"].clone();
        let owner =
            json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-1"), "uid": "1", "controller": true });
        let owners = if is_deployed { json!([owner]) } else { json!([]) };
        let metadata = json!({ "name": pod, "labels": labels, "ownerReferences": owners });
        self.make("pods", &json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata })).await;
    }

    /// Says what the workers of a role say from now on.
    pub(super) fn say(&self, role: &'static str, status: Option<Status>) {
        self.workers.0.lock().unwrap().entry(role).or_default().0 = status;
    }

    /// Returns how often the workers of a role were asked.
    pub(super) fn asked(&self, role: &'static str) -> usize {
        self.workers.0.lock().unwrap().get(role).map_or(0, |(_, asked)| *asked)
    }

    /// Returns what the controller has written so far: method and path below the namespace, without events.
    pub(super) fn written(&self) -> Vec<String> {
        let ours = self.server.writes().into_iter().filter(is_ours);
        ours.map(|write| format!("{} {}", write.method, write.path.rsplit_once(&format!("{NAMESPACE}/")).map_or("", |(_, rest)| rest)))
            .collect()
    }

    /// Waits for several more looks, and returns what was written meanwhile.
    pub(super) async fn written_at_rest(&self) -> Vec<String> {
        // What was under way when this was called is not at rest yet.
        self.look_times(3).await;
        let before = self.written().len();
        self.look_times(LOOKS_AT_REST).await;
        self.written().split_off(before)
    }

    /// Returns how many looks of all controllers of this stage have ended so far.
    pub(super) fn looks(&self) -> u64 {
        let text = self.metrics.render();
        let counts = text.lines().filter(|line| line.starts_with("stockpipeline_operator_reconciles_total{"));
        counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// Waits until two more looks have ended.
    pub(super) async fn look_twice(&self) {
        self.look_times(2).await;
    }

    /// Waits until so many more looks have ended.
    pub(super) async fn look_times(&self, times: usize) {
        let before = self.asked("sink");
        self.until("the workers are asked again", |stage| stage.asked("sink") >= before + times).await;
    }

    /// Brings a pipeline to where all is as declared.
    pub(super) async fn ready(&self, name: &str) {
        self.roll_out(name).await;
        self.until_condition(name, "Ready", "True/Ready").await;
    }
}

/// Events are told, not kept.
fn is_ours(write: &Write) -> bool {
    write.user == OPERATOR && !write.path.ends_with("/events")
}

/// Each role and the address of its pods.
pub(super) const ROLES: [(&str, &str); 2] = [("sink", "127.0.0.2"), ("producer", "127.0.0.3")];

impl Workers {
    /// Serves `/status` of each role at its address, all at one port.
    async fn serve() -> (Self, u16) {
        let workers = Self::default();
        workers.0.lock().unwrap().insert("sink", (Some(sink_status(2)), 0));
        workers.0.lock().unwrap().insert("producer", (Some(Status::starting(Role::Producer, "producer-1", 0)), 0));
        loop {
            let first = bind("127.0.0.2", 0).await.unwrap();
            let port = first.local_addr().unwrap().port();
            // Somebody else may have the port at the other address.
            let Some(second) = bind("127.0.0.3", port).await else { continue };
            for (role, listener) in [("sink", first), ("producer", second)] {
                let router = Router::new().route("/status", get(answer)).with_state((workers.clone(), role));
                tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            }
            return (workers, port);
        }
    }
}

async fn bind(address: &str, port: u16) -> Option<tokio::net::TcpListener> {
    let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
    tokio::net::TcpListener::bind(address).await.ok()
}

async fn answer(State((workers, role)): State<(Workers, &'static str)>) -> Result<axum::Json<Status>, StatusCode> {
    let mut all = workers.0.lock().unwrap();
    let (status, asked) = all.get_mut(role).unwrap();
    *asked += 1;
    status.clone().map(axum::Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// Returns what a sink says that is well, has every partition, and nothing to do.
pub(super) fn sink_status(partitions: i32) -> Status {
    let mut status = Status::starting(Role::Sink, "sink-1", jiff::Timestamp::now().as_millisecond());
    status.topic = Some(TopicReport {
        name: "ticks".to_owned(),
        id: Some("topic-id".to_owned()),
        partitions: Some(partitions.cast_unsigned()),
        replication_factor: Some(1),
        state: TopicState::InSync,
        differences: Vec::new(),
        message: String::new(),
        checked_millis: 1,
    });
    status.sink.as_mut().unwrap().partitions = (0..partitions).map(partition).collect();
    status
}

fn partition(partition: i32) -> PartitionStatus {
    PartitionStatus { partition, durable: 7, end: Some(7), lag: Some(0), state: PartitionState::Buffering, paused: false }
}

fn resource(plural: &str) -> kube::api::ApiResource {
    let (group, version, kind) = match plural {
        "configmaps" => ("", "v1", "ConfigMap"),
        "deployments" => ("apps", "v1", "Deployment"),
        "controllerrevisions" => ("apps", "v1", "ControllerRevision"),
        "jobs" => ("batch", "v1", "Job"),
        "networkpolicies" => ("networking.k8s.io", "v1", "NetworkPolicy"),
        "pods" => ("", "v1", "Pod"),
        "serviceaccounts" => ("", "v1", "ServiceAccount"),
        "stockpipelines" => ("stockpipeline.dev", "v1alpha1", "StockPipeline"),
        other => panic!("no such resource: {other}"),
    };
    kube::api::ApiResource::from_gvk_with_plural(&kube::core::GroupVersionKind::gvk(group, version, kind), plural)
}
