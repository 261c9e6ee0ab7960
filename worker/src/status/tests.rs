use super::*;
use crate::error::Class;

const NOW: i64 = 1_800_000_000_000;

fn running(role: Role) -> Status {
    let mut status = Status::starting(role, "worker-0", NOW - 60_000);
    status.state = State::Running;
    status.kafka.succeeded(NOW - 1_000);
    if let Some(s3) = &mut status.s3 {
        s3.succeeded(NOW - 1_000);
    }
    status
}

fn failure(reason: Reason) -> Failure {
    Failure { class: Class::User, reason, message: "s3 denies\nPutObject".to_owned(), at_millis: NOW - 30_000 }
}

type Change = fn(&mut Status);

#[test]
fn readiness_names_the_first_thing_that_is_wrong() {
    let cases: [(&str, Change, Result<(), &str>); 13] = [
        ("at work", |_| {}, Ok(())),
        ("more replicas than partitions", |s| s.state = State::Idle, Ok(())),
        ("finite source done", |s| s.state = State::Completed, Ok(())),
        (
            "old successes of an idle topic",
            |s| s.s3 = Some(Dependency { last_success_millis: Some(0), failing_since_millis: None }),
            Ok(()),
        ),
        ("starting", |s| s.state = State::Starting, Err("starting")),
        ("joining", |s| s.state = State::Joining, Err("waiting for an assignment")),
        ("draining", |s| s.state = State::Draining, Err("draining")),
        ("fatal", |s| s.fatal = Some(failure(Reason::DataLoss)), Err("DataLoss: s3 denies PutObject")),
        ("paused", |s| s.paused = Some(failure(Reason::DeadLetterRateExceeded)), Err("DeadLetterRateExceeded: s3 denies PutObject")),
        ("s3 never answered", |s| s.s3 = Some(Dependency::default()), Err("s3 has not answered yet")),
        ("failing, and the clock was set back", |s| s.kafka.failed(NOW + 1), Err("kafka is failing")),
        ("kafka failing for a moment", |s| s.kafka.failed(NOW - FAILING_LIMIT_MILLIS), Ok(())),
        (
            "s3 failing beyond its limit",
            |s| {
                s.s3.as_mut().unwrap().failed(NOW - 30_000);
                s.last_error = Some(failure(Reason::AccessDenied));
            },
            Err("s3 has been failing for 30 s: AccessDenied: s3 denies PutObject"),
        ),
    ];
    for (name, change, expected) in cases {
        let mut status = running(Role::Sink);
        change(&mut status);
        assert_eq!(ready(&status, NOW), expected.map_err(str::to_owned), "{name}");
    }
}

#[test]
fn producer_is_ready_without_s3() {
    assert_eq!(ready(&running(Role::Producer), NOW), Ok(()));
}

#[test]
fn first_failure_in_a_row_counts_until_a_success() {
    let mut dependency = Dependency::default();
    dependency.failed(1);
    dependency.failed(2);
    assert_eq!(dependency.failing_since_millis, Some(1));
    dependency.succeeded(3);
    assert_eq!(dependency, Dependency { last_success_millis: Some(3), failing_since_millis: None });
}

#[test]
fn labels_are_what_json_says_and_lead_back_to_their_reason() {
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.label());
        assert_eq!(Reason::from_label(reason.label()), Some(reason));
    }
    assert_eq!(Reason::from_label("dataLoss"), None);
}

#[test]
fn cell_gives_what_was_last_put_in_and_notices_silence() {
    let cell = StatusCell::new(running(Role::Sink), 1_000);
    let other = cell.clone();
    other.replace(running(Role::Producer));
    assert_eq!(cell.read().role, Role::Producer);
    other.beat(5_000);
    assert_eq!(cell.silent_millis(7_500), 2_500);
    assert_eq!(cell.silent_millis(4_000), 0);
    assert_eq!(live(HEARTBEAT_LIMIT_MILLIS), Ok(()));
    assert_eq!(live(90_500), Err("the loop has not moved for 90 s".to_owned()));
}

#[test]
fn status_json_is_stable_and_reads_back() {
    let mut status = running(Role::Sink);
    status.version = "0.0.0".to_owned();
    status.topic = Some(TopicReport {
        name: "ticks".to_owned(),
        id: Some("AAAAAAAAAAAAAAAAAAAAAQ".to_owned()),
        partitions: Some(3),
        replication_factor: Some(1),
        state: TopicState::ConfigDrift,
        differences: vec![TopicDifference { name: "retention.ms".to_owned(), desired: "1".to_owned(), actual: "2".to_owned() }],
        message: String::new(),
        checked_millis: NOW,
    });
    status.last_error = Some(failure(Reason::AccessDenied));
    let partition =
        PartitionStatus { partition: 2, durable: 100, end: Some(130), lag: Some(30), state: PartitionState::Buffering, paused: false };
    status.sink = Some(SinkStatus { partitions: vec![partition], last_commit_millis: Some(NOW), ..SinkStatus::default() });
    let text = serde_json::to_string_pretty(&status).unwrap();
    insta::assert_snapshot!("sink_status", text);
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);

    let mut status = running(Role::Producer);
    status.version = "0.0.0".to_owned();
    let slots = vec![SlotStatus { slot: 4, row: 77, completed: false }];
    status.producer = Some(ProducerStatus { slots, source_position: 200, rows: 150, malformed: 1, ..ProducerStatus::default() });
    let text = serde_json::to_string_pretty(&status).unwrap();
    insta::assert_snapshot!("producer_status", text);
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
}
