//! Workgroup, saved queries and views.

use std::collections::BTreeMap;

use serde_json::json;
use stockpipeline_operator::catalog::decide::{CLAIMED, Mode};
use stockpipeline_operator::error::Retry;
use stockpipeline_operator::resource::crd::report::AthenaStatus;
use stockpipeline_operator::status::reason::CatalogSynced;

use super::stage::{Stage, changes, condition, sorted};

const DATABASE: &str = "market_data";
const VIEW: &str = "us_equities_latest";
const QUERY: &str = "name: daily-ohlc";

#[tokio::test]
async fn athena_objects_are_as_documented() {
    let stage = Stage::settled().await;
    let stored = stage.stored();
    let is_athena = |name: &str| name.starts_with("query") || name.starts_with("workgroup");
    let athena: BTreeMap<_, _> = stored.iter().filter(|(name, _)| is_athena(name)).map(|(name, value)| (name, sorted(value))).collect();
    insta::assert_json_snapshot!("athena", athena);
    insta::assert_snapshot!("view_statement", stage.aws.world().athena.statements.join("\n"));
    let status = stage.status.athena.clone().unwrap();
    assert_eq!(status.named_queries.keys().collect::<Vec<_>>(), ["daily-ohlc"]);
    assert_eq!(status.views[VIEW].len(), 16);
}

