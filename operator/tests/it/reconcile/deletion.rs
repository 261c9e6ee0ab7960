//! Deletion: nothing is held up that has nothing to clean up, and what is to be cleaned up is, or says why not.

use std::time::Duration;

use axum::http::StatusCode;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::stage::{NAMESPACE, Stage};

fn is_gone(stage: &Stage) -> bool {
    stage.get("stockpipelines", "demo").is_null()
}

async fn deleting(policy: Value) -> Stage {
    let stage = Stage::new().await;
    stage.apply("demo", |spec| spec["deletionPolicy"] = policy).await;
    stage.ready("demo").await;
    stage
}

/// Lets the workers of a deleted pipeline end.
async fn end_workers(stage: &Stage) {
    stage.until("Deployments go", |stage| stage.get("deployments", "demo-sink").is_null()).await;
    for pod in ["demo-sink-1", "demo-producer-1"] {
        stage.remove("pods", pod).await;
    }
}

async fn end_job(stage: &Stage, name: &str, how: &str) {
    stage.until("the job is there", |stage| !stage.get("jobs", name).is_null()).await;
    let api: Api<Job> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let status = json!({ "status": { "conditions": [{ "type": how, "status": "True", "message": "brokers are gone" }] } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

#[tokio::test]
async fn without_a_policy_nothing_is_held_up() {
    let stage = deleting(json!({})).await;
    stage.delete("demo").await;
    assert!(is_gone(&stage));
    assert!(stage.server.list("jobs").is_empty());
}

#[tokio::test]
async fn a_topic_is_deleted_by_a_job_once_no_worker_is_left() {
    let stage = deleting(json!({ "topic": "Delete" })).await;
    assert_eq!(stage.get("stockpipelines", "demo")["metadata"]["finalizers"], json!(["stockpipeline.dev/cleanup"]));
    stage.delete("demo").await;
    stage.until("workers are stopped", |stage| stage.get("deployments", "demo-producer").is_null()).await;
    stage.until_condition("demo", "Ready", "False/Deleting").await;
    stage.until("it is told", |stage| stage.get("stockpipelines", "demo")["status"]["phase"] == "Deleting").await;
    assert!(stage.get("jobs", "demo-delete-topic").is_null(), "pods still run");
    end_workers(&stage).await;
    stage.until("the job is there", |stage| !stage.get("jobs", "demo-delete-topic").is_null()).await;
    let job = stage.get("jobs", "demo-delete-topic");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"], json!(["topic", "/etc/stockpipeline/pipeline.yaml", "--delete"]));
    assert_eq!(pod["volumes"][0]["projected"]["sources"][0]["configMap"]["name"], "demo-pipeline");
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(job["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], false);
    assert!(!stage.get("configmaps", "demo-pipeline").is_null() && !is_gone(&stage));
    end_job(&stage, "demo-delete-topic", "Complete").await;
    stage.until("it is gone", is_gone).await;
    assert!(stage.get("jobs", "demo-delete-data").is_null(), "data is retained");
}

#[tokio::test]
async fn data_is_deleted_only_with_the_annotation_too() {
    let stage = deleting(json!({ "data": "Delete" })).await;
    assert!(stage.get("stockpipelines", "demo")["metadata"]["finalizers"].is_null());
    stage.annotate("demo", "allow-data-deletion", json!("true")).await;
    stage.until("there is a finalizer", |stage| stage.get("stockpipelines", "demo")["metadata"]["finalizers"].is_array()).await;
    stage.delete("demo").await;
    end_workers(&stage).await;
    end_job(&stage, "demo-delete-data", "Complete").await;
    stage.until("it is gone", is_gone).await;
}

#[tokio::test]
async fn a_policy_that_is_taken_back_takes_the_finalizer_with_it() {
    let stage = deleting(json!({ "topic": "Delete" })).await;
    stage.apply("demo", |_| {}).await;
    stage
        .until("the finalizer goes", |stage| {
            stage.get("stockpipelines", "demo")["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        })
        .await;
}

#[tokio::test]
async fn what_cannot_be_cleaned_up_says_so_and_goes_when_it_is_told_to() {
    let mut stage = Stage::idle().await;
    stage.settings.timing.cleanup_deadline = Duration::from_secs(1);
    stage.start().await;
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "topic": "Delete" })).await;
    stage.ready("demo").await;
    stage.delete("demo").await;
    end_workers(&stage).await;
    end_job(&stage, "demo-delete-topic", "Failed").await;
    stage.until_condition("demo", "Stalled", "True/CleanupBlocked").await;
    stage
        .until("it says why", |stage| {
            let message = stage.condition("demo", "Stalled").1;
            message.contains("brokers are gone") && message.contains("skip-cleanup")
        })
        .await;
    stage.annotate("demo", "skip-cleanup", json!("true")).await;
    stage.until("it is gone", is_gone).await;
}

#[tokio::test]
async fn a_clean_up_that_has_failed_is_tried_again() {
    let stage = deleting(json!({ "topic": "Delete" })).await;
    stage.delete("demo").await;
    end_workers(&stage).await;
    end_job(&stage, "demo-delete-topic", "Failed").await;
    let first = stage.get("jobs", "demo-delete-topic")["metadata"]["uid"].clone();
    stage
        .until("there is another job", |stage| {
            let job = stage.get("jobs", "demo-delete-topic");
            !job.is_null() && job["metadata"]["uid"] != first
        })
        .await;
    end_job(&stage, "demo-delete-topic", "Complete").await;
    stage.until("it is gone", is_gone).await;
}

fn revision(stage: &Stage) -> Value {
    stage.server.list("controllerrevisions").first().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_pipeline_whose_accepted_specs_cannot_be_read_is_never_said_to_be_cleaned_up() {
    let mut stage = Stage::idle().await;
    stage.settings.timing.cleanup_deadline = Duration::from_secs(1);
    stage.start().await;
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "topic": "Delete" })).await;
    stage.ready("demo").await;
    let name = revision(&stage)["metadata"]["name"].as_str().unwrap().to_owned();
    stage.edit("controllerrevisions", &name, &json!({ "data": { "spec": { "schema": null } } })).await;
    stage
        .apply("demo", |spec| {
            spec["deletionPolicy"] = json!({ "topic": "Delete" });
            spec["schema"]["eventTimeColumn"] = json!("nothing");
        })
        .await;
    stage.until_condition("demo", "Accepted", "False/InvalidSpec").await;
    let runs_on = stage.condition("demo", "SinkAvailable").1;
    assert!(runs_on.contains("run on as they are"), "{runs_on}");
    stage.delete("demo").await;
    let message = stage.until_condition("demo", "Stalled", "True/CleanupBlocked").await;
    assert!(message.contains("no accepted spec") && message.contains("skip-cleanup"), "{message}");
    assert!(stage.get("jobs", "demo-delete-topic").is_null() && !is_gone(&stage));
    stage.annotate("demo", "skip-cleanup", json!("true")).await;
    stage.until("it is gone", is_gone).await;
}

#[tokio::test]
async fn what_was_accepted_of_a_pipeline_that_was_deleted_without_its_children_is_taken_over() {
    let mut stage = Stage::new().await;
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "topic": "Delete" })).await;
    stage.ready("demo").await;
    stage.stop().await;
    let name = revision(&stage)["metadata"]["name"].as_str().unwrap().to_owned();
    stage.edit("controllerrevisions", &name, &json!({ "metadata": { "ownerReferences": [] } })).await;
    stage.start().await;
    let uid = stage.get("stockpipelines", "demo")["metadata"]["uid"].clone();
    stage.until("it is ours again", |stage| revision(stage)["metadata"]["ownerReferences"][0]["uid"] == uid).await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    stage.apply("demo", |spec| spec["kafka"]["topic"]["name"] = json!("another")).await;
    stage.until_condition("demo", "Accepted", "False/UnsupportedChange").await;
}

