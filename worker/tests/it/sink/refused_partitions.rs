//! What Glue does not take of the partitions, and that it holds up nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use stockpipeline::Pipeline;
use stockpipeline::layout::{Epoch, NULL_PARTITION};
use stockpipeline::plan::{PLAN_VERSION, Plan, PlannedObject, SealReason, ZoneName};
use stockpipeline_worker::partitions::{Partitions, Settings, Timing};
use tokio_util::sync::CancellationToken;

use super::partitions::{Catalogue, DATABASE, FOREVER};
use super::stage::until;
use crate::aws_endpoint::FaultKind;

/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1);

/// A catalogue with its tables, and the handle of a sink that does not audit.
struct Registered {
    catalogue: Catalogue,
    pipeline: Pipeline,
    partitions: Partitions,
    shutdown: CancellationToken,
}

impl Registered {
    fn new(edit: impl FnOnce(&mut Timing)) -> Self {
        let catalogue = Catalogue::new(1);
        let pipeline = catalogue.pipeline();
        catalogue.make_tables(&pipeline);
        let (shutdown, mut settings) = (CancellationToken::new(), Catalogue::settings(&pipeline));
        edit(&mut settings.timing);
        let partitions = Self::start(&catalogue, settings, &shutdown);
        Self { catalogue, pipeline, partitions, shutdown }
    }

    fn start(catalogue: &Catalogue, settings: Settings, shutdown: &CancellationToken) -> Partitions {
        catalogue.partitions_with(settings, shutdown.clone())
    }

    /// Announces partitions as a plan does, and waits as a plan's objects do.
    fn announce(&self, zone: ZoneName, days: &[&str]) {
        let announcement = self.partitions.announce(&self.plan(zone, days));
        self.catalogue.stage.runtime.block_on(announcement.settled());
    }

    fn plan(&self, zone: ZoneName, days: &[&str]) -> Plan {
        let prefix = if zone == ZoneName::Raw { "raw" } else { "processed" };
        let object = |day: &&str| PlannedObject {
            zone,
            key: format!("{prefix}/dt={day}/object"),
            hive: vec![("dt".to_owned(), (*day).to_owned())],
            rows: 1,
            min_event_time_micros: None,
            max_event_time_micros: None,
        };
        Plan {
            version: PLAN_VERSION,
            epoch: Epoch::of("test"),
            partition: 0,
            first: 0,
            last: 0,
            sealed_at_micros: 0,
            reason: SealReason::Interval,
            worker: "only".to_owned(),
            leader_epoch: None,
            rules: self.pipeline.sink.rules("ticks", &self.pipeline.schema),
            objects: days.iter().map(object).collect(),
        }
    }

    /// Stores an object, as a sink does whose registrar was gone.
    fn store(&self, day: &str) {
        let (key, body) = (format!("processed/dt={day}/object"), Bytes::from_static(b"x"));
        let put = self.catalogue.stage.store();
        self.catalogue.stage.runtime.block_on(put.put_if_absent(&key, body, "text/plain", &BTreeMap::new())).unwrap();
    }

    fn refuse(&self, day: &str) {
        self.catalogue.aws.world().glue.table_mut(DATABASE, "it").refused.insert(vec![day.to_owned()]);
    }

