//! Where the operator signs to, and as whom.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use stockpipeline::operations::DeletionPolicy;
use stockpipeline_operator::error::Retry;
use stockpipeline_operator::status::reason::CatalogSynced;

use super::stage::{Stage, condition};
use crate::aws_endpoint::FaultKind;

const ROLE: &str = "arn:aws:iam::111122223333:role/market-data-catalog";

fn with_role(stage: &mut Stage) {
    stage.edit(&format!("# controlPlaneRoleArn: {ROLE}"), &format!("controlPlaneRoleArn: {ROLE}"));
}

#[tokio::test]
async fn an_endpoint_that_is_not_granted_is_never_called() {
    let mut stage = Stage::new().await;
    stage.settings.grants.endpoints = BTreeSet::from(["https://glue.example".to_owned()]);
    stage.restart();
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::AccessDenied, Some(Retry::User)));
    assert!(report.finding.message.contains("spec.aws.endpoints"), "{}", report.finding.message);
    assert_eq!(stage.aws.calls("GetDatabase"), 0);
}

#[tokio::test]
async fn a_role_is_taken_only_where_it_is_granted_to_the_namespace() {
    let mut stage = Stage::new().await;
    with_role(&mut stage);
    for namespace in ["other", "market-data-2"] {
        stage.settings.grants.roles = BTreeMap::from([(namespace.to_owned(), BTreeSet::from([ROLE.to_owned()]))]);
        stage.restart();
        let report = stage.look().await;
        assert_eq!(
            condition(&report),
            format!(
                "AccessDenied: namespace market-data may not use {ROLE}: grant it in the operator's settings, or remove spec.aws.controlPlaneRoleArn"
            )
        );
        assert!(stage.aws.world().roles.is_empty());
    }
    stage.settings.grants.roles = BTreeMap::from([("market-data".to_owned(), BTreeSet::from([ROLE.to_owned()]))]);
    stage.restart();
    stage.settle().await;
    let world = stage.aws.world();
    assert_eq!(world.roles, [(ROLE.to_owned(), "stockpipeline-market-data".to_owned())], "it is taken once");
    assert_eq!(world.signers, BTreeSet::from(["ASIATAKEN".to_owned()]));
}

#[tokio::test]
async fn a_crawler_is_given_a_role_only_where_it_is_granted_to_the_namespace() {
    let mut stage = Stage::new().await;
    stage.edit("enabled: false", "enabled: true");
    let granted = std::mem::take(&mut stage.settings.grants.roles);
    stage.restart();
    stage.look().await;
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::AccessDenied, Some(Retry::User)), "{}", condition(&report));
    assert!(report.finding.message.ends_with("or remove spec.glue.crawler.roleArn"), "{}", report.finding.message);
    assert_eq!(report.columns_wait, None, "the tables do not wait for it");
    assert_eq!(stage.aws.calls("CreateCrawler"), 0);
    stage.settings.grants.roles = granted;
    stage.restart();
    stage.settle().await;
    assert_eq!(stage.aws.world().glue.crawlers.len(), 1);
}

#[tokio::test]
async fn a_role_that_sts_refuses_waits_for_its_user() {
    let mut stage = Stage::new().await;
    with_role(&mut stage);
    stage.settings.grants.roles = BTreeMap::from([("market-data".to_owned(), BTreeSet::from([ROLE.to_owned()]))]);
    stage.restart();
    stage.aws.fault("AssumeRole", 100, FaultKind::Refuse(403, "AccessDenied"));
    let report = stage.look().await;
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::AccessDenied, Some(Retry::User)), "{}", condition(&report));
}

#[tokio::test]
async fn a_name_that_leads_to_a_metadata_address_is_not_called() {
    use stockpipeline_operator::catalog::aws::{NotGranted, check_grants};
    let stage = Stage::new().await;
    let mut place = stage.wanted().place;
    for address in ["http://169.254.169.254", "http://169.254.169.254:80", "http://[fd00:ec2::254]:80", "http://[::ffff:169.254.169.254]"] {
        place.glue_endpoint = Some(address.to_owned());
        let mut grants = stage.settings.grants.clone();
        grants.endpoints.insert(address.to_owned());
        let refused = check_grants(&place, "market-data", &grants);
        assert_eq!(refused, Err(NotGranted::Address { endpoint: address.to_owned() }));
    }
}

#[tokio::test]
async fn what_no_pipeline_has_made_is_taken_over_only_where_the_operator_grants_it() {
    let mut stage = Stage::settled().await;
    stage.edit("adoptionPolicy: FailIfExists", "adoptionPolicy: Adopt");
    stage.edit("evolution: Additive", "evolution: Unrestricted");
    stage.aws.world().glue.edit("market_data", "us_equities", |table| {
        table["Parameters"] = json!({ "lineage": "theirs" });
        table["StorageDescriptor"]["Location"] = json!("s3://theirs/");
    });
    let before = stage.stored();
    let granted = std::mem::take(&mut stage.settings.grants.adoptions);
    for (namespace, database) in [("other", "market_data"), ("market-data", "other"), ("", "")] {
        stage.settings.grants.adoptions = BTreeMap::from([(namespace.to_owned(), BTreeSet::from([database.to_owned()]))]);
        stage.restart();
        let report = stage.look().await;
        assert_eq!((report.finding.reason, report.retry), (CatalogSynced::AlreadyExists, Some(Retry::Terminal)));
        for part in ["table market_data.us_equities", "allow.adopt", "spec.glue.tables.processed"] {
            assert!(report.finding.message.contains(part), "{}", report.finding.message);
        }
        assert_eq!(stage.stored(), before);
    }
    let removal = stage.remove(DeletionPolicy { tables: true, ..DeletionPolicy::default() }).await.unwrap();
    assert_eq!(removal.kept, ["table market_data.us_equities was not made by this pipeline"]);
    stage.settings.grants.adoptions = granted;
    stage.restart();
    assert_eq!(stage.look().await.finding.reason, CatalogSynced::InSync);
    assert_eq!(stage.stored()["table market_data.us_equities"]["Parameters"]["lineage"], "theirs");
}
