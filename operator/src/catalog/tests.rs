//! Table inputs as golden files, and a table of what may be found in their place.

use stockpipeline::check::UnknownFields;
use stockpipeline::document as documents;
use stockpipeline::operations::AdoptionPolicy;

use super::*;
use crate::status::reason::CatalogSynced;

const FULL: &str = include_str!("../../../pipeline/tests/fixtures/full.yaml");

fn wanted(text: &str) -> Vec<WantedTable> {
    let document = documents::read(text).unwrap().remove(0);
    let (pipeline, _) = Pipeline::check(&document, UnknownFields::Error).unwrap();
    let identity = Identity { name: pipeline.name.clone(), namespace: "market-data".to_owned(), uid: "u".to_owned() };
    tables(&pipeline, &Owner::of("", &identity), 7)
}

fn processed() -> WantedTable {
    wanted(FULL).remove(0)
}

/// Returns the full example with partitions by every transform and projection.
fn projected() -> String {
    let fields = "- { name: dt, transform: day, column: ts, timeZone: UTC }
        - { name: y, transform: year, column: ts }
        - { name: m, transform: month, column: ts }
        - { name: shard, transform: bucket(4), column: symbol }
        - { name: initial, transform: truncate(1), column: symbol }";
    let text = FULL.replacen("- { name: dt, transform: day, column: ts, timeZone: UTC }", fields, 1);
    text.replacen("mode: Registered", "mode: Projection\n      projectionStart: 2020-03-01", 1)
}

#[test]
fn registered_tables_are_as_documented() {
    insta::assert_yaml_snapshot!(wanted(FULL));
}

#[test]
fn projected_partitions_stand_in_the_parameters() {
    let parameters: Vec<_> = wanted(&projected()).into_iter().map(|table| (table.zone, table.input.parameters)).collect();
    insta::assert_yaml_snapshot!(parameters);
}

#[test]
fn a_pipeline_without_catalogue_has_no_tables() {
    assert_eq!(wanted(include_str!("../../../pipeline/tests/fixtures/minimal.yaml")), []);
}

const STRICT: Policy = Policy { adoption: AdoptionPolicy::FailIfExists, correct_drift: true, unrestricted: false };

/// Returns what is decided about the processed table after others changed it.
fn after(policy: Policy, change: impl FnOnce(&mut TableInput)) -> Decision {
    let wanted = processed();
    let mut input = wanted.input.clone();
    change(&mut input);
    decide(&wanted, Some(&FoundTable { input, version: Some("3".to_owned()) }), policy)
}

/// Returns the decision in one line.
fn told(decision: &Decision) -> String {
    let list = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match decision {
        Decision::Keep => "keep".to_owned(),
        Decision::Create(input) => format!("create {}", input.name),
        Decision::Update { changes, drift, keep_history, .. } => {
            let drift = if *drift { " drift" } else { "" };
            let history = if *keep_history { " schema" } else { "" };
            format!("update{drift}{history}: {}", list(changes))
        }
        Decision::Report(changes) => format!("report: {}", list(changes)),
        Decision::Refuse(refusal) => format!("refuse: {}", refusal.message),
    }
}

#[test]
fn other_spellings_and_foreign_parameters_are_no_difference() {
    let decision = after(STRICT, |table| {
        table.location = "s3://my-bucket/processed/us-equities".to_owned();
        table.columns[5].glue_type = "DECIMAL(18, 6)".to_owned();
        table.columns[6].comment = Some(String::new());
        table.partition_keys[0].comment = Some("day".to_owned());
        table.parameters.insert("EXTERNAL".to_owned(), "true".to_owned());
        table.parameters.insert("crawler".to_owned(), "seen".to_owned());
        table.parameters.insert(generation_mark(), "3".to_owned());
        table.serde_parameters.insert("dots.in.keys".to_owned(), "true".to_owned());
    });
    assert_eq!(told(&decision), "keep");
}

