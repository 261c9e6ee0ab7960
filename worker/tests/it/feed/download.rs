//! Files over the network, from a server that misbehaves as told.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use stockpipeline::checked::Location;
use stockpipeline_worker::embedded::EmbeddedS3;
use stockpipeline_worker::feed::{FeedError, Limits, Places};
use stockpipeline_worker::store::{self, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Scene, gzip, open, places, replay, rest, schema};

/// What the server does with one request.
#[derive(Clone)]
enum Step {
    /// Serves what is asked for, but at most so many bytes before it closes the connection.
    Serve { most: usize },
    /// As `Serve`, but says nothing more instead of closing.
    Hang { most: usize },
    /// Serves the whole file, whatever range is asked for.
    Whole,
    /// Answers with a status and no body.
    Status(u16),
    /// Says that the file is elsewhere.
    Redirect(String),
    /// Has another content from now on.
    Replace(Vec<u8>),
}

/// A server of one file.
struct Server {
    address: String,
    /// The heads of the requests so far, in lower case.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves `content`; the last step is repeated.
    async fn start(content: Vec<u8>, steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let (mut content, mut version, mut steps) = (content, 1, std::collections::VecDeque::from(steps));
            while let Ok((stream, _)) = listener.accept().await {
                let step = loop {
                    let step = if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() };
                    match step.unwrap() {
                        Step::Replace(other) => {
                            content = other;
                            version += 1;
                        }
                        step => break step,
                    }
                };
                serve(stream, step, &content, &format!("\"v{version}\""), &seen).await;
            }
        });
        Self { address, requests }
    }

    fn location(&self) -> Location {
        Location::Http(format!("{}/ticks.csv?signature=secret", self.address))
    }

    fn ranges(&self) -> Vec<Option<usize>> {
        let start = |head: &String| head.split("\r\nrange: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
        self.requests.lock().unwrap().iter().map(start).collect()
    }
}

