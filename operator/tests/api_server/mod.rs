//! An API server in process: objects, optimistic writes, server-side apply, dry run, status, watches, finalizers and owners. It speaks the
//! real protocol, validates nothing, and counts every write.
//!
//! What needs defaulting, CEL, RBAC or admission is tried against a real one.

mod answer;
mod merge;
mod request;
mod store;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use futures::StreamExt;
use kube::{Client, Config};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use store::Key;

use answer::{Refused, json};
use request::{Act, Target};
use store::Store;

/// One request that would have changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// HTTP method.
    pub(crate) method: String,
    /// Path, without the query.
    pub(crate) path: String,
    /// Whether it asked for nothing to be stored.
    pub(crate) dry_run: bool,
    /// Field manager, where one was named.
    pub(crate) manager: Option<String>,
    /// Who wrote: the token of the kubeconfig.
    pub(crate) user: String,
}

/// Decides whether a request is refused, and how, before anything is looked at.
pub(crate) type Fault = Box<dyn Fn(&str, &str) -> Option<StatusCode> + Send>;

/// A running server. It ends when this is dropped.
pub(crate) struct ApiServer {
    address: SocketAddr,
    shared: Shared,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Shared {
    store: Arc<Mutex<Store>>,
    writes: Arc<Mutex<Vec<Write>>>,
    fault: Arc<Mutex<Option<Fault>>>,
    /// Who has started each watch so far.
    watches: Arc<Mutex<Vec<String>>>,
    version: Arc<tokio::sync::watch::Sender<u64>>,
}

impl ApiServer {
    /// Starts a server on a port of the system's choice.
    pub(crate) async fn start() -> Self {
        let stop = CancellationToken::new();
        let shared = Shared {
            store: Arc::default(),
            writes: Arc::default(),
            fault: Arc::default(),
            watches: Arc::default(),
            version: Arc::new(tokio::sync::watch::Sender::new(0)),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router) => served.unwrap(),
                () = stopped => {}
            }
        });
        Self { address, shared, _stop: stop.drop_guard() }
    }

    /// Returns the server's URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns how clients reach the server.
    pub(crate) fn config(&self) -> Config {
        Config::new(self.url().parse().unwrap())
    }

    /// Returns a client.
    pub(crate) fn client(&self) -> Client {
        Client::try_from(self.config()).unwrap()
    }

    /// Returns a kubeconfig for programs, which show up as `user` among the writes.
    pub(crate) fn kubeconfig(&self, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{{name: it, cluster: {{server: \"{}\"}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\nusers: [{{name: it, user: {{token: {user}}}}}]\n",
            self.url()
        )
    }

    /// Returns every write so far, dry runs included.
    pub(crate) fn writes(&self) -> Vec<Write> {
        lock(&self.shared.writes).clone()
    }

    /// Returns how many watches were started.
    pub(crate) fn watches(&self) -> usize {
        lock(&self.shared.watches).len()
    }

    /// Returns how many watches somebody has started.
    pub(crate) fn watches_by(&self, user: &str) -> usize {
        lock(&self.shared.watches).iter().filter(|name| *name == user).count()
    }

    /// Returns an object.
    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        lock(&self.shared.store).get(key).map(|object| (**object).clone())
    }

    /// Returns all objects of a resource, such as `deployments`, ordered by namespace and name.
    pub(crate) fn list(&self, plural: &str) -> Vec<Value> {
        lock(&self.shared.store).of(plural).map(|object| (**object).clone()).collect()
    }

    /// Refuses what the function says; None lets everything pass again.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        *lock(&self.shared.fault) = fault;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

async fn handle(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let user = token.trim_start_matches("Bearer ");
    answer(&shared, (&method, &uri, user), &body).unwrap_or_else(Refused::into_response)
}

fn answer(shared: &Shared, (method, uri, user): (&Method, &Uri, &str), body: &Bytes) -> Result<Response, Refused> {
    if let Some(status) = lock(&shared.fault).as_ref().and_then(|fault| fault(method.as_str(), uri.path())) {
        return Err(Refused { status, reason: "ServiceUnavailable", message: "refused by the test".to_owned() });
    }
    let target = Target::parse(method, uri)?;
    if *method != Method::GET {
        lock(&shared.writes).push(Write {
            method: method.to_string(),
            path: uri.path().to_owned(),
            dry_run: target.dry_run,
            manager: target.manager.clone(),
            user: user.to_owned(),
        });
    }
    if target.act == Act::Watch {
        lock(&shared.watches).push(user.to_owned());
        return Ok(watch(shared, target));
    }
    let mut store = lock(&shared.store);
    let before = store.version();
    let (status, value) = store.execute(&target, body)?;
    let after = store.version();
    drop(store);
    if after != before {
        shared.version.send_replace(after);
    }
    Ok(json(status, &value))
}

/// Streams what has changed since the version that the client knows, until the client goes.
fn watch(shared: &Shared, target: Target) -> Response {
    let store = shared.store.clone();
    let next = lock(&store).position_after(target.since);
    let versions = shared.version.subscribe();
    let lines = futures::stream::unfold((next, versions), move |(mut next, mut versions)| {
        let (store, target) = (store.clone(), target.clone());
        async move {
            loop {
                versions.borrow_and_update();
                let (chunk, seen) = lock(&store).events_from(next, &target);
                next = seen;
                if !chunk.is_empty() {
                    return Some((Ok::<_, std::convert::Infallible>(chunk), (next, versions)));
                }
                versions.changed().await.ok()?;
            }
        }
    });
    Response::builder().header("content-type", "application/json").body(Body::from_stream(lines.boxed())).unwrap()
}
