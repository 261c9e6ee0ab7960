//! A pipeline as a user has it: a namespace, a Secret, a `StockPipeline` that `kubectl` applies, patches, scales and shows.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::dataset::Dataset;
use crate::pods::Pod;
use crate::program::{self, Said, apply, kubectl};
use crate::stage::{SYSTEM, Stage};
use crate::wait::{until, within};

/// Name of the Secret with the keys of the S3 server.
pub(crate) const KEYS: &str = "s3";
/// Number of the next pipeline of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A pipeline with a namespace, a prefix, a topic and a database of its own. What it left behind stays where its test fails.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The stage it runs on.
    pub stage: Stage,
    /// Its namespace, which also is its topic's name, its prefix and, with underscores, its database's name.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What was applied last.
    pub document: Value,
    /// How many rows its source has, where it has an end.
    pub rows: Option<u64>,
}

impl Pipeline {
    /// Applies a pipeline that replays a data set, with its spec changed by `edit`.
    ///
    /// Without a change: in the order of event time, as fast as it goes; six partitions, three replicas of each; one producer, one sink; both zones;
    /// processed by year; rotation every 5 s.
    pub async fn replay(stage: &Stage, purpose: &str, dataset: &Dataset, edit: impl FnOnce(&mut Value)) -> Self {
        let object = dataset.object();
        stage.bucket.put(&object, dataset.bytes.clone()).await;
        let source =
            json!({ "type": "CsvReplay", "csvReplay": { "uri": format!("s3://{}/{object}", stage.bucket.name()), "order": "EventTime" } });
        let year = json!([{ "name": "year", "transform": "year", "column": dataset.event_time }]);
        let mut pipeline = Self::start(stage, purpose, |spec| {
            spec["source"] = source;
            spec["schema"] = dataset.schema.clone();
            spec["producer"]["keyColumn"] = dataset.key.into();
            spec["sink"]["processed"]["partitionBy"] = year;
            edit(spec);
        })
        .await;
        pipeline.rows = Some(dataset.rows);
        pipeline
    }

    /// Applies a pipeline whose spec `edit` completes with source, schema and partitions.
    pub async fn start(stage: &Stage, purpose: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is right").as_secs();
        let namespace = format!("{purpose}-{started}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut spec = spec(stage, &namespace);
        edit(&mut spec);
        let document = json!({
            "apiVersion": "stockpipeline.dev/v1alpha1",
            "kind": "StockPipeline",
            "metadata": {
                "name": purpose,
                "namespace": namespace,
                "annotations": { "stockpipeline.dev/allow-data-deletion": "true" },
            },
            "spec": spec,
        });
        let pipeline = Self { stage: stage.clone(), namespace, name: purpose.to_owned(), document, rows: None };
        pipeline.make_namespace().await;
        pipeline.apply().await;
        pipeline
    }

    async fn make_namespace(&self) {
        let settings = &self.stage.settings;
        let restricted = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let objects = json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace, "labels": restricted } },
                {
                    "apiVersion": "v1", "kind": "Secret", "metadata": { "name": KEYS, "namespace": self.namespace },
                    "stringData": { "accessKeyId": settings.access_key_id, "secretAccessKey": settings.secret_access_key },
                },
            ],
        });
        apply(&objects.to_string()).await;
    }

    /// Applies the document as it is now.
    pub async fn apply(&self) {
        apply(&self.document.to_string()).await;
    }

    /// Changes the spec and applies it.
    pub async fn change(&mut self, edit: impl FnOnce(&mut Value)) {
        edit(&mut self.document["spec"]);
        self.apply().await;
    }

    /// Runs `kubectl` in the namespace; it has to end well.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["-n", &self.namespace], arguments].concat()).await
    }

    /// Runs `kubectl` in the namespace, whatever comes of it.
    pub async fn try_kubectl(&self, arguments: &[&str]) -> Said {
        program::run("kubectl", &[&["-n", &self.namespace], arguments].concat(), "").await
    }

    /// Scales the sinks, as a user does.
    pub async fn scale(&self, replicas: u32) {
        self.kubectl(&["scale", &self.resource(), &format!("--replicas={replicas}")]).await;
    }

    /// Returns `sp/<name>`.
    #[must_use]
    pub fn resource(&self) -> String {
        format!("sp/{}", self.name)
    }

    /// Returns the resource's status; null before the first.
    ///
    /// # Panics
    /// When what `kubectl` prints is no JSON.
    pub async fn status(&self) -> Value {
        let object = self.kubectl(&["get", &self.resource(), "-o", "json"]).await;
        let mut object: Value = serde_json::from_str(&object).unwrap_or_else(|error| panic!("kubectl said {object}: {error}"));
        object["status"].take()
    }

    /// Waits until the status says what is asked for, and returns it.
    pub async fn until_status(&self, what: &str, deadline: Duration, says: impl Fn(&Value) -> bool) -> Value {
        within(deadline, &format!("{}: {what}", self.resource()), async || Some(self.status().await).filter(&says)).await
    }

    /// Waits until the pipeline is Ready.
    pub async fn ready(&self) -> Value {
        self.until_status("it is Ready", Duration::from_mins(4), |status| condition(status, "Ready") == Some("True")).await
    }

    /// Waits until the source is produced to its end and stored.
    pub async fn completed(&self, deadline: Duration) -> Value {
        self.until_status("it is Completed", deadline, |status| status["phase"] == "Completed").await
    }

    /// Returns its pods of one role that are not on their way out.
    pub async fn pods(&self, role: &str) -> Vec<Pod> {
        Pod::list(&self.namespace, &format!("app.kubernetes.io/component={role}")).await
    }

    /// Returns what a worker says of itself; None while it does not answer.
    pub async fn worker_status(&self, pod: &Pod) -> Option<Value> {
        let path = format!("/api/v1/namespaces/{}/pods/{}:8080/proxy/status", self.namespace, pod.name);
        let said = self.try_kubectl(&["get", "--raw", &path]).await;
        serde_json::from_str(&said.out).ok().filter(|_| said.done())
    }

    /// Returns a table of the catalogue as Trino names it: `processed`, `raw` or `dlq`.
    #[must_use]
    pub fn table(&self, zone: &str) -> String {
        format!("{}.{zone}", database(&self.namespace))
    }

    /// Deletes the pipeline with its topic, tables and data, and the namespace.
    pub async fn remove(self) {
        self.kubectl(&["delete", &self.resource(), "--timeout=180s"]).await;
        let left = self.stage.bucket.keys(&format!("{}/", self.namespace)).await;
        assert!(left.is_empty(), "deletionPolicy.data is Delete, and {} objects are left, such as {:?}", left.len(), left.first());
        kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await;
    }

    /// Asks for the workers' end without waiting for it. Blocking: it runs while a test unwinds.
    fn stop_at_once(&self) {
        let patch = json!({ "spec": { "lifecycle": { "desiredState": "Stopped" } } }).to_string();
        let arguments = ["-n", &self.namespace, "patch", &self.resource(), "--type=merge", "-p", &patch];
        // A test that has failed already says why.
        drop(std::process::Command::new("kubectl").args(arguments).output());
    }

    /// Sets the lifecycle's desired state, as a user does.
    pub async fn desire(&mut self, state: &str) {
        self.change(|spec| spec["lifecycle"]["desiredState"] = state.into()).await;
    }

    /// Waits until so many workers of a role are Ready, and no other is left.
    pub async fn until_workers(&self, role: &str, count: usize) {
        until(&format!("{} has {count} {role}s", self.resource()), async || {
            let pods = self.pods(role).await;
            (pods.len() == count && pods.iter().all(|pod| pod.is_ready)).then_some(())
        })
        .await;
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if std::thread::panicking() {
            dump(&self.namespace);
            // What it has stored stays for a look; its workers would take the room of the next test's.
            self.stop_at_once();
        }
    }
}

