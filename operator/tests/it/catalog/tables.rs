//! Database, tables, partitions and crawler.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stockpipeline_operator::catalog::decide::{Act, partitions_hash_mark};
use stockpipeline_operator::error::Retry;
use stockpipeline_operator::status::reason::CatalogSynced;

use super::stage::{Stage, changes, condition, sorted};
use crate::aws_endpoint::FaultKind;

const DATABASE: &str = "market_data";
const TABLE: &str = "us_equities";

#[tokio::test]
async fn everything_declared_is_made_in_one_look_but_for_views() {
    let mut stage = Stage::new().await;
    let report = stage.look().await;
    assert_eq!(
        changes(&report),
        [
            "create database market_data",
            "create table market_data.us_equities",
            "create table market_data.us_equities_raw",
            "create table market_data.us_equities_dlq",
            "create workgroup market-data",
            "create saved query daily-ohlc",
        ]
    );
    assert_eq!(report.finding.reason, CatalogSynced::Creating);
    assert_eq!(report.retry, Some(Retry::Fast), "the claim of the view has to stand in the status first");
    let report = stage.look().await;
    assert_eq!(changes(&report), ["create view market_data.us_equities_latest"]);
    assert_eq!(report.finding.reason, CatalogSynced::InSync);
    let status = stage.status.glue.clone().unwrap();
    assert_eq!(status.processed_table, "market_data.us_equities");
    assert_eq!(status.tables.len(), 3);
    assert!(status.tables.iter().all(|table| table.version.is_some() && table.schema_hash.is_some()));
}

#[tokio::test]
async fn a_new_table_is_as_documented() {
    let stage = Stage::settled().await;
    let world = stage.aws.world();
    let table = world.glue.table(DATABASE, TABLE);
    insta::assert_json_snapshot!("table_input", sorted(&table.input));
    assert_eq!(table.indexes, [json!({"IndexName": "dt", "Keys": ["dt"]})]);
    assert!(world.glue.table(DATABASE, "us_equities_raw").indexes.is_empty());
}

#[tokio::test]
async fn nothing_is_written_where_nothing_differs() {
    let mut stage = Stage::settled().await;
    let before = stage.status.clone();
    for _ in 0..3 {
        let report = stage.look().await;
        assert_eq!(
            condition(&report),
            "InSync: 3 tables in database market_data, workgroup market-data, 1 saved queries, 1 views as declared"
        );
        assert_eq!((report.retry, report.changes), (None, Vec::new()));
    }
    assert_eq!(stage.aws.writes(), BTreeMap::new());
    assert_eq!(stage.status, before, "the status is not worth a write either");
    stage.generation += 1;
    stage.restart();
    stage.look().await;
    assert_eq!(stage.aws.writes(), BTreeMap::new(), "a generation alone writes nothing, nor does a new process");
}

#[tokio::test]
async fn a_plan_writes_nothing_and_says_what_applying_does() {
    let mut stage = Stage::new().await;
    let planned = stage.plan().await;
    assert_eq!(stage.aws.writes(), BTreeMap::new());
    assert_eq!(planned.finding.reason, CatalogSynced::DriftReported);
    assert!(planned.finding.message.starts_with("nothing is written: would create database market_data"), "{}", planned.finding.message);
    let mut applied = changes(&stage.look().await);
    applied.extend(changes(&stage.look().await));
    assert_eq!(changes(&planned), applied);
    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    stage.aws.world().glue.edit(DATABASE, "us_equities_dlq", |table| table["StorageDescriptor"]["Location"] = json!("s3://elsewhere/"));
    stage.aws.forget_calls();
    let planned = stage.plan().await;
    assert_eq!(stage.aws.writes(), BTreeMap::new());
    assert_eq!(planned.corrections, 0);
    let applied = stage.look().await;
    assert_eq!(changes(&planned), changes(&applied));
    assert_eq!(planned.changes.iter().map(|change| change.act).collect::<Vec<_>>(), [Act::Update, Act::Update, Act::Correct]);
}

