//! Table inputs as golden files, and a table of what may be found in their place.

use stockpipeline::check::UnknownFields;
use stockpipeline::document as documents;
use stockpipeline::operations::AdoptionPolicy;

use super::*;
use crate::status::reason::CatalogSynced;

const FULL: &str = include_str!("../../../../pipeline/tests/fixtures/full.yaml");

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
    assert_eq!(wanted(include_str!("../../../../pipeline/tests/fixtures/minimal.yaml")), []);
}

const STRICT: Policy = Policy { adoption: AdoptionPolicy::FailIfExists, correct_drift: true, unrestricted: false, may_adopt: true };

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
    assert_eq!(
        told(&after(STRICT, foreign)),
        "refuse: table market_data.us_equities exists and was not made by a pipeline; name another one in spec.glue.tables.processed, or set \
         spec.glue.adoptionPolicy to Adopt to take it over or to Observe to leave it as it is"
    );
    let adopt = Policy { adoption: AdoptionPolicy::Adopt, ..STRICT };
    for policy in [STRICT, adopt, Policy { unrestricted: true, ..adopt }] {
        assert_eq!(
            told(&after(policy, others)),
            "refuse: table market_data.us_equities exists and belongs to market-data/other; name another one in \
             spec.glue.tables.processed, set spec.glue.adoptionPolicy to Observe to leave it as it is, or, if that pipeline is gone for good, \
             remove the table's parameter stockpipeline.dev/owner and set it to Adopt"
        );
    }
    let Decision::Update { input, drift: false, .. } = after(adopt, foreign) else { panic!("not adopted") };
    assert_eq!(input.parameters[&owner_mark()], "market-data/us-equities");
    assert_eq!(input.parameters["lineage"], "kept");
    assert_eq!(
        told(&after(Policy { may_adopt: false, unrestricted: true, ..adopt }, foreign)),
        "refuse: table market_data.us_equities exists and was not made by a pipeline, and this namespace may take over nothing in database \
         market_data: grant it in the operator's settings (allow.adopt), or name another one in spec.glue.tables.processed"
    );
    let ungranted = Policy { may_adopt: false, ..adopt };
    assert_eq!(after(ungranted, |_| {}), Decision::Keep, "what a pipeline has made or taken over stays its own");
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

fn everything(text: &str) -> WantedCatalogue {
    let document = documents::read(text).unwrap().remove(0);
    let (pipeline, _) = Pipeline::check(&document, UnknownFields::Error).unwrap();
    let identity = Identity { name: pipeline.name.clone(), namespace: "market-data".to_owned(), uid: "u".to_owned() };
    WantedCatalogue::of(&identity, &pipeline, 7, "").unwrap()
}

#[test]
fn athena_objects_and_the_crawler_are_as_documented() {
    let wanted = everything(&FULL.replacen("enabled: false", "enabled: true", 1));
    insta::assert_yaml_snapshot!((wanted.database, wanted.crawler, wanted.athena));
}

#[test]
fn what_stands_in_a_name_stays_in_it() {
    let text = FULL.replacen("name: us_equities_latest, sql: \"select", "name: us_equities_latest, sql: \"; drop table x; -- select", 1);
    let view = everything(&text).athena.unwrap().views.remove(0);
    assert!(view.statement.starts_with("CREATE OR REPLACE VIEW \"us_equities_latest\" AS\n; drop table x;"), "{}", view.statement);
    let owner = Owner("ns/name".to_owned());
    let described = owner.describe(Some(&"x".repeat(2_000)));
    assert_eq!(described.chars().count(), 1_024);
    assert!(owner.has_described(Some(&described)));
    assert!(!Owner("ns/nam".to_owned()).has_described(Some(&described)));
    assert!(!owner.has_described(None));
}

