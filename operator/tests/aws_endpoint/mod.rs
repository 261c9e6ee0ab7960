//! Glue, Athena and STS over HTTP in this process, as far as the project calls them: AWS' own protocol, so that the real clients are tested.
//!
//! It keeps what it is told, as AWS does (versions of tables, partitions, tokens), counts calls, and fails where a test says so.

mod athena;
mod glue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) use athena::Athena;
pub(crate) use glue::Glue;

/// A running endpoint; it ends when it is dropped.
pub(crate) struct AwsEndpoint {
    /// Where it listens.
    pub(crate) url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared(Mutex<World>);

/// Everything that the endpoint knows.
#[derive(Default)]
pub(crate) struct World {
    /// Databases, tables, partitions, crawlers.
    pub(crate) glue: Glue,
    /// Workgroups, saved queries, executions.
    pub(crate) athena: Athena,
    /// Roles that were taken, with the names of the sessions.
    pub(crate) roles: Vec<(String, String)>,
    /// Access keys that requests to Glue and Athena were signed with.
    pub(crate) signers: BTreeSet<String>,
    calls: BTreeMap<String, u64>,
    faults: Vec<Fault>,
    /// Writes that are still served; None for all.
    writes_left: Option<u64>,
}

/// Something that goes wrong.
struct Fault {
    /// Operation, or `*` for any.
    operation: String,
    times: u64,
    kind: FaultKind,
}

/// How something goes wrong.
pub(crate) enum FaultKind {
    /// The call is refused with a status and a code.
    Refuse(u16, &'static str),
    /// The call is served and its answer lost.
    LoseAnswer,
    /// There is no answer.
    Hang,
    /// Somebody else is faster: this happens before the call is served.
    Before(Box<dyn FnMut(&mut World) + Send>),
}

/// An answer of AWS that is an error.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

/// An answer of AWS.
pub(crate) type Answer = Result<Value, Refusal>;

pub(crate) fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status: 400, code, message: message.into() })
}

impl AwsEndpoint {
    /// Starts an endpoint that knows nothing.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { url, shared, server }
    }

    /// Returns what the endpoint knows, to look at or to change behind the back of whoever calls it.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.lock()
    }

    /// Makes an operation (`*` for any) go wrong some times.
    pub(crate) fn fault(&self, operation: &str, times: u64, kind: FaultKind) {
        self.world().faults.push(Fault { operation: operation.to_owned(), times, kind });
    }

    /// Takes all faults back.
    pub(crate) fn heal(&self) {
        let mut world = self.world();
        world.faults.clear();
        world.writes_left = None;
    }

    /// Serves so many more writes, and then nothing: as if whoever calls had died right after the last one.
    pub(crate) fn die_after_writes(&self, writes: u64) {
        self.world().writes_left = Some(writes);
    }

    /// Returns the number of calls of an operation.
    pub(crate) fn calls(&self, operation: &str) -> u64 {
        self.world().calls.get(operation).copied().unwrap_or(0)
    }

    /// Returns the number of all calls.
    pub(crate) fn all_calls(&self) -> u64 {
        self.world().calls.values().sum()
    }

    /// Returns all calls that write, with their numbers.
    pub(crate) fn writes(&self) -> BTreeMap<String, u64> {
        self.world().calls.iter().filter(|(operation, _)| is_write(operation)).map(|(name, count)| (name.clone(), *count)).collect()
    }

    /// Forgets the calls so far.
    pub(crate) fn forget_calls(&self) {
        self.world().calls.clear();
    }
}

impl Drop for AwsEndpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_write(operation: &str) -> bool {
    !["Get", "List", "BatchGet", "Assume"].iter().any(|start| operation.starts_with(start))
}

async fn serve(Extracted(shared): Extracted<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(target) = headers.get("x-amz-target").and_then(|target| target.to_str().ok()) else {
        return assume_role(&shared, &body);
    };
    let (service, operation) = target.split_once('.').unwrap_or(("", target));
    let input: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let Some(signer) = signer(&headers) else {
        return answer(refuse("MissingAuthenticationTokenException", "the request is not signed"));
    };
    let fate = {
        let mut world = shared.lock();
        world.signers.insert(signer);
        world.fate(operation)
    };
    let lose_answer = match fate {
        Fate::Refuse(status, code) => return answer(Err(Refusal { status, code, message: format!("{operation} is refused") })),
        Fate::Hang => std::future::pending().await,
        Fate::Serve { lose_answer } => lose_answer,
    };
    let result = shared.lock().call(service, operation, &input);
    if lose_answer {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    answer(result)
}

fn signer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("authorization")?.to_str().ok()?;
    let (_, rest) = text.split_once("Credential=")?;
    rest.split('/').next().map(str::to_owned)
}

enum Fate {
    Serve { lose_answer: bool },
    Refuse(u16, &'static str),
    Hang,
}

impl World {
    fn fate(&mut self, operation: &str) -> Fate {
        *self.calls.entry(operation.to_owned()).or_default() += 1;
        let mut lose_answer = false;
        if let Some(left) = &mut self.writes_left {
            match (*left, is_write(operation)) {
                (0, _) => return Fate::Refuse(503, "ServiceUnavailableException"),
                (_, true) => {
                    *left -= 1;
                    // Whoever dies right after a write never sees its answer.
                    lose_answer = *left == 0;
                }
                (_, false) => {}
            }
        }
        let Some(place) = self.faults.iter().position(|fault| fault.times > 0 && ["*", operation].contains(&fault.operation.as_str()))
        else {
            return Fate::Serve { lose_answer };
        };
        let mut fault = self.faults.remove(place);
        fault.times -= 1;
        let fate = match &mut fault.kind {
            FaultKind::Refuse(status, code) => Fate::Refuse(*status, code),
            FaultKind::LoseAnswer => Fate::Serve { lose_answer: true },
            FaultKind::Hang => Fate::Hang,
            FaultKind::Before(change) => {
                change(self);
                Fate::Serve { lose_answer }
            }
        };
        self.faults.insert(place.min(self.faults.len()), fault);
        fate
    }

    fn call(&mut self, service: &str, operation: &str, input: &Value) -> Answer {
        match service {
            "AWSGlue" => self.glue.call(operation, input),
            "AmazonAthena" => self.athena.call(operation, input, &mut self.glue),
            _ => refuse("UnknownOperationException", format!("there is no service {service}")),
        }
    }
}

fn answer(result: Answer) -> Response {
    let (status, headers, body) = match result {
        Ok(value) => (200, Vec::new(), value),
        Err(Refusal { status, code, message }) => {
            (status, vec![("x-amzn-errortype", code.to_owned())], json!({"__type": code, "Message": message, "message": message}))
        }
    };
    let mut response = (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, "application/x-amz-json-1.1".parse().unwrap());
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// STS speaks forms and XML.
fn assume_role(shared: &Shared, body: &[u8]) -> Response {
    let text = String::from_utf8_lossy(body).into_owned();
    let field = |name: &str| {
        let value = text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
        value.replace("%3A", ":").replace("%2F", "/")
    };
    let mut world = shared.lock();
    match world.fate("AssumeRole") {
        Fate::Serve { .. } => {}
        Fate::Refuse(status, code) => {
            let body =
                format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>refused</Message></Error></ErrorResponse>");
            return (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, "text/xml")], body).into_response();
        }
        Fate::Hang => return StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
    world.roles.push((field("RoleArn"), field("RoleSessionName")));
    let body = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
                <AccessKeyId>ASIATAKEN</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
                <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

/// Returns a text member, empty where there is none.
pub(crate) fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
