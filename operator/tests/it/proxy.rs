//! A proxy in front of a real server: sees every request of a program, and lets pass, refuses, loses or holds what a test says.
//!
//! Programs reach it over plain HTTP and with credentials of their own, which it passes on as they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use kube::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Headers that are about one connection.
const OF_A_CONNECTION: [HeaderName; 4] = [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Passing {
    pub(crate) method: String,
    pub(crate) path: String,
    /// What follows the question mark; may be empty.
    pub(crate) query: String,
    /// Operation of AWS' JSON protocol; empty for others.
    pub(crate) operation: String,
}

impl Passing {
    /// Returns whether a Kubernetes request writes something of a pipeline: neither an event nor a lease, which come as they come.
    pub(crate) fn is_write(&self) -> bool {
        self.method != "GET" && !self.path.ends_with("/events") && !self.path.contains("/leases") && !self.query.contains("dryRun")
    }

    /// Returns whether a request to AWS writes.
    pub(crate) fn is_aws_write(&self) -> bool {
        !["Get", "List", "BatchGet"].iter().any(|start| self.operation.starts_with(start))
    }

    /// Returns whether it asks for a stream of changes.
    pub(crate) fn is_watch(&self) -> bool {
        self.query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is served.
    Pass,
    /// It is refused with a status and, for AWS, a code.
    Refuse(u16, &'static str),
    /// It is served, and its answer never comes.
    LoseAnswer,
    /// Nothing comes of it, for as long as whoever asks waits.
    Hold,
}

/// Decides what becomes of each request.
pub(crate) type Rule = Box<dyn FnMut(&Passing) -> Fate + Send>;

/// A running proxy; it ends when it is dropped.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) url: String,
    shared: Shared,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    behind: Client,
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<Passing>>>,
    /// Counts how often all answers under way were cut off.
    cuts: Arc<tokio::sync::watch::Sender<u64>>,
}

impl Proxy {
    /// Starts in front of a server whose certificate, and nothing else, is taken from `config`.
    pub(crate) async fn start(mut config: Config) -> Self {
        config.auth_info = kube::config::AuthInfo::default();
        (config.connect_timeout, config.read_timeout, config.write_timeout) = (None, None, None);
        config.default_retry = false;
        let behind = Client::try_from(config).unwrap();
        let shared = Shared { behind, rule: Arc::new(Mutex::new(Box::new(|_| Fate::Pass))), seen: Arc::default(), cuts: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// Starts in front of a server without a certificate.
    pub(crate) async fn before(url: &str) -> Self {
        Self::start(Config::new(url.parse().unwrap())).await
    }

    /// Decides from now on what becomes of requests.
    pub(crate) fn rule(&self, rule: impl FnMut(&Passing) -> Fate + Send + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// Lets everything pass again.
    pub(crate) fn heal(&self) {
        self.rule(|_| Fate::Pass);
    }

    /// Ends every answer that is under way, which is what watches are.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Returns how often an operation of AWS was asked for so far.
    pub(crate) fn calls(&self, operation: &str) -> usize {
        lock(&self.shared.seen).iter().filter(|passing| passing.operation == operation).count()
    }

    /// Returns every write of AWS' so far, by its operation.
    pub(crate) fn aws_writes(&self) -> Vec<String> {
        let seen = lock(&self.shared.seen);
        seen.iter().filter(|passing| passing.is_aws_write()).map(|passing| passing.operation.clone()).collect()
    }

    /// Returns every request so far.
    pub(crate) fn seen(&self) -> Vec<Passing> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let passing = Passing {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        operation: target.rsplit('.').next().unwrap_or_default().to_owned(),
    };
    let fate = lock(&shared.rule)(&passing);
    lock(&shared.seen).push(passing.clone());
    match fate {
        Fate::Pass => forward(&shared, method, &uri, headers, body).await,
        Fate::Refuse(status, code) => refusal(status, code, passing.operation.is_empty()),
        Fate::LoseAnswer => {
            drop(forward(&shared, method, &uri, headers, body).await);
            std::future::pending().await
        }
        Fate::Hold => {
            // Until everything under way is cut off.
            drop(shared.cuts.subscribe().changed().await);
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

async fn forward(shared: &Shared, method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Response {
    let place = uri.path_and_query().map_or("/", |place| place.as_str());
    let mut request = Request::builder().method(method).uri(place).body(kube::client::Body::from(body.to_vec())).unwrap();
    *request.headers_mut() = headers;
    for name in OF_A_CONNECTION {
        request.headers_mut().remove(name);
    }
    match shared.behind.send(request).await {
        Ok(answer) => {
            let (mut parts, body) = answer.into_parts();
            for name in OF_A_CONNECTION {
                parts.headers.remove(name);
            }
            let mut cuts = shared.cuts.subscribe();
            let cut = async move { drop(cuts.changed().await) };
            Response::from_parts(parts, Body::from_stream(Body::new(body).into_data_stream().take_until(Box::pin(cut))))
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// Says no as Kubernetes does, or as AWS does.
fn refusal(status: u16, code: &str, is_kubernetes: bool) -> Response {
    let body = if is_kubernetes {
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": code, "code": status, "message": "refused by the test" })
    } else {
        json!({ "__type": code, "message": "refused by the test", "Message": "refused by the test" })
    };
    let mut answer = (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
    let kind = if is_kubernetes { "application/json" } else { "application/x-amz-json-1.1" };
    answer.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
    if !is_kubernetes {
        answer.headers_mut().insert("x-amzn-errortype", code.parse().unwrap());
    }
    answer
}
