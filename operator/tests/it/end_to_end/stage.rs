//! A namespace of a real API server with the operator's roles, AWS, and a cluster that is played.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Client, Config, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stockpipeline::document;
use stockpipeline_operator::resource::crd::StockPipeline;

use crate::audit_log::{AuditLog, Request};
use crate::aws_endpoint::AwsEndpoint;
use crate::chart::{CHART, repository};
use crate::cluster::control_plane::ControlPlane;
use crate::cluster::{MINIMAL, Namespace, client, run};
use crate::program::{AWS_CREDENTIALS, Operator, PROGRAM, until};
use crate::proxy::Proxy;
use crate::simulation::{Part, Simulation};

/// Name of the release whose roles are used.
const RELEASE: &str = "it";
/// Name of its objects, and of the lease.
pub(crate) const NAME: &str = "it-stockpipeline-operator";

/// Nothing takes a pipeline nearly as long.
const READY_WITHIN: Duration = Duration::from_mins(3);

/// Where the operator keeps pipelines, and so which roles it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In its own namespace, by a Role.
    Namespaced,
    /// In all, by a `ClusterRole`.
    Everywhere,
}

/// A namespace with the operator's roles, AWS, and a cluster that is played.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    pub(crate) aws: AwsEndpoint,
    pub(crate) simulation: Simulation,
    /// Where pipelines find Glue and Athena.
    pub(crate) endpoint: String,
    admin: PathBuf,
    audit: AuditLog,
    cluster: Value,
    mode: Mode,
}

impl Stage {
    /// Sets one up on the suite's API server, for an operator of one namespace.
    pub(crate) async fn new(purpose: &str) -> Self {
        Self::set_up(client().await, shared_kubeconfig(), AuditLog::from_here(), (purpose, Mode::Namespaced, Part::Nodes)).await
    }

    /// Sets one up on the suite's API server, for an operator of all namespaces.
    pub(crate) async fn everywhere(purpose: &str) -> Self {
        Self::set_up(client().await, shared_kubeconfig(), AuditLog::from_here(), (purpose, Mode::Everywhere, Part::Nodes)).await
    }

    /// Sets one up on a control plane of the test's own.
    pub(crate) async fn on(plane: &ControlPlane) -> Self {
        let how = ("own", Mode::Namespaced, Part::NodesAndControllers);
        Self::set_up(plane.client().await, plane.kubeconfig(), AuditLog::of(&plane.audit_log()), how).await
    }

    async fn set_up(client: Client, admin: PathBuf, audit: AuditLog, (purpose, mode, part): (&str, Mode, Part)) -> Self {
        let namespace = Namespace::new(&client, purpose).await;
        let file = admin.display().to_string();
        let view = ["--kubeconfig", &file, "config", "view", "--raw", "--flatten", "--minify", "-o", "json"];
        let (_, config) = run("kubectl", &view, "").await;
        let cluster = serde_json::from_str::<Value>(&config).unwrap()["clusters"][0]["cluster"].clone();
        let simulation = Simulation::start(client.clone(), part).await;
        let aws = AwsEndpoint::start().await;
        let endpoint = aws.url.clone();
        let stage = Self { client, namespace, aws, simulation, endpoint, admin, audit, cluster, mode };
        let roles = stage.rendered_roles().await;
        stage.kubectl(&["apply", "-n", stage.namespace.name(), "-f", "-"], &roles).await;
        stage
    }

    /// Lets pipelines keep their catalogue in moto; returns what stands in front of it and counts.
    pub(crate) async fn before_moto(&mut self) -> Proxy {
        let proxy = Proxy::before(&crate::moto::endpoint()).await;
        self.endpoint.clone_from(&proxy.url);
        proxy
    }

    /// Returns the chart's roles and what binds them.
    async fn rendered_roles(&self) -> String {
        let chart = repository(CHART).display().to_string();
        let watched = format!("watchNamespaces={{{}}}", self.namespace.name());
        let mut arguments = vec!["template", RELEASE, &chart, "--namespace", self.namespace.name()];
        if self.mode == Mode::Namespaced {
            arguments.extend(["--set", &watched]);
        }
        arguments.extend(["-s", "templates/rbac.yaml", "-s", "templates/serviceaccount.yaml"]);
        let (done, rendered) = run("helm", &arguments, "").await;
        assert!(done, "{rendered}");
        rendered
    }