    fn days(&self, table: &str) -> Vec<String> {
        self.catalogue.registered(table).into_iter().map(|values| values.join("/")).collect()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[test]
fn a_table_that_is_missing_holds_up_no_other_table() {
    let it = Registered::new(|timing| timing.first_retry = NEVER);
    it.catalogue.aws.world().glue.databases.get_mut(DATABASE).unwrap().tables.remove("it_raw");
    it.announce(ZoneName::Raw, &["2026-01-01"]);
    until("it is told", || it.partitions.report().0.iter().any(|line| line.contains("table market_data.it_raw does not exist")));
    it.announce(ZoneName::Processed, &["2026-01-01"]);
    assert_eq!(it.days("it"), ["2026-01-01"], "registered before its first object lands");
}

#[test]
fn a_table_that_does_not_answer_holds_up_no_other_table() {
    let it = Registered::new(|timing| timing.first_retry = NEVER);
    it.catalogue.aws.fault("GetTable", 1, FaultKind::Hang);
    drop(it.partitions.announce(&it.plan(ZoneName::Raw, &["2026-01-01"])));
    until("the call hangs", || it.catalogue.aws.calls("GetTable") == 1);
    it.announce(ZoneName::Processed, &["2026-01-01"]);
    assert_eq!(it.days("it"), ["2026-01-01"], "registered before its first object lands");
}

#[test]
fn a_value_that_glue_refuses_holds_up_no_other_partition() {
    let it = Registered::new(|_| {});
    it.refuse("2026-01-02");
    let days: Vec<String> = (1..=31).map(|day| format!("2026-01-{day:02}")).collect();
    it.announce(ZoneName::Processed, &days.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(it.days("it").len(), 30, "all but the bad one, before their first object lands");
    until("it is told", || {
        it.partitions.report().0.iter().any(|line| line.contains("dt=2026-01-02") && line.contains("InvalidInputException"))
    });
    until("it is counted", || (it.catalogue.metric("stockpipeline_catalog_partitions_missing") - 1.0).abs() < 0.1);
    it.announce(ZoneName::Processed, &["2026-02-01"]);
    it.announce(ZoneName::Raw, &["2026-02-01"]);
    assert_eq!((it.days("it").len(), it.days("it_raw").len()), (31, 1), "what comes later goes on");
    it.catalogue.aws.world().glue.table_mut(DATABASE, "it").refused.clear();
    until("it is tried again", || it.days("it").len() == 32 && it.partitions.report().0.is_empty());
}

#[test]
fn an_audit_goes_on_behind_what_glue_refuses() {
    let it = Registered::new(|_| {});
    let days: Vec<String> = (1..=28).map(|day| format!("2026-02-{day:02}")).collect();
    for day in &days {
        it.store(day);
    }
    it.refuse("2026-02-02");
    {
        let mut world = it.catalogue.aws.world();
        let table = world.glue.table_mut(DATABASE, "it");
        let stale = json!({"Values": ["2026-02-05"], "StorageDescriptor": {}});
        for day in ["2026-02-05", "2026-02-06"] {
            table.partitions.insert(vec![day.to_owned()], stale.clone());
            table.partitions.get_mut(&vec![day.to_owned()]).unwrap()["Values"] = json!([day]);
        }
        table.stubborn.insert(vec!["2026-02-05".to_owned()]);
    }
    it.partitions.audits(true);
    until("all others are registered", || it.days("it").len() == 27);
    until("what is stale follows the table", || {
        let world = it.catalogue.aws.world();
        let table = world.glue.table(DATABASE, "it");
        table.partitions[&vec!["2026-02-06".to_owned()]]["StorageDescriptor"]["Columns"] == table.input["StorageDescriptor"]["Columns"]
    });
    until("both bad ones are told, and the audit is whole", || {
        let (missing, tables) = it.partitions.report();
        let tells = |day: &str| missing.iter().any(|line| line.contains(day) && line.contains("InvalidInputException"));
        tells("dt=2026-02-02") && tells("dt=2026-02-05") && tables[0].partitions == Some(28)
    });
}

#[test]
fn an_audit_that_cannot_look_at_one_table_does_not_look_at_the_others_all_the_time() {
    let it = Registered::new(|timing| timing.audit_newest = NEVER);
    it.store("2026-01-01");
    it.catalogue.aws.world().glue.databases.get_mut(DATABASE).unwrap().tables.remove("it_raw");
    it.partitions.audits(true);
    until("the missing table is looked for again", || it.catalogue.aws.calls("GetTable") >= 6);
    assert_eq!(it.catalogue.aws.calls("BatchGetPartition"), 1);
}

#[test]
fn rows_without_a_time_are_never_the_newest() {
    let it = Registered::new(|_| {});
    for day in ["2026-01-01", "2026-01-02", "2026-01-03", NULL_PARTITION] {
        it.store(day);
    }
    it.partitions.audits(true);
    until("all are registered", || it.days("it").len() == 4);
    until("the newest is known", || it.partitions.report().1[0].newest.as_deref() == Some("dt=2026-01-03"));
    it.catalogue.aws.world().glue.table_mut(DATABASE, "it").partitions.remove(&vec!["2026-01-02".to_owned()]);
    until("the two newest days are looked at", || it.days("it").len() == 4);
}

#[test]
fn what_finds_no_room_is_come_back_to_by_a_sink_that_does_not_audit() {
    let it = Registered::new(|_| {});
    let days: Vec<String> = (1..=3).flat_map(|month| (1..=28).map(move |day| format!("2026-{month:02}-{day:02}"))).collect();
    for day in &days {
        it.store(day);
    }
    it.catalogue.aws.fault("BatchCreatePartition", FOREVER, FaultKind::Hang);
    drop(it.partitions.announce(&it.plan(ZoneName::Processed, &["2026-01-01"])));
    until("the registrar is busy", || it.catalogue.aws.calls("BatchCreatePartition") == 1);
    for day in &days {
        drop(it.partitions.announce(&it.plan(ZoneName::Processed, &[day])));
    }
    assert!(it.catalogue.metric("stockpipeline_catalog_partitions_dropped_total") > 0.0);
    it.catalogue.aws.heal();
    until("all are registered", || it.days("it") == days);
    until("none is missing", || it.partitions.report().0.is_empty());
}
