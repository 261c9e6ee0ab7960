//! The requests about single objects: what an attempt sends and what an answer means.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BuildError, SdkError};
use aws_sdk_s3::primitives::{ByteStreamError, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier, ServerSideEncryption};
use bytes::Bytes;

use super::body::Body;
use super::failure::{self, Failure, Reason, reason};
use super::retry::{Act, Attempt, Effect};
use super::{Credentials, ObjectInfo, Put, Store, StoreError};
use crate::pieces::Pieces;

/// Most keys of one `DeleteObjects` request.
const DELETE_KEYS: usize = 1_000;

/// An object on its way into the bucket.
pub(super) struct NewObject<'a> {
    pub(super) key: &'a str,
    pub(super) body: Body,
    pub(super) content_type: &'a str,
    pub(super) metadata: &'a BTreeMap<String, String>,
}

impl Store {
    /// Returns the bytes of an object, or None when there is none of that key. For objects that one attempt can carry.
    ///
    /// # Errors
    /// [`StoreError`]; never for what may heal, unless `give_up_after` is set.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get_with_info(key).await?.map(|(_, body)| body))
    }

    /// Returns an object's size and metadata with its bytes, in one request; None when there is none of that key.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn get_with_info(&self, key: &str) -> Result<Option<(ObjectInfo, Bytes)>, StoreError> {
        let act = Act { operation: "GetObject", key, effect: Effect::Read };
        self.run(act, |client| async move {
            let answer = match client.get_object().bucket(self.bucket()).key(key).send().await {
                Ok(answer) => answer,
                Err(error) => return missing_or(Failure::of(&error)),
            };
            require_tag(answer.e_tag.as_deref())?;
            let info = info(answer.content_length, answer.metadata, answer.last_modified);
            let body = answer.body.collect().await.map_err(|error| broke_off(&error))?;
            Ok((Some((info, body.into_bytes())), "200"))
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
                Err(error) if is_404(&error) => return self.attempt_bucket(&client).await.map(|()| (None, "404")),
                Err(error) => return Err(Failure::of(&error)),
            };
            require_tag(answer.e_tag.as_deref())?;
            let info = info(answer.content_length, answer.metadata, answer.last_modified);
            Ok((Some(info), "200"))
        })
        .await
    }

    /// Finds the bucket. An answer to HEAD has no body, so a 404 doesn't say whether the key or the whole bucket is missing.
    async fn attempt_bucket(&self, client: &Client) -> Result<(), Failure> {
        match client.head_bucket().bucket(self.bucket()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_404(&error) => Err(Failure::new(Reason::NoSuchBucket, "404", "there is no such bucket")),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// Stores an object if there is none of that key (`If-None-Match: *`). 409 is tried again.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn put_if_absent(
        &self,
        key: &str,
        body: impl Into<Pieces>,
        content_type: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Put, StoreError> {
        let act = Act { operation: "PutObject", key, effect: Effect::Write };
        let object = NewObject { key, body: self.body(body.into()), content_type, metadata };
        self.run(act, |client| self.attempt_put(client, &object)).await
    }

    /// Returns the body of a PUT to this store.
    pub(super) fn body(&self, pieces: Pieces) -> Body {
        let settings = &self.inner.settings;
        let is_signed = !settings.has_tls() && !matches!(settings.credentials, Credentials::Anonymous);
        if is_signed { Body::signed(pieces) } else { Body::unsigned(pieces) }
    }

    pub(super) async fn attempt_put(&self, client: Client, object: &NewObject<'_>) -> Attempt<Put> {
        let settings = &self.inner.settings;
        let metadata = object.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut request = client
            .put_object()
            .bucket(&settings.bucket)
            .key(object.key)
            .if_none_match("*")
            .content_type(object.content_type)
            .set_metadata(Some(metadata))
            .checksum_crc32(&object.body.crc32)
            .body(object.body.stream());
        if let Some(kms_key) = &settings.kms_key_arn {
            // A bucket key saves nearly every request to KMS.
            request = request.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(kms_key).bucket_key_enabled(true);
        }
        match request.customize().interceptor(object.body.signed.clone()).send().await {
            Ok(answer) => require_tag(answer.e_tag.as_deref()).map(|()| (Put::Stored, "200")),
            Err(error) => match Failure::of(&error) {
                Failure { reason: Reason::Unmet, .. } => Ok((Put::Exists, "412")),
                failure => Err(failure),
            },
        }
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

    pub(super) async fn attempt_delete(&self, client: Client, key: &str) -> Attempt<()> {
        match client.delete_object().bucket(self.bucket()).key(key).send().await {
            Ok(_) => Ok(((), "200")),
            Err(error) => match Failure::of(&error) {
                Failure { reason: Reason::Missing, .. } => Ok(((), "404")),
                failure => Err(failure),
            },
        }
    }

    async fn attempt_delete_many(&self, client: Client, keys: &[String]) -> Attempt<()> {
        let refused = |error: BuildError| Failure::new(Reason::Refused, "request", &failure::chain(&error));
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
}

fn info(length: Option<i64>, metadata: Option<HashMap<String, String>>, modified: Option<DateTime>) -> ObjectInfo {
    ObjectInfo {
        size: length.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        metadata: metadata.unwrap_or_default().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
        modified_millis: millis(modified),
    }
}

fn is_404<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == 404)
}

fn missing_or<T>(failure: Failure) -> Attempt<Option<T>> {
    if failure.reason == Reason::Missing { Ok((None, "404")) } else { Err(failure) }
}

/// Every S3 answer about an object carries its entity tag; a login page of some proxy doesn't.
pub(super) fn require_tag(tag: Option<&str>) -> Result<(), Failure> {
    if tag.is_some() { Ok(()) } else { Err(Failure::not_s3("the answer was 200 without an entity tag")) }
}

pub(super) fn broke_off(error: &ByteStreamError) -> Failure {
    Failure::new(Reason::Unavailable, "connection", &format!("the body broke off: {}", failure::chain(error)))
}

pub(super) fn millis(time: Option<DateTime>) -> i64 {
    time.and_then(|time| time.to_millis().ok()).unwrap_or_default()
}
