//! The embedded server's own promises: one winner, whole objects after a kill, cheap listings, no way out of the folder.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use stockpipeline_worker::embedded::EmbeddedS3;
use stockpipeline_worker::store::{Put, Settings, StoreError};
use tokio::sync::{Barrier, Semaphore};

use super::{BUCKET, connect, metadata, put, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn race_for_a_key_has_one_winner_whose_object_and_metadata_belong_together() {
    const RACERS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    let store = connect(settings(&server.endpoint())).await;
    for round in 0..30 {
        let (key, start) = (format!("race/{round}"), Arc::new(Barrier::new(RACERS)));
        let racers = (0..RACERS).map(|racer| {
            let (store, key, start) = (store.clone(), key.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                let name = racer.to_string();
                let put = store.put_if_absent(&key, Bytes::from(name.clone()), "text/plain", &metadata(&name)).await.unwrap();
                (put == Put::Stored).then_some(name)
            })
        });
        let winners: Vec<String> = join_all(racers).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert_eq!(store.get(&key).await.unwrap().unwrap(), winners[0]);
        assert_eq!(store.head(&key).await.unwrap().unwrap().metadata, metadata(&winners[0]));
    }
}

/// Body of an object of the kill test: its size and bytes follow from its number.
fn body_of(number: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number % 251).unwrap(); 1 + (number * 7_919) % 200_000])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_leaves_whole_objects_with_their_metadata_or_none() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::server::serves_until_it_is_killed", "--ignored", "--nocapture"])
            .env("EMBEDDED_S3_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let endpoint = lines.find_map(|line| Some(line.unwrap().split_once("endpoint=")?.1.to_owned())).unwrap();
        let store = connect(Settings { give_up_after: Some(std::time::Duration::ZERO), ..settings(&endpoint) }).await;
        let acknowledged = Arc::new(Semaphore::new(0));
        let putting: Vec<_> = (0..4)
            .map(|writer| {
                let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
                tokio::spawn(async move {
                    let mut stored = Vec::new();
                    for number in (0..).map(|step| (round * 4 + writer) * 100_000 + step) {
                        let key = format!("zone/part={}/{number:09}", number % 3);
                        let plan = metadata(&number.to_string());
                        match store.put_if_absent(&key, body_of(number), "application/octet-stream", &plan).await {
                            Ok(_) => stored.push(number),
                            Err(_) => return stored,
                        }
                        acknowledged.add_permits(1);
                    }
                    stored
                })
            })
            .collect();
        acknowledged.acquire_many(20 + 17 * u32::try_from(round).unwrap()).await.unwrap().forget();
        child.kill().unwrap();
        child.wait().unwrap();
        let stored: Vec<usize> = join_all(putting).await.into_iter().flat_map(Result::unwrap).collect();
        check_after_kill(folder.path(), &stored).await;
    }
}

