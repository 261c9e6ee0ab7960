//! Every reason of every condition is reached from something that can be observed.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};
use stockpipeline::check::UnknownFields;
use stockpipeline::document as documents;
use stockpipeline::status::{
    Class, Dependency, Failure, PartitionState, PartitionStatus, Reason as WorkerReason, Role, SlotStatus, Status, TablePartitions,
    TopicDifference, TopicReport, TopicState,
};

use super::*;
use crate::resource::crd::report::{GlueStatus, TableStatus};
use crate::status::reason::{Availability, LagWithinBounds, Reason, TopicReady};

const MINIMAL: &str = include_str!("../../../../pipeline/tests/fixtures/minimal.yaml");
const EXTERNAL_TOPIC: &str = include_str!("../../desired/fixtures/external-topic.yaml");

/// Everything that one case can change about a pipeline that is well.
struct Scene {
    text: &'static str,
    spec: fn(&mut Value),
    desired: u32,
    ready: u32,
    updated: Option<u32>,
    deployment: Value,
    /// Generation of the Deployment that its controller has seen, of 1.
    observed: i64,
    pods: Vec<Value>,
    obstacle: Option<Obstacle>,
    is_measured: bool,
    sinks: Vec<Status>,
    producers: Vec<Status>,
    catalog: CatalogSynced,
    reported: Vec<Condition>,
    lost_at: Option<Timestamp>,
    acknowledged: Option<Timestamp>,
    accepted: bool,
    verdict: Accepted,
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn millis_ago(seconds: i64) -> i64 {
    now().as_millisecond() - seconds * 1_000
}

fn sink_status() -> Status {
    let mut status = Status::starting(Role::Sink, "demo-sink-1", millis_ago(3_600));
    status.topic = Some(TopicReport {
        name: "ticks".to_owned(),
        id: Some("id".to_owned()),
        partitions: Some(2),
        replication_factor: Some(1),
        state: TopicState::InSync,
        differences: Vec::new(),
        message: String::new(),
        checked_millis: millis_ago(1),
    });
    let sink = status.sink.as_mut().unwrap();
    sink.last_commit_millis = Some(millis_ago(10));
    sink.partitions = [0, 1]
        .map(|partition| PartitionStatus {
            partition,
            durable: 10,
            end: Some(10),
            lag: Some(0),
            state: PartitionState::Buffering,
            paused: false,
        })
        .into();
    status
}

fn producer_status(completed: bool) -> Status {
    let mut status = Status::starting(Role::Producer, "demo-producer-1", millis_ago(3_600));
    status.producer.as_mut().unwrap().slots = (0..16).map(|slot| SlotStatus { slot, row: 1, completed }).collect();
    status
}

fn well() -> Scene {
    Scene {
        text: MINIMAL,
        spec: |_| {},
        desired: 1,
        ready: 1,
        updated: None,
        deployment: json!({}),
        observed: 1,
        pods: Vec::new(),
        obstacle: None,
        is_measured: true,
        sinks: vec![sink_status()],
        producers: vec![producer_status(false)],
        catalog: CatalogSynced::InSync,
        reported: Vec::new(),
        lost_at: None,
        acknowledged: None,
        accepted: true,
        verdict: Accepted::Valid,
    }
}

fn failure(reason: WorkerReason) -> Failure {
    Failure { class: Class::User, reason, message: "why".to_owned(), at_millis: millis_ago(60) }
}

fn found(change: impl FnOnce(&mut Scene)) -> Findings {
    let mut scene = well();
    change(&mut scene);
    let mut body = Value::Object(documents::read(scene.text).unwrap()[0].body().clone());
    (scene.spec)(&mut body["spec"]);
    let document = documents::read(&body.to_string()).unwrap().remove(0);
    let pipeline = Pipeline::check(&document, UnknownFields::Error).unwrap().0;
    let deployment: Deployment = serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "generation": 1 },
        "spec": { "replicas": scene.desired, "selector": {}, "template": {} },
        "status": {
            "observedGeneration": scene.observed, "replicas": scene.desired, "readyReplicas": scene.ready, "conditions": scene.deployment.get("conditions"),
            "updatedReplicas": scene.updated.unwrap_or(scene.desired),
        },
    }))
    .unwrap();
    let facts: Vec<PodFacts> = scene
        .pods
        .iter()
        .filter_map(|pod| {
            let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
            let mut facts = PodFacts::of(&pod, now())?;
            if let Some(message) = pod.metadata.labels.as_ref().and_then(|labels| labels.get("mount")) {
                assert!(facts.mounting_since.is_some(), "only what is mounting is asked about");
                facts.mount_failed(message);
            }
            Some(facts)
        })
        .collect();
    let workers =
        |said| WorkersSeen { desired: scene.desired, deployment: Some(&deployment), pods: &facts, said, obstacle: scene.obstacle.as_ref() };
    findings(Evidence {
        now: now(),
        pipeline: scene.accepted.then_some(&pipeline),
        accepted: Finding { reason: scene.verdict, message: "why".to_owned() },
        catalog: Finding { reason: scene.catalog, message: "as it is".to_owned() },
        suspended: Finding { reason: Suspended::Running, message: String::new() },
        deletion: None,
        is_measured: scene.is_measured,
        sink: workers(scene.sinks.as_slice()),
        producer: workers(scene.producers.as_slice()),
        reported: &scene.reported,
        lost_at: scene.lost_at,
        acknowledged: scene.acknowledged,
    })
}