#[tokio::test]
async fn a_query_that_changes_keeps_its_id_and_one_that_goes_is_deleted() {
    let mut stage = Stage::settled().await;
    let id = stage.status.athena.clone().unwrap().named_queries["daily-ohlc"].clone();
    stage.edit("select symbol, max(high)", "select symbol, min(low)");
    let report = stage.look().await;
    assert_eq!(report.changes.len(), 1);
    assert_eq!(report.changes[0].fields[0].field, "sql");
    assert_eq!(stage.status.athena.clone().unwrap().named_queries["daily-ohlc"], id);
    stage.edit(QUERY, "name: other");
    let report = stage.look().await;
    assert_eq!(changes(&report), ["create saved query other", "delete saved query daily-ohlc"]);
    assert_eq!(stage.status.athena.clone().unwrap().named_queries.keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(stage.aws.world().athena.queries.len(), 1);
}

#[tokio::test]
async fn a_query_that_others_delete_comes_back_with_another_id() {
    let mut stage = Stage::settled().await;
    let before = stage.status.athena.clone().unwrap().named_queries["daily-ohlc"].clone();
    stage.aws.world().athena.queries.clear();
    let report = stage.look().await;
    assert_eq!(changes(&report), ["correct saved query daily-ohlc"]);
    assert_eq!((report.corrections, report.finding.reason), (1, CatalogSynced::DriftCorrected));
    let after = stage.status.athena.clone().unwrap().named_queries["daily-ohlc"].clone();
    assert_ne!(before, after, "the token that made the first is spent");
    assert_eq!(stage.settle().await.finding.reason, CatalogSynced::InSync);
}

#[tokio::test]
async fn a_query_that_others_change_is_drift_and_one_that_the_spec_changes_is_not() {
    let mut stage = Stage::settled().await;
    for query in stage.aws.world().athena.queries.values_mut() {
        query["QueryString"] = json!("select 1");
    }
    let report = stage.look().await;
    assert_eq!((report.corrections, report.finding.reason), (1, CatalogSynced::DriftCorrected));
    assert_eq!(report.changes[0].fields[0].field, "sql");
    assert_eq!(stage.settle().await.finding.reason, CatalogSynced::InSync);
    stage.edit("select symbol, max(high)", "select symbol, min(low)");
    let report = stage.look().await;
    assert_eq!((report.corrections, report.changes[0].act), (0, stockpipeline_operator::catalog::decide::Act::Update));
}

#[tokio::test]
async fn a_pipeline_whose_status_is_lost_finds_its_queries_and_views_again() {
    let mut stage = Stage::settled().await;
    {
        let mut world = stage.aws.world();
        for number in 0..120 {
            let description = format!("(stockpipeline.dev/owner: market-data/other-{number})");
            let query = json!({"NamedQueryId": format!("f{number}"), "Name": "daily-ohlc", "Description": description, "Database": DATABASE,
                "QueryString": "select 1", "WorkGroup": "market-data"});
            world.athena.queries.insert(format!("f{number}"), query);
        }
    }
    let before = stage.status.athena.take();
    stage.restart();
    let report = stage.look().await;
    assert_eq!((changes(&report), report.finding.reason), (Vec::new(), CatalogSynced::InSync));
    assert_eq!(stage.status.athena, before);
    assert_eq!(stage.aws.writes(), BTreeMap::new());
}

#[tokio::test]
async fn an_emulator_that_knows_no_batches_is_asked_one_by_one() {
    let mut stage = Stage::new().await;
    stage.edit("    namedQueries:\n", "    namedQueries:\n      - { name: second, sql: select 2 }\n");
    stage.settle().await;
    stage.look().await;
    assert_eq!((stage.aws.calls("BatchGetNamedQuery"), stage.aws.calls("GetNamedQuery")), (1, 0));
    stage.aws.fault("BatchGetNamedQuery", 1, crate::aws_endpoint::FaultKind::Refuse(500, "NotImplemented"));
    let report = stage.look().await;
    assert_eq!((changes(&report), report.finding.reason), (Vec::new(), CatalogSynced::InSync));
    assert_eq!(stage.aws.calls("GetNamedQuery"), 2);
}

#[tokio::test]
async fn a_workgroup_of_others_is_used_as_it_is_and_an_own_one_follows_the_spec() {
    let mut stage = Stage::settled().await;
    stage.edit("bytesScannedCutoff: 10737418240", "bytesScannedCutoff: 20000000");
    assert_eq!(changes(&stage.look().await), ["update workgroup market-data (bytesScannedCutoff: 10737418240 instead of 20000000)"]);
    stage.settle().await;
    stage.aws.world().athena.workgroups.get_mut("market-data").unwrap()["Description"] = json!("theirs");
    stage.edit("bytesScannedCutoff: 20000000", "bytesScannedCutoff: 30000000");
    assert_eq!(changes(&stage.look().await), [""; 0]);
}

#[tokio::test]
async fn a_missing_workgroup_that_is_not_to_be_made_waits_for_its_user() {
    let mut stage = Stage::new().await;
    stage.edit("market-data, create: true", "market-data, create: false");
    let report = stage.look().await;
    assert_eq!(condition(&report), "NotFound: workgroup market-data does not exist; make it, or set spec.athena.workgroup.create to true");
    assert_eq!(report.tables.len(), 3, "Glue does not wait for Athena");
}

#[tokio::test]
async fn a_view_is_made_only_when_its_statement_changes() {
    let mut stage = Stage::settled().await;
    stage.aws.world().athena.looks_until_done = 2;
    stage.look().await;
    assert_eq!(stage.aws.calls("StartQueryExecution"), 0);
    stage.edit("interval '1' day", "interval '2' day");
    let report = stage.look().await;
    assert_eq!(stage.aws.calls("StartQueryExecution"), 1);
    assert_eq!(stage.aws.calls("GetQueryExecution"), 3, "it is waited for");
    assert_eq!((report.changes.len(), report.corrections), (1, 0));
    stage.settle().await;
    stage.look().await;
    assert_eq!(stage.aws.writes(), BTreeMap::new());
}

#[tokio::test]
async fn a_view_gets_its_marks_and_is_otherwise_as_athena_has_made_it() {
    let stage = Stage::settled().await;
    let world = stage.aws.world();
    let view = &world.glue.table(DATABASE, VIEW).input;
    assert_eq!(view["Parameters"]["stockpipeline.dev/owner"], "market-data/us-equities");
    assert_eq!(view["Parameters"]["presto_view"], "true");
    let descriptor = &view["StorageDescriptor"];
    assert_eq!(descriptor["Columns"], json!([{ "Name": "day", "Type": "string" }]));
    for absent in ["/InputFormat", "/OutputFormat", "/SerdeInfo/SerializationLibrary"] {
        assert_eq!(descriptor.pointer(absent), None, "Glue refuses an empty one: {descriptor}");
    }
}

#[tokio::test]
async fn a_view_that_others_drop_or_replace_is_made_again_and_counted() {
    let mut stage = Stage::settled().await;
    stage.aws.world().glue.databases.get_mut(DATABASE).unwrap().tables.remove(VIEW);
    let report = stage.look().await;
    assert_eq!((changes(&report), report.corrections), (vec!["correct view market_data.us_equities_latest".to_owned()], 1));
    stage.settle().await;
    // Athena replaces the whole table, so the marks are gone.
    stage.aws.world().glue.edit(DATABASE, VIEW, |view| view["Parameters"] = json!({"presto_view": "true"}));
    let report = stage.look().await;
    assert_eq!(report.corrections, 1, "{report:?}");
    assert_eq!(stage.aws.world().athena.statements.len(), 3);
}

#[tokio::test]
async fn a_view_or_table_of_others_is_not_replaced() {
    for (kind, word) in [("VIRTUAL_VIEW", "was not made by a pipeline"), ("EXTERNAL_TABLE", "is a table")] {
        let mut stage = Stage::new().await;
        stage.edit("    views:", "    views: []\n    later:");
        let cut = stage.text.find("    later:").unwrap();
        let end = stage.text.find("  deletionPolicy:").unwrap();
        let view = stage.text[cut..end].to_owned();
        stage.text.replace_range(cut..end, "");
        stage.settle().await;
        stage.aws.world().glue.databases.get_mut(DATABASE).unwrap().tables.entry(VIEW.to_owned()).or_default().input =
            json!({"Name": VIEW, "TableType": kind, "StorageDescriptor": {"Columns": []}, "Parameters": {}});
        stage.edit("views: []\n", &view.replace("    later:", "views:"));
        let report = stage.look().await;
        assert_eq!((report.finding.reason, report.retry), (CatalogSynced::AlreadyExists, Some(Retry::Terminal)), "{report:?}");
        assert!(report.finding.message.contains(word), "{}", report.finding.message);
        assert_eq!(stage.aws.writes(), BTreeMap::new());
    }
}

#[tokio::test]
async fn a_statement_that_athena_does_not_take_names_itself_and_is_left() {
    let mut stage = Stage::settled().await;
    stage.edit("sql: \"select * from us_equities where dt >=", "sql: \"selekt * from us_equities where dt >=");
    let report = stage.look().await;
    assert_eq!(report.finding.reason, CatalogSynced::QueryDefinitionFailed);
    assert_eq!(report.retry, Some(Retry::Terminal));
    for part in [VIEW, "SYNTAX_ERROR: line 2:1", "spec.athena.views"] {
        assert!(report.finding.message.contains(part), "{}", report.finding.message);
    }
}

#[tokio::test]
async fn a_view_that_takes_too_long_is_looked_at_later_and_made_once_more() {
    let mut stage = Stage::new().await;
    let report = stage.look().await;
    assert_eq!(report.athena.unwrap().views[VIEW], CLAIMED);
    stage.aws.fault("GetQueryExecution", 1, crate::aws_endpoint::FaultKind::Refuse(500, "InternalServerException"));
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::Unavailable, Some(Retry::Backoff)));
    stage.restart();
    assert_eq!(stage.settle().await.finding.reason, CatalogSynced::InSync, "the claim says that the unmarked view is ours");
}

