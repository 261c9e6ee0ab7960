//! An API server and an etcd of a test's own, which may be stopped, started and set back to an older state: no other test sees it.
//!
//! Nobody makes pods of Deployments here, so a simulation does; nobody collects garbage.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use super::{define, until};
use crate::free_port::free_port;

/// The administrator's token.
const TOKEN: &str = "of-the-tests-own-cluster";

/// A running control plane. It ends, and its state with it, when this is dropped.
pub(crate) struct ControlPlane {
    folder: tempfile::TempDir,
    ports: [u16; 3],
    etcd: Option<Child>,
    api_server: Option<Child>,
}

impl ControlPlane {
    /// Starts one that knows the custom resource. What it asks of pods goes through a socket in its folder, [`ControlPlane::socket`].
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [(); 3].map(|()| free_port());
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n")).unwrap();
        openssl(&["genrsa", "-out", &path("accounts.key").display().to_string(), "2048"]);
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": [{ "level": "None", "users": ["system:apiserver"] }, { "level": "Metadata" }],
        });
        std::fs::write(path("audit.yaml"), policy.to_string()).unwrap();
        let transport = json!({ "uds": { "udsName": path("pods.sock") } });
        let egress = json!({
            "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
            "egressSelections": [{ "name": "cluster", "connection": { "proxyProtocol": "HTTPConnect", "transport": transport } }],
        });
        std::fs::write(path("egress.yaml"), egress.to_string()).unwrap();
        let mut plane = Self { folder, ports, etcd: None, api_server: None };
        plane.start_etcd();
        plane.start_api_server().await;
        define(&plane.client().await, &stockpipeline_operator::resource::crd::definition()).await;
        plane
    }

    /// Where the API server asks to be connected with a pod, as HTTP proxies are asked.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("pods.sock")
    }

    /// Returns where every request is written down.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// Returns the administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Returns the administrator's client.
    pub(crate) async fn client(&self) -> Client {
        let config = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap()).unwrap()
    }

    /// Kills the API server.
    pub(crate) fn kill_api_server(&mut self) {
        end(&mut self.api_server);
    }

    /// Starts the API server where it was, and waits until it is ready.
    pub(crate) async fn start_api_server(&mut self) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let certificates = path("pki");
        let arguments = [
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports[2]),
            format!("--cert-dir={certificates}"),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports[0]),
            format!("--token-auth-file={}", path("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            // Needs of whoever names an owner that is kept until its children are gone a right of their own.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", path("accounts.key")),
            format!("--service-account-signing-key-file={}", path("accounts.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            format!("--egress-selector-config-file={}", path("egress.yaml")),
            format!("--audit-policy-file={}", path("audit.yaml")),
            format!("--audit-log-path={}", path("audit.log")),
            "--shutdown-delay-duration=0s".to_owned(),
        ];
        self.api_server = Some(spawn("kube-apiserver", &arguments, &self.folder.path().join("kube-apiserver.log")));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.ports[2]), "certificate-authority": format!("{certificates}/apiserver.crt"),
            } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "users": [{ "name": "it", "user": { "token": TOKEN } }],
        });
        std::fs::write(self.kubeconfig(), kubeconfig.to_string()).unwrap();
        until("the API server is ready", async || {
            // It writes its certificate first.
            Path::new(&certificates).join("apiserver.crt").is_file().then_some(())?;
            let request = axum::http::Request::get("/readyz").body(Vec::new()).unwrap();
            tokio::time::timeout(Duration::from_secs(5), self.client().await.request_text(request)).await.ok()?.ok()
        })
        .await;
    }

    /// Copies what etcd has, both programs being stopped meanwhile.
    pub(crate) async fn back_up(&mut self) -> tempfile::TempDir {
        end(&mut self.api_server);
        end(&mut self.etcd);
        let copy = tempfile::tempdir().unwrap();
        copied(&self.folder.path().join("etcd"), copy.path());
        self.start_etcd();
        self.start_api_server().await;
        copy
    }

    /// Sets etcd back to a copy, as an administrator does after a disaster.
    pub(crate) async fn restore(&mut self, copy: &tempfile::TempDir) {
        end(&mut self.api_server);
        end(&mut self.etcd);
        std::fs::remove_dir_all(self.folder.path().join("etcd")).unwrap();
        copied(&copy.path().join("etcd"), self.folder.path());
        self.start_etcd();
        self.start_api_server().await;
    }

    fn start_etcd(&mut self) {
        let [client, peer, _] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let data = self.folder.path().join("etcd").display().to_string();
        let arguments = [
            "--name=it".to_owned(),
            format!("--data-dir={data}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=it={peer}"),
        ];
        self.etcd = Some(spawn("etcd", &arguments, &self.folder.path().join("etcd.log")));
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        end(&mut self.api_server);
        end(&mut self.etcd);
    }
}

fn openssl(arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(made.success(), "openssl {arguments:?}");
}

fn spawn(program: &str, arguments: &[String], log: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    Command::new(program)
        .args(arguments)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}; e2e/kubernetes builds it"))
}

/// Nothing that was acknowledged may depend on a last word.
fn end(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

fn copied(from: &Path, into: &Path) {
    let done = Command::new("cp").arg("-a").args([from, into]).status().unwrap();
    assert!(done.success(), "failed to copy {}", from.display());
}
