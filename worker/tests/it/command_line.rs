//! The built binary: exit codes and what it says.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Returns the built binary, with no environment that would change what it says.
pub(crate) fn worker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockpipeline-worker"));
    command.env_remove("RUST_LOG").env_remove("STOCKPIPELINE_FAILPOINT");
    command
}

/// Returns a file of the repository's `examples` folder.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn run(arguments: &[&str]) -> Output {
    worker().args(arguments).output().unwrap()
}

fn check(arguments: &[&str], code: i32, stdout: &[&str], stderr: &[&str]) {
    let output = run(arguments);
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}{complained}");
    for text in stdout {
        assert!(said.contains(text), "{arguments:?}: no {text:?} in {said}");
    }
    for text in stderr {
        assert!(complained.contains(text), "{arguments:?}: no {text:?} in {complained}");
    }
}

/// Writes the demo document with one text replaced; returns the folder that holds it, and its path.
fn changed_demo(from: &str, to: &str) -> (tempfile::TempDir, String) {
    let text = std::fs::read_to_string(example("demo.yaml")).unwrap();
    assert!(text.contains(from), "{from:?} is not in the demo");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("changed.yaml");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

#[test]
fn wrong_arguments_end_with_64_and_help_with_0() {
    check(&[], 64, &[], &["Usage: stockpipeline-worker"]);
    check(&["nonsense"], 64, &[], &["unrecognized subcommand"]);
    check(&["sink"], 64, &[], &["--config <FILE>"]);
    check(&["topic", "a.yaml"], 64, &[], &["--delete"]);
    check(&["local", "a.yaml", "--memory", "lots"], 64, &[], &["--memory"]);
    check(&["--help"], 0, &["producer", "sink", "local", "check", "audit", "topic", "data"], &[]);
    check(&["--version"], 0, &[env!("CARGO_PKG_VERSION")], &[]);
}

#[test]
fn every_example_checks() {
    let files: Vec<_> =
        ["demo.yaml", "index-processed.yaml", "spy-ticks.yaml"].map(|name| example(name).to_str().unwrap().to_owned()).into();
    let arguments: Vec<_> = std::iter::once("check").chain(files.iter().map(String::as_str)).collect();
    check(&arguments, 0, &["ok (daily-bars, 8 columns, topic ticks.daily-bars, bucket stockpipeline-demo)"], &[]);
}

#[test]
fn check_says_every_error_with_its_path_and_ends_with_1() {
    let (_folder, file) = changed_demo("name: close,", "nam: close,");
    let path = format!("{file}: daily-bars: spec.schema.columns[5].nam: is no field of a StockPipeline; did you mean name?");
    check(&["check", &file], 1, &[&path, "spec.schema.columns[5].name: is required"], &[]);
    check(&["check", "/nowhere/a.yaml"], 1, &["/nowhere/a.yaml: can't be read"], &[]);
    // What is right is said beside what is wrong.
    let demo = example("demo.yaml");
    check(&["check", demo.to_str().unwrap(), &file], 1, &["demo.yaml: ok", &path], &[]);
}

#[test]
fn no_command_starts_with_a_wrong_document() {
    let (_folder, file) = changed_demo("type: Bigint", "type: Bigintt");
    for arguments in [
        vec!["local", &file],
        vec!["audit", &file],
        vec!["topic", &file, "--delete"],
        vec!["data", &file, "--delete"],
        vec!["sink", "--config", &file],
        vec!["producer", "--config", &file],
    ] {
        check(&arguments, 1, &[], &["error: ", "spec.schema.columns[6].type: \"Bigintt\"", "did you mean Bigint?"]);
    }
}

#[test]
fn an_unknown_field_stops_a_person_and_not_a_worker() {
    let (folder, file) = changed_demo("spec:\n", "spec:\n  futureField: 1\n");
    check(&["check", &file], 1, &["spec.futureField"], &[]);
    // The sink goes on, and fails at the secret that isn't there.
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("spec:\n", "spec:\n  aws: { credentials: { type: Secret, secretRef: { name: keys } } }\n");
    std::fs::write(&file, text).unwrap();
    let secrets = folder.path().to_str().unwrap();
    check(&["sink", "--config", &file, "--http-port", "0", "--secrets-dir", secrets], 1, &[], &["futureField", "accessKeyId"]);
}

#[test]
fn an_audit_of_a_folder_that_is_not_there_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("nothing");
    let demo = example("demo.yaml");
    check(&["audit", demo.to_str().unwrap(), "--output", output.to_str().unwrap()], 1, &[], &["is not there"]);
    assert!(!output.exists());
}

#[test]
fn a_source_that_is_missing_is_named_and_leaves_nothing() {
    let (folder, file) = changed_demo("data/daily-bars.csv.gz", "data/missing.csv");
    let output = folder.path().join("out");
    check(&["local", &file, "--output", output.to_str().unwrap()], 1, &[], &["failed to open the source", "data/missing.csv"]);
    assert!(!output.exists(), "a run that never began leaves no folder");
}

#[test]
fn producer_whose_source_never_comes_ends_when_told_to() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/bars.csv", server.local_addr().unwrap());
    let (_folder, file) = changed_demo("data/daily-bars.csv.gz", &address);
    let mut producer = worker().args(["producer", "--config", &file, "--http-port", "0"]).stderr(Stdio::null()).spawn().unwrap();
    // It asks for the file, and nobody answers.
    let asked = server.accept();
    kill_process(Pid::from_child(&producer), Signal::TERM).unwrap();
    let start = Instant::now();
    while producer.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let is_over = producer.try_wait().unwrap().is_some();
    if !is_over {
        producer.kill().unwrap();
    }
    let status = producer.wait().unwrap();
    assert_eq!((asked.is_ok(), is_over, status.code()), (true, true, Some(0)), "it goes on waiting for the source");
}