#[test]
fn what_others_change_is_set_right_and_counted() {
    type Case = (fn(&mut TableInput), &'static str);
    let cases: [Case; 7] = [
        (|table| drop(table.columns.pop()), "update drift schema: columns.volume: nothing instead of bigint"),
        (|table| table.columns[9].glue_type = "int".to_owned(), "update drift schema: columns.volume.type: int instead of bigint"),
        (
            |table| table.columns.swap(8, 9),
            "update drift schema: columns: _kafka_partition, _kafka_offset, _kafka_timestamp, symbol, ts, open, high, low, volume, close instead of _kafka_partition, _kafka_offset, _kafka_timestamp, symbol, ts, open, high, low, close, volume",
        ),
        (
            |table| table.columns.push(Column { name: "extra".to_owned(), glue_type: "int".to_owned(), comment: None }),
            "update drift schema: columns.extra: int instead of nothing",
        ),
        (
            |table| table.location = "s3://elsewhere/".to_owned(),
            "update drift: location: s3://elsewhere instead of s3://my-bucket/processed/us-equities",
        ),
        (|table| drop(table.parameters.remove("classification")), "update drift: parameters.classification: nothing instead of parquet"),
        (
            |table| drop(table.parameters.insert("projection.enabled".to_owned(), "true".to_owned())),
            "update drift: parameters.projection.enabled: true instead of nothing",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(told(&after(STRICT, change)), expected);
        let report = Policy { correct_drift: false, ..STRICT };
        assert!(told(&after(report, change)).starts_with("report: "), "{expected}");
    }
}

#[test]
fn an_update_keeps_what_is_foreign_and_names_the_version() {
    let decision = after(STRICT, |table| {
        table.parameters.insert("lineage".to_owned(), "kept".to_owned());
        table.parameters.insert("projection.old.type".to_owned(), "enum".to_owned());
        table.serde_parameters.insert("mapping.old".to_owned(), "Old".to_owned());
        table.serde_parameters.insert("foreign".to_owned(), "kept".to_owned());
        table.columns.pop();
    });
    let Decision::Update { input, version, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(version.as_deref(), Some("3"));
    assert_eq!(input.parameters["lineage"], "kept");
    assert_eq!(input.parameters[&generation_mark()], "7");
    assert!(!input.parameters.contains_key("projection.old.type"));
    assert_eq!(input.serde_parameters["foreign"], "kept");
    assert!(!input.serde_parameters.contains_key("mapping.old"));
    assert_eq!(input.columns, processed().input.columns);
    let again = decide(&processed(), Some(&FoundTable { input, version: None }), STRICT);
    assert_eq!(again, Decision::Keep, "what was written is what is wanted");
}

/// Makes the table look as if an earlier spec had written it.
fn earlier(table: &mut TableInput) {
    table.parameters.insert(written_hash_mark(), "0".repeat(16));
}

#[test]
fn a_column_that_is_added_to_the_spec_is_written_even_where_drift_is_only_reported() {
    for correct_drift in [true, false] {
        let decision = after(Policy { correct_drift, ..STRICT }, |table| {
            earlier(table);
            table.columns.pop();
        });
        let expected = format!(
            "update schema: columns.volume: nothing instead of bigint; parameters.{}: 0000000000000000 instead of {}",
            written_hash_mark(),
            processed().input.parameters[&written_hash_mark()]
        );
        assert_eq!(told(&decision), expected);
    }
}

#[test]
fn a_spec_that_drops_or_retypes_a_column_is_refused_with_the_field_to_set() {
    let retype = |table: &mut TableInput| {
        earlier(table);
        table.columns[9].glue_type = "string".to_owned();
    };
    let Decision::Refuse(refusal) = after(STRICT, retype) else { panic!("not refused") };
    assert_eq!(refusal.reason, CatalogSynced::UnrestrictedChange);
    assert_eq!(
        refusal.message,
        "table market_data.us_equities has columns that would go or change their type (columns.volume.type: string instead of bigint); \
         declare them as they are, or set spec.schema.evolution to Unrestricted"
    );
    assert!(matches!(after(Policy { unrestricted: true, ..STRICT }, retype), Decision::Update { drift: false, .. }));
    let comment = |table: &mut TableInput| {
        earlier(table);
        table.columns[9].comment = Some("shares".to_owned());
    };
    assert!(matches!(after(STRICT, comment), Decision::Update { .. }), "a comment breaks nothing");
}

#[test]
fn a_table_of_another_owner_is_touched_only_where_the_user_says_so() {
    let foreign = |table: &mut TableInput| {
        table.parameters.retain(|name, _| !name.starts_with(GROUP));
        table.parameters.insert("lineage".to_owned(), "kept".to_owned());
    };
    let others = |table: &mut TableInput| drop(table.parameters.insert(owner_mark(), "market-data/other".to_owned()));
    let message = |whose: &str| {
        format!(
            "refuse: table market_data.us_equities exists and {whose}; name another one in spec.glue.tables.processed, or set \
             spec.glue.adoptionPolicy to Adopt to take it over or to Observe to leave it as it is"
        )
    };
    assert_eq!(told(&after(STRICT, foreign)), message("was not made by a pipeline"));
    assert_eq!(told(&after(STRICT, others)), message("belongs to market-data/other"));
    let adopt = Policy { adoption: AdoptionPolicy::Adopt, ..STRICT };
    let Decision::Update { input, drift: false, .. } = after(adopt, foreign) else { panic!("not adopted") };
    assert_eq!(input.parameters[&owner_mark()], "market-data/us-equities");
    assert_eq!(input.parameters["lineage"], "kept");
    let observe = Policy { adoption: AdoptionPolicy::Observe, ..STRICT };
    assert_eq!(told(&after(observe, foreign)), "report: ");
    assert_eq!(told(&after(observe, |table| drop(table.columns.pop()))), "report: columns.volume: nothing instead of bigint");
}

#[test]
fn an_adopted_table_loses_no_column_unless_the_user_says_so() {
    let adopt = Policy { adoption: AdoptionPolicy::Adopt, ..STRICT };
    let foreign = |table: &mut TableInput| {
        table.parameters.retain(|name, _| !name.starts_with(GROUP));
        table.columns.push(Column { name: "theirs".to_owned(), glue_type: "int".to_owned(), comment: None });
    };
    assert!(told(&after(adopt, foreign)).contains("columns.theirs: int instead of nothing"));
    assert!(matches!(after(adopt, foreign), Decision::Refuse(_)));
    assert!(matches!(after(Policy { unrestricted: true, ..adopt }, foreign), Decision::Update { .. }));
}

#[test]
fn a_missing_table_is_made_unless_it_is_only_observed() {
    assert_eq!(told(&decide(&processed(), None, STRICT)), "create us_equities");
    assert_eq!(told(&decide(&processed(), None, Policy { adoption: AdoptionPolicy::Adopt, ..STRICT })), "create us_equities");
    let observe = Policy { adoption: AdoptionPolicy::Observe, ..STRICT };
    assert_eq!(told(&decide(&processed(), None, observe)), "report: table: nothing instead of market_data.us_equities");
}

#[test]
fn partition_keys_never_change_by_themselves() {
    let keys = |table: &mut TableInput| {
        earlier(table);
        table.partition_keys.pop();
    };
    assert!(matches!(after(STRICT, keys), Decision::Refuse(_)));
}

#[test]
fn clusters_that_share_an_account_are_told_apart() {
    let identity = Identity { name: "a".to_owned(), namespace: "n".to_owned(), uid: "u".to_owned() };
    assert_eq!(Owner::of("", &identity), Owner("n/a".to_owned()));
    assert_eq!(Owner::of("blue", &identity), Owner("blue/n/a".to_owned()));
}
