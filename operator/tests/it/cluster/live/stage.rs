//! A namespace with an operator and workers that run, in front of a broker, S3, and proxies of Glue and Athena that can fail.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stockpipeline_operator::resource::crd::StockPipeline;

use super::{Operator, pipeline};
use crate::cluster::node::Node;
use crate::cluster::{Namespace, client, until};
use crate::moto;
use crate::proxy::Proxy;

/// Where everything runs, and one pipeline of the namespace's name.
pub(super) struct Live {
    pub(super) namespace: Namespace,
    pub(super) name: String,
    /// In front of Glue and Athena, as operator and workers see them.
    pub(super) catalogue: Proxy,
    pub(super) folder: tempfile::TempDir,
    operator: Operator,
    node: Node,
}

/// Everything that a pipeline leaves outside of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Left {
    /// Objects of the bucket by key.
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// Tables by name, as Glue describes them, and their partitions.
    pub(super) tables: BTreeMap<String, (Value, Value)>,
    /// The database; null where there is none.
    pub(super) database: Value,
    /// Saved queries.
    pub(super) queries: Vec<Value>,
    /// The workgroup; null where there is none.
    pub(super) workgroup: Value,
}

impl Live {
    pub(super) async fn new(purpose: &str) -> Self {
        let client = client().await;
        let namespace = Namespace::new(&client, purpose).await;
        let folder = tempfile::tempdir().unwrap();
        let name = namespace.name().to_owned();
        let made = reqwest::Client::new().put(format!("{}/{name}", moto::endpoint())).send().await.unwrap();
        made.error_for_status().unwrap();
        let catalogue = Proxy::before(&moto::endpoint()).await;
        let operator = Operator::install(&namespace, folder.path(), std::slice::from_ref(&catalogue.url)).await;
        let node = Node::start(&namespace, folder.path(), &[("RUST_LOG", "info".to_owned())]);
        let keys = [("accessKeyId", "e2e"), ("secretAccessKey", super::CANARY)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "aws" }, "stringData": BTreeMap::from(keys) })).unwrap();
        namespace.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
        Self { namespace, name, catalogue, folder, operator, node }
    }

    pub(super) fn database(&self) -> String {
        self.name.replace('-', "_")
    }

    pub(super) fn pipelines(&self) -> Api<StockPipeline> {
        self.namespace.api()
    }

    /// Applies the pipeline after a change of its spec, as one owner of all its fields.
    pub(super) async fn apply(&self, change: impl FnOnce(&mut Value)) {
        let mut object = serde_json::to_value(pipeline(&self.name)).unwrap();
        let endpoints = &mut object["spec"]["aws"]["endpoints"];
        (endpoints["glue"], endpoints["athena"]) = (json!(self.catalogue.url), json!(self.catalogue.url));
        change(&mut object["spec"]);
        self.pipelines().patch(&self.name, &PatchParams::apply("author").force(), &Patch::Apply(&object)).await.unwrap();
    }

    pub(super) async fn annotate(&self, annotation: &str, value: &str) {
        let patch = json!({ "metadata": { "annotations": { format!("stockpipeline.dev/{annotation}"): value } } });
        self.pipelines().patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Returns the status once it passes.
    pub(super) async fn until_status<T>(&mut self, what: &str, mut look: impl FnMut(&Value) -> Option<T>) -> T {
        let pipelines = self.pipelines();
        let (name, operator, node) = (&self.name, &mut self.operator, &mut self.node);
        until(what, async || {
            operator.assert_runs();
            node.assert_works();
            let object = serde_json::to_value(pipelines.get_opt(name).await.unwrap()?).unwrap();
            let is_observed = object["metadata"]["generation"] == object["status"]["observedGeneration"];
            is_observed.then(|| look(&object["status"]))?
        })
        .await
    }

    /// Waits until all rows are stored and everything is as declared; returns the topic's id.
    pub(super) async fn stored(&mut self) -> String {
        self.until_status("all rows are stored", |status| {
            let is_stored = status["sink"]["committedRecords"].as_u64() == Some(2_000);
            let is_ready = conditions(status).any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            (is_stored && is_ready).then(|| status["kafka"]["topicId"].as_str().map(str::to_owned))?
        })
        .await
    }

    /// Waits until workers run over what is stored already; returns the topic's id.
    pub(super) async fn stored_again(&mut self) -> String {
        self.until_status("workers run again", |status| {
            let is_ready = conditions(status).any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let lag = status["kafka"]["lag"]["total"].as_u64();
            (is_ready && lag == Some(0)).then(|| status["kafka"]["topicId"].as_str().map(str::to_owned))?
        })
        .await
    }

    /// Waits until there is something to clean up at the end.
    pub(super) async fn until_finalizer(&self) {
        let pipelines = self.pipelines();
        until("there is a finalizer", async || {
            pipelines.get(&self.name).await.unwrap().metadata.finalizers.filter(|names| !names.is_empty())
        })
        .await;
    }

    /// Waits until Glue has no table of the pipeline any more.
    pub(super) async fn until_tables_are_gone(&self) {
        until("the tables are gone", async || self.left().await.tables.is_empty().then_some(())).await;
    }

    /// Waits until a condition has a status and reason, and returns its message.
    pub(super) async fn until_condition(&mut self, type_: &str, expected: &str) -> String {
        let pipelines = self.pipelines();
        let name = &self.name;
        until(&format!("{type_} is {expected}"), async || {
            let object = serde_json::to_value(pipelines.get_opt(name).await.unwrap()?).unwrap();
            let found = conditions(&object["status"]).find(|condition| condition["type"] == type_)?;
            let text = format!("{}/{}", found["status"].as_str()?, found["reason"].as_str()?);
            (text == expected).then(|| found["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Deletes the pipeline and waits until it and its workers are gone.
    pub(super) async fn delete(&mut self) {
        self.begin_deletion().await;
        self.until_gone().await;
    }

    pub(super) async fn begin_deletion(&self) {
        drop(self.pipelines().delete(&self.name, &DeleteParams::default()).await.unwrap());
    }

    pub(super) async fn until_gone(&mut self) {
        let pipelines = self.pipelines();
        let pods = self.namespace.api::<k8s_openapi::api::core::v1::Pod>();
        let (name, operator, node) = (&self.name, &mut self.operator, &mut self.node);
        until("the pipeline and its workers are gone", async || {
            operator.assert_runs();
            node.assert_works();
            let is_gone = pipelines.get_opt(name).await.unwrap().is_none();
            let left = pods.list(&kube::api::ListParams::default()).await.unwrap().items;
            (is_gone && left.is_empty()).then_some(())
        })
        .await;
    }

    /// Returns what the pipeline has left in S3, Glue and Athena.
    pub(super) async fn left(&self) -> Left {
        let database = self.database();
        let mut tables = BTreeMap::new();
        let found = moto::glue("GetTables", json!({ "DatabaseName": database })).await;
        for table in found["TableList"].as_array().into_iter().flatten() {
            let name = table["Name"].as_str().unwrap().to_owned();
            let partitions = moto::glue("GetPartitions", json!({ "DatabaseName": database, "TableName": name })).await;
            tables.insert(name, (table.clone(), partitions["Partitions"].clone()));
        }
        let queries = moto::queries(&self.name).await;
        let database = moto::glue("GetDatabase", json!({ "Name": database })).await["Database"].clone();
        let mut workgroup = moto::athena("GetWorkGroup", json!({ "WorkGroup": self.name })).await["WorkGroup"].clone();
        // This is the time at which it was asked.
        workgroup.as_object_mut().map(|members| members.remove("CreationTime"));
        Left { objects: self.objects().await, tables, database, queries, workgroup }
    }

    async fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let bucket = format!("{}/{}", moto::endpoint(), self.name);
        let listed = reqwest::get(format!("{bucket}?list-type=2")).await.unwrap().text().await.unwrap();
        assert!(listed.contains("<IsTruncated>false</IsTruncated>"), "{listed}");
        let mut objects = BTreeMap::new();
        for key in listed.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>").map(|(key, _)| key)) {
            let escaped = key.replace('%', "%25").replace('+', "%2B").replace("&amp;", "&");
            let request =
                reqwest::Client::new().get(format!("{bucket}/{escaped}")).header("authorization", moto::authorization("s3", "e2e"));
            let body = request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
            objects.insert(key.to_owned(), body.to_vec());
        }
        objects
    }

    /// Removes the namespace.
    pub(super) async fn end(self) {
        drop(self.operator);
        drop(self.node);
        self.namespace.remove().await;
    }
}

pub(super) fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status["conditions"].as_array().into_iter().flatten()
}
