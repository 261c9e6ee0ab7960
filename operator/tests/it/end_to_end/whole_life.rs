//! The whole life of a pipeline, which takes every right that the chart gives; once with a Role, once with a `ClusterRole`.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{NAME, Stage, condition};
use crate::audit_log::Request;
use crate::program::until;
use crate::simulation::LEFT_ALONE;

/// Labels of everything of one pipeline.
const LABELS: &str = "stockpipeline.dev/pipeline=demo";

/// Rights that an admission plugin asks about, and no request: without them nothing can be owned, or cleaned up after.
const ASKED_BY_ADMISSION: [&str; 2] = ["update stockpipeline.dev/stockpipelines/finalizers", "delete /configmaps"];

/// Makes every kind of child.
fn whole(spec: &mut Value) {
    spec["sink"]["worker"] = json!({ "replicas": 2 });
    spec["deletionPolicy"] = json!({ "topic": "Delete", "tables": "Delete" });
}

/// Returns the name of one object of a kind that belongs to the pipeline.
async fn any<K>(stage: &Stage) -> String
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = stage.namespace.api::<K>().list(&ListParams::default().labels(LABELS)).await.unwrap();
    found.items.first().unwrap_or_else(|| panic!("there is no {}", K::kind(&()))).name_any()
}

/// Returns whether there is no object of a kind that belongs to the pipeline.
async fn none<K>(stage: &Stage) -> bool
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    stage.namespace.api::<K>().list(&ListParams::default().labels(LABELS)).await.unwrap().items.is_empty()
}

/// Deletes an object of each kind, changes some, and waits until all is as it was.
async fn disturb(stage: &Stage) {
    async fn remove<K>(stage: &Stage)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + serde::Serialize,
    {
        let name = any::<K>(stage).await;
        let uid = stage.get::<K>(&name).await["metadata"]["uid"].clone();
        drop(stage.namespace.api::<K>().delete(&name, &DeleteParams::default()).await.unwrap());
        until(&format!("{} {name} is back", K::kind(&())), async || {
            let found = stage.get::<K>(&name).await;
            !found.is_null() && found["metadata"]["uid"] != uid
        })
        .await;
    }
    remove::<ConfigMap>(stage).await;
    remove::<ServiceAccount>(stage).await;
    remove::<NetworkPolicy>(stage).await;
    remove::<PodDisruptionBudget>(stage).await;
    remove::<Deployment>(stage).await;
    stage.patch::<Deployment>("demo-sink", &json!({ "spec": { "replicas": 7 } })).await;
    until("the number is back", async || stage.get::<Deployment>("demo-sink").await["spec"]["replicas"] == 2).await;
}

/// A pod that cannot mount a Secret makes the operator read the events about it.
async fn wait_for_a_secret(stage: &Stage) {
    let pods = stage.namespace.api::<Pod>();
    let name = pods.list(&ListParams::default().labels(LABELS)).await.unwrap().items[0].name_any();
    let made = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(5);
    let event: Event = serde_json::from_value(json!({
        "metadata": { "name": format!("{name}.mount") },
        "involvedObject": { "kind": "Pod", "name": name, "namespace": stage.namespace.name() },
        "type": "Warning", "reason": "FailedMount", "message": "MountVolume.SetUp failed for volume \"pipeline\" : secret \"kafka\" not found",
        "firstTimestamp": made, "lastTimestamp": jiff::Timestamp::now(), "source": { "component": "kubelet" },
    }))
    .unwrap();
    stage.namespace.api::<Event>().create(&PostParams::default(), &event).await.unwrap();
    let container =
        |state: Value| json!([{ "name": "sink", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state }]);
    let scheduled = |ready: &str| {
        json!([{ "type": "PodScheduled", "status": "True", "lastTransitionTime": made },
               { "type": "Ready", "status": ready, "lastTransitionTime": made }])
    };
    let waiting = json!({ "status": { "phase": "Pending", "conditions": scheduled("False"), "startTime": made,
        "containerStatuses": container(json!({ "waiting": { "reason": "ContainerCreating" } })) } });
    stage.patch::<Pod>(&name, &json!({ "metadata": { "annotations": { LEFT_ALONE: "true" } } })).await;
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&waiting)).await.unwrap();
    until("the events are read", async || {
        stage.requests(NAME).iter().any(|request| request.verb == "list" && request.resource == "/events")
    })
    .await;
    drop(pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap());
    stage.wait(&["demo".to_owned()]).await;
}

/// Plays the end of the clean-up: pods end, and the Job's pod, once in vain, does its work.
async fn clean_up(stage: &Stage) {
    stage.delete("demo").await;
    let jobs = stage.namespace.api::<Job>();
    let end = async |how: Value| {
        until("the job runs", async || {
            // The simulated kubelets end nothing that is deleted.
            let pods = stage.namespace.api::<Pod>();
            let leaving = pods.list(&ListParams::default().labels(LABELS)).await.unwrap().items;
            for pod in leaving.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
                drop(pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await);
            }
            stage.get::<Job>("demo-delete-topic").await["status"]["startTime"].is_string()
        })
        .await;
        let status = json!({ "status": how });
        jobs.patch_status("demo-delete-topic", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    };
    let now = jiff::Timestamp::now();
    let conditions = |types: [&str; 2], message: &str| -> Vec<Value> {
        types
            .iter()
            .map(|type_| json!({ "type": type_, "status": "True", "reason": "Played", "message": message, "lastTransitionTime": now }))
            .collect()
    };
    end(json!({ "active": 0, "ready": 0, "failed": 1, "conditions": conditions(["FailureTarget", "Failed"], "brokers are gone") })).await;
    let first = stage.get::<Job>("demo-delete-topic").await["metadata"]["uid"].clone();
    until("it is tried again", async || {
        let job = stage.get::<Job>("demo-delete-topic").await;
        !job.is_null() && job["metadata"]["uid"] != first
    })
    .await;
    let done = conditions(["SuccessCriteriaMet", "Complete"], "");
    end(json!({ "active": 0, "ready": 0, "succeeded": 1, "completionTime": jiff::Timestamp::now(), "conditions": done })).await;
    until("it is gone", async || stage.get::<StockPipeline>("demo").await.is_null()).await;
}

