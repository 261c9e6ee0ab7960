//! A partition index that a spec gets later, as the program brings it about over moto.

use serde_json::{Value, json};

use super::stage::{NAME, Stage};
use crate::moto;
use crate::program::until;

/// Returns the table's indexes and how far each is.
async fn indexes(stage: &Stage) -> Vec<(Value, Value)> {
    let table = json!({ "DatabaseName": stage.namespace.name().replace('-', "_"), "TableName": "demo" });
    let found = moto::glue("GetPartitionIndexes", table).await;
    let list = found["PartitionIndexDescriptorList"].as_array().cloned().unwrap_or_default();
    list.into_iter().map(|index| (index["IndexName"].clone(), index["IndexStatus"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server, and moto: AWS_ENDPOINT_URL"]
async fn an_index_that_the_spec_gets_later_is_planned_made_kept_and_costs_no_write_at_rest() {
    let mut stage = Stage::new("indexes").await;
    let aws = stage.before_moto().await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    assert_eq!((indexes(&stage).await, aws.calls("GetPartitionIndexes")), (Vec::new(), 0));
    let with_index = |spec: &mut Value| spec["glue"]["partitions"] = json!({ "indexes": [["dt"]] });
    let (code, text) = stage.plan(stage.document("demo", with_index)).await;
    assert_eq!((code, text.contains("+ partition index dt of table")), (2, true), "{text}");
    assert!(indexes(&stage).await.is_empty(), "a plan makes nothing");

    stage.apply_one("demo", with_index).await;
    let active = vec![(json!("dt"), json!("ACTIVE"))];
    until("Glue is done with it", async || indexes(&stage).await == active).await;
    stage.wait(&["demo".to_owned()]).await;
    let (code, text) = stage.plan(stage.document("demo", with_index)).await;
    assert_eq!((code, text.contains("Nothing to change.")), (0, true), "{text}");
    let (writes, looks) = (aws.aws_writes().len(), aws.calls("GetPartitionIndexes"));
    until("drift was looked for twice", async || aws.calls("GetPartitionIndexes") >= looks + 3).await;
    assert_eq!(aws.aws_writes().len(), writes, "{:?}", aws.aws_writes());

    let of_index = json!({ "DatabaseName": stage.namespace.name().replace('-', "_"), "TableName": "demo", "IndexName": "dt" });
    moto::glue("DeletePartitionIndex", of_index).await;
    until("it is back", async || aws.calls("CreatePartitionIndex") == 2 && indexes(&stage).await == active).await;
    until("it is counted", async || {
        let (_, metrics) = operator.get("/metrics").await.unwrap();
        metrics.contains("stockpipeline_operator_drift_corrections_total 1\n")
    })
    .await;
    drop(operator);
    stage.remove().await;
}
