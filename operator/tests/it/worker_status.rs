//! Workers' `/status` over HTTP: read within its time and size, whatever answers.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use stockpipeline::status::{Role, Status};
use stockpipeline_operator::metrics::Metrics;
use stockpipeline_operator::observe::workers::{Target, WorkerError, Workers};

const TIMEOUT: Duration = Duration::from_millis(500);
/// One address for each way to answer, all at one port.
const ADDRESSES: [&str; 6] = ["127.0.0.20", "127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.24", "127.0.0.25"];

fn routers() -> [Router; 6] {
    let status = || async { axum::Json(Status::starting(Role::Sink, "well", 0)) };
    let route = |path: &str| Router::new().route(path, get(status));
    [
        route("/status"),
        Router::new().route("/status", get(|| async { "not json" })),
        Router::new().route("/status", get(|| async { "x".repeat(2 << 20) })),
        route("/elsewhere").route("/status", get(|| async { Redirect::temporary("/elsewhere") })),
        Router::new().route("/status", get(std::future::pending::<&'static str>)),
        Router::new(),
    ]
}

/// Serves every router at its address, and returns the port that all of them have.
async fn serve() -> u16 {
    loop {
        let first = tokio::net::TcpListener::bind((ADDRESSES[0], 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for address in &ADDRESSES[1..] {
            // Somebody else may have the port at one of the addresses.
            let Ok(listener) = tokio::net::TcpListener::bind((*address, port)).await else { break };
            listeners.push(listener);
        }
        if listeners.len() < ADDRESSES.len() {
            continue;
        }
        for (listener, router) in listeners.into_iter().zip(routers()) {
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        }
        return port;
    }
}

#[tokio::test]
async fn a_worker_that_misbehaves_costs_its_time_and_no_more() {
    let metrics = Metrics::default();
    let workers = Workers::new(serve().await, TIMEOUT, metrics.clone()).unwrap();
    let addresses = ADDRESSES.iter().copied().chain(["127.0.0.26"]);
    let targets = addresses.map(|address| Target { pod: address.to_owned(), address: address.parse::<IpAddr>().unwrap() }).collect();
    let started = Instant::now();
    let answers = workers.ask(targets).await;
    assert!(started.elapsed() < TIMEOUT * 4, "{:?}", started.elapsed());
    let said: Vec<&str> = answers
        .iter()
        .map(|answer| match &answer.said {
            Ok(status) => status.worker.as_str(),
            Err(WorkerError::Unreachable(_)) => "unreachable",
            Err(WorkerError::Refused(307)) => "redirects",
            Err(WorkerError::Refused(_)) => "refused",
            Err(WorkerError::TooLong) => "too long",
            Err(WorkerError::Unreadable(_)) => "unreadable",
        })
        .collect();
    assert_eq!(said, ["well", "unreadable", "too long", "redirects", "unreachable", "refused", "unreachable"]);
    assert!(metrics.render().contains("worker_status_seconds_count 7"));
}

#[tokio::test]
async fn workers_that_do_not_answer_take_a_look_no_more_than_its_time() {
    // Five rounds of eight would take a quarter of a minute.
    let workers = Workers::new(serve().await, Duration::from_secs(3), Metrics::default()).unwrap();
    let silent: IpAddr = ADDRESSES[4].parse().unwrap();
    let targets = (0..40).map(|number| Target { pod: format!("pod-{number:02}"), address: silent }).collect();
    let answers = workers.ask(targets).await;
    let asked: Vec<&str> = answers.iter().map(|answer| answer.pod.as_str()).collect();
    assert_eq!(asked.first(), Some(&"pod-00"));
    assert!(asked.len() < 40, "{asked:?}");
}
