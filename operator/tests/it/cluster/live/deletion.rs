//! What a deleted pipeline leaves, by its deletion policy, and that it goes also where AWS or the brokers are gone.

use serde_json::{Value, json};

use super::stage::{Left, Live};
use crate::proxy::Fate;

/// Runs nothing, so that only the policy matters.
fn stopped(policy: Value) -> impl FnOnce(&mut Value) {
    move |spec| {
        spec["lifecycle"] = json!({ "desiredState": "Stopped" });
        spec["deletionPolicy"] = policy;
    }
}

fn running(policy: Value) -> impl FnOnce(&mut Value) {
    move |spec| spec["deletionPolicy"] = policy
}

/// Makes the stopped pipeline again with a policy, deletes it, and returns what there was before and after.
async fn deleted(live: &mut Live, policy: Value) -> (Left, Left) {
    live.apply(stopped(policy)).await;
    live.until_condition("CatalogSynced", "True/InSync").await;
    live.until_condition("Accepted", "True/Valid").await;
    let before = live.left().await;
    live.delete().await;
    (before, live.left().await)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KUBECONFIG, AWS_ENDPOINT_URL, KAFKA_BOOTSTRAP_SERVERS and helm"]
async fn what_a_policy_retains_is_left_byte_for_byte_and_what_it_deletes_is_gone() {
    let mut live = Live::new("policies").await;
    live.apply(running(json!({}))).await;
    let topic = live.stored().await;
    let first = live.left().await;
    assert!(first.objects.len() > 4 && first.tables.len() == 3 && first.queries.len() == 1, "{first:?}");
    assert!(!first.tables["p"].1.as_array().unwrap().is_empty(), "the sinks have registered partitions");
    live.delete().await;
    let kept = live.left().await;
    let zones = |left: &Left| {
        let of_zones = |key: &String| !key.starts_with("_stockpipeline/");
        left.objects.iter().filter(|(key, _)| of_zones(key)).map(|(key, body)| (key.clone(), body.clone())).collect::<Vec<_>>()
    };
    assert_eq!(zones(&kept), zones(&first), "data of a pipeline without a policy");
    assert_eq!((&kept.tables, &kept.database), (&first.tables, &first.database));
    assert_eq!((&kept.queries, &kept.workgroup), (&first.queries, &first.workgroup));

    let (before, after) = deleted(&mut live, json!({ "tables": "Delete" })).await;
    assert!(before.tables.len() == 3 && after.tables.is_empty(), "{:?}", after.tables);
    assert_eq!((before.objects, before.database, before.queries), (after.objects, after.database, after.queries));

    let (before, after) = deleted(&mut live, json!({ "tables": "Delete", "database": "Delete" })).await;
    assert!(before.database.is_object() && after.database.is_null(), "{:?}", after.database);
    assert_eq!((before.objects, before.queries), (after.objects, after.queries));

    let (before, after) = deleted(&mut live, json!({ "namedQueries": "Delete" })).await;
    assert!(before.queries.len() == 1 && after.queries.is_empty(), "{:?}", after.queries);
    assert!(before.workgroup.is_object() && after.workgroup.is_null(), "{:?}", after.workgroup);
    assert_eq!((before.objects, before.tables, before.database), (after.objects, after.tables, after.database));

    live.apply(running(json!({ "topic": "Delete" }))).await;
    assert_eq!(live.stored_again().await, topic, "the topic was retained through all of this");
    live.delete().await;
    let after = live.left().await;
    assert_eq!(zones(&after), zones(&first), "the data stays where the topic goes, and nothing is stored twice");

    live.apply(running(json!({ "data": "Delete" }))).await;
    assert_ne!(live.stored().await, topic, "the topic was deleted, so this is another");
    live.delete().await;
    let retained = live.left().await;
    assert!(zones(&retained).len() > zones(&first).len(), "without the annotation data is retained");
    live.apply(stopped(json!({ "data": "Delete" }))).await;
    live.annotate("allow-data-deletion", "true").await;
    live.until_condition("Accepted", "True/Valid").await;
    live.until_finalizer().await;
    live.delete().await;
    let after = live.left().await;
    assert!(after.objects.is_empty(), "{:?}", after.objects.keys());
    assert_eq!(after.tables.keys().collect::<Vec<_>>(), ["d", "p", "r"], "tables are another policy");
    live.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KUBECONFIG, AWS_ENDPOINT_URL, KAFKA_BOOTSTRAP_SERVERS and helm"]
async fn where_aws_and_the_brokers_are_gone_a_deleted_pipeline_says_so_and_goes_when_told_to() {
    let mut live = Live::new("gone").await;
    live.apply(|spec| {
        stopped(json!({ "tables": "Delete", "topic": "Delete" }))(spec);
        // Nobody listens there.
        spec["kafka"]["bootstrapServers"] = json!(["127.0.0.1:1"]);
    })
    .await;
    live.until_condition("CatalogSynced", "True/InSync").await;
    live.until_finalizer().await;
    live.catalogue.rule(|_| Fate::Refuse(503, "ServiceUnavailableException"));
    live.begin_deletion().await;
    let message = live.until_condition("Stalled", "True/CleanupBlocked").await;
    assert!(message.contains("skip-cleanup"), "{message}");
    // AWS is back, and only the brokers are in the way.
    live.catalogue.heal();
    live.until_tables_are_gone().await;
    let message = live.until_condition("Stalled", "True/CleanupBlocked").await;
    assert!(message.contains("delete-topic"), "{message}");
    live.annotate("skip-cleanup", "true").await;
    live.until_gone().await;
    live.end().await;
}
