//! S3: conditional writes, retries and error classes. The only file that calls the S3 client.
//!
//! Throttling, 5xx, time-outs and resets are retried for ever with full jitter; so are 403 and a missing bucket,
//! slowly, while [`Health`] says so. A caller cancels by dropping the future. An unknown outcome is asked for, never guessed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::metrics::StoreMetrics;

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
    #[error("gave up on s3 {operation} of {key:?} after {seconds} s: {message}")]
    GaveUp {
        /// Operation, such as `PutObject`.
        operation: &'static str,
        /// Key.
        key: String,
        /// Seconds spent.
        seconds: u64,
        /// The last failure.
        message: String,
    },
    /// The request itself is wrong; a retry cannot help.
    #[error("s3 refused {operation} of {key:?}: {message}")]
    Refused {
        /// Operation, such as `PutObject`.
        operation: &'static str,
        /// Key.
        key: String,
        /// What the server said.
        message: String,
    },
}

/// One bucket.
#[derive(Clone)]
pub struct Store {
    _settings: Arc<Settings>,
}

impl Store {
    /// Returns a client of a bucket. Makes no request.
    pub async fn connect(settings: Settings, gate: Option<Arc<dyn Gate>>, metrics: StoreMetrics) -> Self {
        let _ = (gate, metrics);
        Self { _settings: Arc::new(settings) }
    }

    /// Returns what the store is waiting for, or None while calls succeed.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        todo!("store helper")
    }

    /// Returns the bytes of an object, or None when there is none of that key.
    ///
    /// # Errors
    /// [`StoreError`]; never for what may heal, unless `give_up_after` is set.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let _ = key;
        todo!("store helper")
    }

    /// Returns an object's size and metadata, or None when there is none of that key.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let _ = key;
        todo!("store helper")
    }

    /// Stores an object if there is none of that key (`If-None-Match: *`). 409 is tried again.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Put, StoreError> {
        let _ = (key, body, content_type, metadata);
        todo!("store helper")
    }

    /// Returns up to `limit` entries under a prefix, after a key, in key order.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let _ = (prefix, start_after, limit);
        todo!("store helper")
    }

    /// Deletes objects; missing ones are fine.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let _ = keys;
        todo!("store helper")
    }
}