fn pod(container: &Value) -> Value {
    json!({
        "metadata": { "name": "demo-sink-1", "uid": "u", "creationTimestamp": "2023-11-14T22:00:00Z" },
        "status": { "phase": "Pending", "containerStatuses": [{
            "name": "sink", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": container["state"], "lastState": container["lastState"],
        }] },
    })
}

fn waiting(reason: &str, message: &str) -> Value {
    pod(&json!({ "state": { "waiting": { "reason": reason, "message": message } } }))
}

fn crashed(code: i32, reason: &str, message: &str) -> Value {
    pod(&json!({
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": code, "reason": reason, "message": message } },
    }))
}

/// One way to each reason of sinks and producers; the second text has to stand in the message.
type Way = (Availability, &'static str, fn(&mut Scene));

fn not_ready(scene: &mut Scene) {
    scene.ready = 0;
    scene.sinks.clear();
    scene.producers.clear();
}

fn in_pod(scene: &mut Scene, pod: Value) {
    not_ready(scene);
    scene.pods = vec![pod];
}

/// One of two is as declared before, and its successor never starts.
fn replaced_in_vain(scene: &mut Scene) {
    in_pod(scene, waiting("ImagePullBackOff", "image not found"));
    (scene.desired, scene.ready, scene.updated) = (2, 1, Some(1));
}

fn progressing(status: &str, reason: &str) -> Value {
    json!({ "type": "Progressing", "status": status, "reason": reason })
}

#[test]
fn every_reason_of_the_sinks_is_reached() {
    let ways: Vec<Way> = vec![
        (Availability::Committing, "1 of 1 ready", |_| {}),
        (Availability::MinimumReplicasAvailable, "1 of 1 ready", |s| s.sinks[0].sink.as_mut().unwrap().last_commit_millis = None),
        (Availability::RollingOut, "0 of 1 ready", not_ready),
        (Availability::RollingOut, "for the catalogue", |s| {
            not_ready(s);
            s.obstacle = Some(Obstacle::Waits("waits for the catalogue".to_owned()));
        }),
        (Availability::Updating, "1 of 2 are as declared, 1 of 2 ready; pod demo-sink-1: image not found", |s| {
            replaced_in_vain(s);
            s.deployment = json!({ "conditions": [progressing("True", "ReplicaSetUpdated")] });
        }),
        (Availability::Updating, "2 of 3 are as declared, 2 of 3 ready; exceeded quota: few", |s| {
            // A mere scale is complete to the Deployment's controller once it has all the pods that it gets.
            (s.desired, s.ready, s.updated) = (3, 2, Some(2));
            let failure = json!({ "type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few" });
            s.deployment = json!({ "conditions": [progressing("True", "NewReplicaSetAvailable"), failure] });
        }),
        (Availability::ImagePull, "image not found", |s| {
            replaced_in_vain(s);
            s.deployment = json!({ "conditions": [progressing("False", "ProgressDeadlineExceeded")] });
        }),
        (Availability::Updating, "waits for the catalogue", |s| s.obstacle = Some(Obstacle::Waits("waits for the catalogue".to_owned()))),
        (Availability::CrashLoop, "exit code 70: bug", |s| in_pod(s, crashed(70, "Error", "bug"))),
        (Availability::CrashLoop, "raise the limit", |s| in_pod(s, crashed(137, "OOMKilled", ""))),
        (Availability::CrashLoop, "Evicted", |s| {
            in_pod(s, json!({ "metadata": { "name": "p" }, "status": { "phase": "Failed", "reason": "Evicted", "message": "disk" } }));
        }),
        (Availability::Unschedulable, "0/3 nodes", |s| {
            let conditions = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" }]);
            in_pod(s, json!({ "metadata": { "name": "p" }, "status": { "phase": "Pending", "conditions": conditions } }));
        }),
        (Availability::ImagePull, "not found", |s| in_pod(s, waiting("ImagePullBackOff", "image not found"))),
        (Availability::MinimumReplicasAvailable, "1 of 1 ready", |s| {
            s.sinks[0].started_millis = millis_ago(5);
            let sink = s.sinks[0].sink.as_mut().unwrap();
            sink.last_commit_millis = Some(millis_ago(3_000));
            sink.partitions[0].lag = Some(7);
        }),
        (Availability::NoRecentCommit, "was stored", |s| {
            let sink = s.sinks[0].sink.as_mut().unwrap();
            sink.last_commit_millis = Some(millis_ago(3_000));
            sink.partitions[0].lag = Some(7);
        }),
        (Availability::SourceUnreachable, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::SourceUnreachable))),
        (Availability::SourceChanged, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::SourceChanged))),
        (Availability::ProgressMissing, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::ProgressMissing))),
        (Availability::RecordBudgetExceeded, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::RecordBudgetExceeded))),
        (Availability::DeadLetterRateExceeded, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::DeadLetterRateExceeded))),
        (Availability::DataLoss, "reconcile-requested-at", |s| {
            s.sinks[0].sink.as_mut().unwrap().data_loss = Some(failure(WorkerReason::DataLoss));
        }),
        (Availability::LedgerMissing, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::LedgerMissing))),
        (Availability::TopicTruncated, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::TopicTruncated))),
        (Availability::RecordsUnreadable, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::RecordsUnreadable))),
        (Availability::PlanMismatch, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::PlanMismatch))),
        (Availability::PathCollision, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::PathCollision))),
        (Availability::PathCollision, "theirs", |s| in_pod(s, crashed(1, "Error", "PathCollision: an object is theirs"))),
        (Availability::ConditionalWritesUnsupported, "why", |s| {
            s.sinks[0].fatal = Some(failure(WorkerReason::ConditionalWritesUnsupported));
        }),
        (Availability::PlanVersionUnknown, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::PlanVersionUnknown))),
        (Availability::AccessDenied, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::AccessDenied))),
        (Availability::NoSuchBucket, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::NoSuchBucket))),
        (Availability::KeyUnusable, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::KeyUnusable))),
        (Availability::StorageUnavailable, "why", |s| {
            s.sinks[0].s3 = Some(Dependency { last_success_millis: None, failing_since_millis: Some(millis_ago(31)) });
            s.sinks[0].last_error = Some(failure(WorkerReason::Unavailable));
        }),
        (Availability::BrokerUnreachable, "why", |s| {
            s.sinks[0].kafka.failing_since_millis = Some(millis_ago(31));
            s.sinks[0].last_error = Some(failure(WorkerReason::BrokerUnreachable));
        }),
        (Availability::BrokerUnreachable, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::BrokerUnreachable))),
        (Availability::AuthFailed, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::AuthFailed))),
        (Availability::TopicNotFound, "why", |s| s.sinks[0].paused = Some(failure(WorkerReason::TopicNotFound))),
        (Availability::InvalidConfiguration, "no such key", |s| in_pod(s, waiting("CreateContainerConfigError", "no such key"))),
        (Availability::WorkerFailed, "why", |s| s.sinks[0].fatal = Some(failure(WorkerReason::Bug))),
        (Availability::PodsRejected, "exceeded quota", |s| {
            not_ready(s);
            let message = "pods is forbidden: exceeded quota";
            s.deployment = json!({ "conditions": [{ "type": "ReplicaFailure", "status": "True", "message": message }] });
        }),
        (Availability::ApplyFailed, "belongs to", |s| s.obstacle = Some(Obstacle::Refused("belongs to somebody".to_owned()))),
        (Availability::ScaledToZero, "none is wanted", |s| s.desired = 0),
        (Availability::ScaledToZero, "no spec was accepted", |s| (s.accepted, s.desired) = (false, 0)),
        (Availability::MinimumReplicasAvailable, "1 of 1 workers run on as they are", |s| s.accepted = false),
    ];
    let mut reached = BTreeSet::new();
    for (expected, text, way) in ways {
        let finding = found(way).sink;
        assert_eq!(finding.reason, expected, "{}", finding.message);
        assert!(finding.message.contains(text), "{expected:?}: {}", finding.message);
        reached.insert(expected.meaning().label);
    }
    let mut missing: Vec<&str> =
        Availability::ALL.iter().map(|reason| reason.meaning().label).filter(|label| !reached.contains(label)).collect();
    missing.sort_unstable();
    assert_eq!(missing, ["Completed", "NotRequired"], "these two are the producers' alone");
}

