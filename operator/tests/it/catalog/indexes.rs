//! Partition indexes of tables that are there: made one after the other, and made again where others delete them.

use std::collections::BTreeMap;

use serde_json::json;
use stockpipeline_operator::error::Retry;
use stockpipeline_operator::status::reason::CatalogSynced;

use super::stage::{Stage, changes, condition};
use crate::aws_endpoint::FaultKind;

const DATABASE: &str = "market_data";
const TABLE: &str = "us_equities";

/// Returns the names of the indexes that there are.
fn names(stage: &Stage) -> Vec<String> {
    let world = stage.aws.world();
    let indexes = &world.glue.table(DATABASE, TABLE).indexes;
    indexes.iter().map(|index| index["IndexName"].as_str().unwrap().to_owned()).collect()
}

fn delete_all(stage: &Stage) {
    stage.aws.world().glue.table_mut(DATABASE, TABLE).indexes.clear();
}

#[tokio::test]
async fn a_table_that_is_there_gets_its_indexes_one_after_the_other() {
    let mut stage = Stage::new().await;
    stage.edit("indexes: [[dt]]", "indexes: []");
    stage.settle().await;
    stage.look().await;
    assert_eq!((names(&stage), stage.aws.calls("GetPartitionIndexes")), (Vec::new(), 0), "who wants none asks for none");

    stage.edit("indexes: []", "indexes: [[dt], [hour, dt]]");
    stage.aws.forget_calls();
    let index = |name: &str| format!("create partition index {name} of table {DATABASE}.{TABLE}");
    let planned = stage.plan().await;
    assert_eq!((changes(&planned), stage.aws.writes()), (vec![index("dt"), index("hour_dt")], BTreeMap::new()));
    let report = stage.look().await;
    assert_eq!(changes(&report), [index("dt")]);
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::Creating, Some(Retry::Backoff)), "{}", condition(&report));
    assert_eq!(report.columns_wait, None, "no record waits for an index");
    let report = stage.look().await;
    assert_eq!((changes(&report), report.retry), (Vec::new(), Some(Retry::Backoff)), "Glue is at work");
    let report = stage.look().await;
    assert_eq!((changes(&report), report.finding.reason), (vec![index("hour_dt")], CatalogSynced::InSync));
    assert_eq!(names(&stage), ["dt", "hour_dt"]);
    stage.settle().await;
    stage.restart();
    stage.look().await;
    assert_eq!((stage.aws.writes(), stage.aws.calls("GetPartitionIndexes")), (BTreeMap::new(), 1), "one question a look");

    stage.edit("indexes: [[dt], [hour, dt]]", "indexes: [[dt]]");
    stage.settle().await;
    assert_eq!(names(&stage), ["dt", "hour_dt"], "what is wanted no more stays");
}

#[tokio::test]
async fn an_index_that_others_delete_comes_back_and_is_counted_or_only_told_of() {
    let mut stage = Stage::settled().await;
    delete_all(&stage);
    let report = stage.look().await;
    assert_eq!(changes(&report), ["correct partition index dt of table market_data.us_equities"]);
    assert_eq!((report.finding.reason, report.corrections), (CatalogSynced::DriftCorrected, 1));
    stage.settle().await;

    stage.edit("driftPolicy: Correct", "driftPolicy: Report");
    stage.settle().await;
    delete_all(&stage);
    let report = stage.look().await;
    assert_eq!((report.finding.reason, stage.aws.writes()), (CatalogSynced::DriftReported, BTreeMap::new()));
    assert_eq!(changes(&report), ["report partition index dt of table market_data.us_equities"]);
    stage.edit("indexes: [[dt]]", "indexes: [[dt], [hour]]");
    stage.look().await;
    assert_eq!(names(&stage), ["dt"], "what the spec has just got is made all the same");
}

#[tokio::test]
async fn that_all_indexes_were_made_is_written_down_also_where_that_has_failed_once() {
    let mut stage = Stage::settled().await;
    stage.edit("indexes: [[dt]]", "indexes: [[dt], [hour]]");
    stage.aws.fault("UpdateTable", 1, FaultKind::Refuse(500, "InternalServiceException"));
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::Unavailable, Some(Retry::Backoff)), "{}", condition(&report));
    assert_eq!((names(&stage).len(), stage.aws.calls("UpdateTable")), (2, 1));
    stage.aws.heal();
    let planned = stage.plan().await;
    assert_eq!((changes(&planned), stage.aws.calls("UpdateTable")), (Vec::new(), 1), "a mark is no change of the user's");
    stage.settle().await;
    assert_eq!(stage.look().await.retry, None);
    assert_eq!(stage.aws.writes(), BTreeMap::new(), "once is enough");
    delete_all(&stage);
    assert_eq!(changes(&stage.look().await), ["correct partition index dt of table market_data.us_equities"]);
}

#[tokio::test]
async fn an_index_that_glue_cannot_make_or_has_no_room_for_is_told_with_the_way_out() {
    let mut stage = Stage::settled().await;
    let set = |stage: &Stage, state: &str| stage.aws.world().glue.table_mut(DATABASE, TABLE).indexes[0]["IndexStatus"] = json!(state);
    set(&stage, "FAILED");
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::InvalidInput, Some(Retry::User)));
    for part in ["partition index dt of table market_data.us_equities", "ENCRYPTED_PARTITION_ERROR", "delete it"] {
        assert!(report.finding.message.contains(part), "{}", report.finding.message);
    }
    assert_eq!((report.columns_wait, stage.aws.writes()), (None, BTreeMap::new()));
    set(&stage, "DELETING");
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::Creating, Some(Retry::Backoff)), "{}", condition(&report));
    stage.settle().await;
    assert_eq!(names(&stage), ["dt"]);

    let theirs = ["hour", "dt hour", "hour dt"].map(|name| json!({"IndexName": name, "Keys": name.split(' ').collect::<Vec<_>>()}));
    stage.aws.world().glue.table_mut(DATABASE, TABLE).indexes = theirs.to_vec();
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::InvalidInput, Some(Retry::User)));
    assert!(report.finding.message.contains("delete one that is not needed"), "{}", report.finding.message);
    assert_eq!(names(&stage), ["hour", "dt hour", "hour dt"]);
}

#[tokio::test]
async fn a_table_of_another_owner_gets_no_index() {
    let mut stage = Stage::settled().await;
    stage.aws.world().glue.edit(DATABASE, TABLE, |table| table["Parameters"]["stockpipeline.dev/owner"] = json!("other/one"));
    delete_all(&stage);
    let report = stage.look().await;
    assert_eq!((report.finding.reason, names(&stage)), (CatalogSynced::AlreadyExists, Vec::new()));
    assert_eq!(stage.aws.writes(), BTreeMap::new());
}