/// Returns the status of a condition.
#[must_use]
pub fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a str> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

/// Returns the name of the database that belongs to a namespace.
fn database(namespace: &str) -> String {
    namespace.replace('-', "_")
}

fn spec(stage: &Stage, namespace: &str) -> Value {
    let settings = &stage.settings;
    let servers: Vec<&str> = settings.kafka.split(',').collect();
    json!({
        "aws": {
            "region": settings.region,
            "credentials": { "type": "Secret", "secretRef": { "name": KEYS } },
            "endpoints": { "s3": settings.s3_endpoint, "glue": settings.aws_endpoint, "athena": settings.aws_endpoint },
            "forcePathStyle": true,
        },
        "kafka": {
            "bootstrapServers": servers,
            "topic": { "name": namespace, "partitions": 6, "replicationFactor": servers.len().min(3) },
            "consumerGroup": namespace,
        },
        "producer": { "slots": 6, "worker": { "replicas": 1, "resources": resources("256Mi") } },
        "sink": {
            "bucket": { "name": settings.bucket },
            "ledger": { "prefix": format!("{namespace}/ledger") },
            "raw": { "prefix": format!("{namespace}/raw") },
            "processed": { "prefix": format!("{namespace}/processed") },
            "onBadRecord": { "prefix": format!("{namespace}/dlq") },
            "rotation": { "maxInterval": "5s" },
            "worker": { "replicas": 1, "resources": resources("768Mi") },
        },
        "glue": {
            "database": { "name": database(namespace), "create": true },
            "tables": { "processed": "processed", "raw": "raw", "dlq": "dlq" },
        },
        "deletionPolicy": { "topic": "Delete", "tables": "Delete", "database": "Delete", "data": "Delete" },
    })
}

/// Returns so little that several workers of a role have room on a small node.
fn resources(memory: &str) -> Value {
    json!({ "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": memory } })
}

/// Prints what a person would ask for after a failure. Blocking: it runs while a test unwinds.
fn dump(namespace: &str) {
    let ask = |arguments: &[&str]| {
        let asked = std::process::Command::new("kubectl").args(arguments).output();
        let Ok(output) = asked else { return };
        eprintln!(
            "--- kubectl {}\n{}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    ask(&["-n", namespace, "get", "sp,deployments,pods", "-o", "wide"]);
    ask(&["-n", namespace, "get", "sp", "-o", "jsonpath={.items[*].status}"]);
    ask(&["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"]);
    for role in ["producer", "sink"] {
        ask(&["-n", namespace, "logs", "--prefix", "--tail=60", "-l", &format!("app.kubernetes.io/component={role}")]);
    }
    ask(&["-n", SYSTEM, "logs", "--prefix", "--tail=60", "-l", "app.kubernetes.io/name=stockpipeline-operator"]);
}
