//! Topics and their ids, on a real broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stockpipeline::checked::{Kafka, KafkaAuth, KafkaTls, KeyRef, Topic};
use stockpipeline_worker::kafka::{Clients, Identity};
use stockpipeline_worker::status::{TopicDifference, TopicReport, TopicState};
use stockpipeline_worker::topic::{self, SlotsTopic};

const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn real_brokers() -> Vec<String> {
    let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS").expect("KAFKA_BOOTSTRAP_SERVERS names a real broker");
    servers.split(',').map(str::to_owned).collect()
}

/// Returns a name that no other run uses.
pub(crate) fn unique(name: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{name}-{}-{nanos}", std::process::id())
}

pub(crate) fn kafka(servers: Vec<String>, topic: &str, partitions: i32) -> Kafka {
    Kafka {
        bootstrap_servers: servers,
        auth: KafkaAuth::None,
        tls: None,
        topic: Topic {
            name: topic.to_owned(),
            managed: true,
            partitions: Some(partitions),
            replication_factor: None,
            config: BTreeMap::new(),
        },
        consumer_group: format!("{topic}-sink"),
    }
}

pub(crate) fn clients(kafka: &Kafka) -> Clients {
    Clients::new(kafka, Path::new("/nonexistent"), Identity { client_id: "test".to_owned(), ..Identity::default() }).unwrap()
}