    /// Returns the chart's roles and what binds them, as objects.
    pub(crate) async fn roles(&self) -> Vec<Value> {
        let rendered = self.rendered_roles().await;
        let documents = serde_yaml::Deserializer::from_str(&rendered).map(|document| Value::deserialize(document).unwrap());
        documents.filter(|object| !object.is_null()).collect()
    }

    /// Runs `kubectl` as the administrator; it has to end well.
    pub(crate) async fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let (done, said) = self.try_kubectl(arguments, input).await;
        assert!(done, "kubectl {arguments:?}: {said}");
        said
    }

    /// Runs `kubectl` as the administrator.
    pub(crate) async fn try_kubectl(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let admin = self.admin.display().to_string();
        run("kubectl", &[&["--kubeconfig", &admin][..], arguments].concat(), input).await
    }

    /// Plays the cluster anew, where the old one follows a past that has not been.
    pub(crate) async fn play_again(&mut self) {
        self.simulation = Simulation::start(self.client.clone(), Part::NodesAndControllers).await;
    }

    /// Returns the operator's arguments.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            format!("--namespace={}", self.namespace.name()),
            format!("--worker-port={}", self.simulation.port),
            format!("--allow-endpoint={}", self.endpoint),
            "--status-interval=1s".to_owned(),
            "--drift-interval=5s".to_owned(),
        ];
        if self.mode == Mode::Namespaced {
            settings.push(format!("--watch-namespace={}", self.namespace.name()));
        }
        settings
    }

    /// Returns a kubeconfig of a service account, through a proxy if there is one.
    pub(crate) async fn kubeconfig(&self, account: &str, proxy: Option<&Proxy>) -> String {
        let token = self.kubectl(&["create", "token", account, "-n", self.namespace.name(), "--duration=1h"], "").await;
        let cluster = proxy.map_or_else(|| self.cluster.clone(), |proxy| json!({ "server": proxy.url }));
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": cluster }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it", "namespace": self.namespace.name() } }],
            "users": [{ "name": "it", "user": { "token": token.trim() } }],
        })
        .to_string()
    }

    /// Starts a proxy in front of the API server.
    pub(crate) async fn proxy(&self) -> Proxy {
        let config = Kubeconfig::read_from(&self.admin).unwrap();
        Proxy::start(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap()).await
    }

    /// Starts the operator as a service account.
    pub(crate) async fn operate(&self, account: &str) -> Operator {
        self.operate_with(account, None, &[]).await
    }

    /// Starts the operator as a service account, through a proxy, with further arguments.
    pub(crate) async fn operate_with(&self, account: &str, proxy: Option<&Proxy>, more: &[&str]) -> Operator {
        let lease = format!("--lease-name={NAME}");
        let settings = self.settings();
        let arguments: Vec<&str> = settings.iter().map(String::as_str).chain([lease.as_str()]).chain(more.iter().copied()).collect();
        Operator::start(&self.kubeconfig(account, proxy).await, account, &arguments)
    }

    /// Starts the operator with more in its environment, and waits until it leads.
    pub(crate) async fn operate_in(&self, account: &str, environment: &[(&str, &str)]) -> Operator {
        let settings = self.settings();
        let lease = format!("--lease-name={NAME}");
        let arguments: Vec<&str> = settings.iter().map(String::as_str).chain([lease.as_str()]).collect();
        let operator = Operator::start_in(&self.kubeconfig(account, None).await, account, &arguments, environment);
        until("it leads", async || operator.leads().await).await;
        operator
    }

    /// Starts the operator, and waits until it leads.
    pub(crate) async fn lead(&self, account: &str) -> Operator {
        let operator = self.operate(account).await;
        until("it leads", async || operator.leads().await).await;
        operator
    }

    /// Lets another process lead at once where the last one was killed.
    pub(crate) async fn free_lease(&self) {
        let leases: Api<Lease> = self.namespace.api();
        drop(leases.delete(NAME, &DeleteParams::default()).await);
    }

    /// Lets another service account do what the operator's may.
    pub(crate) async fn add_account(&self, account: &str) {
        let namespace = self.namespace.name();
        self.kubectl(&["create", "serviceaccount", account, "-n", namespace], "").await;
        let subject = format!("--serviceaccount={namespace}:{account}");
        for role in [NAME.to_owned(), format!("{NAME}-leader")] {
            let binding = format!("{account}-{role}");
            self.kubectl(&["create", "rolebinding", &binding, "-n", namespace, &format!("--role={role}"), &subject], "").await;
        }
    }

    /// Returns a pipeline that shares nothing but its database with another, after a change of its spec.
    pub(crate) fn document(&self, name: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut body = Value::Object(document::read(MINIMAL).unwrap()[0].body().clone());
        body["metadata"] = json!({ "name": name, "namespace": self.namespace.name() });
        let spec = &mut body["spec"];
        spec["aws"] = json!({ "region": "us-east-1", "endpoints": { "glue": self.endpoint, "athena": self.endpoint } });
        // Of its own: another test's pipelines may still be on their way out.
        let own = self.namespace.name();
        spec["kafka"]["topic"]["name"] = format!("{name}.{own}").into();
        spec["sink"]["bucket"]["name"] = format!("{own}-{name}").into();
        spec["glue"] =
            json!({ "database": { "name": own.replace('-', "_"), "create": true }, "tables": { "processed": name.replace('-', "_") } });
        change(spec);
        body.to_string()
    }

    /// Applies a pipeline as users do.
    pub(crate) async fn apply_one(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.kubectl(&["apply", "-f", "-"], &self.document(name, change)).await;
    }

    /// Applies pipelines as users do.
    pub(crate) async fn apply(&self, names: &[String]) {
        let documents: Vec<String> = names.iter().map(|name| self.document(name, |_| {})).collect();
        self.kubectl(&["apply", "-f", "-"], &documents.join("\n---\n")).await;
    }

    /// Waits until the newest specs of pipelines are in force and they are ready.
    pub(crate) async fn wait(&self, names: &[String]) {
        for name in names {
            let mut seen = Value::Null;
            let started = Instant::now();
            while !is_ready(&seen) {
                assert!(started.elapsed() < READY_WITHIN, "{name} is not ready: {}", seen["status"]);
                tokio::time::sleep(Duration::from_millis(100)).await;
                seen = self.get::<StockPipeline>(name).await;
            }
        }
    }

    /// Sets an annotation of a pipeline.
    pub(crate) async fn annotate(&self, name: &str, annotation: &str, value: Value) {
        let patch = json!({ "metadata": { "annotations": { format!("stockpipeline.dev/{annotation}"): value } } });
        self.patch::<StockPipeline>(name, &patch).await;
    }

    /// Asks for a look at a pipeline now, whatever it waits for.
    pub(crate) async fn ask_for_a_look(&self, name: &str) {
        self.annotate(name, "reconcile-requested-at", json!(format!("{:?}", Instant::now()))).await;
    }

    /// Applies one pipeline and waits until it is ready.
    pub(crate) async fn ready(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.apply_one(name, change).await;
        self.wait(&[name.to_owned()]).await;
    }

    /// Returns an object as JSON; null where it is not there.
    pub(crate) async fn get<K>(&self, name: &str) -> Value
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
    {
        let found = self.namespace.api::<K>().get_opt(name).await.unwrap();
        found.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    /// Changes an object behind the operator's back.
    pub(crate) async fn patch<K>(&self, name: &str, patch: &Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        self.namespace.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Deletes a pipeline, without waiting.
    pub(crate) async fn delete(&self, name: &str) {
        drop(self.namespace.api::<StockPipeline>().delete(name, &DeleteParams::default()).await.unwrap());
    }

    /// Waits until a condition of a pipeline has a status and reason, and returns its message.
    pub(crate) async fn until_condition(&self, name: &str, type_: &str, expected: &str) -> String {
        self.until_told(name, type_, expected, "").await
    }

    /// Waits until a condition of a pipeline has a status and reason and a message with these words, and returns the message.
    pub(crate) async fn until_told(&self, name: &str, type_: &str, expected: &str, words: &str) -> String {
        let mut last = (String::new(), String::new());
        until(&format!("{type_} of {name} is {expected} {words:?}"), async || {
            let object = self.get::<StockPipeline>(name).await;
            let found = condition(&object, type_);
            if found != last {
                eprintln!("{type_} of {name} is {} ({})", found.0, found.1);
            }
            last = found;
            last.0 == expected && last.1.contains(words)
        })
        .await;
        last.1
    }

    /// Returns the requests of a service account of this namespace; none may have been refused.
    pub(crate) fn requests(&self, account: &str) -> Vec<Request> {
        let user = format!("system:serviceaccount:{}:{account}", self.namespace.name());
        let requests = self.audit.requests(|name| name == user);
        assert!(!requests.iter().any(|request| request.is_refused), "the chart's roles do not allow all of {requests:?}");
        requests
    }

    /// Returns how many requests of a service account no role has allowed.
    pub(crate) fn refusals(&self, account: &str) -> usize {
        let user = format!("system:serviceaccount:{}:{account}", self.namespace.name());
        self.audit.requests(|name| name == user).iter().filter(|request| request.is_refused).count()
    }

    /// Returns how often a service account has written each resource, its lease aside.
    pub(crate) fn writes(&self, account: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.requests(account).into_iter().filter(|request| request.is_write() && !request.resource.ends_with("/leases")) {
            *counts.entry(request.resource).or_default() += 1;
        }
        counts
    }

    /// Plans as the administrator; returns exit code and what was said.
    pub(crate) async fn plan(&self, document: String) -> (i32, String) {
        let settings = self.settings();
        let admin = self.admin.clone();
        tokio::task::spawn_blocking(move || {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("pipeline.json");
            std::fs::write(&file, document).unwrap();
            let output = std::process::Command::new(PROGRAM)
                .args(["plan", "-f", &file.display().to_string(), "--", "--worker-image=worker:1"])
                .args(settings)
                .env("KUBECONFIG", admin)
                .envs(AWS_CREDENTIALS)
                .env_remove("RUST_LOG")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            (output.status.code().unwrap(), said)
        })
        .await
        .unwrap()
    }

    /// Returns who holds the lease.
    pub(crate) async fn holder(&self) -> String {
        let lease = self.get::<Lease>(NAME).await;
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// Removes the namespace, and what was made beside it.
    pub(crate) async fn remove(self) {
        if self.mode == Mode::Everywhere {
            for object in ["clusterrolebinding/it-stockpipeline-operator", "clusterrole/it-stockpipeline-operator"] {
                self.kubectl(&["delete", object], "").await;
            }
        }
        self.namespace.remove().await;
    }
}

fn shared_kubeconfig() -> PathBuf {
    PathBuf::from(std::env::var("KUBECONFIG").expect("KUBECONFIG names the API server"))
}

/// Returns whether the newest spec of a pipeline is in force and it is ready.
pub(crate) fn is_ready(object: &Value) -> bool {
    let is_observed = object["metadata"]["generation"] == object["status"]["observedGeneration"] && !object.is_null();
    is_observed && condition(object, "Ready").0 == "True/Ready"
}

/// Returns `status/reason` of a condition, and its message.
pub(crate) fn condition(object: &Value, type_: &str) -> (String, String) {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
    let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    (format!("{}/{}", text("status"), text("reason")), text("message"))
}

/// Returns all objects of a resource of one namespace.
pub(crate) async fn list(client: &Client, namespace: &str, api_version: &str, kind: &str, plural: &str) -> Vec<Value> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = kube::api::ApiResource::from_gvk_with_plural(&kube::core::GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let found = api.list(&kube::api::ListParams::default()).await.unwrap();
    found.items.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
}
