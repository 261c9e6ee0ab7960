//! The operator's program, as a process.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::free_port::free_port;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_stockpipeline-operator");
/// Credentials for endpoints that check none.
pub(crate) const AWS_CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
/// Nothing here should take nearly as long.
const DEADLINE: Duration = Duration::from_mins(2);

/// A running operator. Killed when it is dropped.
pub(crate) struct Operator {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Operator {
    /// Starts `run` over an API server, as the pod `name`, with further arguments.
    pub(crate) fn start(kubeconfig: &str, name: &str, arguments: &[&str]) -> Self {
        Self::start_in(kubeconfig, name, arguments, &[])
    }

    /// Starts `run` with more in its environment.
    pub(crate) fn start_in(kubeconfig: &str, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("kubeconfig");
        std::fs::write(&config, kubeconfig).unwrap();
        let port = free_port();
        let child = Command::new(PROGRAM)
            .args(["run", "--log-format=json", "--worker-image=worker:1"])
            .args((!arguments.iter().any(|argument| argument.starts_with("--namespace="))).then_some("--namespace=system"))
            .args([format!("--pod-name={name}"), format!("--http-address=127.0.0.1:{port}")])
            .args(arguments)
            .env("KUBECONFIG", config)
            .envs(AWS_CREDENTIALS)
            // Meant for the tests' own clients.
            .env_remove("AWS_ENDPOINT_URL")
            .envs(environment.iter().copied())
            .env_remove("RUST_LOG")
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { child, port, _folder: folder }
    }

    /// Returns status and body of an endpoint; None while nobody listens.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Returns whether it says of itself that it leads.
    pub(crate) async fn leads(&self) -> bool {
        self.get("/metrics").await.is_some_and(|(_, text)| text.contains("stockpipeline_operator_leader 1\n"))
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Returns whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Returns how it has ended, once it has.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "it did not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits for a condition, up to the deadline.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
