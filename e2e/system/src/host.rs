//! The workers' program on this machine: the audit, and workers beside those of the pods.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::clock::Clock;
use crate::free_port::free_port;
use crate::pipeline::{KEYS, Pipeline};
use crate::program::run;
use crate::wait::until;

/// The document and the Secrets of a pipeline as files, as a pod has them mounted.
#[derive(Debug)]
struct Mounted {
    folder: TempDir,
}

impl Mounted {
    fn of(pipeline: &Pipeline) -> Self {
        let mounted = Self { folder: tempfile::tempdir().expect("there is a temporary folder") };
        let settings = &pipeline.stage.settings;
        let keys = mounted.folder.path().join("secrets").join(KEYS);
        std::fs::create_dir_all(&keys).expect("the folder can be written");
        for (name, value) in [("accessKeyId", &settings.access_key_id), ("secretAccessKey", &settings.secret_access_key)] {
            std::fs::write(keys.join(name), value).expect("the folder can be written");
        }
        std::fs::write(mounted.document(), pipeline.document.to_string()).expect("the folder can be written");
        mounted
    }

    fn document(&self) -> String {
        self.folder.path().join("pipeline.json").display().to_string()
    }

    fn secrets(&self) -> String {
        self.folder.path().join("secrets").display().to_string()
    }
}

/// Asserts that the audit of the bucket finds no difference, and returns its report.
///
/// # Panics
/// When it finds one.
pub async fn audit(pipeline: &Pipeline) -> Value {
    let mounted = Mounted::of(pipeline);
    let arguments = ["audit", &mounted.document(), "-o", "json", "--secrets-dir", &mounted.secrets()];
    let said = run(&pipeline.stage.settings.worker, &arguments, "").await;
    assert!(said.done(), "the audit is not clean\n{}{}", said.out, said.err);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("the audit said {}: {error}", said.out))
}

/// A worker of a pipeline outside of the cluster; killed when dropped.
#[derive(Debug)]
pub struct HostWorker {
    child: Child,
    port: u16,
    mounted: Mounted,
}

impl HostWorker {
    /// Starts one under a name, by a clock of its own if need be, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(pipeline: &Pipeline, role: &str, name: &str, clock: Option<&Clock>) -> Self {
        let mounted = Mounted::of(pipeline);
        let port = free_port();
        let child = Command::new(&pipeline.stage.settings.worker)
            .args([role, "--config", &mounted.document(), "--secrets-dir", &mounted.secrets(), "--worker-name", name])
            .args(["--http-port", &port.to_string(), "--memory", "256Mi"])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .envs(clock.map(Clock::environment).into_iter().flatten())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("the worker's program does not start: {error}"));
        let mut worker = Self { child, port, mounted };
        until("the worker answers", async || worker.status().await.map(drop)).await;
        worker
    }

    /// Returns what it says of itself; None while it does not answer.
    ///
    /// # Panics
    /// When it has ended.
    pub async fn status(&mut self) -> Option<Value> {
        let ended = self.child.try_wait().ok().flatten();
        assert!(ended.is_none(), "the worker over {} has ended: {ended:?}", self.mounted.folder.path().display());
        let answer = reqwest::get(format!("http://127.0.0.1:{}/status", self.port)).await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// Waits until it is a sink that owns partitions.
    pub async fn owns_partitions(&mut self) {
        until("the worker owns partitions", async || {
            let status = self.status().await?;
            status["sink"]["partitions"].as_array().filter(|partitions| !partitions.is_empty()).map(drop)
        })
        .await;
    }

    /// Returns the number of its process; None once it has ended.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the code with which it has ended; None while it runs.
    ///
    /// # Panics
    /// When a signal has ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        let ended = self.child.try_wait().ok().flatten()?;
        Some(ended.code().expect("no signal has ended it"))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let number = self.child.id().and_then(|number| i32::try_from(number).ok()).and_then(Pid::from_raw);
        kill_process(number.expect("it has not ended"), signal).expect("its process takes signals");
    }
}
