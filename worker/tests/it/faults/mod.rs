//! A faulty HTTP proxy in front of an S3 server: what a test injects happens on the wire, where the client really meets it.
//!
//! ```ignore
//! let proxy = FaultyProxy::start(&server.endpoint()).await;
//! proxy.inject(Rule::new(Fault::DropReply).method("PUT").key(".plan.json").times(1));
//! // … a client of proxy.endpoint() …
//! proxy.wait_for("PUT", ".plan.json", 2).await;
//! proxy.heal();
//! ```
//! The first rule that matches acts; a rule matches by method and by a part of the decoded `path?query` (`list-type=2` finds
//! listings). Rules can be injected and healed at any time. Bodies pass through memory.

use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, EXPECT, IF_NONE_MATCH, TRANSFER_ENCODING};
use hyper::http::{HeaderMap, Method};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::Body;
use s3s::dto::StreamingBlob;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// Longest time that [`FaultyProxy::wait_for`] waits.
const DEADLINE: Duration = Duration::from_secs(20);

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers with an S3 error: status and code (`503`, `"SlowDown"`). The request isn't forwarded.
    Answer(u16, &'static str),
    /// Answers 200 with a login page.
    Html,
    /// Closes the connection; the request isn't forwarded.
    DropRequest,
    /// Forwards the request, then closes the connection: a lost reply.
    DropReply,
    /// Reads so many bytes of the request's body, then closes the connection. Not forwarded.
    CutRequest(usize),
    /// Sends so many bytes of the reply's body, then closes the connection.
    CutReply(usize),
    /// Forwards after a pause.
    Delay(Duration),
    /// Reads the request's body at so many bytes a second, then forwards it.
    Throttle(usize),
    /// Forwards once the test notifies.
    Hold(Arc<Notify>),
    /// Forwards without `If-None-Match`, like a store that ignores it.
    StripCondition,
}

/// When a fault happens.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    fault: Fault,
    method: Option<&'static str>,
    key: String,
    skip: usize,
    times: usize,
}

impl Rule {
    /// Returns a rule for every request.
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, method: None, key: String::new(), skip: 0, times: usize::MAX }
    }

    /// Only requests of this method.
    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Only requests whose decoded path and query contain this.
    pub(crate) fn key(self, part: &str) -> Self {
        Self { key: part.to_owned(), ..self }
    }

    /// Lets so many matching requests through first.
    pub(crate) fn skip(self, requests: usize) -> Self {
        Self { skip: requests, ..self }
    }

    /// Acts so many times.
    pub(crate) fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    fn acts_on(&mut self, seen: &Seen) -> bool {
        if self.times == 0 || !seen.is(self.method, &self.key) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.saturating_sub(usize::from(self.times != usize::MAX));
        true
    }
}

/// A request that the proxy has taken.
#[derive(Debug, Clone)]
struct Seen {
    method: Method,
    target: String,
}

impl Seen {
    fn is(&self, method: Option<&str>, key: &str) -> bool {
        method.is_none_or(|method| self.method == method) && self.target.contains(key)
    }
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    rules: Mutex<Vec<Rule>>,
    seen: watch::Sender<Vec<Seen>>,
}

/// The running proxy; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct FaultyProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FaultyProxy {
    /// Starts a proxy without faults in front of an endpoint.
    pub(crate) async fn start(upstream: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let (seen, _) = watch::channel(Vec::new());
        let shared = Arc::new(Shared { upstream: upstream.to_owned(), client, rules: Mutex::default(), seen });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, accepting }
    }

    /// Returns the URL for the client.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule behind the others.
    pub(crate) fn inject(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// Removes all rules.
    pub(crate) fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Returns how many requests of a method came whose decoded path and query contain a text, repeated ones included.
    pub(crate) fn count(&self, method: &str, key: &str) -> usize {
        self.shared.seen.borrow().iter().filter(|seen| seen.is(Some(method), key)).count()
    }

    /// Waits until so many of them have come.
    pub(crate) async fn wait_for(&self, method: &str, key: &str, requests: usize) {
        let mut seen = self.shared.seen.subscribe();
        let enough = seen.wait_for(|seen| seen.iter().filter(|seen| seen.is(Some(method), key)).count() >= requests);
        let came = tokio::time::timeout(DEADLINE, enough).await.is_ok();
        assert!(came, "{} of {requests} {method} requests of {key:?} came", self.count(method, key));
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(claim: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain until {claim}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| serve(request, Arc::clone(&shared)));
            // An error is how a fault closes the connection.
            let ended = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            drop(ended);
        });
    }
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the fault closes the connection")]
struct Closed;

