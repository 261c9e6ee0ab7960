//! Specs: what is accepted is in force until something else is, and nobody's bad one is anybody else's trouble.

use axum::http::StatusCode;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{NAMESPACE, Stage};

fn template(stage: &Stage, role: &str) -> Value {
    stage.get("deployments", &format!("demo-{role}"))["spec"]["template"].clone()
}

#[tokio::test]
async fn an_invalid_spec_leaves_the_last_one_in_force_also_over_a_restart() {
    let mut stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let before = [template(&stage, "sink"), template(&stage, "producer")];
    stage
        .apply("demo", |spec| {
            spec["schema"]["eventTimeColumn"] = json!("nothing");
            spec["sink"]["worker"] = json!({ "replicas": 3 });
        })
        .await;
    let message = stage.until_condition("demo", "Accepted", "False/InvalidSpec").await;
    assert!(message.contains("spec.schema.eventTimeColumn"), "{message}");
    stage.until_condition("demo", "Stalled", "True/InvalidSpec").await;
    stage.until_condition("demo", "Ready", "False/InvalidSpec").await;
    assert_eq!(stage.condition("demo", "SinkAvailable").0, "True/MinimumReplicasAvailable");
    stage.restart().await;
    stage.remove("configmaps", "demo-pipeline").await;
    stage.until("the last one is kept up", |stage| !stage.get("configmaps", "demo-pipeline").is_null()).await;
    assert_eq!([template(&stage, "sink"), template(&stage, "producer")], before);
    assert_eq!(stage.get("deployments", "demo-sink")["spec"]["replicas"], 1);
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 3 })).await;
    stage.until("the repaired one is in force", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 3).await;
    stage.until_accepted("demo").await;
}

#[tokio::test]
async fn a_spec_that_cannot_be_written_down_is_not_in_force_and_says_so() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.server.set_fault(Some(Box::new(|method, path| {
        (method == "PATCH" && path.contains("/controllerrevisions/")).then_some(axum::http::StatusCode::FORBIDDEN)
    })));
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 3 })).await;
    let message = stage.until_condition("demo", "Accepted", "False/NotRecorded").await;
    assert!(message.contains("ControllerRevision"), "{message}");
    stage.until_condition("demo", "Ready", "False/NotRecorded").await;
    assert_eq!(stage.condition("demo", "SinkAvailable").0, "True/MinimumReplicasAvailable");
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new(), "it is not tried at every look");
    assert_eq!(stage.get("deployments", "demo-sink")["spec"]["replicas"], 1);
    stage.server.set_fault(None);
    // Whoever has set it right ends the wait by asking for a look.
    stage.annotate("demo", "reconcile-requested-at", json!("2026-01-01T00:00:00Z")).await;
    stage.until("it is in force", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 3).await;
    stage.until_accepted("demo").await;
}

#[tokio::test]
async fn what_never_was_accepted_makes_nothing() {
    let stage = Stage::new().await;
    stage.apply("demo", |spec| spec["schema"]["eventTimeColumn"] = json!("nothing")).await;
    stage.until_condition("demo", "Ready", "False/InvalidSpec").await;
    assert!(stage.server.list("deployments").is_empty() && stage.server.list("controllerrevisions").is_empty());
    assert_eq!(stage.get("stockpipelines", "demo")["status"]["phase"], "Invalid");
}

#[tokio::test]
async fn a_field_that_is_fixed_cannot_be_changed_by_removing_it_first() {
    let stage = Stage::new().await;
    stage.apply("demo", |spec| spec["kafka"]["topic"]["partitions"] = json!(6)).await;
    stage.ready("demo").await;
    stage.apply("demo", |spec| spec["kafka"]["topic"] = json!({ "name": "another", "partitions": 6 })).await;
    let message = stage.until_condition("demo", "Accepted", "False/UnsupportedChange").await;
    assert!(message.contains("spec.kafka.topic.name"), "{message}");
    stage.apply("demo", |spec| spec["kafka"]["topic"]["partitions"] = json!(3)).await;
    stage.until("fewer partitions are refused", |stage| stage.condition("demo", "Accepted").1.contains("partitions")).await;
    stage.apply("demo", |spec| spec["kafka"]["topic"]["partitions"] = json!(6)).await;
    stage.until_accepted("demo").await;
}