#[tokio::test]
async fn what_was_never_made_is_gone_at_once() {
    let mut stage = Stage::idle().await;
    stage.apply("demo", |spec| spec["schema"]["eventTimeColumn"] = json!("nothing")).await;
    let finalizer = json!({ "metadata": { "finalizers": ["stockpipeline.dev/cleanup"] } });
    stage.edit("stockpipelines", "demo", &finalizer).await;
    stage.start().await;
    stage.until_condition("demo", "Ready", "False/InvalidSpec").await;
    stage.delete("demo").await;
    stage.until("it is gone", is_gone).await;
}

/// Removes every revision, as a namespace that ends does before it comes to the pipelines.
async fn remove_revisions(stage: &Stage) {
    for object in stage.server.list("controllerrevisions") {
        stage.remove("controllerrevisions", object["metadata"]["name"].as_str().unwrap()).await;
    }
}

fn tables(stage: &Stage) -> Vec<String> {
    stage.aws.as_ref().unwrap().world().glue.names("market")
}

fn notes(stage: &Stage) -> Vec<String> {
    let told = stage.server.list("events").into_iter().filter(|event| event["reason"] == "CleanedUp");
    told.map(|event| event["note"].as_str().unwrap().to_owned()).collect()
}

/// Starts a pipeline with a catalogue and a policy that is made ready.
async fn catalogued(policy: Value) -> Stage {
    let mut stage = Stage::idle_with_aws().await;
    stage.settings.timing.cleanup_deadline = Duration::from_secs(1);
    stage.start().await;
    let catalogued = stage.catalogued();
    stage
        .apply("demo", |spec| {
            catalogued(spec);
            spec["deletionPolicy"] = policy;
        })
        .await;
    stage.ready("demo").await;
    assert_eq!(tables(&stage), ["ticks", "ticks_dlq"]);
    stage
}