/// Looks until brokers have told each other what was done, as workers do; the last report of a state that never comes.
fn settled(state: TopicState, look: impl Fn() -> TopicReport) -> TopicReport {
    let start = Instant::now();
    loop {
        let report = look();
        if report.state == state || start.elapsed() > TIMEOUT {
            return report;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn topics_are_made_kept_and_deleted() {
    let name = unique("topics");
    let slots_name = format!("{name}.slots");
    let slots = Some(SlotsTopic { name: &slots_name, slots: 4 });
    let mut kafka = kafka(real_brokers(), &name, 2);
    kafka.topic.config.insert("retention.ms".to_owned(), "7200000".to_owned());
    let clients = clients(&kafka);

    let observed = topic::keep(&clients, &Topic { managed: false, ..kafka.topic.clone() }, slots);
    assert_eq!((observed.state, topic::is_usable(&observed)), (TopicState::NotFound, false), "an observed topic is not made");

    let reports: Vec<_> = std::thread::scope(|scope| {
        let racing: Vec<_> = (0..4).map(|_| scope.spawn(|| topic::ensure(&clients, &kafka.topic, slots))).collect();
        racing.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for report in reports {
        assert!(matches!(report.state, TopicState::InSync | TopicState::Creating), "{report:?}");
    }
    let made = settled(TopicState::InSync, || topic::ensure(&clients, &kafka.topic, slots));
    assert_eq!((made.state, made.partitions, made.replication_factor.is_some()), (TopicState::InSync, Some(2), true), "{made:?}");
    let id = made.id.expect("a real broker has topic ids");

    kafka.topic.partitions = Some(3);
    kafka.topic.config.insert("retention.ms".to_owned(), "3600000".to_owned());
    kafka.topic.config.insert("max.message.bytes".to_owned(), "1000012".to_owned());
    let drifted = settled(TopicState::PartitionMismatch, || topic::ensure(&clients, &kafka.topic, slots));
    assert_eq!((drifted.state, drifted.partitions), (TopicState::PartitionMismatch, Some(2)), "ensure adds nothing: {drifted:?}");
    let kept = settled(TopicState::InSync, || topic::keep(&clients, &kafka.topic, slots));
    assert_eq!((kept.state, kept.partitions, kept.differences.len()), (TopicState::InSync, Some(3), 0), "{kept:?}");
    let again = settled(TopicState::InSync, || topic::ensure(&clients, &kafka.topic, slots));
    assert_eq!((again.state, again.id.as_ref()), (TopicState::InSync, Some(&id)), "{again:?}");

    kafka.topic.partitions = Some(1);
    kafka.topic.replication_factor = Some(7);
    kafka.topic.config.insert("retention.ms".to_owned(), "soon".to_owned());
    let mismatch = topic::keep(&clients, &kafka.topic, slots);
    let difference = |name: &str, desired: &str, actual: &str| TopicDifference {
        name: name.to_owned(),
        desired: desired.to_owned(),
        actual: actual.to_owned(),
    };
    assert_eq!(mismatch.state, TopicState::PartitionMismatch);
    assert_eq!(
        mismatch.differences,
        [
            difference("retention.ms", "soon", "3600000"),
            difference("partitions", "1", "3"),
            difference("replicationFactor", "7", &mismatch.replication_factor.unwrap().to_string())
        ]
    );

    let identity = clients.admin().unwrap().topic_id(&name, TIMEOUT).unwrap();
    assert_eq!(identity.topic_id, Some(id.clone()));
    assert!(!identity.cluster_id.is_empty());

    let deleted = topic::delete(&clients, &kafka.topic, slots, TIMEOUT).unwrap();
    assert_eq!(deleted.deleted, [name.clone(), slots_name.clone()]);
    let deleted = topic::delete(&clients, &kafka.topic, slots, TIMEOUT).unwrap();
    assert_eq!(deleted.missing, [name.clone(), slots_name.clone()]);
    assert!(clients.admin().unwrap().topic_id(&name, TIMEOUT).is_err(), "a missing topic has no id, and that is an error");
    kafka.topic.replication_factor = None;
    kafka.topic.config.clear();
    let reborn = settled(TopicState::InSync, || topic::ensure(&clients, &kafka.topic, None));
    assert_ne!(reborn.id, Some(id), "another incarnation has another id");
    topic::delete(&clients, &kafka.topic, None, TIMEOUT).unwrap();
}

#[test]
fn unreachable_broker_is_a_state_and_not_an_end() {
    // Port 1 of loopback: nobody listens.
    let kafka = kafka(vec!["127.0.0.1:1".to_owned()], "t", 1);
    let clients = clients(&kafka);
    let report = topic::ensure(&clients, &kafka.topic, None);
    assert_eq!(report.state, TopicState::BrokerUnreachable, "{report:?}");
    assert!(!topic::is_usable(&report));
}

#[test]
#[ignore = "needs a real Kafka broker with SCRAM over TLS: KAFKA_SASL_SSL_BOOTSTRAP_SERVERS, KAFKA_SSL_CA, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"]
fn mounted_credentials_log_in_and_wrong_ones_are_said_to_be_refused() {
    let servers = std::env::var("KAFKA_SASL_SSL_BOOTSTRAP_SERVERS").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mount = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    mount("ca/ca.crt", &std::fs::read_to_string(std::env::var("KAFKA_SSL_CA").unwrap()).unwrap());
    mount("login/user", &std::env::var("KAFKA_SASL_USERNAME").unwrap());
    mount("login/password", &format!("{}\n", std::env::var("KAFKA_SASL_PASSWORD").unwrap()));
    let key = |name: &str, key: &str| KeyRef { name: name.to_owned(), key: key.to_owned() };
    let mut kafka = kafka(vec![servers], &unique("sasl"), 1);
    kafka.tls = Some(KafkaTls { ca: Some(key("ca", "ca.crt")) });
    kafka.auth =
        KafkaAuth::SaslScram { mechanism: "SCRAM-SHA-256".to_owned(), username: key("login", "user"), password: key("login", "password") };
    let clients = Clients::new(&kafka, folder.path(), Identity::default()).unwrap();
    assert!(topic::is_usable(&topic::ensure(&clients, &kafka.topic, None)));
    assert_eq!(clients.trouble(), None);
    topic::delete(&clients, &kafka.topic, None, TIMEOUT).unwrap();

    mount("login/password", "wrong-canary");
    assert!(clients.secrets_changed());
    let clients = Clients::new(&kafka, folder.path(), Identity::default()).unwrap();
    let report = topic::ensure(&clients, &kafka.topic, None);
    assert_eq!(report.state, TopicState::AuthFailed, "{report:?}");
    assert!(!report.message.contains("wrong-canary"), "{report:?}");
}