#[tokio::test]
async fn a_role_that_the_namespace_was_not_granted_is_refused() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/quotes";
    let taken: fn(&mut Value) = |spec| spec["aws"] = json!({ "region": "eu-west-1", "controlPlaneRoleArn": ROLE });
    let handed_on: fn(&mut Value) = |spec| {
        spec["aws"] = json!({ "region": "eu-west-1" });
        spec["glue"] = json!({ "database": { "name": "market" }, "tables": { "processed": "ticks" } });
        spec["glue"]["crawler"] = json!({ "enabled": true, "roleArn": ROLE });
    };
    for (field, change) in [("spec.aws.controlPlaneRoleArn", taken), ("spec.glue.crawler.roleArn", handed_on)] {
        let mut stage = Stage::idle().await;
        stage.apply("demo", change).await;
        stage.start().await;
        let message = stage.until_condition("demo", "Accepted", "False/RoleNotAllowed").await;
        assert!(message.contains(field) && message.contains(ROLE) && message.contains("grant it"), "{message}");
        assert!(stage.server.list("deployments").is_empty());
        stage.stop().await;
        stage.settings.grants.roles.insert(NAMESPACE.to_owned(), [ROLE.to_owned()].into());
        stage.start().await;
        stage.until_accepted("demo").await;
    }
}

#[tokio::test]
async fn what_runs_is_kept_up_when_its_role_is_no_longer_granted() {
    let mut stage = Stage::idle().await;
    let role = "arn:aws:iam::123456789012:role/quotes";
    stage.settings.grants.roles.insert(NAMESPACE.to_owned(), [role.to_owned()].into());
    stage.apply("demo", |spec| spec["aws"] = json!({ "region": "eu-west-1", "controlPlaneRoleArn": role })).await;
    stage.start().await;
    stage.until_accepted("demo").await;
    stage.ready("demo").await;
    // What runs is kept up when the grant is taken back.
    stage.stop().await;
    stage.settings.grants.roles.clear();
    stage.remove("configmaps", "demo-pipeline").await;
    stage.start().await;
    stage.until_condition("demo", "Accepted", "False/RoleNotAllowed").await;
    stage.until("what runs is kept up", |stage| !stage.get("configmaps", "demo-pipeline").is_null()).await;
    stage.until_condition("demo", "SinkAvailable", "True/MinimumReplicasAvailable").await;
    stage
        .apply("demo", |spec| {
            spec["aws"] = json!({ "region": "eu-west-1", "controlPlaneRoleArn": role });
            spec["sink"]["worker"] = json!({ "replicas": 3 });
        })
        .await;
    let generation = stage.get("stockpipelines", "demo")["metadata"]["generation"].clone();
    stage.until("it is judged", |stage| stage.get("stockpipelines", "demo")["status"]["observedGeneration"] == generation).await;
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!(stage.get("deployments", "demo-sink")["spec"]["replicas"], 1, "a new spec needs the grant");
}

#[tokio::test]
async fn a_field_that_is_fixed_binds_whoever_adds_it_again() {
    let mut stage = Stage::new().await;
    let raw = |prefix: &'static str| move |spec: &mut Value| spec["sink"]["raw"] = json!({ "prefix": prefix });
    stage.apply("demo", raw("raw")).await;
    stage.ready("demo").await;
    for replicas in 1..=2 {
        stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": replicas })).await;
        stage.until_accepted("demo").await;
    }
    stage.restart().await;
    stage.apply("demo", raw("another")).await;
    let message = stage.until_condition("demo", "Accepted", "False/UnsupportedChange").await;
    assert!(message.contains("spec.sink.raw.prefix") && message.contains("was raw"), "{message}");
    stage.apply("demo", raw("raw")).await;
    stage.until_accepted("demo").await;
}

#[tokio::test]
async fn what_keeps_a_spec_from_being_judged_stands_in_the_status() {
    let stage = Stage::idle().await;
    let mut stage = stage;
    stage.apply("demo", |spec| spec["deletionPolicy"] = json!({ "topic": "Delete" })).await;
    stage.server.set_fault(Some(Box::new(|method, path| {
        (method == "PATCH" && path.ends_with("/stockpipelines/demo")).then_some(StatusCode::INTERNAL_SERVER_ERROR)
    })));
    stage.start().await;
    let message = stage.until_condition("demo", "Accepted", "Unknown/Undecided").await;
    assert!(message.contains("failed to set the finalizers of StockPipeline demo"), "{message}");
    assert_eq!(stage.condition("demo", "Ready").0, "Unknown/Undecided");
    stage.server.set_fault(None);
    stage.until_accepted("demo").await;
    stage.ready("demo").await;
}

