//! A node of sorts for workers: runs the processes of a namespace's pods, and says in their status how they are.
//!
//! As a kubelet does it mounts the projected volume, starts what the container's arguments say, asks for readiness, and ends what is
//! gone. A pod's address is a loopback address of its own, at whose port 8080 its worker answers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, VolumeProjection};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use stockpipeline::launch::{CONFIG_PATH, HTTP_PORT, READYZ_PATH, SECRETS_DIR};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::{AbortHandle, JoinSet};

use super::Namespace;
use crate::free_port::free_port;

/// Where the workers' volume is mounted in their containers.
const MOUNTED: &str = "/etc/stockpipeline";
/// Last numbers of the pods' addresses.
static ADDRESSES: AtomicU8 = AtomicU8::new(1);

/// A node that runs the workers of one namespace until it is dropped.
pub(crate) struct Node {
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts to run the workers of a namespace, with `environment` on top of their own; their files lie under `folder`.
    pub(crate) fn start(namespace: &Namespace, folder: &Path, environment: &[(&str, String)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let work = Work {
            pods: namespace.api(),
            config_maps: namespace.api(),
            secrets: namespace.api(),
            folder: folder.to_owned(),
            environment,
            running: BTreeMap::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(work.run());
        Self { tasks }
    }

    /// Fails when the node itself has failed.
    pub(crate) fn assert_works(&mut self) {
        if let Some(ended) = self.tasks.try_join_next() {
            ended.unwrap();
        }
    }
}

/// A pod whose worker runs.
struct Running {
    process: Child,
    port: u16,
    forwarding: AbortHandle,
    is_ready: Option<bool>,
    /// Whether it is meant to end.
    is_job: bool,
    has_ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.forwarding.abort();
    }
}

struct Work {
    pods: Api<Pod>,
    config_maps: Api<ConfigMap>,
    secrets: Api<Secret>,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    running: BTreeMap<String, Running>,
}

impl Work {
    async fn run(mut self) {
        let workers = ListParams::default().labels("app.kubernetes.io/name=stockpipeline");
        loop {
            let pods = self.pods.list(&workers).await.unwrap().items;
            self.running.retain(|name, _| pods.iter().any(|pod| pod.name_any() == *name));
            for pod in &pods {
                if !self.running.contains_key(&pod.name_any()) && pod.metadata.deletion_timestamp.is_none() {
                    self.begin(pod).await;
                }
                self.look(&pod.name_any()).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Mounts the volume, starts the process and gives the pod its address.
    async fn begin(&mut self, pod: &Pod) {
        let name = pod.name_any();
        let mounted = self.folder.join(&name);
        if !self.mount(pod, &mounted).await {
            // As a kubelet it tries again, until the pod is gone or what it needs is there.
            return;
        }
        let port = free_port();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let here = |text: &str| text.replace(MOUNTED, &mounted.display().to_string());
        let log = std::fs::File::create(self.folder.join(format!("{name}.log"))).unwrap();
        let is_job = pod.labels().get("app.kubernetes.io/component").is_some_and(|component| component == "clean-up");
        let port_text = port.to_string();
        let of_a_worker: &[&str] = if is_job { &[] } else { &["--http-port", &port_text, "--worker-name", &name] };
        let process = Command::new(worker())
            .args(container.args.iter().flatten().map(|argument| here(argument)))
            .args(["--secrets-dir", &here(SECRETS_DIR)])
            .args(of_a_worker)
            .env_clear()
            .envs(container.env.iter().flatten().filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))))
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (address, listener) = free_address().await;
        let forwarding = tokio::spawn(forward(listener, port)).abort_handle();
        let status = json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] } });
        drop(self.pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await);
        self.running.insert(name, Running { process, port, forwarding, is_ready: None, is_job, has_ended: false });
    }

    /// Writes the files of the projected volume, and returns whether all were there.
    async fn mount(&self, pod: &Pod, folder: &Path) -> bool {
        let mut sources: Vec<&VolumeProjection> = Vec::new();
        for volume in pod.spec.as_ref().unwrap().volumes.iter().flatten() {
            sources.extend(volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()));
        }
        for source in sources {
            let mut files = Vec::new();
            if let Some(wanted) = &source.config_map {
                let Some(found) = self.config_maps.get_opt(&wanted.name).await.unwrap() else { return false };
                let data = found.data.unwrap_or_default();
                for item in wanted.items.iter().flatten() {
                    files.push((&item.path, data[&item.key].clone().into_bytes()));
                }
            }
            if let Some(wanted) = &source.secret {
                let Some(found) = self.secrets.get_opt(&wanted.name).await.unwrap() else { return false };
                let data = found.data.unwrap_or_default();
                for item in wanted.items.iter().flatten() {
                    // What is optional may be missing.
                    files.extend(data.get(&item.key).map(|bytes| (&item.path, bytes.0.clone())));
                }
            }
            for (path, bytes) in files {
                let file = folder.join(path);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, bytes).unwrap();
            }
        }
        assert!(folder.join(CONFIG_PATH.strip_prefix(&format!("{MOUNTED}/")).unwrap()).is_file(), "{}", folder.display());
        true
    }

    /// Asks for readiness, and writes the status when it has changed.
    async fn look(&mut self, name: &str) {
        let Some(running) = self.running.get_mut(name) else { return };
        if running.has_ended {
            return;
        }
        let ended = running.process.try_wait().unwrap();
        if let Some(status) = ended.filter(|_| running.is_job) {
            running.has_ended = true;
            let code = status.code().unwrap_or(-1);
            let said = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap();
            let terminated = json!({ "exitCode": code, "reason": "Ended", "message": said.lines().last().unwrap_or_default() });
            let container = json!({
                "name": name.rsplit('-').nth(1).unwrap(), "image": "worker", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": terminated },
            });
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let status = json!({ "status": { "phase": phase, "containerStatuses": [container] } });
            drop(self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await);
            return;
        }
        let said = || std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
        assert!(ended.is_none(), "{name} has ended with {ended:?} after it said:\n{}", said());
        let url = format!("http://127.0.0.1:{}{READYZ_PATH}", running.port);
        let is_ready = reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success());
        if running.is_ready == Some(is_ready) {
            return;
        }
        running.is_ready = Some(is_ready);
        let now = Timestamp::now();
        let truth = if is_ready { "True" } else { "False" };
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(|kind| {
            let is_about_readiness = kind.ends_with("Ready");
            json!({ "type": kind, "status": if is_about_readiness { truth } else { "True" }, "lastTransitionTime": now })
        });
        let container = json!({
            "name": name.rsplit('-').nth(2).unwrap(), "image": "worker", "imageID": "", "ready": is_ready, "restartCount": 0, "started": true,
            "state": { "running": { "startedAt": now } },
        });
        let status = json!({ "status": { "conditions": conditions, "containerStatuses": [container] } });
        drop(self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await);
    }
}

/// Returns an address of a pod's own, and what listens there. Another suite on this machine may have the next one.
async fn free_address() -> (Ipv4Addr, TcpListener) {
    for _ in 0..u8::MAX {
        let address = Ipv4Addr::new(127, 0, 77, ADDRESSES.fetch_add(1, Ordering::Relaxed));
        if let Ok(listener) = TcpListener::bind((address, HTTP_PORT)).await {
            return (address, listener);
        }
    }
    panic!("no address of 127.0.77.0/24 has port {HTTP_PORT} free");
}

/// The worker's program lies beside the operator's.
fn worker() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_stockpipeline-operator")).with_file_name("stockpipeline-worker");
    assert!(program.is_file(), "{} is not there; run `cargo build --workspace --bins`", program.display());
    program
}

/// Passes on what is said at a pod's address.
async fn forward(listener: TcpListener, port: u16) {
    while let Ok((mut outside, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Ok(mut inside) = TcpStream::connect(("127.0.0.1", port)).await {
                drop(tokio::io::copy_bidirectional(&mut outside, &mut inside).await);
            }
        });
    }
}