#[tokio::test]
async fn an_added_column_keeps_what_is_foreign_and_reaches_existing_partitions_in_batches() {
    let mut stage = Stage::settled().await;
    {
        let mut world = stage.aws.world();
        world.glue.page_size = 90;
        world.glue.edit(DATABASE, TABLE, |table| {
            table["Parameters"]["lineage"] = json!("kept");
            table["Description"] = json!("kept, too");
            table["StorageDescriptor"]["Parameters"] = json!({"skew": "kept"});
        });
    }
    fill(&stage);
    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    let report = stage.look().await;
    assert_eq!(report.finding.reason, CatalogSynced::InSync);
    assert_eq!(report.corrections, 0, "the spec has changed, nobody else");
    {
        let world = stage.aws.world();
        let table = world.glue.table(DATABASE, TABLE);
        assert_eq!(table.input["Parameters"]["lineage"], "kept");
        assert_eq!(table.input["Description"], "kept, too");
        assert_eq!(table.input["StorageDescriptor"]["Parameters"]["skew"], "kept");
        assert_eq!(last_column(&table.input), "vwap");
        assert_eq!(table.archived.len(), 1, "the history of the schema is kept, and nothing else");
        for (values, partition) in &table.partitions {
            assert_eq!(last_column(partition), "vwap");
            let hour = &values[1];
            assert_eq!(
                partition["StorageDescriptor"]["Location"],
                format!("s3://my-bucket/processed/us-equities/dt=2024-05-01/hour={hour}/")
            );
            assert_eq!(partition["Parameters"]["foreign"].as_str().unwrap().parse::<u32>().unwrap(), hour.parse::<u32>().unwrap());
        }
    }
    assert_eq!(stage.aws.calls("BatchUpdatePartition"), 3, "of pages of 90");
    stage.settle().await;
    stage.look().await;
    assert_eq!(stage.aws.calls("GetPartitions"), 0, "partitions that have followed are not looked at again");
}

/// Registers 250 partitions as the table is.
fn fill(stage: &Stage) {
    let mut world = stage.aws.world();
    let descriptor = world.glue.table(DATABASE, TABLE).input["StorageDescriptor"].clone();
    let partitions = &mut world.glue.table_mut(DATABASE, TABLE).partitions;
    for hour in 0..250 {
        let values = vec!["2024-05-01".to_owned(), format!("{hour:03}")];
        let mut own = descriptor.clone();
        own["Location"] = json!(format!("s3://my-bucket/processed/us-equities/dt=2024-05-01/hour={hour:03}/"));
        let partition = json!({"Values": values, "StorageDescriptor": own, "Parameters": {"foreign": hour.to_string()}});
        partitions.insert(values, partition);
    }
}

#[tokio::test]
async fn a_walk_through_partitions_goes_on_at_the_page_where_it_was_refused() {
    let mut stage = Stage::settled().await;
    stage.aws.world().glue.page_size = 90;
    fill(&stage);
    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    // The first page is given, the second is not.
    stage.aws.fault("GetPartitions", 1, FaultKind::Before(Box::new(|_| {})));
    stage.aws.fault("GetPartitions", 1, FaultKind::Refuse(400, "ThrottlingException"));
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.got_further), (CatalogSynced::Throttled, true));
    assert!(report.columns_wait.is_some());
    stage.aws.forget_calls();
    stage.aws.fault("GetPartitions", 1, FaultKind::Refuse(400, "ThrottlingException"));
    assert!(!stage.look().await.got_further, "nothing was read");
    stage.aws.forget_calls();
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.columns_wait), (CatalogSynced::InSync, None));
    assert_eq!((stage.aws.calls("GetPartitions"), stage.aws.calls("BatchUpdatePartition")), (2, 2), "of three pages");
    let world = stage.aws.world();
    assert!(world.glue.table(DATABASE, TABLE).partitions.values().all(|partition| last_column(partition) == "vwap"));
}