#[tokio::test]
async fn athena_objects_go_with_their_section() {
    let mut stage = Stage::settled().await;
    let start = stage.text.find("  athena:\n").unwrap();
    let end = stage.text.find("  deletionPolicy:").unwrap();
    stage.text.replace_range(start..end, "");
    let report = stage.look().await;
    assert_eq!(changes(&report), ["delete saved query daily-ohlc", "delete view market_data.us_equities_latest"]);
    assert_eq!(stage.status.athena, Some(AthenaStatus::default()), "nothing is left to remember");
    assert_eq!(changes(&stage.look().await), [""; 0], "and nothing is deleted twice");
    let world = stage.aws.world();
    assert!(world.athena.queries.is_empty());
    assert!(!world.glue.databases[DATABASE].tables.contains_key(VIEW));
    assert!(world.athena.workgroups.contains_key("market-data"), "others may use it by now");
}

#[tokio::test]
async fn leaving_says_what_goes_before_it_does_and_keeps_the_tables() {
    let mut stage = Stage::new().await;
    stage.edit("enabled: false", "enabled: true");
    stage.settle().await;
    // The status has the crawler by now.
    stage.look().await;
    stage.aws.forget_calls();
    let (catalogue, wanted, seen) = (stage.another(), stage.wanted(), stage.seen());
    let crawler = wanted.crawler_name.clone();
    let goes = [format!("delete crawler {crawler}"), "delete saved query daily-ohlc".to_owned(), format!("delete view {DATABASE}.{VIEW}")];
    let report = catalogue.leave(wanted.clone(), &seen, Mode::DryRun).await;
    assert_eq!((changes(&report), stage.aws.writes()), (goes.to_vec(), BTreeMap::new()));
    assert!(report.crawler.is_some() && report.athena == seen.remembered(), "nothing is forgotten before it is gone");
    let report = catalogue.leave(wanted, &seen, Mode::Apply).await;
    assert_eq!((changes(&report), report.finding.reason), (goes.to_vec(), CatalogSynced::NotRequired));
    assert_eq!((report.crawler, report.athena), (None, Some(AthenaStatus::default())));
    let names: Vec<String> = stage.stored().into_keys().collect();
    assert!(
        names.iter().all(|name| ["database", "table", "partition", "workgroup"].iter().any(|kind| name.starts_with(kind))),
        "{names:?}"
    );
    assert!(stage.aws.world().glue.databases[DATABASE].tables.contains_key("us_equities"));
}
