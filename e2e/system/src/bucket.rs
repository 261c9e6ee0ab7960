//! The S3 server as the test sees it: files to replay go in, stored objects come out.

use std::path::Path;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::primitives::ByteStream;
use futures::StreamExt;

use crate::stage::Settings;
use crate::wait::until;

/// Objects that are fetched at one time.
const FETCHES: usize = 16;

/// The bucket of all tests.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// Returns a client of the stage's bucket.
    pub async fn connect(settings: &Settings) -> Self {
        let credentials = Credentials::new(&settings.access_key_id, &settings.secret_access_key, None, None, "stage");
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .endpoint_url(&settings.s3_endpoint)
            .credentials_provider(credentials)
            .load()
            .await;
        let config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(true).build();
        Self { client: Client::from_conf(config), name: settings.bucket.clone() }
    }

    /// Returns another bucket of the same server.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the bucket where it is not there.
    pub(crate) async fn make(&self) {
        until("the bucket is there", async || {
            if self.client.head_bucket().bucket(&self.name).send().await.is_ok() {
                return Some(());
            }
            self.client.create_bucket().bucket(&self.name).send().await.ok().map(drop)
        })
        .await;
    }

    /// Stores a file under a key.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) {
        let sent = self.client.put_object().bucket(&self.name).key(key).body(ByteStream::from(bytes)).send().await;
        sent.unwrap_or_else(|error| panic!("{key} is not stored: {error:?}"));
    }

    /// Returns whether the server answers.
    pub async fn answers(&self) -> bool {
        let asked = self.client.head_bucket().bucket(&self.name).send();
        tokio::time::timeout(std::time::Duration::from_secs(3), asked).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Returns the keys under a prefix, in order.
    ///
    /// # Panics
    /// When the server refuses a listing.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap_or_else(|error| panic!("{prefix} is not listed: {error:?}"));
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        }
        keys
    }

    /// Fetches all objects under a prefix into a folder, under their keys, and returns how many there were.
    ///
    /// # Panics
    /// When one can't be fetched or written.
    pub async fn fetch(&self, prefix: &str, folder: &Path) -> usize {
        let keys = self.keys(prefix).await;
        let count = keys.len();
        let fetched = futures::stream::iter(keys).map(|key| async move {
            let path = folder.join(&key);
            let object = self.client.get_object().bucket(&self.name).key(&key).send().await;
            let object = object.unwrap_or_else(|error| panic!("{key} is not fetched: {error:?}"));
            let bytes = object.body.collect().await.unwrap_or_else(|error| panic!("{key} is cut off: {error}")).into_bytes();
            std::fs::create_dir_all(path.parent().expect("a key has a folder")).expect("the folder can be written");
            std::fs::write(&path, bytes).expect("the folder can be written");
        });
        fetched.buffer_unordered(FETCHES).collect::<()>().await;
        count
    }
}
