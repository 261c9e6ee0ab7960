//! One half of the contract of the tables: from a resource to the document that workers read, and to the tables that Glue is given. The
//! worker's suite reads both golden files and compares what it writes with them.

use std::collections::BTreeMap;

use stockpipeline::check::UnknownFields;
use stockpipeline::{Pipeline, document};
use stockpipeline_operator::catalog::decide::{WantedCatalogue, Zone};
use stockpipeline_operator::desired::{Children, Counts, Wanted};
use stockpipeline_operator::resource::identity::Identity;
use stockpipeline_operator::settings::Settings;

const EVERY_TYPE: &str = include_str!("fixtures/every-type.yaml");

#[test]
fn what_workers_read_and_what_glue_is_given_are_as_the_workers_suite_expects() {
    let document = document::read(EVERY_TYPE).unwrap().remove(0);
    let (pipeline, _) = Pipeline::check(&document, UnknownFields::Error).unwrap();
    let identity = Identity { name: pipeline.name.clone(), namespace: "market-data".to_owned(), uid: "u".to_owned() };
    let settings = Settings::new("image", "operator");
    let counts = Counts { producers: 0, sinks: 1 };
    let children =
        Children::of(&Wanted { identity: &identity, document: &document, pipeline: &pipeline, settings: &settings, counts }).unwrap();
    let rendered = children.config.data.unwrap().into_values().next().unwrap();
    insta::assert_snapshot!("contract_document", rendered);
    let wanted = WantedCatalogue::of(&identity, &pipeline, 1, "").unwrap();
    let tables: BTreeMap<Zone, _> = wanted.tables.into_iter().map(|table| (table.zone, table.input)).collect();
    insta::assert_json_snapshot!("contract_tables", tables);
}
