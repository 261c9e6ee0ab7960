//! The bucket: listed, read and emptied.

use std::time::Duration;

use anyhow::Context;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use stockpipeline_worker::store::{Credentials, Settings, reader};
use tokio::runtime::Runtime;

/// Name of the bucket.
pub(crate) const BUCKET: &str = "bench-e2e";
/// Region of everything.
pub(crate) const REGION: &str = "us-east-1";

/// The bucket's client.
pub(crate) struct Bucket {
    client: Client,
    runtime: Runtime,
}

impl Bucket {
    /// Connects with the environment's credentials, and makes the bucket where it is missing.
    pub(crate) fn connect(endpoint: &str) -> anyhow::Result<Self> {
        let settings = Settings {
            bucket: BUCKET.to_owned(),
            region: REGION.to_owned(),
            endpoint: Some(endpoint.to_owned()),
            force_path_style: true,
            kms_key_arn: None,
            credentials: Credentials::Chain,
            attempt_timeout: Duration::from_secs(30),
            give_up_after: None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(reader(&settings));
        let bucket = Self { client, runtime };
        bucket.runtime.block_on(async {
            if bucket.client.head_bucket().bucket(BUCKET).send().await.is_err() {
                bucket.client.create_bucket().bucket(BUCKET).send().await.context("failed to make the bucket")?;
            }
            anyhow::Ok(())
        })?;
        Ok(bucket)
    }

    /// Returns the keys under a prefix.
    pub(crate) fn keys(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        self.keys_after(prefix, "")
    }

    /// Returns the keys under a prefix that follow a key.
    pub(crate) fn keys_after(&self, prefix: &str, after: &str) -> anyhow::Result<Vec<String>> {
        self.runtime.block_on(async {
            let listing = self.client.list_objects_v2().bucket(BUCKET).prefix(prefix);
            let listing = if after.is_empty() { listing } else { listing.start_after(after) };
            let mut pages = listing.into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.context("failed to list the bucket")?;
                keys.extend(page.contents().iter().filter_map(|object| object.key.clone()));
            }
            Ok(keys)
        })
    }

    /// Returns an object's bytes.
    pub(crate) fn read(&self, key: &str) -> anyhow::Result<bytes::Bytes> {
        self.runtime.block_on(async {
            let object = self.client.get_object().bucket(BUCKET).key(key).send().await.with_context(|| format!("failed to read {key}"))?;
            Ok(object.body.collect().await?.into_bytes())
        })
    }

    /// Removes what is under a prefix.
    pub(crate) fn empty(&self, prefix: &str) -> anyhow::Result<()> {
        for keys in self.keys(prefix)?.chunks(1_000) {
            let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect::<Result<_, _>>()?;
            let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build()?;
            self.runtime
                .block_on(self.client.delete_objects().bucket(BUCKET).delete(delete).send())
                .context("failed to empty the bucket")?;
        }
        Ok(())
    }
}
