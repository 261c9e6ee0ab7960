//! The audit over hand-made buckets: a clean one is clean, and every kind of damage is found and named.

use std::collections::BTreeMap;

use bytes::Bytes;
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document;
use stockpipeline::layout::{Epoch, LedgerKeys, Range, object_key};
use stockpipeline::plan::{PLAN_VERSION, Plan, PlannedObject, Root, SealReason, ZoneName};
use stockpipeline::rules::LineCompression;
use stockpipeline_worker::audit::{self, DifferenceKind, Report, Tail};
use stockpipeline_worker::local::serve_bucket;
use stockpipeline_worker::store::Put;

const DOCUMENT: &str = "
apiVersion: stockpipeline.dev/v1alpha1
kind: StockPipeline
metadata: { name: audited }
spec:
  source: { type: Synthetic, synthetic: { symbols: [A] } }
  schema:
    eventTimeColumn: ts
    columns:
      - { name: symbol, type: String }
      - { name: ts, type: Timestamp }
  kafka: { bootstrapServers: [\"kafka:9092\"], topic: { name: ticks, partitions: 2 } }
  producer: { keyColumn: symbol }
  sink:
    bucket: { name: audited }
    raw: { prefix: raw, compression: None }
    processed:
      prefix: processed
      format: JsonLines
      compression: None
      partitionBy: [{ name: symbol_key, transform: identity, column: symbol }]
    onBadRecord: { prefix: dlq }
";

/// A bucket in memory, before it is stored: key to body and metadata.
struct Scene {
    pipeline: Pipeline,
    epoch: Epoch,
    objects: BTreeMap<String, (Vec<u8>, BTreeMap<String, String>)>,
}

impl Scene {
    /// Returns two partitions of two finished plans each: offsets 0 to 9 and 10 to 19; every fifth record is a dead letter.
    fn clean() -> Self {
        let documents = document::read(DOCUMENT).unwrap();
        let mut pipeline = Pipeline::check(&documents[0], UnknownFields::Error).unwrap().0;
        pipeline.sink.dead_letters.1 = LineCompression::None;
        let mut scene = Self { pipeline, epoch: Epoch::of("audited"), objects: BTreeMap::new() };
        let starts = BTreeMap::from([(0, 0), (1, 0)]);
        let root = Root { version: PLAN_VERSION, cluster_id: None, topic_id: None, topic: "ticks".into(), starts };
        scene.put(scene.keys().root(), root.to_json());
        for partition in [0, 1] {
            for first in [0, 10] {
                scene.add(partition, first, first + 9);
            }
        }
        scene
    }

    fn keys(&self) -> LedgerKeys {
        LedgerKeys::new(&self.pipeline.sink.ledger.prefix, &self.pipeline.kafka.consumer_group, &self.epoch)
    }

    fn put(&mut self, key: String, body: impl Into<Vec<u8>>) {
        self.objects.insert(key, (body.into(), BTreeMap::new()));
    }

    /// Adds a finished plan.
    fn add(&mut self, partition: i32, first: i64, last: i64) {
        let plan = self.plan(partition, first, last);
        for object in &plan.objects {
            let body = lines(object.zone, partition, offsets(object, &plan));
            self.objects.insert(object.key.clone(), (body.into_bytes(), plan.object_metadata()));
        }
        self.put(self.keys().plan(partition, first), plan.to_json());
    }

    fn plan(&self, partition: i32, first: i64, last: i64) -> Plan {
        let sink = &self.pipeline.sink;
        let range = Range { epoch: &self.epoch, partition, first, last };
        let mut objects = Vec::new();
        let day = [("dt".to_owned(), "2026-01-01".to_owned())];
        let mut object = |zone, prefix: &str, hive: &[(String, String)], rows| {
            let key = object_key(prefix, hive, &range, "jsonl");
            let hive = hive.to_vec();
            objects.push(PlannedObject { zone, key, hive, rows, min_event_time_micros: None, max_event_time_micros: None });
        };
        let dead = (first..=last).filter(|offset| is_dead(*offset)).count() as u64;
        let alive = (last - first + 1).unsigned_abs() - dead;
        object(ZoneName::DeadLetters, "dlq", &day, dead);
        object(ZoneName::Processed, "processed", &[("symbol_key".to_owned(), "A".to_owned())], alive);
        object(ZoneName::Raw, "raw", &day, alive + dead);
        Plan {
            version: PLAN_VERSION,
            epoch: self.epoch.clone(),
            partition,
            first,
            last,
            sealed_at_micros: 1_767_225_600_000_000,
            reason: SealReason::Records,
            worker: "w".into(),
            leader_epoch: None,
            rules: sink.rules("ticks", &self.pipeline.schema),
            objects,
        }
    }

    /// Returns the key of a zone's object of a plan.
    fn key(&self, zone: ZoneName, partition: i32, first: i64) -> String {
        let plan = self.plan(partition, first, first + 9);
        plan.objects.into_iter().find(|object| object.zone == zone).unwrap().key
    }

    /// Replaces the rows of a zone's object of partition 1, offsets 10 to 19.
    fn rewrite(&mut self, zone: ZoneName, partition: i32, offsets: &[i64]) {
        let key = self.key(zone, 1, 10);
        self.objects.get_mut(&key).unwrap().0 = lines(zone, partition, offsets.iter().copied()).into_bytes();
    }

    fn change_plan(&mut self, change: impl FnOnce(&mut Plan)) {
        let key = self.keys().plan(1, 10);
        let mut plan = Plan::from_json(&self.objects[&key].0).unwrap();
        change(&mut plan);
        self.put(key, plan.to_json());
    }

    async fn audit(&self, tail: Tail) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let (server, store) = serve_bucket(&self.pipeline, folder.path()).await.unwrap();
        for (key, (body, metadata)) in &self.objects {
            let put = store.put_if_absent(key, Bytes::from(body.clone()), "text/plain", metadata).await.unwrap();
            assert_eq!(put, Put::Stored, "{key}");
        }
        let report = audit::run(&store, &self.pipeline, tail).await.unwrap();
        server.shutdown().await;
        report
    }
}

fn is_dead(offset: i64) -> bool {
    offset % 5 == 4
}

fn offsets(object: &PlannedObject, plan: &Plan) -> impl Iterator<Item = i64> {
    let zone = object.zone;
    (plan.first..=plan.last).filter(move |offset| match zone {
        ZoneName::Raw => true,
        ZoneName::Processed => !is_dead(*offset),
        ZoneName::DeadLetters => is_dead(*offset),
    })
}

fn lines(zone: ZoneName, partition: i32, offsets: impl IntoIterator<Item = i64>) -> String {
    let class = if zone == ZoneName::DeadLetters { "\"error_class\":\"NotJson\"," } else { "" };
    let line = |offset| format!("{{{class}\"_kafka_partition\":{partition},\"_kafka_offset\":{offset},\"_kafka_timestamp\":null}}\n");
    offsets.into_iter().map(line).collect()
}

#[tokio::test]
async fn a_clean_bucket_is_clean_and_counted() {
    let report = Scene::clean().audit(Tail::MustBeComplete).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.zones.raw.rows, report.zones.processed.rows, report.zones.dead_letters.rows), (40, 32, 8));
    assert_eq!((report.zones.raw.objects, report.hive_partitions, report.offsets_without_row), (4, 1, 0));
    assert_eq!(report.dead_letter_classes, BTreeMap::from([("NotJson".to_owned(), 8)]));
    let ends: Vec<_> = report.chains.iter().map(|chain| (chain.partition, chain.start, chain.next, chain.plans)).collect();
    assert_eq!(ends, [(0, 0, 20, 2), (1, 0, 20, 2)]);
}

