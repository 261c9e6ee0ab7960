//! Fetches a file over HTTPS or from S3 into an open file, resuming where a connection broke off.
//!
//! Bounded in bytes and time. What a retry can heal is retried with growing waits until the deadline; what it cannot,
//! such as a missing file, is an error at once. A file that changes between two attempts is fetched from its start.

use std::error::Error;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::SeekFrom;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::{FeedError, Limits, Places};
use crate::dial;

/// The wait before the second attempt; it doubles with every one that brings no bytes.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Where a file comes from.
pub(super) enum Origin<'a> {
    /// An address.
    Http {
        /// Client, that refuses to leave HTTPS.
        client: reqwest::Client,
        /// Address.
        address: &'a str,
    },
    /// An object of S3.
    S3 {
        /// Client.
        client: &'a aws_sdk_s3::Client,
        /// Bucket.
        bucket: &'a str,
        /// Key.
        key: &'a str,
    },
}

impl<'a> Origin<'a> {
    /// Returns the origin of an address. A redirect from https to http is refused, and so is whatever leads to a link-local address.
    pub(super) fn http(address: &'a str, name: &str) -> Result<Self, FeedError> {
        let refused = |error: &dyn Error| FeedError::Refused { name: name.to_owned(), problem: chain(error) };
        if let Ok(url) = address.parse() {
            dial::check(&url).map_err(|forbidden| refused(&forbidden))?;
        }
        let client = dial::guarded(reqwest::Client::builder())
            .https_only(address.starts_with("https://"))
            .user_agent(concat!("stockpipeline/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refused(&error))?;
        Ok(Self::Http { client, address })
    }
}

/// Fetches a file into `file`, which is empty, and returns it.
pub(super) async fn download(origin: &Origin<'_>, name: &str, file: File, places: &Places) -> Result<File, FeedError> {
    let started = Instant::now();
    let mut target = Target {
        file: tokio::fs::File::from_std(file),
        name,
        folder: places.scratch_dir.display().to_string(),
        limits: places.limits,
        until: started + places.limits.deadline,
        bytes: 0,
        version: None,
    };
    let mut failures = 0;
    loop {
        let before = target.bytes;
        let problem = match target.attempt(origin).await {
            Ok(()) => break,
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(problem)) => problem,
            Err(Failure::Stale(problem)) => {
                target.version = None;
                problem
            }
        };
        failures = if target.bytes > before { 0 } else { failures + 1 };
        let wait = wait_after(failures);
        if Instant::now() + wait >= target.until {
            let seconds = started.elapsed().as_secs();
            return Err(FeedError::GaveUp { name: name.to_owned(), seconds, bytes: target.bytes, problem });
        }
        tracing::warn!(file = name, bytes = target.bytes, problem, "download broke off");
        sleep(wait).await;
    }
    target.file.flush().await.map_err(|error| FeedError::Scratch { folder: target.folder, error })?;
    Ok(target.file.into_std().await)
}

/// Returns the wait after a number of failures in a row: half of it fixed, half by chance, so that replicas spread.
fn wait_after(failures: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT);
    let chance = RandomState::new().build_hasher().finish() % 1024;
    longest / 2 + longest.mul_f64(0.5 * f64::from(u16::try_from(chance).expect("below 1024")) / 1024.0)
}

/// Why an attempt ended early.
enum Failure {
    /// A retry may help.
    Passing(String),
    /// A retry from the file's start may help: its content changed.
    Stale(String),
    /// It cannot.
    Final(FeedError),
}

/// The file that is being written.
struct Target<'a> {
    file: tokio::fs::File,
    name: &'a str,
    folder: String,
    limits: Limits,
    until: Instant,
    bytes: u64,
    /// `ETag` (or time of change) of the content that the bytes so far are of.
    version: Option<String>,
}

/// A reply whose body follows.
struct Reply {
    /// First byte that the body holds.
    start: u64,
    /// Bytes of the whole file, where the server says so.
    total: Option<u64>,
    version: Option<String>,
    body: Body,
}

enum Body {
    Http(reqwest::Response),
    S3(ByteStream),
}

impl Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Http(response) => response.chunk().await.map_err(|error| chain(&error.without_url())),
            Self::S3(stream) => stream.try_next().await.map_err(|error| chain(&error)),
        }
    }
}

