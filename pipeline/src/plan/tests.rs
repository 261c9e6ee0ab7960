use proptest::prelude::*;

use super::*;
use crate::rules::example::rules;

fn plan() -> Plan {
    let epoch = Epoch::of("cluster/topic");
    let hive = vec![("dt".to_owned(), "2013-03-01".to_owned()), ("symbol".to_owned(), "BF/B".to_owned())];
    let range = crate::layout::Range { epoch: &epoch, partition: 7, first: 42, last: 1_041 };
    let key = crate::layout::object_key("processed/us-equities", &hive, &range, "parquet");
    Plan {
        version: PLAN_VERSION,
        partition: 7,
        first: 42,
        last: 1_041,
        sealed_at_micros: 1_372_685_400_123_456,
        reason: SealReason::HivePartitions,
        worker: "demo-sink-5d9c8".to_owned(),
        leader_epoch: Some(3),
        rules: rules(),
        objects: vec![PlannedObject {
            zone: ZoneName::Processed,
            key,
            hive,
            rows: 1_000,
            min_event_time_micros: Some(-126_230_400_000_000),
            max_event_time_micros: Some(1_372_685_399_000_000),
        }],
        epoch,
    }
}

fn root() -> Root {
    Root {
        version: PLAN_VERSION,
        cluster_id: Some("b7".to_owned()),
        topic_id: None,
        topic: "ticks".to_owned(),
        starts: BTreeMap::from([(0, 0), (11, 900_000)]),
    }
}

fn pretty(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn plans_keep_their_format() {
    insta::assert_snapshot!(pretty(&plan().to_json()));
}

#[test]
fn roots_keep_their_format() {
    insta::assert_snapshot!(pretty(&root().to_json()));
}

#[test]
fn stored_plans_and_roots_come_back_equal() {
    assert_eq!(Plan::from_json(&plan().to_json()).unwrap(), plan());
    assert_eq!(Root::from_json(&root().to_json()).unwrap(), root());
    assert_eq!((root().start(11), root().start(5)), (900_000, 0));
    let mut plain = plan();
    (plain.leader_epoch, plain.rules.raw, plain.objects) = (None, None, Vec::new());
    assert_eq!(Plan::from_json(&plain.to_json()).unwrap(), plain);
}

#[test]
fn another_format_or_decoder_is_named() {
    let stored = String::from_utf8(plan().to_json()).unwrap();
    let newer = stored.replace(r#""version":1"#, r#""version":2,"new":{}"#);
    let error = Plan::from_json(newer.as_bytes()).unwrap_err();
    assert!(matches!(error, PlanError::UnknownVersion { version: 2, known: 1 }));
    assert!(error.to_string().contains("version 2"), "{error}");
    // Nothing but the version has to be known of another format.
    for bytes in [br#"{"version":7}"#.as_slice(), br#"{"epoch":[],"version":7}"#] {
        assert!(matches!(Plan::from_json(bytes), Err(PlanError::UnknownVersion { version: 7, .. })));
        assert!(matches!(Root::from_json(bytes), Err(PlanError::UnknownVersion { version: 7, .. })));
    }
    let newer = stored.replace(r#""decoder":1"#, r#""decoder":2"#);
    assert!(matches!(Plan::from_json(newer.as_bytes()), Err(PlanError::UnknownDecoder { decoder: 2, known: 1 })));
}

#[test]
fn bytes_that_are_no_plan_are_refused() {
    for bytes in [b"".as_slice(), b"null", b"{}", b"[1]", br#"{"version":1}"#, br#"{"version":"1"}"#, b"\xff"] {
        assert!(matches!(Plan::from_json(bytes), Err(PlanError::Malformed { .. })), "{bytes:?}");
        assert!(matches!(Root::from_json(bytes), Err(PlanError::Malformed { .. })), "{bytes:?}");
    }
    let stored = plan().to_json();
    for length in 0..stored.len() {
        assert!(Plan::from_json(&stored[..length]).is_err());
    }
}

#[test]
fn plans_that_contradict_themselves_are_refused() {
    let broken: [fn(&mut Plan); 9] = [
        |plan| plan.last = plan.first - 1,
        |plan| plan.first = -1,
        |plan| plan.partition = -1,
        |plan| plan.rules.schema.event_time = 99,
        |plan| plan.rules.schema.event_time = 0,
        |plan| plan.rules.schema.columns.clear(),
        |plan| plan.rules.processed.as_mut().unwrap().sort_by = vec![99],
        |plan| plan.rules.processed.as_mut().unwrap().partition_by[0].column = 99,
        |plan| plan.rules.processed.as_mut().unwrap().partition_by[0].transform = crate::rules::Transform::Bucket { count: 0 },
    ];
    for (case, breaks) in broken.into_iter().enumerate() {
        let mut plan = plan();
        breaks(&mut plan);
        assert!(matches!(Plan::from_json(&plan.to_json()), Err(PlanError::Inconsistent { .. })), "case {case}");
    }
    let mut root = root();
    root.starts.insert(3, -1);
    assert!(matches!(Root::from_json(&root.to_json()), Err(PlanError::Inconsistent { .. })));
}

#[test]
fn a_plan_claims_its_own_objects_only() {
    let plan = plan();
    let mut metadata = plan.object_metadata();
    assert_eq!(metadata[PLAN_METADATA], "569022d434197027/p00007/00000000000000000042-00000000000000001041");
    metadata.insert("other".to_owned(), "mark".to_owned());
    assert!(plan.claims(&metadata));
    assert!(!plan.claims(&BTreeMap::new()));
    for other in
        [Plan { last: 1_042, ..plan.clone() }, Plan { partition: 8, ..plan.clone() }, Plan { epoch: Epoch::of("other"), ..plan.clone() }]
    {
        assert!(!other.claims(&metadata));
    }
}

proptest! {
    #[test]
    fn any_plan_comes_back(partition in 0..i32::MAX, first in 0..i64::MAX / 2, length in 0..i64::MAX / 2, sealed: i64, worker in ".*", value in ".*", rows: u64) {
        let mut plan = plan();
        (plan.partition, plan.first, plan.last) = (partition, first, first + length);
        (plan.sealed_at_micros, plan.worker, plan.objects[0].rows) = (sealed, worker, rows);
        plan.objects[0].hive[1].1 = value;
        prop_assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
    }
}