#[tokio::test]
async fn an_empty_bucket_is_clean() {
    let mut scene = Scene::clean();
    scene.objects.clear();
    let report = scene.audit(Tail::MustBeComplete).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.chains.is_empty());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of damages")]
async fn every_kind_of_damage_is_found_and_named() {
    use DifferenceKind::{
        Chain, ForeignObject, ForeignRow, MissingObject, ObjectMark, Plan as PlanKind, Repeated, Root as RootKind, RowCount,
        UnreadableObject, ZonesDisagree,
    };
    type Damage = fn(&mut Scene);
    let cases: Vec<(&str, Damage, &[DifferenceKind])> = vec![
        ("the root is gone", |scene| drop(scene.objects.remove(&scene.keys().root())), &[RootKind]),
        ("the root is unreadable", |scene| scene.put(scene.keys().root(), "{}"), &[RootKind]),
        (
            "a plan is unreadable",
            |scene| scene.put(scene.keys().plan(1, 10), "{\"version\":1}"),
            &[PlanKind, ForeignObject, ForeignObject, ForeignObject],
        ),
        (
            "a plan is of a newer version",
            |scene| scene.put(scene.keys().plan(1, 10), "{\"version\":9}"),
            &[PlanKind, ForeignObject, ForeignObject, ForeignObject],
        ),
        (
            "a plan stands under another one's key",
            |scene| {
                let body = scene.objects[&scene.keys().plan(0, 10)].0.clone();
                scene.put(scene.keys().plan(1, 10), body);
            },
            &[PlanKind, ForeignObject, ForeignObject, ForeignObject],
        ),
        ("a gap between plans", |scene| scene.add(1, 25, 29), &[Chain]),
        ("two plans of the same offsets", |scene| scene.add(1, 15, 24), &[Chain]),
        ("a done mark without its plan", |scene| scene.put(scene.keys().done(1, 20), ""), &[PlanKind]),
        (
            "an object of a finished plan is gone",
            |scene| drop(scene.objects.remove(&scene.key(ZoneName::Processed, 1, 0))),
            &[MissingObject],
        ),
        (
            "an object of a plan that is marked as done is gone",
            |scene| {
                scene.objects.remove(&scene.key(ZoneName::Raw, 1, 10));
                scene.put(scene.keys().done(1, 10), "");
            },
            &[MissingObject],
        ),
        (
            "an object names another plan",
            |scene| {
                let metadata = scene.plan(0, 10, 19).object_metadata();
                let key = scene.key(ZoneName::Raw, 1, 10);
                scene.objects.get_mut(&key).unwrap().1 = metadata;
            },
            &[ObjectMark],
        ),
        (
            "an object names no plan",
            |scene| {
                let key = scene.key(ZoneName::Raw, 1, 10);
                scene.objects.get_mut(&key).unwrap().1.clear();
            },
            &[ObjectMark],
        ),
        (
            "an object is unreadable",
            |scene| {
                let key = scene.key(ZoneName::DeadLetters, 1, 10);
                scene.put(key.clone(), "no json\n");
                let metadata = scene.plan(1, 10, 19).object_metadata();
                scene.objects.get_mut(&key).unwrap().1 = metadata;
            },
            &[UnreadableObject],
        ),
        ("a row is gone", |scene| scene.rewrite(ZoneName::Processed, 1, &[10, 11, 12, 13, 15, 16, 17]), &[RowCount, ZonesDisagree]),
        (
            "a row is there twice",
            |scene| {
                scene.rewrite(ZoneName::Processed, 1, &[10, 11, 12, 13, 15, 16, 17, 17]);
            },
            &[Repeated, ZonesDisagree],
        ),
        (
            "a row of raw is there twice",
            |scene| {
                scene.rewrite(ZoneName::Raw, 1, &[10, 11, 12, 13, 14, 15, 16, 17, 18, 18]);
            },
            &[Repeated, ZonesDisagree],
        ),
        (
            "a record is both processed and a dead letter",
            |scene| scene.rewrite(ZoneName::DeadLetters, 1, &[13, 14]),
            &[Repeated, ZonesDisagree],
        ),
        ("more rows than the plan lists", |scene| scene.rewrite(ZoneName::DeadLetters, 1, &[14, 19, 19]), &[RowCount]),
        (
            "a row outside of the range",
            |scene| scene.rewrite(ZoneName::DeadLetters, 1, &[14, 24]),
            &[ForeignRow, ZonesDisagree, ZonesDisagree],
        ),
        ("rows of another partition", |scene| scene.rewrite(ZoneName::DeadLetters, 0, &[14, 19]), &[ForeignRow, ZonesDisagree]),
        ("a file that somebody left in a zone", |scene| scene.put("processed/notes.txt".into(), "x"), &[ForeignObject]),
        (
            "an object of an epoch without a ledger",
            |scene| {
                let epoch = Epoch::of("other");
                scene.put(object_key("raw", &[], &Range { epoch: &epoch, partition: 0, first: 0, last: 9 }, "jsonl"), "");
            },
            &[ForeignObject],
        ),
        (
            "an object that its plan does not list",
            |scene| {
                let range = Range { epoch: &scene.epoch.clone(), partition: 0, first: 10, last: 19 };
                scene.put(object_key("processed", &[("symbol_key".into(), "B".into())], &range, "jsonl"), "");
            },
            &[ForeignObject],
        ),
        (
            "a plan that lists another plan's object",
            |scene| {
                let key = scene.key(ZoneName::Raw, 1, 0);
                scene.change_plan(|plan| plan.objects[2].key = key);
            },
            &[PlanKind, ForeignObject],
        ),
    ];
    for (name, damage, expected) in cases {
        let mut scene = Scene::clean();
        damage(&mut scene);
        let report = scene.audit(Tail::MustBeComplete).await;
        let found: Vec<_> = report.differences.iter().map(|difference| difference.kind).collect();
        assert_eq!(found, expected, "{name}: {report}");
    }
}