#[test]
fn producers_complete_and_may_not_be_required() {
    let cases: [Way; 4] = [
        (Availability::MinimumReplicasAvailable, "1 of 1", |_| {}),
        (Availability::Completed, "to its end", |s| s.producers = vec![producer_status(true)]),
        (Availability::NotRequired, "others fill", |s| s.text = EXTERNAL_TOPIC),
        (Availability::SourceUnreachable, "why", |s| s.producers[0].paused = Some(failure(WorkerReason::SourceUnreachable))),
    ];
    for (expected, text, way) in cases {
        let finding = found(way).producer;
        assert_eq!(finding.reason, expected);
        assert!(finding.message.contains(text), "{}", finding.message);
    }
    let half = found(|s| {
        let mut status = producer_status(true);
        status.producer.as_mut().unwrap().slots.truncate(15);
        s.producers = vec![status];
    });
    assert_eq!(half.producer.reason, Availability::MinimumReplicasAvailable, "a slot in nobody's hands is not complete");
}

#[test]
fn all_is_stored_when_no_partition_has_anything_left_and_that_was_measured_at_the_end() {
    let partition = |s: &mut Scene, index: usize, lag: Option<i64>| s.sinks[0].sink.as_mut().unwrap().partitions[index].lag = lag;
    assert!(found(|_| {}).is_all_stored);
    assert!(!found(|s| s.is_measured = false).is_all_stored, "a lag of before the last record");
    assert!(!found(|s| partition(s, 0, Some(1))).is_all_stored, "one record of one partition");
    assert!(!found(|s| partition(s, 0, None)).is_all_stored, "a partition that is not measured");
    assert!(!found(|s| s.sinks[0].sink.as_mut().unwrap().partitions.truncate(1)).is_all_stored, "a partition in nobody's hands");
    assert!(!found(|s| s.sinks.clear()).is_all_stored, "no sink has spoken");
}

