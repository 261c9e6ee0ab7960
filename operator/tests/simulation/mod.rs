//! Plays what a cluster without nodes lacks: kubelets that run pods, workers that answer there, and, in front of the API server in process,
//! the controllers that make pods of Deployments.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use stockpipeline::launch::STATUS_PATH;
use stockpipeline::status::{PartitionState, PartitionStatus, Role, State, Status, TopicReport, TopicState};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Label of everything that runs for pipelines.
const LABEL: &str = "app.kubernetes.io/name=stockpipeline";
/// Annotation of pods whose status a test plays itself.
pub(crate) const LEFT_ALONE: &str = "tests.stockpipeline.dev/left-alone";
/// Objects that are worked on at one time.
const SIDE_BY_SIDE: usize = 16;
/// Partitions of each topic.
const PARTITIONS: i32 = 2;
/// Address of the sinks' pods.
const SINKS: &str = "127.0.0.2";
/// Address of the producers' pods.
const PRODUCERS: &str = "127.0.0.3";

/// Which parts of a cluster are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "not every program plays both")]
pub(crate) enum Part {
    /// Kubelets alone: others make pods of Deployments.
    Nodes,
    /// Kubelets, and the controllers of Deployments.
    NodesAndControllers,
}

/// What is played; it ends when this is dropped.
pub(crate) struct Simulation {
    /// Port of every worker.
    pub(crate) port: u16,
    tasks: Vec<JoinHandle<()>>,
}

impl Simulation {
    /// Starts to play in all namespaces.
    pub(crate) async fn start(client: Client, played: Part) -> Self {
        let (sinks, producers) = bind_both().await;
        let port = sinks.local_addr().unwrap().port();
        let mut tasks = Vec::new();
        for (listener, status) in [(sinks, sink()), (producers, producer())] {
            let router = Router::new().route(STATUS_PATH, get(async move || axum::Json(status)));
            tasks.push(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        }
        tasks.push(match played {
            Part::Nodes => tokio::spawn(run_pods(client)),
            Part::NodesAndControllers => tokio::spawn(roll_out_all(client)),
        });
        Self { port, tasks }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Takes one port at both addresses.
async fn bind_both() -> (TcpListener, TcpListener) {
    loop {
        let sinks = TcpListener::bind((SINKS, 0)).await.unwrap();
        let other: SocketAddr = format!("{PRODUCERS}:{}", sinks.local_addr().unwrap().port()).parse().unwrap();
        if let Ok(producers) = TcpListener::bind(other).await {
            return (sinks, producers);
        }
    }
}

/// Runs each pod that somebody makes.
async fn run_pods(client: Client) {
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default().labels(LABEL));
    let started = pods.default_backoff().applied_objects().for_each_concurrent(SIDE_BY_SIDE, |pod| {
        let client = client.clone();
        async move {
            let phase = pod.as_ref().ok().and_then(|pod| pod.status.as_ref()?.phase.clone());
            if let Ok(pod) = pod
                && matches!(phase.as_deref(), None | Some("Pending"))
                && pod.metadata.deletion_timestamp.is_none()
                && !pod.annotations().contains_key(LEFT_ALONE)
            {
                run_pod(&client, &pod).await;
            }
        }
    });
    started.await;
}

async fn run_pod(client: &Client, pod: &Pod) {
    let component = pod.labels().get("app.kubernetes.io/component").map(String::as_str);
    let address = if component == Some("producer") { PRODUCERS } else { SINKS };
    let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let status = json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "conditions": [ready] } });
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
    // A pod may be gone by now.
    drop(api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await);
}

/// Rolls each Deployment out.
async fn roll_out_all(client: Client) {
    let deployments = watcher(Api::<Deployment>::all(client.clone()), watcher::Config::default().labels(LABEL));
    let rolled = deployments.default_backoff().applied_objects().for_each_concurrent(SIDE_BY_SIDE, |deployment| {
        let client = client.clone();
        async move {
            if let Ok(deployment) = deployment {
                roll_out(&client, &deployment).await;
            }
        }
    });
    rolled.await;
}

async fn roll_out(client: &Client, deployment: &Deployment) {
    let generation = deployment.metadata.generation;
    if deployment.status.as_ref().and_then(|status| status.observed_generation) == generation {
        return;
    }
    let (namespace, name) = (deployment.namespace().unwrap(), deployment.name_any());
    let spec = deployment.spec.as_ref().unwrap();
    let replicas = spec.replicas.unwrap_or(1);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for index in 0..replicas {
        let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("{name}-{index}"), "namespace": namespace, "labels": labels },
            "spec": spec.template.spec,
        });
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        pod.metadata.owner_references = Some(vec![replica_set(&name)]);
        drop(pods.create(&kube::api::PostParams::default(), &pod).await);
        run_pod(client, &pod).await;
    }
    let mut surplus = replicas;
    while pods.delete(&format!("{name}-{surplus}"), &DeleteParams::default()).await.is_ok() {
        surplus += 1;
    }
    let status: Value = json!({ "status": {
        "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas,
        "availableReplicas": replicas,
    } });
    let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    drop(api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await);
}

/// Returns what controls the pods of a Deployment. Nobody collects its garbage here, so it need not be there.
fn replica_set(deployment: &str) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: format!("{deployment}-1"),
        uid: format!("{deployment}-1"),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Returns what a sink says that has every partition and nothing to do.
fn sink() -> &'static Status {
    let mut status = Status::starting(Role::Sink, "sink", 0);
    status.state = State::Running;
    status.topic = Some(TopicReport {
        name: "ticks".to_owned(),
        id: Some("a-topic".to_owned()),
        partitions: Some(PARTITIONS.cast_unsigned()),
        replication_factor: Some(1),
        state: TopicState::InSync,
        differences: Vec::new(),
        message: String::new(),
        checked_millis: 1,
    });
    let partition =
        |partition| PartitionStatus { partition, durable: 7, end: Some(7), lag: Some(0), state: PartitionState::Buffering, paused: false };
    if let Some(sink) = status.sink.as_mut() {
        sink.partitions = (0..PARTITIONS).map(partition).collect();
    }
    Box::leak(Box::new(status))
}

/// Returns what a producer says that is at work.
fn producer() -> &'static Status {
    let mut status = Status::starting(Role::Producer, "producer", 0);
    status.state = State::Running;
    Box::leak(Box::new(status))
}