#[tokio::test]
async fn an_unfinished_tail_is_in_progress_unless_all_must_be_complete() {
    let mut scene = Scene::clean();
    scene.objects.remove(&scene.key(ZoneName::Processed, 1, 10));
    let report = scene.audit(Tail::MayBeInProgress).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.in_progress.len(), 1);
    let report = scene.audit(Tail::MustBeComplete).await;
    assert_eq!(report.differences.iter().map(|difference| difference.kind).collect::<Vec<_>>(), [DifferenceKind::Unfinished]);
}

#[tokio::test]
async fn what_clean_up_has_removed_is_proven_by_the_objects_names() {
    let mut scene = Scene::clean();
    scene.objects.remove(&scene.keys().plan(1, 0));
    let report = scene.audit(Tail::MustBeComplete).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.objects_by_name_alone, report.chains[1].kept_from), (3, 10));
    for zone in [ZoneName::Raw, ZoneName::Processed, ZoneName::DeadLetters] {
        scene.objects.remove(&scene.key(zone, 1, 0));
    }
    let report = scene.audit(Tail::MustBeComplete).await;
    assert_eq!(report.differences.iter().map(|difference| difference.kind).collect::<Vec<_>>(), [DifferenceKind::Chain]);
}

#[tokio::test]
async fn a_bucket_of_many_plans_is_read_over_page_ends() {
    let mut scene = Scene::clean();
    scene.objects.clear();
    let starts = BTreeMap::from([(0, 0)]);
    let root = Root { version: PLAN_VERSION, cluster_id: None, topic_id: None, topic: "ticks".into(), starts };
    scene.put(scene.keys().root(), root.to_json());
    // Plans and done marks alternate in the listing; an odd number of keys before them moves the page's end between a mark and its plan.
    for first in 0..520 {
        let mut plan = scene.plan(0, first, first);
        plan.objects.clear();
        scene.put(scene.keys().plan(0, first), plan.to_json());
        if first > 0 {
            scene.put(scene.keys().done(0, first), "");
        }
    }
    let report = scene.audit(Tail::MustBeComplete).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.chains[0].plans, report.chains[0].next, report.offsets_without_row), (520, 520, 520));
}