#[test]
fn one_of_several_may_be_missing_and_the_only_one_may_not() {
    for (desired, ready, expected) in [
        (1, 0, Availability::RollingOut),
        (2, 1, Availability::Committing),
        (3, 1, Availability::RollingOut),
        (3, 2, Availability::Committing),
    ] {
        let finding = found(|s| (s.desired, s.ready) = (desired, ready)).sink;
        assert_eq!(finding.reason, expected, "{ready} of {desired}");
    }
}

#[test]
fn who_breaks_a_spec_is_told_that_the_last_one_goes_on() {
    let told = |verdict: Accepted, accepted: bool| found(|s| (s.verdict, s.accepted) = (verdict, accepted)).accepted.message;
    for verdict in [Accepted::InvalidSpec, Accepted::UnsupportedChange] {
        assert_eq!(told(verdict, true), "why; until then the spec that was accepted last stays in force");
        assert_eq!(told(verdict, false), "why", "nothing was ever accepted");
    }
    assert_eq!(told(Accepted::Valid, true), "why");
}

#[test]
fn a_change_that_the_pods_have_not_seen_is_not_called_ready() {
    let finding = found(|s| s.observed = 0).sink;
    assert_eq!(finding.reason, Availability::RollingOut);
    assert!(finding.message.contains("1 of 1 ready as declared before"), "{}", finding.message);
}