async fn live(stage: Stage) -> Vec<Request> {
    // The first one finds no lease, the second one is told by a watch that it may lead.
    let mut first = stage.lead(NAME).await;
    let second = stage.operate(NAME).await;
    until("the second watches", async || second.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    first.signal("TERM");
    assert_eq!(first.ended().await.code(), Some(0));
    until("the second leads", async || second.leads().await).await;

    stage.ready("demo", whole).await;
    disturb(&stage).await;
    for replicas in [1, 2, 1, 2, 1] {
        stage
            .apply_one("demo", |spec| {
                whole(spec);
                spec["sink"]["worker"] = json!({ "replicas": replicas });
            })
            .await;
        stage.wait(&["demo".to_owned()]).await;
        until("the spec is in force", async || {
            let object = stage.get::<StockPipeline>("demo").await;
            object["status"]["observedGeneration"] == object["metadata"]["generation"] && condition(&object, "Ready").0 == "True/Ready"
        })
        .await;
    }
    let revisions: Api<ControllerRevision> = stage.namespace.api();
    assert!(revisions.list(&ListParams::default()).await.unwrap().items.len() < 6, "old ones go");
    stage
        .apply_one("demo", |spec| {
            whole(spec);
            spec["source"] = json!({ "type": "ExternalTopic" });
            spec.as_object_mut().unwrap().remove("producer");
            spec["sink"]["worker"] = json!({ "replicas": 1, "serviceAccountName": "default" });
        })
        .await;
    until("the producer goes", async || stage.get::<Deployment>("demo-producer").await.is_null()).await;
    until("no account is left but the user's", async || none::<ServiceAccount>(&stage).await).await;
    wait_for_a_secret(&stage).await;
    // A process that starts anew asks for what was accepted.
    drop(second);
    stage.free_lease().await;
    let third = stage.operate_with(NAME, None, &["--no-network-policies"]).await;
    until("the third leads", async || third.leads().await).await;
    until("policies go where none are wanted", async || none::<NetworkPolicy>(&stage).await).await;
    // What no rule of the schema knows is left to the check; the last accepted spec stays in force, and is what is cleaned up after.
    stage.patch::<StockPipeline>("demo", &json!({ "spec": { "glue": { "tables": { "raw": "of_no_zone" } } } })).await;
    stage.until_condition("demo", "Accepted", "False/InvalidSpec").await;
    clean_up(&stage).await;
    until("it is told", async || {
        stage.requests(NAME).iter().any(|request| request.verb == "patch" && request.resource == "events.k8s.io/events")
    })
    .await;
    drop(third);
    let requests = stage.requests(NAME);
    stage.remove().await;
    requests
}

/// Returns what the chart's rules grant, as `verb group/resource`; but for what only an admission plugin asks about.
fn granted(rules: &[Value]) -> BTreeSet<String> {
    let words = |rule: &Value, name: &str| -> Vec<String> {
        rule[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                all.extend(words(rule, "verbs").iter().map(|verb| format!("{verb} {group}/{resource}")));
            }
        }
    }
    for asked_by_admission in ASKED_BY_ADMISSION {
        assert!(all.remove(asked_by_admission), "{asked_by_admission}");
    }
    all
}

/// Asserts that requests took every right that there is, and no other.
async fn check(stage: Stage, kinds: [&str; 2]) {
    let role = stage.roles().await;
    let rules: Vec<Value> = role
        .into_iter()
        .filter(|object| kinds.contains(&object["kind"].as_str().unwrap()) && is_the_operators(object))
        .flat_map(|object| rules_of(&object))
        .collect();
    let granted = granted(&rules);
    assert!(granted.len() > 30 && !granted.iter().any(|right| right.contains("secrets")), "{granted:?}");
    let requests = live(stage).await;
    let used: BTreeSet<String> = requests.iter().flat_map(Request::rights).collect();
    let unused: Vec<&String> = granted.difference(&used).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:?}");
}

fn is_the_operators(object: &Value) -> bool {
    [NAME.to_owned(), format!("{NAME}-leader")].iter().any(|name| object["metadata"]["name"] == **name)
}

fn rules_of(object: &Value) -> Vec<Value> {
    object["rules"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn every_right_of_the_role_is_used_in_a_pipelines_life() {
    check(Stage::new("life").await, ["Role", "Role"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server and its audit log"]
async fn every_right_of_the_cluster_role_is_used_in_a_pipelines_life() {
    check(Stage::everywhere("life").await, ["ClusterRole", "Role"]).await;
}
