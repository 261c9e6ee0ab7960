//! What `plan` says of the topic, asked of a sink through the API server as anybody with rights on pods can.

use std::path::Path;

use axum::Router;
use axum::routing::get;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use stockpipeline::launch::STATUS_PATH;
use stockpipeline::status::{Role, State, Status, TopicDifference, TopicReport, TopicState};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::cluster::control_plane::ControlPlane;
use crate::end_to_end::stage::{NAME, Stage};

/// An address that the API server would connect with: it asks nobody on its own machine.
const POD_ADDRESS: &str = "10.77.0.2";

/// What a sink says of a topic with three partitions, one of whose settings is another than declared.
fn said(topic: &str) -> Status {
    let mut status = Status::starting(Role::Sink, "demo-sink", 0);
    status.state = State::Running;
    let retention = TopicDifference { name: "retention.ms".to_owned(), desired: "1000".to_owned(), actual: "604800000".to_owned() };
    status.topic = Some(TopicReport {
        name: topic.to_owned(),
        id: Some("a-topic".to_owned()),
        partitions: Some(3),
        replication_factor: Some(1),
        state: TopicState::ConfigDrift,
        differences: vec![retention],
        message: String::new(),
        checked_millis: 1,
    });
    status
}

/// Connects whoever asks at a socket, as HTTP proxies are asked, with one address.
fn connect(socket: &Path, inside: std::net::SocketAddr) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((outside, _)) = listener.accept().await {
            tokio::spawn(pass_on(outside, inside));
        }
    });
}

async fn pass_on(outside: UnixStream, inside: std::net::SocketAddr) -> std::io::Result<()> {
    let mut outside = BufReader::new(outside);
    let mut request = String::new();
    while outside.read_line(&mut request).await? > "\r\n".len() {}
    assert!(request.starts_with(&format!("CONNECT {POD_ADDRESS}:")), "{request}");
    let mut inside = TcpStream::connect(inside).await?;
    outside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd"]
async fn what_a_sink_sees_of_the_topic_is_compared_with_what_is_declared() {
    let plane = ControlPlane::start().await;
    let stage = Stage::on(&plane).await;
    let operator = stage.lead(NAME).await;
    let with = |partitions: u32, retention: &str| {
        let retention = retention.to_owned();
        move |spec: &mut serde_json::Value| {
            spec["kafka"]["topic"]["partitions"] = json!(partitions);
            spec["kafka"]["topic"]["config"] = json!({ "retention.ms": retention });
        }
    };
    stage.ready("demo", with(3, "1000")).await;
    let (code, text) = stage.plan(stage.document("demo", with(6, "1000"))).await;
    assert_eq!((code, text.contains("no running sink reports it")), (2, true), "nobody reaches a pod yet: {text}");
    drop(operator);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    connect(&plane.socket(), listener.local_addr().unwrap());
    let status = said(&format!("demo.{}", stage.namespace.name()));
    let router = Router::new().route(STATUS_PATH, get(async move || axum::Json(status.clone())));
    let workers = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let pods = stage.namespace.api::<Pod>();
    for pod in pods.list(&ListParams::default().labels("app.kubernetes.io/component=sink")).await.unwrap().items {
        let status = json!({ "status": { "podIP": POD_ADDRESS, "podIPs": [{ "ip": POD_ADDRESS }] } });
        pods.patch_status(pod.metadata.name.as_deref().unwrap(), &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }

    let (code, text) = stage.plan(stage.document("demo", with(3, "1000"))).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("config.retention.ms: \"604800000\" -> \"1000\""), "{text}");
    let (code, text) = stage.plan(stage.document("demo", with(6, "2000"))).await;
    assert_eq!(code, 2, "{text}");
    for part in ["partitions: 3 -> 6", "config.retention.ms: \"604800000\" -> \"2000\""] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    workers.abort();
}

/// Reads nothing more than it has to: a proxy's request ends with an empty line.
#[tokio::test]
async fn a_request_to_connect_ends_with_an_empty_line() {
    let (outside, mut asking) = UnixStream::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(pass_on(outside, address));
    asking.write_all(format!("CONNECT {POD_ADDRESS}:8080 HTTP/1.1\r\nHost: {POD_ADDRESS}\r\n\r\nhello").as_bytes()).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    let mut heard = [0; 5];
    inside.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}