async fn check_after_kill(folder: &Path, stored: &[usize]) {
    let server = EmbeddedS3::start(folder, BUCKET).await.unwrap();
    let store = connect(settings(&server.endpoint())).await;
    let listed = store.list("", None, usize::MAX).await.unwrap();
    for entry in &listed {
        let number: usize = entry.key.rsplit_once('/').unwrap().1.parse().unwrap();
        assert_eq!(store.head(&entry.key).await.unwrap().unwrap().metadata, metadata(&number.to_string()), "{}", entry.key);
        assert!(store.get(&entry.key).await.unwrap().unwrap() == body_of(number), "{}", entry.key);
    }
    for number in stored {
        let key = format!("zone/part={}/{number:09}", number % 3);
        assert!(listed.iter().any(|entry| entry.key == key), "{key} was acknowledged");
    }
    assert_eq!(std::fs::read_dir(folder.join(".embedded-s3/temporary")).unwrap().count(), 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a parent: it is the child of the test above"]
async fn serves_until_it_is_killed() {
    let Some(folder) = std::env::var_os("EMBEDDED_S3_FOLDER") else { return };
    let server = EmbeddedS3::start(Path::new(&folder), BUCKET).await.unwrap();
    println!("endpoint={}", server.endpoint());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn many_objects_in_one_folder_are_listed_in_order_from_anywhere() {
    const OBJECTS: usize = 3_500;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("ledger/p00000")).unwrap();
    let keys: Vec<String> = (0..OBJECTS).map(|number| format!("ledger/p00000/{:020}.plan.json", number * 5_000)).collect();
    for key in &keys {
        std::fs::write(folder.path().join(key), "{}").unwrap();
    }
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    let store = connect(settings(&server.endpoint())).await;
    let mut pages = store.list_all("ledger/p00000/");
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        listed.extend(page.into_iter().map(|entry| entry.key));
    }
    assert!(listed == keys, "{} keys, {} listed", keys.len(), listed.len());
    for index in [0, 999, 1_000, 2_999, OBJECTS - 2] {
        let next = store.list("ledger/p00000/", Some(&keys[index]), 1).await.unwrap();
        assert_eq!(next[0].key, keys[index + 1]);
    }
    assert_eq!(store.list("ledger/", Some(&keys[OBJECTS - 1]), 1).await.unwrap(), []);
    assert_eq!(store.prefixes("ledger/", "/").await.unwrap(), ["ledger/p00000/"]);
}

#[tokio::test]
async fn common_prefixes_are_paged_without_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..1_100).map(|number| format!("raw/day={number:05}/")).collect();
    for name in &names {
        std::fs::create_dir_all(folder.path().join(name).join("hour=1")).unwrap();
        std::fs::write(folder.path().join(name).join("hour=1/x"), "x").unwrap();
    }
    std::fs::create_dir_all(folder.path().join("raw/day=0empty/hour=2")).unwrap();
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    let store = connect(settings(&server.endpoint())).await;
    assert!(store.prefixes("raw/", "/").await.unwrap() == names);
}

#[tokio::test]
async fn keys_cannot_leave_the_folder_and_data_stands_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("output");
    let server = EmbeddedS3::start(&folder, BUCKET).await.unwrap();
    let store = connect(settings(&server.endpoint())).await;
    for key in ["../escaped", "raw/../../escaped", "raw/./x", ".embedded-s3/lock", ".embedded-s3/attributes/x"] {
        let refused = store.put_if_absent(key, Bytes::from_static(b"x"), "text/plain", &BTreeMap::new()).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{key}: {refused:?}");
        assert_eq!(store.get(key).await.unwrap_or_default(), None, "{key}");
    }
    assert_eq!(put(&store, "raw/symbol=..%2F..%2Fx/..hidden", "x").await, Put::Stored);
    for key in ["raw", "raw/symbol=..%2F..%2Fx/..hidden/x"] {
        let refused = store.put_if_absent(key, Bytes::from_static(b"x"), "text/plain", &BTreeMap::new()).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "a file can't be a folder: {key}: {refused:?}");
    }
    let beside: Vec<_> = std::fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["output"]);
    let mut inside: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    inside.sort();
    assert_eq!(inside, [".embedded-s3", "raw"]);
    assert_eq!(store.list("", None, 10).await.unwrap().len(), 1, "nothing but data is listed");
}

#[tokio::test]
async fn folder_is_served_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    let error = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap_err();
    assert!(error.to_string().contains("is served by another process"), "{error}");
    server.shutdown().await;
    EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
}

#[tokio::test]
async fn objects_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    put(&connect(settings(&server.endpoint())).await, "a/b", "body").await;
    server.shutdown().await;
    let server = EmbeddedS3::start(folder.path(), BUCKET).await.unwrap();
    let store = connect(settings(&server.endpoint())).await;
    assert_eq!(put(&store, "a/b", "other").await, Put::Exists);
    assert_eq!(store.head("a/b").await.unwrap().unwrap().metadata, metadata("body"));
}
