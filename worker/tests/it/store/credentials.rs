//! Credentials of the default chain: what is wrong with them is shown, and newer ones are taken without a restart.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stockpipeline_worker::embedded::EmbeddedS3;
use stockpipeline_worker::store::{Credentials, Put, Settings};

use super::{BUCKET, connect, put, settings};
use crate::faults::until;

fn write_keys(path: &Path, access_key_id: &str) {
    let secret = EmbeddedS3::SECRET_ACCESS_KEY;
    let keys = format!("{{\"Version\":1,\"AccessKeyId\":\"{access_key_id}\",\"SecretAccessKey\":\"{secret}\"}}");
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, keys).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_of_the_chain_are_shown_and_replaced_while_a_call_waits() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(&folder.path().join("bucket"), BUCKET).await.unwrap();
    let (keys, config) = (folder.path().join("keys.json"), folder.path().join("config"));
    std::fs::write(&config, format!("[default]\ncredential_process = cat {}\n", keys.display())).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::credentials::puts_with_the_chain", "--ignored", "--nocapture"])
        .env("CHAIN_ENDPOINT", server.endpoint())
        .env("AWS_CONFIG_FILE", &config)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_PROFILE")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = |name: &str| lines.find_map(|line| Some(line.unwrap().split_once(name)?.1.to_owned())).unwrap();
    // There is no file of keys yet: the chain has nothing.
    assert_eq!(next("trouble="), "AccessDenied");
    write_keys(&keys, "wrong");
    assert_eq!(next("wrong="), "AccessDenied");
    write_keys(&keys, EmbeddedS3::ACCESS_KEY_ID);
    assert_eq!(next("put="), "Stored");
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a parent: it is the child of the test above"]
async fn puts_with_the_chain() {
    let Ok(endpoint) = std::env::var("CHAIN_ENDPOINT") else { return };
    let patient = Some(Duration::from_mins(2));
    let store = connect(Settings { credentials: Credentials::Chain, give_up_after: patient, ..settings(&endpoint) }).await;
    let putting = tokio::spawn({
        let store = store.clone();
        async move { put(&store, "key", "body").await }
    });
    until("the empty chain shows", || store.trouble().is_some_and(|trouble| trouble.message.contains("renew"))).await;
    println!("\ntrouble={}", store.trouble().unwrap().reason);
    until("the wrong key shows", || store.trouble().is_some_and(|trouble| trouble.message.contains("the answer was 4"))).await;
    println!("\nwrong={}", store.trouble().unwrap().reason);
    let put = putting.await.unwrap();
    assert_eq!(put, Put::Stored);
    println!("\nput={put:?}");
}