async fn serve(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let seen = Seen { method: parts.method.clone(), target: decoded(&target) };
    let fault = shared.rules.lock().unwrap().iter_mut().find_map(|rule| rule.acts_on(&seen).then(|| rule.fault.clone()));
    shared.seen.send_modify(|all| all.push(seen));

    let mut headers = parts.headers;
    let body = Body::from(body);
    let pass = async |headers: HeaderMap, body: Body, bytes_a_second: Option<usize>| {
        let body = read(body, usize::MAX, bytes_a_second).await?;
        forward(&shared, parts.method.clone(), &target, headers, body).await
    };
    match fault {
        None => pass(headers, body, None).await,
        Some(Fault::Answer(status, code)) => {
            read(body, usize::MAX, None).await?;
            let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
            Ok(answer(status, "application/xml", if parts.method == Method::HEAD { String::new() } else { text }))
        }
        Some(Fault::Html) => {
            read(body, usize::MAX, None).await?;
            Ok(answer(200, "text/html", "<html><body>Please log in</body></html>".to_owned()))
        }
        Some(Fault::DropRequest) => Err(Closed),
        Some(Fault::DropReply) => pass(headers, body, None).await.and(Err(Closed)),
        Some(Fault::CutRequest(bytes)) => read(body, bytes, None).await.and(Err(Closed)),
        Some(Fault::CutReply(bytes)) => {
            let (parts, body) = pass(headers, body, None).await?.into_parts();
            let start = read(body, usize::MAX, None).await?;
            let piece = start.slice(..bytes.min(start.len()));
            let end = async {
                // Without a pause the server would drop the first piece unsent.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(Closed)
            };
            let pieces = stream::once(ready(Ok(piece))).chain(stream::once(end));
            Ok(Response::from_parts(parts, Body::from(StreamingBlob::wrap(pieces))))
        }
        Some(Fault::Delay(pause)) => {
            tokio::time::sleep(pause).await;
            pass(headers, body, None).await
        }
        Some(Fault::Throttle(bytes_a_second)) => pass(headers, body, Some(bytes_a_second)).await,
        Some(Fault::Hold(released)) => {
            released.notified().await;
            pass(headers, body, None).await
        }
        Some(Fault::StripCondition) => {
            headers.remove(IF_NONE_MATCH);
            pass(headers, body, None).await
        }
    }
}

/// Reads a body up to a number of bytes.
async fn read(body: Body, limit: usize, bytes_a_second: Option<usize>) -> Result<Bytes, Closed> {
    let mut body = StreamingBlob::from(body);
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(chunk) = body.next().await
    {
        let chunk = chunk.map_err(|_| Closed)?;
        bytes.extend_from_slice(&chunk);
        if let Some(bytes_a_second) = bytes_a_second {
            tokio::time::sleep(Duration::from_millis((chunk.len() * 1_000 / bytes_a_second) as u64)).await;
        }
    }
    Ok(bytes.into())
}

async fn forward(shared: &Shared, method: Method, target: &str, mut headers: HeaderMap, body: Bytes) -> Result<Response<Body>, Closed> {
    for name in [CONNECTION, TRANSFER_ENCODING, EXPECT] {
        headers.remove(name);
    }
    let sent = shared.client.request(method, format!("{}{target}", shared.upstream)).headers(headers).body(body).send().await;
    let reply = sent.map_err(|_| Closed)?;
    let (status, mut headers) = (reply.status(), reply.headers().clone());
    headers.remove(TRANSFER_ENCODING);
    let mut response = Response::new(Body::from(reply.bytes().await.map_err(|_| Closed)?));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn answer(status: u16, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
    response
}

fn decoded(target: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = target.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
