//! The endpoints, spoken to by raw sockets: what a probe gets, and what a hostile client can't do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stockpipeline_program::clock::{boottime_millis, wall_millis};
use stockpipeline_program::http::Limits;
use stockpipeline_worker::error::Class;
use stockpipeline_worker::http::serve_within;
use stockpipeline_worker::metrics::{Registry, SinkMetrics};
use stockpipeline_worker::status::{Failure, HEARTBEAT_LIMIT_MILLIS, Reason, Role, State, Status, StatusCell};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What every wait of these tests is bounded by.
const DEADLINE: Duration = Duration::from_secs(30);

struct Endpoint {
    address: SocketAddr,
    status: StatusCell,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

fn running() -> Status {
    let mut status = Status::starting(Role::Sink, "worker-0", wall_millis());
    status.state = State::Running;
    status.kafka.succeeded(wall_millis());
    status.s3.as_mut().unwrap().succeeded(wall_millis());
    status
}

async fn start(limits: Limits) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let status = StatusCell::new(running(), boottime_millis());
    let shutdown = CancellationToken::new();
    let mut registry = Registry::new("sink");
    let _metrics = SinkMetrics::register(&mut registry);
    let served = tokio::spawn(serve_within(limits, listener, status.clone(), Arc::new(registry), shutdown.clone()));
    Endpoint { address, status, shutdown, served }
}

/// Sends bytes and returns all that comes back until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may answer and close before it has read all: then the rest of the write fails, as it should.
        let _unread = stream.write_all(request).await;
        let mut reply = Vec::new();
        let _reset = stream.read_to_end(&mut reply).await;
        String::from_utf8_lossy(&reply).into_owned()
    };
    timeout(DEADLINE, talk).await.expect("the server neither answers nor closes")
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let reply = exchange(address, format!("GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n").as_bytes()).await;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply to {path}: {reply:?}"));
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn endpoints_say_what_the_worker_says() {
    let endpoint = start(Limits::DEFAULT).await;
    assert_eq!(get(endpoint.address, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(endpoint.address, "/readyz").await, (200, "ok\n".to_owned()));

    let (code, body) = get(endpoint.address, "/status").await;
    assert_eq!(code, 200);
    let mut said = serde_json::from_str::<Status>(&body).unwrap();
    assert!(said.said_millis.take().is_some(), "it tells when it was said");
    assert_eq!(said, *endpoint.status.read());

    let (code, body) = get(endpoint.address, "/metrics").await;
    assert_eq!(code, 200);
    assert!(body.contains("stockpipeline_plan_replays_total 0") && body.ends_with("# EOF\n"), "{body}");

    assert_eq!(get(endpoint.address, "/").await, (404, String::new()));
    let reply = exchange(endpoint.address, b"POST /status HTTP/1.1\r\nhost: worker\r\ncontent-length: 2\r\n\r\n{}").await;
    assert!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
}

#[tokio::test]
async fn worker_that_can_not_work_is_not_ready_but_lives() {
    let endpoint = start(Limits::DEFAULT).await;
    let mut status = running();
    status.fatal =
        Some(Failure { class: Class::User, reason: Reason::LedgerMissing, message: "set sink.ledger.accept".to_owned(), at_millis: 0 });
    endpoint.status.replace(status);
    assert_eq!(get(endpoint.address, "/readyz").await, (503, "LedgerMissing: set sink.ledger.accept\n".to_owned()));
    assert_eq!(get(endpoint.address, "/livez").await.0, 200);
}

#[tokio::test]
async fn standing_loop_is_neither_live_nor_ready() {
    let endpoint = start(Limits::DEFAULT).await;
    endpoint.status.beat(boottime_millis().saturating_sub(HEARTBEAT_LIMIT_MILLIS + 10_000));
    for path in ["/livez", "/readyz"] {
        let (code, body) = get(endpoint.address, path).await;
        assert_eq!(code, 503);
        assert!(body.starts_with("the loop has not moved for "), "{body}");
    }
}

#[tokio::test]
async fn slow_clients_do_not_hold_up_a_probe_and_are_ended() {
    let limits = Limits { connections: 8, connection_time: Duration::from_millis(500), ..Limits::DEFAULT };
    let endpoint = start(limits).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(get(endpoint.address, "/livez").await.0, 200);
    for mut stream in slow {
        let mut reply = Vec::new();
        let ended = timeout(DEADLINE, stream.read_to_end(&mut reply)).await;
        assert!(ended.is_ok(), "a slow client still holds its connection");
        assert!(!reply.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(get(endpoint.address, "/readyz").await.0, 200);
}

#[tokio::test]
async fn nothing_that_is_sent_ends_the_endpoint() {
    let endpoint = start(Limits { connection_time: Duration::from_millis(500), ..Limits::DEFAULT }).await;
    let huge = format!("GET /status HTTP/1.1\r\nhost: worker\r\nx-huge: {}\r\n\r\n", "a".repeat(1_000_000));
    let many = "x-many: a\r\n".repeat(2_000);
    let many = format!("GET /status HTTP/1.1\r\nhost: worker\r\n{many}\r\n");
    let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let requests: [&[u8]; 9] = [
        b"",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nhost: worker\r\n\r\n",
        huge.as_bytes(),
        many.as_bytes(),
        &noise,
    ];
    for request in requests {
        let reply = exchange(endpoint.address, request).await;
        assert!(!reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    assert!(exchange(endpoint.address, huge.as_bytes()).await.len() < 1_000, "what was sent must not come back");
    assert_eq!(get(endpoint.address, "/livez").await.0, 200);
}

#[tokio::test]
async fn stop_frees_the_port_though_a_client_is_slow() {
    let endpoint = start(Limits::DEFAULT).await;
    let mut slow = TcpStream::connect(endpoint.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    assert_eq!(get(endpoint.address, "/livez").await.0, 200);
    endpoint.shutdown.cancel();
    timeout(DEADLINE, endpoint.served).await.expect("the endpoint does not stop").unwrap();
    assert!(TcpStream::connect(endpoint.address).await.is_err());
}