#[test]
fn short_trouble_and_a_full_buffer_are_no_findings() {
    let cases: [fn(&mut Scene); 3] = [
        |s| {
            s.sinks[0].kafka.failing_since_millis = Some(millis_ago(5));
            s.sinks[0].last_error = Some(failure(WorkerReason::BrokerUnreachable));
        },
        |s| s.sinks[0].last_error = Some(failure(WorkerReason::AccessDenied)),
        |s| s.sinks[0].paused = Some(failure(WorkerReason::MemoryPressure)),
    ];
    for case in cases {
        assert_eq!(found(case).sink.reason, Availability::Committing);
    }
}

#[test]
fn how_long_a_worker_has_failed_goes_by_its_own_clock() {
    let found_at = |ahead: i64, since: i64| {
        found(|s| {
            s.sinks[0].said_millis = Some(now().as_millisecond() + ahead * 1_000);
            s.sinks[0].kafka.failing_since_millis = Some(now().as_millisecond() + since * 1_000);
            s.sinks[0].last_error = Some(failure(WorkerReason::BrokerUnreachable));
        })
        .sink
        .reason
    };
    for ahead in [0, 3_600, -3_600] {
        assert_eq!(found_at(ahead, ahead - 31), Availability::BrokerUnreachable, "{ahead} s ahead");
        assert_ne!(found_at(ahead, ahead - 5), Availability::BrokerUnreachable, "{ahead} s ahead");
    }
    assert_eq!(found_at(0, 3_595), Availability::BrokerUnreachable, "it was set back by an hour");
}

#[test]
fn what_was_lost_stays_until_it_is_acknowledged() {
    let reported = |status: &str| {
        vec![Condition {
            type_: "SinkAvailable".to_owned(),
            status: status.to_owned(),
            reason: "DataLoss".to_owned(),
            message: "partition 3 lost 7".to_owned(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::from_second(1_699_999_900).unwrap()),
        }]
    };
    let finding = found(|s| s.reported = reported("False")).sink;
    assert_eq!((finding.reason, finding.message.as_str()), (Availability::DataLoss, "partition 3 lost 7"));
    let acknowledged = |seconds: i64| Some(Timestamp::from_second(1_700_000_000 - seconds).unwrap());
    let told = |at: Option<Timestamp>| {
        found(|s| {
            s.reported = reported("False");
            s.sinks[0].sink.as_mut().unwrap().data_loss = Some(failure(WorkerReason::DataLoss));
            s.acknowledged = at;
        })
        .sink
        .reason
    };
    assert_eq!(told(acknowledged(61)), Availability::DataLoss, "it was lost after that");
    assert_eq!(told(acknowledged(1)), Availability::Committing);
    assert_eq!(told(acknowledged(0)), Availability::Committing);
    for ahead in [1, 86_400 * 365 * 70] {
        assert_eq!(told(acknowledged(-ahead)), Availability::DataLoss, "nobody has seen what is lost until then");
    }
    // The sinks had another trouble before, so the condition is older than the loss.
    let restarted = |lost_at: i64| {
        found(|s| {
            s.reported = reported("False");
            (s.lost_at, s.acknowledged) = (acknowledged(lost_at), acknowledged(50));
        })
        .sink
        .reason
    };
    assert_eq!(restarted(40), Availability::DataLoss, "an acknowledgement of before is none of what came later");
    assert_eq!(restarted(60), Availability::Committing);
}

