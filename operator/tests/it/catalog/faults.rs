//! What AWS answers when it does not serve.

use std::collections::BTreeMap;

use serde_json::json;
use stockpipeline_operator::catalog::converge::Catalogue;
use stockpipeline_operator::error::Retry;
use stockpipeline_operator::process::fence::Fence;
use stockpipeline_operator::status::reason::CatalogSynced;

use super::stage::{Stage, condition};
use crate::aws_endpoint::FaultKind;

const TABLE: &str = "us_equities";

#[tokio::test]
async fn each_failure_has_a_reason_a_next_try_and_a_way_out() {
    type Case = (&'static str, u16, &'static str, CatalogSynced, Retry, &'static str);
    let cases: [Case; 14] = [
        ("GetDatabase", 400, "AccessDeniedException", CatalogSynced::AccessDenied, Retry::User, "allow GetDatabase"),
        ("CreateTable", 400, "AccessDeniedException", CatalogSynced::AccessDenied, Retry::User, "allow CreateTable"),
        ("GetTable", 400, "ExpiredTokenException", CatalogSynced::AccessDenied, Retry::User, "role"),
        ("GetTable", 400, "ThrottlingException", CatalogSynced::Throttled, Retry::Backoff, "by itself"),
        ("CreateTable", 429, "TooManyRequestsException", CatalogSynced::Throttled, Retry::Backoff, "by itself"),
        ("CreateDatabase", 400, "InvalidInputException", CatalogSynced::InvalidInput, Retry::Terminal, "correct the spec"),
        ("CreateTable", 400, "ResourceNumberLimitExceededException", CatalogSynced::AccessDenied, Retry::User, "quota"),
        ("CreateTable", 500, "InternalServiceException", CatalogSynced::Unavailable, Retry::Backoff, "by itself"),
        ("GetTable", 400, "OperationTimeoutException", CatalogSynced::Unavailable, Retry::Backoff, "by itself"),
        ("GetWorkGroup", 400, "AccessDeniedException", CatalogSynced::AccessDenied, Retry::User, "allow GetWorkGroup"),
        ("CreateWorkGroup", 400, "InvalidRequestException", CatalogSynced::InvalidInput, Retry::Terminal, "correct the spec"),
        ("CreateNamedQuery", 400, "TooManyRequestsException", CatalogSynced::Throttled, Retry::Backoff, "saved query daily-ohlc"),
        ("CreateNamedQuery", 500, "InternalServerException", CatalogSynced::Unavailable, Retry::Backoff, "saved query daily-ohlc"),
        ("ListNamedQueries", 503, "ServiceUnavailable", CatalogSynced::Unavailable, Retry::Backoff, "saved queries"),
    ];
    for (operation, status, code, reason, retry, part) in cases {
        let mut stage = Stage::new().await;
        stage.aws.fault(operation, 100, FaultKind::Refuse(status, code));
        // The second look makes the view, which the first has claimed.
        stage.look().await;
        let report = stage.look().await;
        assert_eq!((report.finding.reason, report.retry), (reason, Some(retry)), "{operation} {code}: {report:?}");
        for part in [part, operation, code] {
            assert!(report.finding.message.contains(part), "{}", report.finding.message);
        }
        stage.aws.heal();
        assert_eq!(stage.settle().await.finding.reason, CatalogSynced::InSync, "{operation} {code}");
    }
}

#[tokio::test]
async fn one_thing_that_fails_does_not_hold_up_the_others() {
    let mut stage = Stage::new().await;
    stage.aws.fault("CreateTable", 1, FaultKind::Refuse(400, "InvalidInputException"));
    let report = stage.look().await;
    assert_eq!(report.finding.reason, CatalogSynced::InvalidInput);
    assert_eq!(report.tables.len(), 2);
    assert_eq!(report.athena.unwrap().named_queries.len(), 1);
}

#[tokio::test]
async fn columns_wait_for_tables_and_their_partitions_and_for_nothing_else() {
    type Case = (&'static str, Option<&'static str>);
    let cases: [Case; 8] = [
        ("GetDatabase", Some("database market_data: GetDatabase")),
        ("CreateTable", Some("table market_data.us_equities: CreateTable")),
        ("GetPartitions", Some("table market_data.us_equities: GetPartitions")),
        ("GetWorkGroup", None),
        ("CreateNamedQuery", None),
        ("StartQueryExecution", None),
        ("GetCrawler", None),
        ("CreateCrawler", None),
    ];
    for (operation, expected) in cases {
        let mut stage = Stage::new().await;
        stage.edit("enabled: false", "enabled: true");
        if operation == "GetPartitions" {
            stage.settle().await;
            stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
            // Worse in the condition, and of no meaning for the columns.
            stage.edit("sql: \"select * from us_equities where dt >=", "sql: \"selekt * from us_equities where dt >=");
        }
        stage.aws.fault(operation, 100, FaultKind::Refuse(400, "AccessDeniedException"));
        stage.look().await;
        let report = stage.look().await;
        assert!(report.retry.is_some(), "{operation}: {report:?}");
        let told = report.columns_wait.clone().unwrap_or_default();
        assert!(told.starts_with(expected.unwrap_or_default()), "{operation}: {told}");
        assert_eq!(report.columns_wait.is_some(), expected.is_some(), "{operation}: {report:?}");
    }
    let mut stage = Stage::new().await;
    stage.edit("workgroup: { name: market-data, create: true", "workgroup: { name: market-data, create: false");
    assert_eq!((stage.look().await.finding.reason, stage.look().await.columns_wait), (CatalogSynced::NotFound, None));
    let observed = Stage::new().await;
    assert_eq!(observed.plan().await.columns_wait, None, "whoever only looks holds nothing up");
}

#[tokio::test]
async fn a_storm_of_throttling_slows_down_and_ends_in_order() {
    let mut stage = Stage::new().await;
    stage.aws.fault("*", 10, FaultKind::Refuse(400, "ThrottlingException"));
    let mut looks = 0;
    while stage.look().await.finding.reason != CatalogSynced::InSync {
        looks += 1;
        assert!(looks < 20);
    }
    let text = stage.metrics.render();
    assert!(text.contains(r#"code="ThrottlingException""#), "{text}");
}

#[tokio::test]
async fn a_table_that_others_write_at_the_same_time_is_read_again() {
    let mut stage = Stage::settled().await;
    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    let foreign = FaultKind::Before(Box::new(|world| {
        world.glue.edit("market_data", TABLE, |table| table["Parameters"]["lineage"] = json!("late"));
    }));
    stage.aws.fault("UpdateTable", 1, foreign);
    let report = stage.look().await;
    assert_eq!(report.finding.reason, CatalogSynced::InSync);
    let world = stage.aws.world();
    let table = world.glue.table("market_data", TABLE);
    assert_eq!(table.input["Parameters"]["lineage"], "late", "what the other wrote is still there");
    assert!(table.input["StorageDescriptor"]["Columns"].as_array().unwrap().iter().any(|column| column["Name"] == "vwap"));
}

#[tokio::test]
async fn a_table_that_others_never_stop_writing_is_left_for_now() {
    let mut stage = Stage::settled().await;
    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    let foreign = FaultKind::Before(Box::new(|world| world.glue.edit("market_data", TABLE, |_| {})));
    stage.aws.fault("UpdateTable", 100, foreign);
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::ConcurrentModification, Some(Retry::Fast)));
    assert!(stage.aws.calls("UpdateTable") <= 9, "three attempts for each table");
}

#[tokio::test]
async fn whoever_was_faster_has_made_the_same() {
    for operation in ["CreateDatabase", "CreateTable", "CreateWorkGroup", "CreateNamedQuery"] {
        let mut stage = Stage::new().await;
        stage.aws.fault(operation, 1, FaultKind::LoseAnswer);
        stage.settle().await;
        let expected = Stage::settled().await.stored();
        assert_eq!(stage.stored(), expected, "{operation}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_in_time() {
    let mut stage = Stage::new().await;
    stage.aws.fault("GetDatabase", 1, FaultKind::Hang);
    let start = std::time::Instant::now();
    let report = stage.look().await;
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::Unavailable, Some(Retry::Backoff)), "{}", condition(&report));
}

#[tokio::test]
async fn a_process_that_lost_its_lease_writes_nothing() {
    let stage = Stage::settled().await;
    stage
        .aws
        .world()
        .glue
        .edit("market_data", TABLE, |table| table["Parameters"] = json!({"stockpipeline.dev/owner": "market-data/us-equities"}));
    let fence = Fence::open();
    let catalogue: Catalogue = stage.another().behind(fence.clone());
    fence.shut();
    let report = catalogue.sync(&stage.wanted(), &stage.seen(), stockpipeline_operator::catalog::decide::Mode::Apply).await;
    assert_eq!(report.finding.reason, CatalogSynced::Unavailable);
    assert!(report.finding.message.contains("lease"), "{}", report.finding.message);
    assert_eq!(stage.aws.writes(), BTreeMap::new());
}
