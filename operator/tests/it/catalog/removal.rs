//! What a deletion policy removes, and what it leaves.

use serde_json::json;
use stockpipeline::operations::DeletionPolicy;
use stockpipeline_operator::catalog::decide::Removal;
use stockpipeline_operator::error::Retry;

use super::stage::Stage;
use crate::aws_endpoint::FaultKind;

const NOTHING: DeletionPolicy = DeletionPolicy { topic: false, tables: false, database: false, named_queries: false, data: false };
const ALL: DeletionPolicy = DeletionPolicy { tables: true, database: true, named_queries: true, ..NOTHING };

#[tokio::test]
async fn nothing_goes_by_default() {
    let stage = Stage::settled().await;
    let before = stage.stored();
    assert_eq!(stage.remove(NOTHING).await.unwrap(), Removal::default());
    assert_eq!(stage.stored(), before);
}

#[tokio::test]
async fn each_policy_removes_its_own_and_twice_is_once() {
    let mut stage = Stage::new().await;
    stage.edit("enabled: false", "enabled: true");
    stage.settle().await;
    let removal = stage.remove(DeletionPolicy { tables: true, ..NOTHING }).await.unwrap();
    assert_eq!(removal.removed.len(), 4, "{removal:?}");
    let left: Vec<String> = stage.stored().into_keys().collect();
    assert_eq!(
        left,
        ["database market_data", "query \"market-data\" \"daily-ohlc\"", "table market_data.us_equities_latest", "workgroup market-data"]
    );
    let removal = stage.remove(ALL).await.unwrap();
    assert_eq!(removal.kept, [""; 0]);
    assert!(stage.stored().is_empty());
    assert_eq!(stage.remove(ALL).await.unwrap(), Removal::default(), "gone is success");
}

#[tokio::test]
async fn what_a_lost_status_would_have_told_is_found_by_its_marks() {
    let mut stage = Stage::settled().await;
    stage.status = stockpipeline_operator::resource::crd::report::StockPipelineStatus::default();
    stage.restart();
    stage.remove(ALL).await.unwrap();
    assert!(stage.stored().is_empty(), "{:?}", stage.stored());
}

#[tokio::test]
async fn what_is_not_ours_or_in_use_stays() {
    let stage = Stage::settled().await;
    {
        let mut world = stage.aws.world();
        world.glue.edit("market_data", "us_equities", |table| table["Parameters"]["stockpipeline.dev/owner"] = json!("other/one"));
        let theirs = json!({"NamedQueryId": "f", "Name": "daily-ohlc", "Database": "market_data", "QueryString": "select 1", "WorkGroup": "market-data"});
        world.athena.queries.insert("f".to_owned(), theirs);
    }
    let removal = stage.remove(ALL).await.unwrap();
    assert_eq!(
        removal.kept,
        [
            "workgroup market-data holds saved queries of others",
            "table market_data.us_equities was not made by this pipeline",
            "database market_data holds other tables",
        ]
    );
    let left: Vec<String> = stage.stored().into_keys().collect();
    assert_eq!(
        left,
        ["database market_data", "query \"market-data\" \"daily-ohlc\"", "table market_data.us_equities", "workgroup market-data"]
    );
}

#[tokio::test]
async fn shared_things_of_others_stay() {
    let mut stage = Stage::new().await;
    {
        let mut world = stage.aws.world();
        world.glue.databases.entry("market_data".to_owned()).or_default().input = json!({"Name": "market_data"});
        world.athena.workgroups.insert("market-data".to_owned(), json!({"Name": "market-data"}));
    }
    stage.settle().await;
    let removal = stage.remove(ALL).await.unwrap();
    assert_eq!(removal.kept, ["workgroup market-data was not made by this pipeline", "database market_data was not made by this pipeline"]);
    assert_eq!(stage.stored().into_keys().collect::<Vec<_>>(), ["database market_data", "workgroup market-data"]);
}

#[tokio::test]
async fn a_removal_that_fails_goes_on_where_it_was() {
    let stage = Stage::settled().await;
    stage.aws.fault("DeleteTable", 1, FaultKind::Refuse(500, "InternalServiceException"));
    let error = stage.remove(ALL).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff);
    stage.aws.fault("DeleteDatabase", 1, FaultKind::Refuse(400, "AccessDeniedException"));
    assert_eq!(stage.remove(ALL).await.unwrap_err().retry(), Retry::User);
    stage.remove(ALL).await.unwrap();
    assert!(stage.stored().is_empty());
}