impl Target<'_> {
    async fn attempt(&mut self, origin: &Origin<'_>) -> Result<(), Failure> {
        if self.version.is_none() {
            self.restart().await?;
        }
        let asked = match origin {
            Origin::Http { client, address } => timeout(self.limits.read_timeout, self.ask_http(client, address)).await,
            Origin::S3 { client, bucket, key } => timeout(self.limits.read_timeout, self.ask_s3(client, bucket, key)).await,
        };
        let Some(mut reply) = asked.map_err(|_| self.silence())?? else {
            return Ok(());
        };
        if reply.start != self.bytes {
            self.restart().await?;
            if reply.start != 0 {
                return Err(Failure::Stale("the server sent another range than the one asked for".to_owned()));
            }
        }
        self.version = reply.version.take();
        self.check_size(reply.total.unwrap_or(0))?;
        loop {
            let chunk = timeout(self.limits.read_timeout, reply.body.chunk()).await.map_err(|_| self.silence())?;
            let Some(chunk) = chunk.map_err(Failure::Passing)? else {
                break;
            };
            self.check_size(self.bytes + chunk.len() as u64)?;
            self.file.write_all(&chunk).await.map_err(|error| self.disk(error))?;
            self.bytes += chunk.len() as u64;
            if Instant::now() >= self.until {
                return Err(Failure::Passing("the deadline passed".to_owned()));
            }
        }
        match reply.total {
            Some(total) if total != self.bytes => Err(Failure::Passing(format!("the connection ended at byte {} of {total}", self.bytes))),
            _ => Ok(()),
        }
    }

    /// Asks for what is missing; None when nothing is.
    async fn ask_http(&self, client: &reqwest::Client, address: &str) -> Result<Option<Reply>, Failure> {
        use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
        let mut request = client.get(address).header(ACCEPT_ENCODING, "identity");
        if let Some(version) = self.version.as_ref().filter(|_| self.bytes > 0) {
            request = request.header(RANGE, format!("bytes={}-", self.bytes)).header(IF_RANGE, version);
        }
        let response = request.send().await.map_err(|error| self.unanswered(&error.without_url()))?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let status = response.status().as_u16();
        let range = header(CONTENT_RANGE).and_then(content_range);
        let (start, total) = match (status, range) {
            (200, _) => (0, response.content_length()),
            (206, Some((Some(start), total))) => (start, total),
            (416, Some((_, Some(total)))) if total == self.bytes => return Ok(None),
            _ => return Err(self.refusal(status, &format!("the server answered {}", response.status()))),
        };
        // A weak tag does not promise equal bytes.
        let version = header(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| header(LAST_MODIFIED)).map(str::to_owned);
        Ok(Some(Reply { start, total, version, body: Body::Http(response) }))
    }

    async fn ask_s3(&self, client: &aws_sdk_s3::Client, bucket: &str, key: &str) -> Result<Option<Reply>, Failure> {
        let resumed = self.version.as_ref().filter(|_| self.bytes > 0);
        let output = client
            .get_object()
            .bucket(bucket)
            .key(key)
            .set_if_match(resumed.cloned())
            .set_range(resumed.map(|_| format!("bytes={}-", self.bytes)))
            .send()
            .await
            .map_err(|error| {
                if dial::is_forbidden(&error) {
                    return Failure::Final(FeedError::Refused { name: self.name.to_owned(), problem: chain(&error) });
                }
                // From then on the client goes by the server's clock.
                if error.code() == Some("RequestTimeTooSkewed") {
                    return Failure::Passing(chain(&error));
                }
                let status = error.raw_response().map_or(0, |response| response.status().as_u16());
                self.refusal(status, &chain(&error))
            })?;
        let length = output.content_length.and_then(|length| u64::try_from(length).ok());
        let (start, total) = match output.content_range.as_deref().and_then(content_range) {
            Some((start, total)) => (start.unwrap_or(0), total),
            None => (0, length),
        };
        Ok(Some(Reply { start, total, version: output.e_tag, body: Body::S3(output.body) }))
    }

    /// Sorts a request that brought no reply.
    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        let problem = chain(error);
        if dial::is_forbidden(error) {
            return Failure::Final(FeedError::Refused { name: self.name.to_owned(), problem });
        }
        Failure::Passing(problem)
    }

    /// Sorts a status that is no success; 0 is no reply at all.
    fn refusal(&self, status: u16, problem: &str) -> Failure {
        match status {
            206 | 412 | 416 => Failure::Stale(problem.to_owned()),
            0 | 408 | 409 | 425 | 429 | 500.. => Failure::Passing(problem.to_owned()),
            _ => Failure::Final(FeedError::Refused { name: self.name.to_owned(), problem: problem.to_owned() }),
        }
    }

    /// Forgets what has arrived.
    async fn restart(&mut self) -> Result<(), Failure> {
        self.version = None;
        self.bytes = 0;
        self.file.set_len(0).await.map_err(|error| self.disk(error))?;
        self.file.seek(SeekFrom::Start(0)).await.map_err(|error| self.disk(error))?;
        Ok(())
    }

    fn check_size(&self, bytes: u64) -> Result<(), Failure> {
        if bytes > self.limits.max_bytes {
            return Err(Failure::Final(FeedError::DownloadTooLarge { name: self.name.to_owned(), limit: self.limits.max_bytes }));
        }
        Ok(())
    }

    fn silence(&self) -> Failure {
        Failure::Passing(format!("the server was silent for {} s", self.limits.read_timeout.as_secs_f64()))
    }

    fn disk(&self, error: std::io::Error) -> Failure {
        Failure::Final(FeedError::Scratch { folder: self.folder.clone(), error })
    }
}

/// Reads `bytes 5-9/10` or `bytes */10`: first byte and total.
fn content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(first, _)| first.trim().parse().ok());
    Some((start, total.trim().parse().ok()))
}

/// Returns an error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}