#[test]
fn shared_things_are_made_if_missing_and_changed_only_by_their_maker() {
    let owner = Owner("market-data/us-equities".to_owned());
    let wanted = everything(FULL);
    let group = wanted.athena.unwrap().workgroup;
    let found = |description: &str, bytes: Option<i64>, location: &str| {
        Some(FoundWorkgroup {
            description: Some(description.to_owned()),
            output_location: Some(location.to_owned()),
            bytes_scanned_cutoff: bytes,
        })
    };
    let told = |decision: SharedDecision| match decision {
        SharedDecision::Keep => "keep".to_owned(),
        SharedDecision::Create => "create".to_owned(),
        SharedDecision::Update(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        SharedDecision::Missing(finding) => format!("{:?}", finding.reason),
    };
    let own = owner.describe(None);
    let location = "s3://my-bucket/athena";
    for (found, expected) in [
        (None, "create"),
        (found(&own, Some(10_737_418_240), location), "keep"),
        (found("theirs", Some(1), "s3://theirs/"), "keep"),
        (found(&own, None, location), "bytesScannedCutoff: nothing instead of 10737418240"),
        (found(&own, Some(10_737_418_240), "s3://x/"), "outputLocation: s3://x/ instead of s3://my-bucket/athena/"),
    ] {
        assert_eq!(told(decide_workgroup(&group, found.as_ref(), &owner)), expected);
    }
    let without = WantedWorkgroup { create: false, output_location: None, bytes_scanned_cutoff: None, ..group };
    assert_eq!(told(decide_workgroup(&without, None, &owner)), "NotFound");
    let kept = found(&own, None, "s3://anywhere/");
    assert_eq!(told(decide_workgroup(&without, kept.as_ref(), &owner)), "keep", "the location is the workgroup's own then");
    let database = |create| WantedDatabase { name: "d".to_owned(), create };
    assert_eq!(told(decide_database(&database(true), None)), "create");
    assert_eq!(told(decide_database(&database(false), None)), "NotFound");
    assert_eq!(told(decide_database(&database(false), Some(&FoundDatabase { owner: None }))), "keep");
}

#[test]
fn queries_are_known_by_id_and_made_anew_where_they_cannot_move() {
    let wanted = everything(FULL).athena.unwrap();
    let query = &wanted.queries[0];
    let found = FoundQuery {
        id: "1".to_owned(),
        name: query.name.clone(),
        description: Some(query.description.clone()),
        database: wanted.database.clone(),
        sql: query.sql.clone(),
        workgroup: wanted.workgroup.name.clone(),
    };
    let told = |found: &[FoundQuery]| {
        let steps = plan_queries(&wanted, found).into_iter().map(|step| match step {
            QueryStep::Keep(_, id) => format!("keep {id}"),
            QueryStep::Create(query) => format!("create {}", query.name),
            QueryStep::Update { id, changes, .. } => format!("update {id} {}", changes.iter().map(|c| c.field.clone()).collect::<String>()),
            QueryStep::Delete(_, id) => format!("delete {id}"),
        });
        steps.collect::<Vec<_>>().join(", ")
    };
    let other = |change: fn(&mut FoundQuery)| {
        let mut query = found.clone();
        change(&mut query);
        query
    };
    assert_eq!(told(&[]), "create daily-ohlc");
    assert_eq!(told(std::slice::from_ref(&found)), "keep 1");
    assert_eq!(told(&[other(|query| query.sql = "select 1".to_owned())]), "update 1 sql");
    assert_eq!(told(&[other(|query| query.description = None)]), "update 1 description");
    assert_eq!(told(&[other(|query| query.workgroup = "old".to_owned())]), "create daily-ohlc, delete 1");
    assert_eq!(told(&[other(|query| query.database = "old".to_owned())]), "create daily-ohlc, delete 1");
    assert_eq!(told(&[other(|query| query.name = "old".to_owned())]), "create daily-ohlc, delete 1");
    assert_eq!(told(&[found.clone(), other(|query| query.id = "2".to_owned())]), "keep 1, delete 2", "a second one is surplus");
    let owner = Owner("a/b".to_owned());
    let token = |gone| creation_token(&wanted, query, &owner, gone);
    assert!((32..=128).contains(&token(None).len()));
    assert_eq!(token(None), token(None));
    assert_ne!(token(None), token(Some("1")));
}

#[test]
fn a_view_is_claimed_before_it_is_made_and_run_only_where_it_differs() {
    let wanted = everything(FULL);
    let view = wanted.athena.unwrap().views.remove(0);
    let owner = Owner("market-data/us-equities".to_owned());
    let found = |owner: Option<&str>, hash: Option<&str>| {
        Some(FoundView { is_view: true, owner: owner.map(str::to_owned), hash: hash.map(str::to_owned) })
    };
    let own = Some("market-data/us-equities");
    let (now, old) = (Some(view.hash.as_str()), Some("0000000000000000"));
    let adopt = Policy { adoption: AdoptionPolicy::Adopt, ..STRICT };
    let ungranted = Policy { may_adopt: false, ..adopt };
    let report = Policy { correct_drift: false, ..STRICT };
    for (found, seen, policy, expected) in [
        (None, None, STRICT, "claim"),
        (None, Some(CLAIMED), STRICT, "run"),
        (None, old, STRICT, "run"),
        (None, now, STRICT, "run drift"),
        (None, now, report, "report"),
        (found(own, now), now, STRICT, "keep"),
        (found(own, now), None, STRICT, "keep"),
        (found(own, old), old, STRICT, "run"),
        (found(own, old), now, STRICT, "run drift"),
        (found(None, None), Some(CLAIMED), STRICT, "run"),
        (found(None, None), now, STRICT, "run drift"),
        (found(None, None), now, report, "report"),
        (found(None, None), None, STRICT, "refuse"),
        (found(Some("other/one"), now), None, STRICT, "refuse"),
        (found(Some("other/one"), now), None, adopt, "refuse"),
        (found(Some("other/one"), old), now, STRICT, "refuse"),
        (found(Some("other/one"), old), Some(CLAIMED), STRICT, "refuse"),
        (found(None, None), None, adopt, "run"),
        (found(None, None), None, ungranted, "refuse"),
        (found(None, None), Some(CLAIMED), ungranted, "run"),
        (found(own, old), None, ungranted, "run"),
        (Some(FoundView { is_view: false, owner: None, hash: None }), now, adopt, "refuse"),
    ] {
        let told = match decide_view(&view, found.as_ref(), seen, &owner, policy) {
            ViewDecision::Keep => "keep",
            ViewDecision::Claim => "claim",
            ViewDecision::Run { drift: false, .. } => "run",
            ViewDecision::Run { drift: true, .. } => "run drift",
            ViewDecision::Report(_) => "report",
            ViewDecision::Refuse(_) => "refuse",
        };
        assert_eq!(told, expected, "{found:?} {seen:?}");
    }
}

#[test]
fn a_crawler_may_look_and_nothing_else() {
    let owner = Owner("market-data/us-equities".to_owned());
    let wanted = everything(&FULL.replacen("enabled: false", "enabled: true", 1)).crawler.unwrap();
    let as_made = FoundCrawler {
        description: Some(wanted.description.clone()),
        role: wanted.role_arn.clone(),
        schedule: wanted.schedule.clone(),
        tables: wanted.tables.iter().rev().map(|table| format!("market_data.{table}")).collect(),
        only_logs: true,
        last_run: None,
    };
    let told = |wanted: Option<&WantedCrawler>, found: Option<FoundCrawler>| match decide_crawler(wanted, found.as_ref(), &owner) {
        CrawlerDecision::Keep => "keep".to_owned(),
        CrawlerDecision::Create => "create".to_owned(),
        CrawlerDecision::Update(changes) => changes.iter().map(|change| change.field.clone()).collect::<Vec<_>>().join(" "),
        CrawlerDecision::Delete => "delete".to_owned(),
        CrawlerDecision::Refuse(refusal) => format!("{:?}", refusal.reason),
    };
    let theirs = || FoundCrawler { description: Some("theirs".to_owned()), ..as_made.clone() };
    assert_eq!(told(Some(&wanted), None), "create");
    assert_eq!(told(Some(&wanted), Some(as_made.clone())), "keep");
    assert_eq!(told(Some(&wanted), Some(FoundCrawler { role: "crawler".to_owned(), ..as_made.clone() })), "keep");
    assert_eq!(told(Some(&wanted), Some(FoundCrawler { only_logs: false, ..as_made.clone() })), "schemaChangePolicy");
    assert_eq!(told(Some(&wanted), Some(FoundCrawler { schedule: None, role: "x".to_owned(), ..as_made.clone() })), "role schedule");
    assert_eq!(told(Some(&wanted), Some(theirs())), "AlreadyExists");
    assert_eq!(told(None, Some(theirs())), "keep");
    assert_eq!(told(None, Some(as_made)), "delete");
    assert_eq!(told(None, None), "keep");
}

#[test]
fn what_the_user_has_to_change_comes_first_and_the_next_try_is_the_soonest() {
    use crate::catalog::aws::{Failure, FailureKind};
    use crate::error::Retry;
    let failure = |kind| Failure { operation: "GetTable", kind, code: "Code".to_owned(), message: "why".to_owned() };
    let kinds = [
        (FailureKind::Unavailable, CatalogSynced::Unavailable, Retry::Backoff),
        (FailureKind::Throttled, CatalogSynced::Throttled, Retry::Backoff),
        (FailureKind::Concurrent, CatalogSynced::ConcurrentModification, Retry::Fast),
        (FailureKind::NotFound, CatalogSynced::NotFound, Retry::Fast),
        (FailureKind::AlreadyExists, CatalogSynced::ConcurrentModification, Retry::Fast),
        (FailureKind::AccessDenied, CatalogSynced::AccessDenied, Retry::User),
        (FailureKind::Limit, CatalogSynced::AccessDenied, Retry::User),
        (FailureKind::Invalid, CatalogSynced::InvalidInput, Retry::Terminal),
    ];
    for (kind, reason, retry) in kinds {
        let mut verdict = Verdict::new(Mode::Apply);
        verdict.failed("table d.t", &failure(kind));
        let report = verdict.report("");
        assert_eq!((report.finding.reason, report.retry), (reason, Some(retry)), "{kind:?}");
        assert!(report.finding.message.starts_with("table d.t: GetTable was not served: Code: why; "), "{}", report.finding.message);
    }
    let mut verdict = Verdict::new(Mode::Apply);
    for (kind, ..) in kinds {
        verdict.failed("x", &failure(kind));
    }
    let report = verdict.report("");
    assert_eq!((report.finding.reason, report.retry), (CatalogSynced::InvalidInput, Some(Retry::Fast)));
    assert!(report.finding.message.ends_with(" (and 7 more)"), "{}", report.finding.message);
}