#[tokio::test]
async fn few_accepted_specs_are_kept() {
    let stage = Stage::new().await;
    for replicas in 1..=6 {
        stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": replicas })).await;
        stage.until("it is in force", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == replicas).await;
    }
    stage.until("few are left", |stage| stage.server.list("controllerrevisions").len() <= 4).await;
    let newest = stage.server.list("controllerrevisions").iter().filter_map(|object| object["revision"].as_i64()).max();
    assert_eq!(newest, stage.get("stockpipelines", "demo")["metadata"]["generation"].as_i64());
}

#[tokio::test]
async fn the_older_keeps_what_both_claim_until_it_goes() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    stage.apply("second", |_| {}).await;
    let message = stage.until_condition("second", "Accepted", "False/ResourceConflict").await;
    assert!(message.contains("topic ticks") && message.contains("market-data/demo"), "{message}");
    assert!(stage.get("deployments", "second-sink").is_null());
    stage.until_accepted("demo").await;
    stage.delete("demo").await;
    stage.until_accepted("second").await;
    stage.until("it runs", |stage| !stage.get("deployments", "second-sink").is_null()).await;
}

#[tokio::test]
async fn who_turns_to_what_another_has_is_refused_however_old_it_is() {
    let stage = Stage::new().await;
    let apart = |spec: &mut Value| {
        spec["kafka"] = json!({ "bootstrapServers": ["kafka:9092"], "topic": { "name": "apart" } });
        spec["sink"]["bucket"]["name"] = json!("apart");
    };
    stage.apply("older", apart).await;
    stage.until_accepted("older").await;
    stage.apply("demo", |spec| spec["sink"]["processed"]["prefix"] = json!("processed/demo")).await;
    stage.until_accepted("demo").await;
    stage
        .apply("older", |spec| {
            apart(spec);
            // The raw zone is new, so its prefix may be chosen; the bucket is another field.
            spec["sink"]["raw"] = json!({ "prefix": "raw" });
        })
        .await;
    stage.until_accepted("older").await;
    stage
        .apply("third", |spec| {
            apart(spec);
            spec["kafka"]["topic"]["name"] = json!("third");
            spec["sink"]["processed"]["prefix"] = json!("raw/below");
        })
        .await;
    let message = stage.until_condition("third", "Accepted", "False/ResourceConflict").await;
    assert!(message.contains("prefix raw/below of bucket apart"), "{message}");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_so_and_is_nobody_elses_trouble() {
    let mut stage = Stage::idle().await;
    stage.apply("poisoned", |_| {}).await;
    let api: Api<StockPipeline> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let poison = json!({ "status": { "conditions": "none", "observedGeneration": {} } });
    drop(api.patch_status("poisoned", &PatchParams::default(), &Patch::Merge(&poison)).await);
    assert_eq!(stage.get("stockpipelines", "poisoned")["status"]["conditions"], "none");
    stage.start().await;
    stage
        .apply("demo", |spec| {
            spec["kafka"]["topic"]["name"] = json!("other");
            spec["sink"]["bucket"]["name"] = json!("other");
        })
        .await;
    stage.ready("demo").await;
    // Writing its status is what heals it.
    stage.until("it runs as well", |stage| !stage.get("deployments", "poisoned-sink").is_null()).await;
}

#[tokio::test]
async fn a_spec_that_changes_a_hundred_times_ends_at_the_last() {
    let stage = Stage::new().await;
    for round in 1..=100 {
        stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": round % 7 + 1 })).await;
    }
    stage.until("the last one is in force", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 100 % 7 + 1).await;
    stage.ready("demo").await;
    assert_eq!(stage.get("deployments", "demo-sink")["spec"]["replicas"], 100 % 7 + 1);
}

#[tokio::test]
async fn a_pipeline_that_is_made_again_under_its_name_starts_anew() {
    let stage = Stage::new().await;
    stage.apply("demo", |_| {}).await;
    stage.ready("demo").await;
    let before = stage.get("stockpipelines", "demo")["metadata"]["uid"].clone();
    stage.delete("demo").await;
    // Another topic: what the first one had fixed binds nobody any more.
    stage.apply("demo", |spec| spec["kafka"]["topic"]["name"] = json!("another")).await;
    stage.ready("demo").await;
    let owner = &stage.get("deployments", "demo-sink")["metadata"]["ownerReferences"][0]["uid"];
    assert!(*owner != before && *owner == stage.get("stockpipelines", "demo")["metadata"]["uid"]);
}

/// Returns the hash by which an accepted spec is known.
fn spec_hash(spec: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let members: std::collections::BTreeMap<&String, Value> =
                    members.iter().map(|(name, value)| (name, sorted(value))).collect();
                json!(members)
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    let digits: Vec<String> = Sha256::digest(sorted(spec).to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Returns the newest accepted spec.
fn newest(stage: &Stage) -> Value {
    stage.server.list("controllerrevisions").into_iter().max_by_key(|object| object["revision"].as_i64()).unwrap()
}

/// Makes the newest accepted spec one that the check refuses: as if an operator of before, whose check let that pass, had accepted it.
async fn accepted_by_another_version(stage: &Stage, change: impl FnOnce(&mut Value)) {
    stage.apply("demo", change).await;
    let spec = stage.get("stockpipelines", "demo")["spec"].clone();
    let annotations = json!({ "stockpipeline.dev/spec-hash": spec_hash(&spec) });
    let patch = json!({ "metadata": { "annotations": annotations }, "data": { "spec": { "sink": { "worker": spec["sink"]["worker"] } } } });
    stage.edit("controllerrevisions", newest(stage)["metadata"]["name"].as_str().unwrap(), &patch).await;
}

fn refused(spec: &mut Value) {
    spec["sink"]["worker"] = json!({ "replicas": 3, "env": [{ "name": "AWS_PROFILE", "value": "quotes" }] });
}

/// Starts a stricter operator where the second accepted spec, and not the first, is one that it refuses.
async fn under_a_stricter_operator() -> Stage {
    let mut stage = Stage::new().await;
    for replicas in [2, 3] {
        stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": replicas })).await;
        stage.until_accepted("demo").await;
    }
    stage.ready("demo").await;
    stage.stop().await;
    accepted_by_another_version(&stage, refused).await;
    stage.start().await;
    stage
}

#[tokio::test]
async fn an_accepted_spec_that_a_stricter_operator_refuses_leaves_what_runs_as_it_is() {
    let stage = under_a_stricter_operator().await;
    let before = [template(&stage, "sink"), template(&stage, "producer")];
    let message = stage.until_condition("demo", "Accepted", "False/InvalidSpec").await;
    assert!(message.contains("AWS_PROFILE") && message.contains("left as it is"), "{message}");
    assert_eq!(stage.written_at_rest().await, Vec::<String>::new());
    assert_eq!(stage.get("deployments", "demo-sink")["spec"]["replicas"], 3, "it is not the spec before that is in force");
    assert_eq!([template(&stage, "sink"), template(&stage, "producer")], before);
    let told = stage.condition("demo", "SinkAvailable");
    assert!(told.0 == "True/MinimumReplicasAvailable" && told.1.contains("3 of 3 workers run on"), "{told:?}");
    // What it has claimed is still its own.
    stage.apply("second", |_| {}).await;
    stage.until_condition("second", "Accepted", "False/ResourceConflict").await;
}

#[tokio::test]
async fn what_an_accepted_spec_has_fixed_binds_also_where_it_no_longer_passes() {
    let stage = under_a_stricter_operator().await;
    stage.until_condition("demo", "Accepted", "False/InvalidSpec").await;
    stage.apply("demo", |spec| spec["kafka"]["topic"]["name"] = json!("another")).await;
    let message = stage.until_condition("demo", "Accepted", "False/UnsupportedChange").await;
    assert!(message.contains("spec.kafka.topic.name"), "{message}");
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 4 })).await;
    stage.until("the repaired one is in force", |stage| stage.get("deployments", "demo-sink")["spec"]["replicas"] == 4).await;
    stage.until_accepted("demo").await;
}

#[tokio::test]
async fn a_spec_that_cannot_be_compared_with_the_last_one_is_refused_with_the_way_out() {
    let mut stage = under_a_stricter_operator().await;
    stage.stop().await;
    let name = newest(&stage)["metadata"]["name"].as_str().unwrap().to_owned();
    stage.edit("controllerrevisions", &name, &json!({ "data": { "bounds": null } })).await;
    stage.start().await;
    stage.apply("demo", |spec| spec["sink"]["worker"] = json!({ "replicas": 4 })).await;
    let message = stage.until_condition("demo", "Accepted", "False/UnsupportedChange").await;
    assert!(message.contains(&format!("ControllerRevision {name}")) && message.contains("delete that one"), "{message}");
    stage.remove("controllerrevisions", &name).await;
    stage.until_accepted("demo").await;
}
