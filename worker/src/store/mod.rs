//! S3: conditional writes, retries and error classes. Nothing outside this module calls the S3 client, apart from the downloads of
//! a feed: they go on where they broke off, and have limits of their own.
//!
//! Throttling, 5xx, time-outs and resets are retried for ever with full jitter; so are 403 and a missing bucket,
//! slowly, while [`Store::trouble`] says so. A caller cancels by dropping the future. An unknown outcome is asked for, never
//! guessed: a write whose reply was lost is tried again, meets itself, and answers [`Put::Exists`].
//!
//! Every object is one PUT (S3 takes 5 GiB in one; a plan's objects are far smaller). There are no multipart uploads, so
//! none can be left behind. Bodies are signed only where the connection isn't TLS; a CRC32 that the server checks goes along.

mod body;
mod client;
mod failure;
mod listing;
mod objects;
mod probe;
mod retry;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::StoreMetrics;

pub use client::reader;
pub use listing::Pages;

use client::Clients;
use retry::{Jitter, Troubles};

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bucket.
    pub bucket: String,
    /// AWS region.
    pub region: String,
    /// Endpoint; AWS's own without it.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path.
    pub force_path_style: bool,
    /// KMS key of new objects.
    pub kms_key_arn: Option<String>,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// Total time of one attempt; below the group's session time-out.
    pub attempt_timeout: Duration,
    /// How long one call may retry altogether; None is for ever (the sink's setting).
    pub give_up_after: Option<Duration>,
}

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The default chain: environment, web identity, Pod Identity, IMDS.
    Chain,
    /// Static keys.
    Static {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: String,
        /// Session token.
        session_token: Option<String>,
    },
    /// Unsigned requests, for the embedded server.
    Anonymous,
}

/// What a store is waiting for, as readiness and `/status` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Closed label: `Throttled`, `Unavailable`, `Timeout`, `AccessDenied`, `NoSuchBucket`, `KeyUnusable`, `ClockSkewed`, `Redirected`, `NotS3`, `Stale`.
    pub reason: &'static str,
    /// What failed and what to do, scrubbed of secrets.
    pub message: String,
    /// Since when, milliseconds since 1970.
    pub since_millis: i64,
}

/// Outcome of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The object is stored by this call.
    Stored,
    /// An object of that key was there before (or a lost reply of ours: the caller asks).
    Exists,
}

/// Whether a store keeps the promise that everything rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A second conditional write of a key is answered with 412.
    Conditional,
    /// It isn't: the store ignores `If-None-Match` or doesn't know it.
    Unconditional,
}

/// What HEAD says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Size in bytes.
    pub size: u64,
    /// User metadata, names in lower case.
    pub metadata: BTreeMap<String, String>,
    /// Last change, milliseconds since 1970.
    pub modified_millis: i64,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Last change, milliseconds since 1970.
    pub modified_millis: i64,
}

/// Gate that every attempt of a write passes: a worker that has not heard from a broker for long must not write.
pub trait Gate: Send + Sync {
    /// Returns whether an attempt of a write may start now.
    fn open(&self) -> bool;
}

/// A call that will not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `give_up_after` passed.
    #[error("gave up after {seconds} s: {message}")]
    GaveUp {
        /// Operation, such as `PutObject`.
        operation: &'static str,
        /// Key.
        key: String,
        /// Seconds spent.
        seconds: u64,
        /// The last failure, with operation, bucket, key and remedy.
        message: String,
    },
    /// The request itself is wrong; a retry cannot help.
    #[error("s3 refused a request: {message}")]
    Refused {
        /// Operation, such as `PutObject`.
        operation: &'static str,
        /// Key.
        key: String,
        /// What the server said, with operation, bucket, key and remedy.
        message: String,
    },
}

/// One bucket. Clones share the connections and the board of troubles.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    clients: Clients,
    gate: Option<Arc<dyn Gate>>,
    metrics: StoreMetrics,
    troubles: Troubles,
    jitter: Jitter,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("bucket", &self.inner.settings.bucket).finish_non_exhaustive()
    }
}

impl Store {
    /// Returns a client of a bucket. Makes no request.
    pub async fn connect(settings: Settings, gate: Option<Arc<dyn Gate>>, metrics: StoreMetrics) -> Self {
        let clients = Clients::new(&settings).await;
        let inner = Inner { settings, clients, gate, metrics, troubles: Troubles::default(), jitter: Jitter::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Returns what the store is waiting for, or None while calls succeed. Of several, the oldest.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.inner.troubles.oldest()
    }

    fn bucket(&self) -> &str {
        &self.inner.settings.bucket
    }
}

impl Settings {
    fn has_tls(&self) -> bool {
        self.endpoint.as_ref().is_none_or(|endpoint| endpoint.starts_with("https://"))
    }
}
