//! One operator for all namespaces: what a namespace may not take from another, and the end of one.

use k8s_openapi::api::core::v1::Namespace as Object;
use kube::api::Api;
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::StockPipeline;

use super::stage::{NAME, Stage, condition};
use crate::cluster::Namespace;
use crate::program::until;

/// What is changed in a spec.
type Change<'a> = &'a dyn Fn(&mut Value);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn a_namespace_that_ends_takes_its_pipelines_along_and_their_policies_are_kept() {
    let stage = Stage::everywhere("ending").await;
    let operator = stage.lead(NAME).await;
    let other = Namespace::new(&stage.client, "ended").await;
    let database = other.name().replace('-', "_");
    let mut document: Value = serde_json::from_str(&stage.document("demo", |spec| {
        spec["deletionPolicy"] = json!({ "tables": "Delete" });
        spec["glue"]["database"]["name"] = json!(database);
    }))
    .unwrap();
    document["metadata"]["namespace"] = json!(other.name());
    stage.kubectl(&["apply", "-f", "-"], &document.to_string()).await;
    stage.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "-n", other.name(), "sp/demo"], "").await;
    assert!(stage.aws.world().glue.databases[&database].tables.contains_key("demo"));
    let (name, namespaces) = (other.name().to_owned(), Api::<Object>::all(stage.client.clone()));
    other.remove().await;
    // Nobody is there to end the pods that the simulation runs.
    until("the namespace is gone", async || {
        stage.try_kubectl(&["delete", "pods", "--all", "--force", "--grace-period=0", "-n", &name], "").await;
        namespaces.get_opt(&name).await.unwrap().is_none()
    })
    .await;
    assert!(!stage.aws.world().glue.databases[&database].tables.contains_key("demo"), "its policy was kept");
    drop(operator);
    stage.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn a_pipeline_that_claims_another_namespaces_tables_or_prefixes_is_refused_and_touches_neither() {
    let stage = Stage::everywhere("claims").await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |spec| spec["sink"]["processed"]["prefix"] = json!("shared")).await;
    let thief = Namespace::new(&stage.client, "thief").await;
    let before = stage.aws.writes();
    let own = stage.namespace.name().to_owned();
    let database = own.replace('-', "_");
    let steal = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut document: Value = serde_json::from_str(&stage.document(name, |spec| {
            spec["glue"]["database"]["name"] = json!(format!("of_{}", name.replace('-', "_")));
            change(spec);
        }))
        .unwrap();
        document["metadata"]["namespace"] = json!(thief.name());
        document.to_string()
    };
    let cases: [(&str, Change<'_>, &str); 3] = [
        (
            "table",
            &|spec| {
                spec["glue"]["database"]["name"] = json!(database);
                spec["glue"]["tables"]["processed"] = json!("demo");
            },
            "table",
        ),
        (
            "prefix",
            &|spec| {
                spec["sink"]["bucket"]["name"] = json!(format!("{own}-demo"));
                spec["sink"]["processed"]["prefix"] = json!("shared/below");
            },
            "prefix",
        ),
        ("topic", &|spec| spec["kafka"]["topic"]["name"] = json!(format!("demo.{own}")), "topic"),
    ];
    let pipelines = thief.api::<StockPipeline>();
    for (name, change, part) in cases {
        stage.kubectl(&["apply", "-f", "-"], &steal(name, change)).await;
        let mut message = String::new();
        until("it is refused", async || {
            let object = serde_json::to_value(pipelines.get(name).await.unwrap()).unwrap();
            let (found, said) = condition(&object, "Accepted");
            message = said;
            found == "False/ResourceConflict"
        })
        .await;
        assert!(message.contains(part) && message.contains(&format!("{own}/demo")), "{message}");
    }
    assert_eq!(stage.aws.writes(), before);
    stage.wait(&["demo".to_owned()]).await;
    drop(operator);
    thief.remove().await;
    stage.remove().await;
}
