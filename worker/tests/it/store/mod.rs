//! The store against the embedded server, a real one where there is one, and every fault of the wire.

mod behaviour;
mod credentials;
mod healing;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use stockpipeline_worker::embedded::EmbeddedS3;
use stockpipeline_worker::metrics::StoreMetrics;
use stockpipeline_worker::store::{Credentials, Put, Settings, Store};

use crate::faults::FaultyProxy;

const BUCKET: &str = "ticks";

/// Settings for an endpoint without TLS or credentials, which give up so that a broken test ends.
fn settings(endpoint: &str) -> Settings {
    Settings {
        bucket: BUCKET.to_owned(),
        region: "eu-central-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        force_path_style: true,
        kms_key_arn: None,
        credentials: Credentials::Anonymous,
        attempt_timeout: Duration::from_secs(5),
        give_up_after: Some(Duration::from_secs(30)),
    }
}

async fn connect(settings: Settings) -> Store {
    Store::connect(settings, None, StoreMetrics::default()).await
}

/// A store behind a faulty proxy.
struct Lab {
    store: Store,
    proxy: FaultyProxy,
    server: EmbeddedS3,
    folder: tempfile::TempDir,
}

impl Lab {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
        let proxy = FaultyProxy::start(&server.endpoint()).await;
        let mut settings = settings(&proxy.endpoint());
        change(&mut settings);
        Self { store: connect(settings).await, proxy, server, folder }
    }
}

fn metadata(plan: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("plan".to_owned(), plan.to_owned())])
}

async fn put(store: &Store, key: &str, text: &'static str) -> Put {
    store.put_if_absent(key, Bytes::from_static(text.as_bytes()), "text/plain", &metadata(text)).await.unwrap()
}
