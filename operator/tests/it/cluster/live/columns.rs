//! Columns and owners of tables: what is added reaches Glue and what is stored there before workers roll; what others take away comes back.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::stage::Live;
use crate::cluster::until;
use crate::moto;
use crate::proxy::Fate;

/// What `UpdateTable` takes of what `GetTable` gives.
const OF_AN_INPUT: [&str; 9] =
    ["Name", "Description", "Owner", "Retention", "StorageDescriptor", "PartitionKeys", "TableType", "Parameters", "ViewOriginalText"];

async fn table(live: &Live) -> Value {
    moto::glue("GetTable", json!({ "DatabaseName": live.database(), "Name": "p" })).await["Table"].clone()
}

/// Changes the table as somebody with a console does.
async fn by_hand(live: &Live, change: impl FnOnce(&mut Value)) {
    let mut input = table(live).await;
    input.as_object_mut().unwrap().retain(|name, _| OF_AN_INPUT.contains(&name.as_str()));
    change(&mut input);
    let answer = moto::glue("UpdateTable", json!({ "DatabaseName": live.database(), "TableInput": input })).await;
    assert!(answer.get("__type").is_none(), "{answer}");
}

fn columns(table: &Value) -> Vec<&str> {
    let columns = table["StorageDescriptor"]["Columns"].as_array().unwrap();
    columns.iter().map(|column| column["Name"].as_str().unwrap()).collect()
}

async fn partitions(live: &Live) -> Vec<Value> {
    let found = moto::glue("GetPartitions", json!({ "DatabaseName": live.database(), "TableName": "p" })).await;
    found["Partitions"].as_array().cloned().unwrap()
}

async fn template(live: &Live) -> Value {
    let deployment = live.namespace.api::<Deployment>().get(&format!("{}-sink", live.name)).await.unwrap();
    serde_json::to_value(deployment.spec.unwrap().template).unwrap()
}

fn with_a_column(spec: &mut Value) {
    spec["schema"]["columns"].as_array_mut().unwrap().push(json!({ "name": "vwap", "type": "Double" }));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KUBECONFIG, AWS_ENDPOINT_URL, KAFKA_BOOTSTRAP_SERVERS and helm"]
async fn an_added_column_reaches_the_table_and_its_partitions_before_workers_and_a_deleted_one_comes_back() {
    let mut live = Live::new("columns").await;
    live.apply(|_| {}).await;
    live.stored().await;
    by_hand(&live, |input| input["Parameters"]["lineage"] = json!("theirs")).await;
    let before = template(&live).await;
    assert!(!partitions(&live).await.is_empty());

    // Partitions cannot follow for now.
    live.catalogue.rule(|passing| match passing.operation.as_str() {
        "BatchUpdatePartition" => Fate::Refuse(400, "ThrottlingException"),
        _ => Fate::Pass,
    });
    live.apply(with_a_column).await;
    live.until_condition("CatalogSynced", "False/Throttled").await;
    let grown = table(&live).await;
    assert_eq!(columns(&grown).last(), Some(&"vwap"));
    assert_eq!(grown["Parameters"]["lineage"], "theirs");
    assert_eq!(template(&live).await, before, "no worker writes a column before every partition has it");
    live.catalogue.heal();
    until("workers roll", async || (template(&live).await != before).then_some(())).await;
    for partition in partitions(&live).await {
        assert_eq!(columns(&partition).last(), Some(&"vwap"), "{partition}");
    }
    live.stored_again().await;

    by_hand(&live, |input| {
        input["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
    })
    .await;
    let corrections = live
        .until_status("the column is back and counted", |status| status["glue"]["driftCorrections"].as_u64().filter(|count| *count > 0))
        .await;
    assert_eq!(corrections, 1);
    let mended = table(&live).await;
    assert_eq!((columns(&mended).last(), &mended["Parameters"]["lineage"]), (Some(&"vwap"), &json!("theirs")));

    by_hand(&live, |input| input["Parameters"]["stockpipeline.dev/owner"] = json!("somebody/else")).await;
    let theirs = table(&live).await;
    let message = live.until_condition("CatalogSynced", "False/AlreadyExists").await;
    for part in ["somebody/else", "spec.glue.adoptionPolicy", "spec.glue.tables.processed"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(table(&live).await, theirs, "what belongs to another is not touched");
    // No policy takes what carries another one's mark; who owns it takes the mark away.
    by_hand(&live, |input| drop(input["Parameters"].as_object_mut().unwrap().remove("stockpipeline.dev/owner"))).await;
    live.apply(|spec| {
        with_a_column(spec);
        spec["glue"]["adoptionPolicy"] = json!("Adopt");
    })
    .await;
    live.until_condition("CatalogSynced", "True/InSync").await;
    assert_eq!(table(&live).await["Parameters"]["stockpipeline.dev/owner"], json!(format!("{0}/{0}", live.name)));
    live.delete().await;
    live.end().await;
}