#[tokio::test]
async fn a_partition_that_glue_does_not_take_is_named_and_holds_up_neither_others_nor_columns() {
    let mut stage = Stage::settled().await;
    stage.aws.world().glue.page_size = 90;
    fill(&stage);
    let stubborn = vec!["2024-05-01".to_owned(), "007".to_owned()];
    stage.aws.world().glue.table_mut(DATABASE, TABLE).stubborn.insert(stubborn.clone());
    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    for _ in 0..2 {
        let report = stage.look().await;
        assert_eq!((report.columns_wait, report.retry), (None, Some(Retry::Backoff)));
        for part in ["1 of the partitions", "table market_data.us_equities", "2024-05-01/007", "InvalidInputException", "delete"] {
            assert!(report.finding.message.contains(part), "{}", report.finding.message);
        }
    }
    {
        let mut world = stage.aws.world();
        let table = world.glue.table_mut(DATABASE, TABLE);
        let behind = table.partitions.iter().filter(|(_, partition)| last_column(partition) != "vwap").map(|(values, _)| values.clone());
        assert_eq!(behind.collect::<Vec<_>>(), [stubborn]);
        table.stubborn.clear();
    }
    assert_eq!(stage.look().await.finding.reason, CatalogSynced::InSync);
    stage.settle().await;
    stage.look().await;
    assert_eq!(stage.aws.calls("GetPartitions"), 0);
}

#[tokio::test]
async fn partitions_that_were_left_behind_follow_at_the_next_look() {
    let mut stage = Stage::settled().await;
    {
        let mut world = stage.aws.world();
        let descriptor = world.glue.table(DATABASE, TABLE).input["StorageDescriptor"].clone();
        let values = vec!["2024-05-01".to_owned(), "00".to_owned()];
        let partition = json!({"Values": values, "StorageDescriptor": descriptor});
        world.glue.table_mut(DATABASE, TABLE).partitions.insert(values, partition);
    }
    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    stage.aws.fault("BatchUpdatePartition", 1, FaultKind::Refuse(500, "InternalServiceException"));
    let report = stage.look().await;
    assert_eq!(report.finding.reason, CatalogSynced::Unavailable);
    assert_eq!(report.retry, Some(Retry::Backoff));
    stage.restart();
    let report = stage.look().await;
    assert_eq!(changes(&report), ["update partitions of table market_data.us_equities"]);
    let world = stage.aws.world();
    let table = world.glue.table(DATABASE, TABLE);
    assert_eq!(last_column(table.partitions.values().next().unwrap()), "vwap");
    assert_eq!(table.input["Parameters"][partitions_hash_mark()].as_str().map(str::len), Some(16));
}

