//! The same over moto, another implementation of AWS' protocol. It does not compare versions.

use std::collections::BTreeSet;

use stockpipeline::operations::DeletionPolicy;
use stockpipeline_operator::catalog::converge::Catalogue;
use stockpipeline_operator::catalog::decide::{CatalogState, Mode, WantedCatalogue};
use stockpipeline_operator::metrics::Metrics;
use stockpipeline_operator::resource::identity::Identity;
use stockpipeline_operator::settings::Settings;
use stockpipeline_operator::status::reason::CatalogSynced;

use super::stage::{Stage, changes};

#[tokio::test]
#[ignore = "needs moto: AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"]
async fn the_catalogue_is_kept_over_moto() {
    let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap();
    let mut stage = Stage::new().await;
    let here = stage.aws.url.clone();
    stage.text = stage.text.replace(&here, &endpoint);
    let mut settings = Settings::new("image", "operator");
    settings.grants.endpoints = BTreeSet::from([endpoint]);
    let catalogue = Catalogue::new(&settings, Metrics::default());
    let identity = Identity { name: "us-equities".to_owned(), namespace: "market-data".to_owned(), uid: "u".to_owned() };
    let wanted = |stage: &Stage| WantedCatalogue::of(&identity, &stage.pipeline(), 1, "").unwrap();

    let first = catalogue.sync(&wanted(&stage), &CatalogState::default(), Mode::Apply).await;
    assert_eq!((first.finding.reason, first.changes.len()), (CatalogSynced::Creating, 6), "{first:?}");
    stage.status.athena.clone_from(&first.athena);
    let view = catalogue.sync(&wanted(&stage), &stage.seen(), Mode::Apply).await;
    assert_eq!(changes(&view), ["create view market_data.us_equities_latest"], "{view:?}");
    stage.status.athena.clone_from(&view.athena);
    let seen = stage.seen();
    let second = catalogue.sync(&wanted(&stage), &seen, Mode::Apply).await;
    assert_eq!((second.finding.reason, changes(&second)), (CatalogSynced::InSync, Vec::new()));

    stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
    let third = catalogue.sync(&wanted(&stage), &seen, Mode::Apply).await;
    assert_eq!((third.finding.reason, third.changes.len()), (CatalogSynced::InSync, 2), "{third:?}");
    let fourth = catalogue.sync(&wanted(&stage), &seen, Mode::Apply).await;
    assert_eq!((fourth.finding.reason, changes(&fourth)), (CatalogSynced::InSync, Vec::new()));

    let policy = DeletionPolicy { tables: true, database: true, named_queries: true, ..DeletionPolicy::default() };
    let removal = catalogue.remove(&wanted(&stage), &seen, policy).await.unwrap();
    assert_eq!((removal.removed.len(), removal.kept), (7, Vec::new()), "{:?}", removal.removed);
}