#[test]
fn a_missing_secret_is_named_as_the_users_to_make() {
    for pod in [
        waiting("CreateContainerConfigError", "secret \"kafka\" not found"),
        {
            let mut pod = waiting("ContainerCreating", "");
            pod["metadata"]["labels"] = json!({ "mount": "MountVolume.SetUp failed for volume \"config\" : secret \"kafka\" not found" });
            pod
        },
        {
            let mut pod = waiting("ContainerCreating", "");
            pod["metadata"]["labels"] = json!({ "mount": "references non-existent secret key: password" });
            pod
        },
    ] {
        let findings = found(|s| in_pod(s, pod.clone()));
        assert_eq!(findings.accepted.reason, Accepted::SecretNotFound, "{pod}");
        assert_eq!(findings.sink.reason, Availability::RollingOut);
    }
    let other = found(|s| {
        let mut pod = waiting("ContainerCreating", "");
        pod["metadata"]["labels"] = json!({ "mount": "configmap \"feed\" not found" });
        in_pod(s, pod);
    });
    assert_eq!((other.accepted.reason, other.sink.reason), (Accepted::Valid, Availability::InvalidConfiguration));
}

#[test]
fn a_pod_that_goes_says_nothing() {
    let leaving: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "deletionTimestamp": "2023-11-14T22:00:00Z" }, "status": { "phase": "Running", "podIP": "10.0.0.1" },
    }))
    .unwrap();
    assert_eq!(PodFacts::of(&leaving, now()), None);
}

#[test]
fn the_topic_is_as_the_sink_that_looked_last_says() {
    for (state, expected) in [
        (TopicState::InSync, TopicReady::InSync),
        (TopicState::Creating, TopicReady::Creating),
        (TopicState::ConfigDrift, TopicReady::ConfigDrift),
        (TopicState::PartitionMismatch, TopicReady::PartitionMismatch),
        (TopicState::NotFound, TopicReady::NotFound),
        (TopicState::AuthFailed, TopicReady::AuthFailed),
        (TopicState::BrokerUnreachable, TopicReady::BrokerUnreachable),
        (TopicState::Observed, TopicReady::Observed),
        (TopicState::NotMeasured, TopicReady::NotMeasured),
    ] {
        let finding = found(|s| {
            let mut older = sink_status();
            older.topic.as_mut().unwrap().checked_millis = millis_ago(100);
            s.sinks[0].topic.as_mut().unwrap().state = state;
            s.sinks.push(older);
        })
        .topic;
        assert_eq!(finding.reason, expected);
    }
    assert_eq!(found(|s| s.sinks.clear()).topic.reason, TopicReady::NotMeasured);
    let drift = found(|s| {
        let topic = s.sinks[0].topic.as_mut().unwrap();
        topic.state = TopicState::ConfigDrift;
        topic.differences = vec![TopicDifference { name: "retention.ms".to_owned(), desired: "1".to_owned(), actual: "2".to_owned() }];
    });
    assert_eq!(drift.topic.message, "topic ticks: retention.ms is 2 and should be 1");
}

