//! What the store does on a healthy server: one suite for the embedded one and for a real one.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use stockpipeline_worker::embedded::EmbeddedS3;
use stockpipeline_worker::store::{Credentials, Probe, Put, Settings, Store, StoreError};

use super::{BUCKET, connect, metadata, put, settings};

async fn behaves_like_s3(store: &Store, prefix: &str) {
    objects_are_stored_once(store, prefix).await;
    bodies_come_back_whole(store, prefix).await;
    listings_are_in_key_order(store, prefix).await;
    deletions_are_idempotent(store, prefix).await;
    assert_eq!(store.probe(&format!("{prefix}/probe")).await.unwrap(), Probe::Conditional);
    assert_eq!(store.list(&format!("{prefix}/probe"), None, 10).await.unwrap(), [], "the probe is gone");
    assert_eq!(store.trouble(), None);
}

async fn objects_are_stored_once(store: &Store, prefix: &str) {
    let key = format!("{prefix}/once/a=b%2Fc/x y+z.json");
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.head(&key).await.unwrap(), None);
    assert_eq!(put(store, &key, "first").await, Put::Stored);
    assert_eq!(put(store, &key, "second").await, Put::Exists);
    assert_eq!(store.get(&key).await.unwrap().unwrap(), "first");
    let info = store.head(&key).await.unwrap().unwrap();
    assert_eq!((info.size, info.metadata), (5, metadata("first")));
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    assert!((now - info.modified_millis).abs() < 60_000, "{} is not about {now}", info.modified_millis);
}

async fn bodies_come_back_whole(store: &Store, prefix: &str) {
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).take(5_000_003).collect();
    for (name, body) in [("empty", Bytes::new()), ("byte", Bytes::from_static(b"x")), ("large", Bytes::from(large))] {
        let key = format!("{prefix}/bodies/{name}");
        assert_eq!(store.put_if_absent(&key, body.clone(), "application/octet-stream", &BTreeMap::new()).await.unwrap(), Put::Stored);
        assert!(store.get(&key).await.unwrap().unwrap() == body, "{name}");
        assert_eq!(store.head(&key).await.unwrap().unwrap().size, body.len() as u64);
    }
    assert_eq!(store.get(&format!("{prefix}/bodies/none")).await.unwrap(), None);
}

async fn listings_are_in_key_order(store: &Store, prefix: &str) {
    // '-' and '.' sort before '/', so a folder's place isn't its name's.
    let names = ["a", "b-", "b.x", "b/1", "b/2/3", "b0", "c d+e&f<g>", "d=%2F", "é"];
    for name in names {
        assert_eq!(put(store, &format!("{prefix}/list/{name}"), "x").await, Put::Stored);
    }
    let under = format!("{prefix}/list/");
    let listed = async |prefix: &str, after: Option<&str>, limit: usize| -> Vec<String> {
        let listed = store.list(prefix, after, limit).await.unwrap();
        listed.iter().map(|entry| entry.key.strip_prefix(&under).unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&under, None, 100).await, names);
    assert_eq!(listed(&under, None, 3).await, names[..3]);
    assert_eq!(listed(&under, None, 0).await, [""; 0]);
    for (index, name) in names.iter().enumerate() {
        assert_eq!(listed(&under, Some(&format!("{under}{name}")), 100).await, names[index + 1..], "after {name}");
    }
    assert_eq!(listed(&format!("{under}b/"), None, 100).await, ["b/1", "b/2/3"]);
    assert_eq!(listed(&format!("{under}b"), None, 100).await, names[1..6]);
    assert_eq!(listed(&format!("{under}none"), None, 100).await, [""; 0]);
    let folders = store.prefixes(&under, "/").await.unwrap();
    assert_eq!(folders, [format!("{under}b/")]);
    let entry = &store.list(&format!("{under}a"), None, 1).await.unwrap()[0];
    let info = store.head(&entry.key).await.unwrap().unwrap();
    assert_eq!((entry.size, entry.modified_millis / 1_000), (info.size, info.modified_millis / 1_000));
    let mut pages = store.list_all(&under);
    assert_eq!(pages.next().await.unwrap().unwrap().len(), names.len());
    assert_eq!(pages.next().await.unwrap(), None);
}

async fn deletions_are_idempotent(store: &Store, prefix: &str) {
    let keys: Vec<String> = (0..3).map(|number| format!("{prefix}/delete/{number}")).collect();
    for key in &keys[..2] {
        put(store, key, "x").await;
    }
    store.delete(&[]).await.unwrap();
    store.delete(&keys).await.unwrap();
    store.delete(&keys[..1]).await.unwrap();
    assert_eq!(store.list(&format!("{prefix}/delete/"), None, 10).await.unwrap(), []);
    assert_eq!(put(store, &keys[0], "again").await, Put::Stored, "a deleted key is free");
    assert_eq!(store.head(&keys[0]).await.unwrap().unwrap().metadata, metadata("again"));
}

/// Not of every server: some keep longer keys than S3 does.
async fn requests_that_cannot_succeed_are_refused(store: &Store, prefix: &str) {
    let key = format!("{prefix}/{}", "x/".repeat(600));
    let refused = store.put_if_absent(&key, Bytes::new(), "text/plain", &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { operation: "PutObject", .. }), "{refused}");
    assert_eq!(store.trouble(), None, "a refusal is the caller's to report");
}

#[tokio::test]
async fn unsigned_requests_behave_like_s3() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    let store = connect(settings(&server.endpoint())).await;
    behaves_like_s3(&store, "suite").await;
    requests_that_cannot_succeed_are_refused(&store, "suite").await;
    server.shutdown().await;
}

#[tokio::test]
async fn signed_requests_behave_like_s3() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    let keys = Credentials::Static {
        access_key_id: EmbeddedS3::ACCESS_KEY_ID.to_owned(),
        secret_access_key: EmbeddedS3::SECRET_ACCESS_KEY.to_owned(),
        session_token: None,
    };
    behaves_like_s3(&connect(Settings { credentials: keys, ..settings(&server.endpoint()) }).await, "suite").await;
}

#[tokio::test]
#[ignore = "needs S3_ENDPOINT, S3_BUCKET, AWS_REGION and AWS credentials in the environment"]
async fn real_server_behaves_like_s3() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let endpoint = variable("S3_ENDPOINT");
    let (bucket, region) = (variable("S3_BUCKET"), variable("AWS_REGION"));
    let settings = Settings { bucket, region, credentials: Credentials::Chain, ..settings(&endpoint) };
    let prefix = format!("suite-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
    let store = connect(settings).await;
    behaves_like_s3(&store, &prefix).await;
    let left: Vec<String> = store.list(&prefix, None, 1_000).await.unwrap().into_iter().map(|entry| entry.key).collect();
    store.delete(&left).await.unwrap();
}
