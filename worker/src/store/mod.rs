//! S3: conditional writes, retries and error classes. Nothing outside this module calls the S3 client.
//!
//! Throttling, 5xx, time-outs and resets are retried for ever with full jitter; so are 403 and a missing bucket,
//! slowly, while [`Store::trouble`] says so. A caller cancels by dropping the future. An unknown outcome is asked for, never
//! guessed: a write whose reply was lost is tried again, meets itself, and answers [`Put::Exists`].
//!
//! Every object is one PUT (S3 takes 5 GiB in one; a plan's objects are far smaller). There are no multipart uploads, so
//! none can be left behind. Bodies are signed only where the connection isn't TLS; a CRC32 that the server checks goes along.

mod client;
mod download;
mod failure;
mod listing;
mod retry;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier, ServerSideEncryption};
use bytes::Bytes;

use crate::metrics::StoreMetrics;

pub use listing::Pages;

use client::Clients;
use failure::{Failure, Reason, reason};
use retry::{Act, Attempt, Effect, Jitter, Troubles};

/// Most keys of one DeleteObjects request.
const DELETE_KEYS: usize = 1_000;

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
    /// Downloaded bytes can't be kept.
    #[error("failed to write the bytes of {key:?} to a local file; check that its folder is writable and has room")]
    Keep {
        /// Key.
        key: String,
        /// What the file system said.
        #[source]
        source: std::io::Error,
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

    /// Returns the bytes of an object, or None when there is none of that key. For objects that one attempt can carry;
    /// [`Store::download`] takes the others.
    ///
    /// # Errors
    /// [`StoreError`]; never for what may heal, unless `give_up_after` is set.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let act = Act { operation: "GetObject", key, effect: Effect::Read };
        self.run(act, |client| async move {
            let answer = match client.get_object().bucket(self.bucket()).key(key).send().await {
                Ok(answer) => answer,
                Err(error) => return missing_or(Failure::of(&error)),
            };
            require_tag(answer.e_tag.as_deref())?;
            let body = answer.body.collect().await.map_err(|error| broke_off(&error))?;
            Ok((Some(body.into_bytes()), "200"))
        })
        .await
    }

    /// Returns an object's size and metadata, or None when there is none of that key.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let act = Act { operation: "HeadObject", key, effect: Effect::Read };
        self.run(act, |client| async move {
            let answer = match client.head_object().bucket(self.bucket()).key(key).send().await {
                Ok(answer) => answer,
                Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 404) => {
                    // An answer to HEAD has no body, so it doesn't say whether the key or the whole bucket is missing.
                    return match client.head_bucket().bucket(self.bucket()).send().await {
                        Ok(_) => Ok((None, "404")),
                        Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 404) => {
                            Err(Failure::new(Reason::NoSuchBucket, "404", "there is no such bucket"))
                        }
                        Err(error) => Err(Failure::of(&error)),
                    };
                }
                Err(error) => return Err(Failure::of(&error)),
            };
            require_tag(answer.e_tag.as_deref())?;
            let info = ObjectInfo {
                size: answer.content_length.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
                metadata: answer.metadata.unwrap_or_default().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
                modified_millis: millis(answer.last_modified),
            };
            Ok((Some(info), "200"))
        })
        .await
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
        let act = Act { operation: "PutObject", key, effect: Effect::Write };
        self.run(act, |client| self.attempt_put(client, key, body.clone(), content_type, metadata)).await
    }

    async fn attempt_put(
        &self,
        client: aws_sdk_s3::Client,
        key: &str,
        body: Bytes,
        content_type: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Attempt<Put> {
        let settings = &self.inner.settings;
        let mut request = client
            .put_object()
            .bucket(&settings.bucket)
            .key(key)
            .if_none_match("*")
            .content_type(content_type)
            .set_metadata(Some(metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect()))
            .body(ByteStream::from(body));
        if let Some(kms_key) = &settings.kms_key_arn {
            // A bucket key saves nearly every request to KMS.
            request = request.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(kms_key).bucket_key_enabled(true);
        }
        let mut request = request.customize();
        if settings.has_tls() && !matches!(settings.credentials, Credentials::Anonymous) {
            request = request.disable_payload_signing();
        }
        match request.send().await {
            Ok(answer) => require_tag(answer.e_tag.as_deref()).map(|()| (Put::Stored, "200")),
            Err(error) => match Failure::of(&error) {
                Failure { reason: Reason::Unmet, .. } => Ok((Put::Exists, "412")),
                failure => Err(failure),
            },
        }
    }

    /// Finds out whether conditional writes work, with a new object beside `key`, which is deleted again.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn probe(&self, key: &str) -> Result<Probe, StoreError> {
        // Of this call alone: another worker's deletion between the two writes would look like a store without conditions.
        let key = format!("{key}.{:016x}", self.inner.jitter.next());
        let act = Act { operation: "PutObject", key: &key, effect: Effect::Write };
        let none = BTreeMap::new();
        let put = || {
            self.run(act, |client| async {
                match self.attempt_put(client, &key, Bytes::from_static(b"probe"), "text/plain", &none).await {
                    Ok((put, label)) => Ok((Some(put), label)),
                    Err(Failure { reason: Reason::Unsupported, outcome, .. }) => Ok((None, outcome)),
                    Err(failure) => Err(failure),
                }
            })
        };
        let mut answer = put().await?;
        if answer == Some(Put::Stored) {
            answer = put().await?;
        }
        let deleted =
            tokio::time::timeout(self.inner.settings.attempt_timeout, self.attempt_delete(self.inner.clients.current(), &key)).await;
        if !matches!(deleted, Ok(Ok(_))) {
            tracing::debug!(key, "failed to delete the probe; it does no harm");
        }
        Ok(if answer == Some(Put::Exists) { Probe::Conditional } else { Probe::Unconditional })
    }

    /// Deletes objects; missing ones are fine.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        if let [key] = keys {
            let act = Act { operation: "DeleteObject", key, effect: Effect::Write };
            return self.run(act, |client| self.attempt_delete(client, key)).await;
        }
        for keys in keys.chunks(DELETE_KEYS) {
            let act = Act { operation: "DeleteObjects", key: &keys[0], effect: Effect::Write };
            self.run(act, |client| self.attempt_delete_many(client, keys)).await?;
        }
        Ok(())
    }

    async fn attempt_delete(&self, client: aws_sdk_s3::Client, key: &str) -> Attempt<()> {
        match client.delete_object().bucket(self.bucket()).key(key).send().await {
            Ok(_) => Ok(((), "200")),
            Err(error) => match Failure::of(&error) {
                Failure { reason: Reason::Missing, .. } => Ok(((), "404")),
                failure => Err(failure),
            },
        }
    }

    async fn attempt_delete_many(&self, client: aws_sdk_s3::Client, keys: &[String]) -> Attempt<()> {
        let refused = |error: aws_sdk_s3::error::BuildError| Failure::new(Reason::Refused, "request", &failure::chain(&error));
        let objects: Result<Vec<_>, _> = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect();
        let delete = Delete::builder().quiet(true).set_objects(Some(objects.map_err(refused)?)).build().map_err(refused)?;
        let answer = client.delete_objects().bucket(self.bucket()).delete(delete).send().await.map_err(|error| Failure::of(&error))?;
        // The answer is 200 though single keys failed.
        let failed = answer.errors().iter().find(|error| error.code() != Some("NoSuchKey"));
        failed.map_or(Ok(((), "200")), |error| {
            let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
            let what = format!("{:?} was not deleted: {code} {message}", error.key().unwrap_or_default());
            Err(Failure::new(reason(500, code, message), "other", &what))
        })
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

fn missing_or<T>(failure: Failure) -> Attempt<Option<T>> {
    if failure.reason == Reason::Missing { Ok((None, "404")) } else { Err(failure) }
}

/// Every S3 answer about an object carries its entity tag; a login page of some proxy doesn't.
fn require_tag(tag: Option<&str>) -> Result<(), Failure> {
    if tag.is_some() { Ok(()) } else { Err(Failure::not_s3("the answer was 200 without an entity tag")) }
}

fn broke_off(error: &aws_sdk_s3::primitives::ByteStreamError) -> Failure {
    Failure::new(Reason::Unavailable, "connection", &format!("the body broke off: {}", failure::chain(error)))
}

fn millis(time: Option<DateTime>) -> i64 {
    time.and_then(|time| time.to_millis().ok()).unwrap_or_default()
}