async fn serve(mut stream: TcpStream, step: Step, content: &[u8], tag: &str, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let header = |name: &str| head.split(&format!("\r\n{name}: ")).nth(1).map(|rest| rest.split("\r\n").next().unwrap().to_owned());
    let range = header("range").map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
    let stale = header("if-range").is_some_and(|version| version != tag);
    let refused = header("if-match").is_some_and(|version| version != tag);
    seen.lock().unwrap().push(head);
    let (most, hangs) = match step {
        Step::Serve { most } => (most, false),
        Step::Hang { most } => (most, true),
        Step::Whole | Step::Replace(_) => (usize::MAX, false),
        Step::Redirect(target) => {
            let reply = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            drop(stream.write_all(reply.as_bytes()).await);
            return;
        }
        Step::Status(status) => {
            drop(stream.write_all(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes()).await);
            return;
        }
    };
    if refused {
        drop(stream.write_all(b"HTTP/1.1 412 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await);
        return;
    }
    let start = range.filter(|_| !stale && !matches!(step, Step::Whole));
    let body = &content[start.unwrap_or(0)..];
    let mut reply = match start {
        Some(start) => format!("HTTP/1.1 206 Partial\r\ncontent-range: bytes {start}-{}/{}\r\n", content.len() - 1, content.len()),
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    write!(reply, "etag: {tag}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).unwrap();
    drop(stream.write_all(reply.as_bytes()).await);
    drop(stream.write_all(&body[..body.len().min(most)]).await);
    drop(stream.flush().await);
    if hangs {
        // Waits until the client has had enough.
        drop(stream.read_u8().await);
    }
}

fn content() -> Vec<u8> {
    let mut content = b"Index,Date,Close,Volume\n".to_vec();
    for number in 0..30_000 {
        std::io::Write::write_fmt(&mut content, format_args!("A,2020-01-01,{number},{}\n", number * 3)).unwrap();
    }
    content
}

fn limits() -> Limits {
    Limits { max_bytes: 100 << 20, read_timeout: Duration::from_millis(500), deadline: Duration::from_secs(30) }
}

/// Fetches and reads a file; gives the number of its rows.
async fn fetch(location: Location, places: &Places) -> Result<usize, FeedError> {
    let mut feed = open(&replay(location), &schema(), places).await?;
    Ok(rest(&mut feed).len())
}

fn places_within(folder: &tempfile::TempDir, limits: Limits) -> Places {
    Places { limits, ..places(folder.path()) }
}

#[tokio::test]
async fn a_download_goes_on_where_the_connection_broke_off() {
    let half = Step::Serve { most: 400_000 };
    for (steps, requests) in [
        (vec![Step::Whole], 1),
        (vec![half.clone()], 2),
        (vec![half.clone(), Step::Hang { most: 1000 }, Step::Whole], 3),
        (vec![half.clone(), Step::Status(503), Step::Status(429), half.clone()], 4),
        (vec![half.clone(), Step::Whole], 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(content(), steps).await;
        assert_eq!(fetch(server.location(), &places_within(&folder, limits())).await.unwrap(), 30_000);
        let ranges = server.ranges();
        assert_eq!(ranges.len(), requests, "{ranges:?}");
        assert_eq!(ranges[0], None);
        assert!(ranges.iter().skip(1).all(Option::is_some), "{ranges:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a download leaves no file behind");
    }
}

#[tokio::test]
async fn a_file_that_changes_between_two_attempts_is_fetched_from_its_start() {
    let mut other = content();
    other.extend_from_slice(b"B,2020-01-01,1,1\n");
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::start(content(), vec![Step::Serve { most: 400_000 }, Step::Replace(other), Step::Serve { most: usize::MAX }]).await;
    assert_eq!(fetch(server.location(), &places_within(&folder, limits())).await.unwrap(), 30_001);
}

#[tokio::test]
async fn a_compressed_file_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(gzip(&content()), vec![Step::Whole]).await;
    assert_eq!(fetch(server.location(), &places_within(&folder, limits())).await.unwrap(), 30_000);
}

#[tokio::test]
async fn what_a_retry_cannot_heal_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for status in [400, 401, 403, 404, 410] {
        let server = Server::start(content(), vec![Step::Status(status)]).await;
        let error = fetch(server.location(), &places_within(&folder, limits())).await.unwrap_err();
        assert!(matches!(&error, FeedError::Refused { problem, .. } if problem.contains(&status.to_string())), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(server.ranges().len(), 1);
    }
}

#[tokio::test]
async fn what_leads_to_a_metadata_address_is_an_error_at_once_and_any_other_machine_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    for target in ["http://169.254.169.254/latest/meta-data", "http://2852039166/x", "http://[fd00:ec2::254]/", "//[fe80::1]:80/"] {
        let server = Server::start(content(), vec![Step::Redirect(target.to_owned())]).await;
        let error = fetch(server.location(), &places_within(&folder, limits())).await.unwrap_err();
        assert!(matches!(&error, FeedError::Refused { problem, .. } if problem.contains("link-local or metadata")), "{target}: {error}");
        assert_eq!(server.ranges().len(), 1);
    }
    let elsewhere = Server::start(content(), vec![Step::Whole]).await;
    let server = Server::start(Vec::new(), vec![Step::Redirect(format!("{}/ticks.csv", elsewhere.address))]).await;
    assert_eq!(fetch(server.location(), &places_within(&folder, limits())).await.unwrap(), 30_000);
    let error = fetch(Location::Http("https://2852039166/x.csv".to_owned()), &places_within(&folder, limits())).await.unwrap_err();
    assert!(matches!(error, FeedError::Refused { .. }), "{error}");
    // No address in the eyes of S3's client, which looks it up as a name.
    let places = Places { s3: Some(store::reader(&settings("http://2852039166".to_owned())).await), ..places_within(&folder, limits()) };
    let error = fetch(object(), &places).await.unwrap_err();
    assert!(matches!(&error, FeedError::Refused { problem, .. } if problem.contains("link-local or metadata")), "{error}");
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(content(), vec![Step::Whole]).await;
    let small = Limits { max_bytes: 10_000, ..limits() };
    let error = fetch(server.location(), &places_within(&folder, small)).await.unwrap_err();
    assert!(matches!(error, FeedError::DownloadTooLarge { limit: 10_000, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_gets_well_is_given_up_by_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let short = Limits { deadline: Duration::from_secs(1), read_timeout: Duration::from_millis(100), ..limits() };
    for step in [Step::Status(503), Step::Hang { most: 0 }] {
        let server = Server::start(content(), vec![step]).await;
        let error = fetch(server.location(), &places_within(&folder, short)).await.unwrap_err();
        assert!(matches!(error, FeedError::GaveUp { .. }), "{error}");
        assert!(server.ranges().len() > 1);
    }
}

#[tokio::test]
async fn a_scratch_folder_that_cannot_be_written_is_named() {
    let server = Server::start(content(), vec![Step::Whole]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut places = places_within(&folder, limits());
    places.scratch_dir = folder.path().join("missing");
    let error = fetch(server.location(), &places).await.unwrap_err();
    assert!(matches!(&error, FeedError::Scratch { folder, .. } if folder.ends_with("missing")), "{error}");
}

fn s3(server: &Server) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "key", None, None, "test"))
        .endpoint_url(&server.address)
        .force_path_style(true)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn settings(endpoint: String) -> Settings {
    Settings {
        bucket: "market".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        force_path_style: true,
        kms_key_arn: None,
        credentials: store::Credentials::Anonymous,
        attempt_timeout: Duration::from_secs(5),
        give_up_after: None,
    }
}

fn object() -> Location {
    Location::S3 { bucket: "market".to_owned(), key: "seed/ticks.csv".to_owned() }
}

#[tokio::test]
async fn an_object_of_s3_is_fetched_and_resumed_under_its_tag() {
    let mut other = content();
    other.extend_from_slice(b"B,2020-01-01,1,1\n");
    let half = Step::Serve { most: 400_000 };
    for (steps, rows, requests) in [
        (vec![Step::Serve { most: usize::MAX }], 30_000, 1),
        (vec![half.clone(), Step::Status(503), half.clone()], 30_000, 3),
        (vec![half.clone(), Step::Replace(other), Step::Serve { most: usize::MAX }], 30_001, 3),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(content(), steps).await;
        let places = Places { s3: Some(s3(&server)), ..places_within(&folder, limits()) };
        assert_eq!(fetch(object(), &places).await.unwrap(), rows);
        assert_eq!(server.ranges().len(), requests);
        assert!(server.requests.lock().unwrap()[0].starts_with("get /market/seed/ticks.csv"));
    }
}

#[tokio::test]
async fn an_object_of_a_whole_server_is_found_with_the_stores_client() {
    let (bucket, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(bucket.path().join("seed")).unwrap();
    std::fs::write(bucket.path().join("seed/ticks.csv"), content()).unwrap();
    let server = EmbeddedS3::start(bucket.path(), "market").await.unwrap();
    let places = Places { s3: Some(store::reader(&settings(server.endpoint())).await), ..places_within(&scratch, limits()) };
    assert_eq!(fetch(object(), &places).await.unwrap(), 30_000);
    let missing = Location::S3 { bucket: "market".to_owned(), key: "seed/none.csv".to_owned() };
    let error = fetch(missing, &places).await.unwrap_err();
    assert!(matches!(&error, FeedError::Refused { problem, .. } if problem.contains("NoSuchKey")), "{error}");
}

#[tokio::test]
async fn an_object_without_a_client_or_permission_is_refused() {
    let scene = Scene::new("");
    let places = places(scene.folder.path());
    let error = fetch(object(), &places).await.unwrap_err();
    assert!(error.to_string().contains("s3://market/seed/ticks.csv") && error.to_string().contains("no client of S3"), "{error}");
    let server = Server::start(content(), vec![Step::Status(403)]).await;
    let error = fetch(object(), &Places { s3: Some(s3(&server)), ..places }).await.unwrap_err();
    assert!(matches!(error, FeedError::Refused { .. }), "{error}");
}