#[test]
fn every_reason_of_the_lag_is_reached() {
    fn waits(scene: &mut Scene) {
        scene.sinks[0].sink.as_mut().unwrap().partitions[1].lag = Some(10_001);
    }
    type Case = (LagWithinBounds, fn(&mut Scene));
    let cases: [Case; 5] = [
        (LagWithinBounds::WithinTarget, |_| {}),
        (LagWithinBounds::LagAboveTarget, waits),
        (LagWithinBounds::AtMaxReplicas, |s| {
            waits(s);
            s.spec = |spec| {
                spec["sink"]["worker"] =
                    json!({ "scaling": { "mode": "Lag", "minReplicas": 1, "maxReplicas": 1, "targetLagPerReplica": 100 } });
            };
        }),
        (LagWithinBounds::NotMeasured, |s| {
            s.sinks[0].sink.as_mut().unwrap().partitions.pop();
        }),
        (LagWithinBounds::NotMeasured, |s| s.sinks[0].sink.as_mut().unwrap().partitions[0].lag = None),
    ];
    for (expected, case) in cases {
        let finding = found(case).lag;
        assert_eq!(finding.reason, expected, "{}", finding.message);
    }
}

#[test]
fn partitions_of_tables_are_as_the_sink_that_looked_last_says() {
    let table = |partitions, newest: &str, audited_millis| TablePartitions {
        table: "market.ticks".to_owned(),
        partitions,
        newest: Some(newest.to_owned()),
        audited_millis,
    };
    let sink = |table| {
        let mut status = sink_status();
        status.sink.as_mut().unwrap().tables = vec![table];
        status
    };
    let said = [
        sink(table(Some(9), "dt=2024-01-02", Some(1))),
        sink(table(Some(3), "dt=2024-01-01", None)),
        sink(table(None, "dt=2024-01-03", None)),
    ];
    let tables = ["ticks", "raw"].map(|name| TableStatus { name: name.to_owned(), partitions: Some(1), ..TableStatus::default() });
    let mut glue = GlueStatus { processed_table: "market.ticks".to_owned(), tables: tables.into(), ..GlueStatus::default() };
    count_partitions(&mut glue, &said);
    assert_eq!((glue.tables[0].partitions, glue.tables[0].last_partition.as_deref()), (Some(9), Some("dt=2024-01-03")));
    assert_eq!((glue.tables[1].partitions, glue.tables[1].last_partition.as_deref()), (Some(1), None));
}

#[test]
fn what_sinks_miss_in_the_catalogue_is_not_in_sync() {
    let missing = |catalog: CatalogSynced| {
        found(|s| {
            s.catalog = catalog;
            s.sinks[0].sink.as_mut().unwrap().catalog_missing = vec!["market.ticks dt=2024-01-02".to_owned()];
        })
        .catalog
    };
    assert_eq!(missing(CatalogSynced::InSync).reason, CatalogSynced::Creating);
    assert!(missing(CatalogSynced::InSync).message.contains("dt=2024-01-02"));
    assert_eq!(missing(CatalogSynced::AccessDenied).reason, CatalogSynced::AccessDenied);
}

/// Returns whether a Deployment rolls, and whether older pods may still run.
fn rolls(status: &Value) -> (bool, bool) {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "generation": 4 },
        "spec": { "replicas": 2, "selector": {}, "template": {} }, "status": status,
    });
    let deployment = serde_json::from_value(deployment).unwrap();
    (is_rolling(&deployment), has_former_pods(&deployment))
}

#[test]
fn sinks_roll_until_no_older_pod_is_left() {
    for (status, expected) in [
        (json!({}), (true, false)),
        (json!({ "observedGeneration": 3 }), (true, false)),
        (json!({ "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2 }), (true, true)),
        (json!({ "observedGeneration": 4, "replicas": 2, "updatedReplicas": 1 }), (true, true)),
        (json!({ "observedGeneration": 4, "replicas": 3, "updatedReplicas": 2 }), (true, true)),
        (json!({ "observedGeneration": 4, "replicas": 1, "updatedReplicas": 1 }), (true, false)),
        (json!({ "observedGeneration": 4, "replicas": 2, "updatedReplicas": 2 }), (false, false)),
    ] {
        assert_eq!(rolls(&status), expected, "{status}");
    }
}
