//! Pods of a pipeline, and signals to the processes in their containers.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::program::{self, Said, kubectl};

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id, which the control group of its processes is named after.
    pub uid: String,
    /// Whether it is Ready.
    pub is_ready: bool,
    /// How often its containers have started again.
    pub restarts: u64,
}

impl Pod {
    /// Returns the pods with a label that are not on their way out.
    ///
    /// # Panics
    /// When what `kubectl` prints is no list.
    pub async fn list(namespace: &str, label: &str) -> Vec<Self> {
        let said = kubectl(&["-n", namespace, "get", "pods", "-l", label, "-o", "json"]).await;
        let list: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("kubectl said {said}: {error}"));
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|item| item["metadata"]["deletionTimestamp"].is_null()).filter_map(|item| Self::read(namespace, item)).collect()
    }

    fn read(namespace: &str, item: &Value) -> Option<Self> {
        let status = &item["status"];
        let is_ready = status["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True");
        let restarts = status["containerStatuses"].as_array().into_iter().flatten().filter_map(|one| one["restartCount"].as_u64()).sum();
        let text = |name: &str| Some(item["metadata"][name].as_str()?.to_owned());
        Some(Self { namespace: namespace.to_owned(), name: text("name")?, uid: text("uid")?, is_ready, restarts })
    }

    /// Returns the processes of its containers on this machine, the one that only holds the pod's network aside.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
        let ours = numbers.filter(|number| {
            let read = |name: &str| std::fs::read_to_string(PathBuf::from(format!("/proc/{number}/{name}"))).unwrap_or_default();
            // Where systemd keeps control groups, dashes are underscores.
            let group = read("cgroup").replace('_', "-");
            group.contains(&format!("pod{}", self.uid)) && read("comm").trim() != "pause"
        });
        ours.filter_map(Pid::from_raw).collect()
    }

    /// Sends a signal to the processes of its containers, and returns how many there were.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> usize {
        // One that has ended in between needs no signal.
        self.processes().into_iter().filter(|&process| kill_process(process, signal).is_ok()).count()
    }

    /// Returns resident memory of its processes in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let resident = |process: &Pid| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        self.processes().iter().filter_map(resident).sum::<u64>() * 1024
    }

    /// Asks for its eviction, as `kubectl drain` does; a disruption budget may refuse.
    pub async fn evict(&self) -> Said {
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": self.name, "namespace": self.namespace },
        });
        let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", self.namespace, self.name);
        program::run("kubectl", &["create", "--raw", &path, "-f", "-"], &eviction.to_string()).await
    }

    /// Removes it without any grace.
    pub async fn remove_at_once(&self) -> Said {
        let arguments = ["-n", &self.namespace, "delete", "pod", &self.name, "--grace-period=0", "--force", "--wait=false"];
        program::run("kubectl", &arguments, "").await
    }
}