#[tokio::test]
async fn a_namespace_that_takes_the_accepted_specs_first_is_cleaned_up_after_all_the_same() {
    let stage = catalogued(json!({ "tables": "Delete" })).await;
    stage.server.set_fault(Some(Box::new(|method, path| {
        (method == "PATCH" && path.contains("/controllerrevisions/")).then_some(StatusCode::FORBIDDEN)
    })));
    remove_revisions(&stage).await;
    stage.until_condition("demo", "Accepted", "False/NotRecorded").await;
    stage.delete("demo").await;
    end_workers(&stage).await;
    stage.until("it is gone", is_gone).await;
    assert_eq!(tables(&stage), Vec::<String>::new());
}

#[tokio::test]
async fn where_a_refused_spec_is_all_that_is_left_nothing_is_removed_and_that_is_told_also_after_a_restart() {
    let mut stage = catalogued(json!({ "tables": "Delete" })).await;
    let another = stage.catalogued();
    stage
        .apply("demo", |spec| {
            another(spec);
            // Another topic, which is not this pipeline's to delete.
            spec["kafka"]["topic"]["name"] = json!("another");
            spec["deletionPolicy"] = json!({ "tables": "Delete", "topic": "Delete" });
        })
        .await;
    stage.until_condition("demo", "Accepted", "False/UnsupportedChange").await;
    stage.server.set_fault(Some(Box::new(|method, path| {
        (method == "PATCH" && path.contains("/controllerrevisions/")).then_some(StatusCode::FORBIDDEN)
    })));
    stage.delete("demo").await;
    remove_revisions(&stage).await;
    stage.restart().await;
    let message = stage.until_condition("demo", "Stalled", "True/CleanupBlocked").await;
    assert!(message.contains("no accepted spec") && message.contains("skip-cleanup"), "{message}");
    // Its own status is not taken for a spec in force.
    stage.restart().await;
    let before = stage.looks();
    stage.annotate("demo", "reconcile-requested-at", json!("now")).await;
    stage.until("it was looked at", |stage| stage.looks() > before).await;
    assert_eq!(
        (tables(&stage), stage.condition("demo", "Accepted").0.as_str()),
        (vec!["ticks".to_owned(), "ticks_dlq".to_owned()], "False/UnsupportedChange")
    );
    assert!(stage.get("jobs", "demo-delete-topic").is_null() && !is_gone(&stage));
    stage.annotate("demo", "skip-cleanup", json!("true")).await;
    stage.until("it is gone", is_gone).await;
}

