//! Which zone a worker says that it is in: what it was told, what EC2's instance metadata says, or none.

use std::net::TcpListener;
use std::process::Output;

use axum::Router;
use axum::routing::{get, put};

use crate::command_line::{example, worker};

/// Runs a producer that ends at its source, which is not there: after it has looked for its zone.
fn run(metadata: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(example("demo.yaml")).unwrap().replace("data/daily-bars.csv.gz", "missing.csv");
    let document = folder.path().join("demo.yaml");
    std::fs::write(&document, text).unwrap();
    let mut command = worker();
    command.args(["producer", "--http-port", "0", "--config"]).arg(&document).args(arguments);
    let Output { status, stdout, stderr } = command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("missing.csv"), "{said}");
    said
}

#[test]
fn the_zone_is_what_the_worker_was_told_or_what_ec2_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let metadata = format!("http://{}", listener.local_addr().unwrap());
    let token = put(|| async { ([("x-aws-ec2-metadata-token-ttl-seconds", "60")], "token") });
    let zone = get(|| async { "eu-central-1b\n" });
    let routes = Router::new().route("/latest/api/token", token).route("/latest/meta-data/placement/availability-zone", zone);
    runtime.spawn(async move { axum::serve(listener, routes).await });

    for (arguments, expected) in [
        (&["--zone-from-ec2"][..], Some("eu-central-1b")),
        (&["--zone", "eu-central-1a", "--zone-from-ec2"], Some("eu-central-1a")),
        (&["--zone", "", "--zone-from-ec2"], Some("eu-central-1b")),
        (&["--zone", "eu-central-1c"], Some("eu-central-1c")),
        (&[], None),
    ] {
        let said = run(&metadata, arguments);
        assert_eq!(said.contains("replicas of its own zone"), expected.is_some(), "{arguments:?}: {said}");
        assert!(expected.is_none_or(|zone| said.contains(zone)), "{arguments:?}: {said}");
    }
}

#[test]
fn metadata_that_never_answers_holds_no_worker_up() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let said = run(&format!("http://{}", silent.local_addr().unwrap()), &["--zone-from-ec2"]);
    assert!(said.contains("without a zone") || said.contains("does not tell the zone"), "{said}");
}