fn last_column(table: &Value) -> String {
    let columns = table["StorageDescriptor"]["Columns"].as_array().unwrap();
    columns.last().unwrap()["Name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_others_delete_or_change_comes_back_and_is_counted() {
    let mut stage = Stage::settled().await;
    stage.aws.world().glue.edit(DATABASE, TABLE, |table| {
        table["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
    });
    let report = stage.look().await;
    assert_eq!(condition(&report), "DriftCorrected: correct table market_data.us_equities (columns.volume: nothing instead of bigint)");
    assert_eq!(report.corrections, 1);
    assert_eq!(stage.status.glue.as_ref().unwrap().drift_corrections, 1);
    let report = stage.look().await;
    assert_eq!(report.finding.reason, CatalogSynced::InSync);
    stage.aws.world().glue.databases.get_mut(DATABASE).unwrap().tables.remove(TABLE);
    assert_eq!(changes(&stage.look().await), ["create table market_data.us_equities"]);
}

#[tokio::test]
async fn drift_is_only_told_where_the_user_wants_that() {
    let mut stage = Stage::new().await;
    stage.edit("driftPolicy: Correct", "driftPolicy: Report");
    stage.settle().await;
    stage.aws.world().glue.edit(DATABASE, TABLE, |table| {
        table["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
    });
    let report = stage.look().await;
    assert_eq!(condition(&report), "DriftReported: report table market_data.us_equities (columns.volume: nothing instead of bigint)");
    assert_eq!(stage.aws.writes(), BTreeMap::new());
}

#[tokio::test]
async fn a_table_of_another_owner_is_refused_with_the_field_to_set() {
    let mut stage = Stage::settled().await;
    stage.aws.world().glue.edit(DATABASE, TABLE, |table| table["Parameters"]["stockpipeline.dev/owner"] = json!("other/one"));
    let report = stage.look().await;
    assert_eq!(report.finding.reason, CatalogSynced::AlreadyExists);
    assert_eq!(report.retry, Some(Retry::Terminal));
    for part in ["belongs to other/one", "spec.glue.adoptionPolicy", "spec.glue.tables.processed"] {
        assert!(report.finding.message.contains(part), "{}", report.finding.message);
    }
    assert_eq!(stage.aws.writes(), BTreeMap::new());
    stage.edit("adoptionPolicy: FailIfExists", "adoptionPolicy: Observe");
    assert_eq!(stage.look().await.finding.reason, CatalogSynced::InSync);
    assert_eq!(stage.aws.writes(), BTreeMap::new(), "an observed table is never written");
    stage.edit("adoptionPolicy: Observe", "adoptionPolicy: Adopt");
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::AlreadyExists, Some(Retry::Terminal)));
    assert!(report.finding.message.contains("remove the table's parameter stockpipeline.dev/owner"), "{}", report.finding.message);
    assert_eq!(stage.aws.writes(), BTreeMap::new(), "two pipelines would take turns for ever");
    stage
        .aws
        .world()
        .glue
        .edit(DATABASE, TABLE, |table| drop(table["Parameters"].as_object_mut().unwrap().remove("stockpipeline.dev/owner")));
    assert_eq!(stage.look().await.finding.reason, CatalogSynced::InSync);
    assert_eq!(stage.aws.world().glue.table(DATABASE, TABLE).input["Parameters"]["stockpipeline.dev/owner"], "market-data/us-equities");
}

#[tokio::test]
async fn a_missing_database_that_is_not_to_be_made_waits_for_its_user() {
    let mut stage = Stage::new().await;
    stage.edit("market_data, create: true", "market_data, create: false");
    let report = stage.look().await;
    assert_eq!(condition(&report), "NotFound: database market_data does not exist; make it, or set spec.glue.database.create to true");
    assert_eq!(report.retry, Some(Retry::User));
    assert_eq!(stage.aws.calls("CreateTable"), 0);
}

#[tokio::test]
async fn a_database_that_is_there_is_used_as_it_is() {
    let mut stage = Stage::new().await;
    let theirs = json!({"Name": DATABASE, "Description": "theirs"});
    stage.aws.world().glue.databases.entry(DATABASE.to_owned()).or_default().input = theirs.clone();
    stage.settle().await;
    assert_eq!(stage.aws.world().glue.databases[DATABASE].input, theirs);
}

#[tokio::test]
async fn the_crawler_only_observes_and_goes_with_its_field() {
    let mut stage = Stage::settled().await;
    stage.edit("enabled: false", "enabled: true");
    let report = stage.look().await;
    assert_eq!(report.changes.len(), 1);
    let name = stage.status.glue.as_ref().unwrap().crawler.clone().unwrap().name;
    insta::assert_json_snapshot!("crawler", sorted(&stage.aws.world().glue.crawlers[&name]));
    stage.settle().await;
    stage.look().await;
    assert_eq!(stage.aws.writes(), BTreeMap::new());
    {
        let mut world = stage.aws.world();
        let crawler = world.glue.crawlers.get_mut(&name).unwrap();
        crawler["SchemaChangePolicy"]["UpdateBehavior"] = json!("UPDATE_IN_DATABASE");
        crawler["Role"] = json!("crawler");
        crawler["LastCrawl"] = json!({"Status": "SUCCEEDED", "StartTime": 1_700_000_000});
    }
    let report = stage.look().await;
    assert_eq!(changes(&report), [format!("update crawler {name} (schemaChangePolicy: changes tables instead of only logs)")]);
    let status = stage.status.glue.as_ref().unwrap().crawler.clone().unwrap();
    assert_eq!(status.last_run.as_deref(), Some("SUCCEEDED"));
    assert_eq!(status.findings.as_deref(), Some("{\"PARTITION\":{\"ADD\":\"2\"}}"));
    stage.edit("enabled: true               # optional", "enabled: false               # optional");
    assert_eq!(changes(&stage.look().await), [format!("delete crawler {name}")]);
    assert!(stage.aws.world().glue.crawlers.is_empty());
    assert_eq!(stage.status.glue.as_ref().unwrap().crawler, None);
}