#[tokio::test]
async fn a_job_that_cannot_be_made_keeps_no_table_from_being_removed() {
    let stage = catalogued(json!({ "topic": "Delete", "tables": "Delete" })).await;
    stage.server.set_fault(Some(Box::new(|method, path| (method == "PATCH" && path.contains("/jobs/")).then_some(StatusCode::FORBIDDEN))));
    stage.delete("demo").await;
    end_workers(&stage).await;
    stage.until("the table is gone", |stage| tables(stage).is_empty()).await;
    let message = stage.until_condition("demo", "Stalled", "True/CleanupBlocked").await;
    assert!(message.contains("Job demo-delete-topic") && !is_gone(&stage), "{message}");
    stage.server.set_fault(None);
    stage.annotate("demo", "skip-cleanup", json!("true")).await;
    stage.until("it is gone", is_gone).await;
}

#[tokio::test]
async fn what_a_clean_up_leaves_is_told_with_its_reason() {
    let stage = catalogued(json!({ "tables": "Delete", "database": "Delete" })).await;
    stage.aws.as_ref().unwrap().world().glue.databases.get_mut("market").unwrap().tables.entry("theirs".to_owned()).or_default();
    stage.delete("demo").await;
    end_workers(&stage).await;
    stage.until("it is gone", is_gone).await;
    assert_eq!(tables(&stage), ["theirs"]);
    stage.until("it is told", |stage| !notes(stage).is_empty()).await;
    assert_eq!(notes(&stage), ["what the deletion policy names is removed, but for this: database market holds other tables"]);
}

#[tokio::test]
async fn what_the_job_of_the_data_leaves_is_told_and_nothing_is_said_before_it_has_told_it() {
    let stage = deleting(json!({})).await;
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "data": "Delete" })).await;
    stage.annotate("demo", "allow-data-deletion", json!("true")).await;
    stage.until("there is a finalizer", |stage| stage.get("stockpipelines", "demo")["metadata"]["finalizers"].is_array()).await;
    let labels = stage.get("deployments", "demo-sink")["spec"]["template"]["metadata"]["labels"].clone();
    stage.delete("demo").await;
    end_workers(&stage).await;
    stage.until("the job is there", |stage| !stage.get("jobs", "demo-delete-data").is_null()).await;
    let owner = json!({ "apiVersion": "batch/v1", "kind": "Job", "name": "demo-delete-data", "uid": "1", "controller": true });
    let mut metadata = json!({ "name": "demo-delete-data-1", "labels": labels, "ownerReferences": [owner] });
    metadata["labels"]["app.kubernetes.io/component"] = json!("clean-up");
    stage.make("pods", &json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata })).await;
    stage.edit_pod_status("demo-delete-data-1", &json!({ "phase": "Running" })).await;
    let before = stage.looks();
    end_job(&stage, "demo-delete-data", "Complete").await;
    stage.until("it was looked at", |stage| stage.looks() > before + 1).await;
    assert!(!is_gone(&stage) && notes(&stage).is_empty(), "{:?}", notes(&stage));
    let ended = json!({ "exitCode": 0, "message": "1 epochs are left: a: it belongs to topic \"others\"" });
    let container = json!({
        "name": "data", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": { "terminated": ended },
    });
    stage.edit_pod_status("demo-delete-data-1", &json!({ "phase": "Succeeded", "containerStatuses": [container] })).await;
    stage.until("it is gone", is_gone).await;
    stage.until("it is told", |stage| !notes(stage).is_empty()).await;
    assert_eq!(
        notes(&stage),
        ["what the deletion policy names is removed, but for this: 1 epochs are left: a: it belongs to topic \"others\""]
    );
}
