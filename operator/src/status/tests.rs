//! Conditions, phases and writes, case by case.

use std::fmt::Write;
use std::time::Duration;

use super::reason::{Accepted, Availability, CatalogSynced, LagWithinBounds, Suspended, TopicReady};
use super::*;
use crate::resource::crd::report::{ComponentStatus, GlueStatus, KafkaStatus, LagStatus, StockPipelineStatus, TableStatus};

fn finding<R>(reason: R) -> Finding<R> {
    Finding { reason, message: "why".to_owned() }
}

fn well() -> Findings {
    Findings {
        accepted: finding(Accepted::Valid),
        topic: finding(TopicReady::InSync),
        producer: finding(Availability::MinimumReplicasAvailable),
        sink: finding(Availability::Committing),
        catalog: finding(CatalogSynced::InSync),
        lag: finding(LagWithinBounds::WithinTarget),
        is_all_stored: true,
        suspended: finding(Suspended::Running),
        deletion: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// Returns the phase, Ready with its reason, and what is there of Stalled and Reconciling, in one line.
fn told(change: impl FnOnce(&mut Findings)) -> String {
    let mut findings = well();
    change(&mut findings);
    let conditions = conditions(&findings, 1, &[], at(0));
    let mut line = phase(&findings).label().to_owned();
    for condition in conditions.iter().filter(|condition| ["Ready", "Stalled", "Reconciling"].contains(&condition.type_.as_str())) {
        write!(line, " {}={}/{}", condition.type_, condition.status, condition.reason).unwrap();
    }
    line
}

#[test]
fn ready_names_the_cause_and_the_phase_sums_up() {
    type Case = (fn(&mut Findings), &'static str);
    let cases: [Case; 20] = [
        (|_| {}, "Running Ready=True/Ready"),
        (|f| f.accepted.reason = Accepted::InvalidSpec, "Invalid Ready=False/InvalidSpec Stalled=True/InvalidSpec"),
        (|f| f.accepted.reason = Accepted::ResourceConflict, "Invalid Ready=False/ResourceConflict Stalled=True/ResourceConflict"),
        (|f| f.accepted.reason = Accepted::SecretNotFound, "Degraded Ready=False/SecretNotFound"),
        (|f| f.topic.reason = TopicReady::BrokerUnreachable, "Degraded Ready=False/BrokerUnreachable"),
        (|f| f.topic.reason = TopicReady::PartitionMismatch, "Failed Ready=False/PartitionMismatch Stalled=True/PartitionMismatch"),
        (|f| f.topic.reason = TopicReady::NotMeasured, "Pending Ready=Unknown/NotMeasured Reconciling=True/NotMeasured"),
        (
            |f| {
                f.topic.reason = TopicReady::NotMeasured;
                f.sink.reason = Availability::CrashLoop;
            },
            "Degraded Ready=False/CrashLoop Reconciling=True/NotMeasured",
        ),
        (|f| f.sink.reason = Availability::RollingOut, "Pending Ready=False/RollingOut Reconciling=True/RollingOut"),
        (|f| f.sink.reason = Availability::Updating, "Running Ready=True/Ready Reconciling=True/Updating"),
        (|f| f.sink.reason = Availability::DataLoss, "Failed Ready=False/DataLoss Stalled=True/DataLoss"),
        (|f| f.producer.reason = Availability::NotRequired, "Running Ready=True/Ready"),
        (|f| f.producer.reason = Availability::Completed, "Completed Ready=True/Ready"),
        (
            |f| {
                f.producer.reason = Availability::Completed;
                f.is_all_stored = false;
            },
            "Running Ready=True/Ready",
        ),
        (|f| f.lag.reason = LagWithinBounds::AtMaxReplicas, "Running Ready=True/Ready"),
        (|f| f.catalog.reason = CatalogSynced::AlreadyExists, "Failed Ready=False/AlreadyExists Stalled=True/AlreadyExists"),
        (|f| f.catalog.reason = CatalogSynced::DriftCorrected, "Running Ready=True/Ready"),
        (
            |f| {
                f.suspended.reason = Suspended::Stopped;
                (f.producer.reason, f.sink.reason) = (Availability::ScaledToZero, Availability::ScaledToZero);
                (f.topic.reason, f.lag.reason) = (TopicReady::NotMeasured, LagWithinBounds::NotMeasured);
            },
            "Stopped Ready=True/Ready",
        ),
        (|f| f.suspended.reason = Suspended::Draining, "Draining Ready=True/Ready Reconciling=True/Draining"),
        (
            |f| f.deletion = Some(Deletion::Blocked("the brokers cannot be reached".to_owned())),
            "Deleting Ready=False/Deleting Stalled=True/CleanupBlocked",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(told(change), expected);
    }
    assert_eq!(told(|f| f.deletion = Some(Deletion::CleaningUp)), "Deleting Ready=False/Deleting Reconciling=True/Deleting");
}

#[test]
fn what_cannot_be_decided_leaves_the_rest_as_it_was_reported() {
    let reported = conditions(&well(), 1, &[], at(0));
    let told = undecided("no answer", 2, &reported, at(9));
    assert_eq!(told[2..], reported[2..]);
    let line = |condition: &Condition| format!("{} {} {}", condition.type_, condition.status, condition.reason);
    assert_eq!(told[..2].iter().map(line).collect::<Vec<_>>(), ["Ready Unknown Undecided", "Accepted Unknown Undecided"]);
    let broken = conditions(&Findings { sink: finding(Availability::CrashLoop), ..well() }, 1, &[], at(0));
    assert_eq!(undecided("no answer", 2, &broken, at(9))[0], broken[0], "what is false stays false");
    assert_eq!(undecided("no answer", 2, &told, at(18)), told, "nothing new is worth no write");
}

#[test]
fn a_pipeline_that_is_as_declared_says_what_it_does() {
    let says = |change: fn(&mut Findings)| {
        let mut findings = well();
        findings.sink.message = "2 of 2 ready".to_owned();
        findings.producer.message = "the source has been produced to its end".to_owned();
        findings.suspended.message = "all workers are stopped".to_owned();
        change(&mut findings);
        conditions(&findings, 1, &[], at(0)).swap_remove(0).message
    };
    assert_eq!(says(|_| {}), "2 of 2 ready");
    assert_eq!(says(|f| f.suspended.reason = Suspended::Stopped), "all workers are stopped");
    assert_eq!(says(|f| f.producer.reason = Availability::Completed), "the source has been produced to its end, and all of it is stored");
    let waiting = |f: &mut Findings| (f.producer.reason, f.is_all_stored) = (Availability::Completed, false);
    assert_eq!(says(waiting), "2 of 2 ready");
}

#[test]
fn conditions_stand_in_a_fixed_order_with_the_generation() {
    let conditions = conditions(&well(), 4, &[], at(0));
    let types: Vec<&str> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(
        types,
        ["Ready", "Accepted", "TopicReady", "ProducerAvailable", "SinkAvailable", "CatalogSynced", "LagWithinBounds", "Suspended"]
    );
    assert!(conditions.iter().all(|condition| condition.observed_generation == Some(4)));
}

#[test]
fn a_transition_time_moves_only_when_the_status_does() {
    let time = |conditions: &[Condition], name: &str| {
        let found = conditions.iter().find(|condition| condition.type_ == name);
        found.map(|condition| condition.last_transition_time.0)
    };
    let mut findings = well();
    let first = conditions(&findings, 1, &[], at(0));
    findings.sink = Finding { reason: Availability::MinimumReplicasAvailable, message: "another".to_owned() };
    let second = conditions(&findings, 2, &first, at(60));
    assert_eq!(time(&second, "SinkAvailable"), Some(at(0)), "only the reason has changed");
    findings.sink.reason = Availability::CrashLoop;
    let third = conditions(&findings, 2, &second, at(120));
    assert_eq!(time(&third, "SinkAvailable"), Some(at(120)));
    assert_eq!(time(&third, "Ready"), Some(at(120)));
    assert_eq!(time(&third, "TopicReady"), Some(at(0)));
    assert_eq!(conditions(&findings, 2, &third, at(180)), third, "the same findings give the same conditions");
}

#[test]
fn what_is_written_reads_back_equal() {
    let now = Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
    let written = conditions(&well(), 1, &[], now);
    let read: Vec<Condition> = serde_json::from_value(serde_json::to_value(&written).unwrap()).unwrap();
    assert_eq!(read, written);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let mut findings = well();
    findings.sink = Finding { reason: Availability::DataLoss, message: "ä".repeat(5_000) };
    for condition in conditions(&findings, 1, &[], at(0)) {
        assert!(condition.message.chars().count() <= MAX_MESSAGE + 3, "{}", condition.type_);
    }
}

#[test]
fn a_worker_that_fails_is_never_available() {
    use stockpipeline::status::Reason as WorkerReason;
    for reason in WorkerReason::ALL {
        match Availability::of_failure(reason) {
            Some(availability) => assert_eq!(availability.meaning().truth, Truth::False, "{reason:?}"),
            None => assert_eq!(reason, WorkerReason::MemoryPressure),
        }
    }
}

fn report() -> StockPipelineStatus {
    StockPipelineStatus {
        observed_generation: Some(1),
        phase: Some("Running".to_owned()),
        conditions: conditions(&well(), 1, &[], at(0)),
        sink: Some(ComponentStatus {
            desired: 1,
            last_commit_time: Some(Time(at(0))),
            committed_records: Some(1_000),
            ..ComponentStatus::default()
        }),
        kafka: Some(KafkaStatus {
            lag: Some(LagStatus { total: 100, max_partition: 50, measured_at: Some(Time(at(0))) }),
            ..KafkaStatus::default()
        }),
        glue: Some(GlueStatus {
            tables: vec![TableStatus { name: "t".to_owned(), partitions: Some(10), ..TableStatus::default() }],
            ..GlueStatus::default()
        }),
        ..StockPipelineStatus::default()
    }
}

fn lag(status: &mut StockPipelineStatus) -> &mut LagStatus {
    status.kafka.as_mut().unwrap().lag.as_mut().unwrap()
}

#[test]
fn transitions_are_written_at_once_numbers_seldom_and_nothing_at_rest() {
    type Case = (&'static str, fn(&mut StockPipelineStatus), bool, bool);
    // what changed, how, whether at once, whether after a minute
    let cases: [Case; 12] = [
        ("nothing", |_| {}, false, false),
        ("only the time of measuring", |s| lag(s).measured_at = Some(Time(at(900))), false, false),
        ("a fifth of the lag", |s| lag(s).total = 120, false, false),
        ("more than a fifth", |s| lag(s).total = 121, false, true),
        ("much less", |s| lag(s).max_partition = 0, false, true),
        ("many more records", |s| s.sink.as_mut().unwrap().committed_records = Some(2_000), false, true),
        ("a commit a minute later", |s| s.sink.as_mut().unwrap().last_commit_time = Some(Time(at(60))), false, false),
        ("a commit five minutes later", |s| s.sink.as_mut().unwrap().last_commit_time = Some(Time(at(300))), false, true),
        ("the lag is unknown", |s| s.kafka.as_mut().unwrap().lag = None, true, true),
        ("a pod is ready", |s| s.sink.as_mut().unwrap().ready_replicas = 1, true, true),
        ("only a message", |s| s.conditions[0].message = "other".to_owned(), false, true),
        ("a condition", |s| s.conditions[0].reason = "Other".to_owned(), true, true),
    ];
    for (what, change, at_once, later) in cases {
        let mut changed = report();
        change(&mut changed);
        let is_worth = |since: Duration| worth(Some(&report()), &changed, since) == Worth::Now;
        assert_eq!(is_worth(Duration::from_secs(1)), at_once, "{what}, at once");
        assert_eq!(is_worth(Duration::from_mins(1)), later, "{what}, later");
    }
    assert_eq!(worth(None, &report(), Duration::ZERO), Worth::Now);
}

#[test]
fn steps_on_the_way_wait_for_each_other_and_their_end_and_trouble_do_not() {
    let rolling = || Finding { reason: Availability::RollingOut, message: "on its way".to_owned() };
    let status = |change: fn(&mut Findings)| {
        let mut findings = Findings { sink: rolling(), producer: rolling(), ..well() };
        change(&mut findings);
        let conditions = conditions(&findings, 1, &[], at(0));
        StockPipelineStatus { observed_generation: Some(1), phase: Some(phase(&findings).label().to_owned()), conditions, ..report() }
    };
    let before = status(|_| {});
    let check = |after: &StockPipelineStatus, since: u64| worth(Some(&before), after, Duration::from_secs(since));
    let step = status(|findings| findings.sink = well().sink);
    assert_eq!(check(&step, 1), Worth::In(Duration::from_secs(9)));
    assert_eq!(check(&step, 10), Worth::Now);
    let trouble = status(|findings| findings.sink.reason = Availability::CrashLoop);
    assert_eq!(check(&trouble, 1), Worth::Now);
    let end = status(|findings| (findings.sink, findings.producer) = (well().sink, well().producer));
    assert_eq!(check(&end, 1), Worth::Now);
    let other_generation = StockPipelineStatus { observed_generation: Some(2), ..step.clone() };
    assert_eq!(check(&other_generation, 1), Worth::Now);
    let claimed = StockPipelineStatus { athena: Some(crate::resource::crd::report::AthenaStatus::default()), ..step };
    assert_eq!(check(&claimed, 1), Worth::Now, "what is remembered of Athena is nowhere else");
}
