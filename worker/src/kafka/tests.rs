use std::collections::BTreeMap;
use std::path::Path;

use stockpipeline::checked::{Kafka, KafkaAuth, KafkaTls, KeyRef, Topic};

use super::*;

fn kafka(auth: KafkaAuth, tls: Option<KafkaTls>) -> Kafka {
    Kafka {
        bootstrap_servers: vec!["a:1".to_owned(), "b:2".to_owned()],
        auth,
        tls,
        topic: Topic { name: "t".to_owned(), managed: true, partitions: Some(1), replication_factor: None, config: BTreeMap::default() },
        consumer_group: "g".to_owned(),
    }
}

fn scram() -> KafkaAuth {
    let key = |key: &str| KeyRef { name: "login".to_owned(), key: key.to_owned() };
    KafkaAuth::SaslScram { mechanism: "SCRAM-SHA-256".to_owned(), username: key("user"), password: key("password") }
}

fn mount(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn clients(kafka: &Kafka, folder: &Path) -> Result<Clients, KafkaError> {
    Clients::new(kafka, folder, Identity { client_id: "pod-0".to_owned(), rack: Some("zone-a".to_owned()), ..Identity::default() })
}

/// Settings of a client: name and value, None where it must not be set.
type Expected = Vec<(&'static str, Option<&'static str>)>;

#[test]
fn settings_follow_from_auth_and_tls() {
    let folder = tempfile::tempdir().unwrap();
    mount(
        folder.path(),
        &[
            ("login/user", "me\n"),
            ("login/password", "pass word\n"),
            ("ca/ca.crt", "CA"),
            ("pair/tls.crt", "CERTIFICATE"),
            ("pair/tls.key", "PRIVATE"),
        ],
    );
    let private = Some(KafkaTls { ca: Some(KeyRef { name: "ca".to_owned(), key: "ca.crt".to_owned() }) });
    let system = Some(KafkaTls { ca: None });
    let pair = KafkaAuth::MutualTls { certificate_secret: "pair".to_owned() };
    let cases: Vec<(KafkaAuth, Option<KafkaTls>, Expected)> = vec![
        (
            KafkaAuth::None,
            None,
            vec![("security.protocol", Some("PLAINTEXT")), ("bootstrap.servers", Some("a:1,b:2")), ("client.rack", Some("zone-a"))],
        ),
        (KafkaAuth::None, system.clone(), vec![("security.protocol", Some("SSL")), ("ssl.ca.location", Some("probe"))]),
        (KafkaAuth::None, private.clone(), vec![("security.protocol", Some("SSL")), ("ssl.ca.pem", Some("CA")), ("ssl.ca.location", None)]),
        (
            scram(),
            None,
            vec![("security.protocol", Some("SASL_PLAINTEXT")), ("sasl.username", Some("me")), ("sasl.password", Some("pass word"))],
        ),
        (scram(), private, vec![("security.protocol", Some("SASL_SSL")), ("sasl.mechanisms", Some("SCRAM-SHA-256"))]),
        (
            pair,
            system,
            vec![("security.protocol", Some("SSL")), ("ssl.certificate.pem", Some("CERTIFICATE")), ("ssl.key.pem", Some("PRIVATE"))],
        ),
        (KafkaAuth::MskIam, None, vec![("security.protocol", Some("SASL_SSL")), ("sasl.mechanisms", Some("OAUTHBEARER"))]),
    ];
    for (auth, tls, expected) in cases {
        let config = clients(&kafka(auth.clone(), tls), folder.path()).unwrap().client_config();
        for (name, value) in expected {
            assert_eq!(config.get(name), value, "{name} of {auth:?}");
        }
    }
}

#[test]
fn missing_secret_is_the_users_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), &[("login/user", "me")]);
    let error = clients(&kafka(scram(), None), folder.path()).err().unwrap();
    assert_eq!(error.class(), Class::User);
    let text = error.to_string();
    assert!(text.contains(&folder.path().join("login/password").display().to_string()), "{text}");
}

#[test]
fn rotated_or_removed_secret_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), &[("login/user", "me"), ("login/password", "before")]);
    let clients = clients(&kafka(scram(), None), folder.path()).unwrap();
    assert!(!clients.secrets_changed());
    mount(folder.path(), &[("login/password", "after!")]);
    assert!(clients.secrets_changed());
    mount(folder.path(), &[("login/password", "before")]);
    assert!(!clients.secrets_changed());
    std::fs::remove_file(folder.path().join("login/password")).unwrap();
    assert!(clients.secrets_changed());
}

#[test]
fn secrets_are_scrubbed_but_user_names_are_not() {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), &[("login/user", "visible"), ("login/password", "canary-1")]);
    let clients = clients(&kafka(scram(), None), folder.path()).unwrap();
    assert_eq!(clients.scrub("login of visible with canary-1 failed"), "login of visible with *** failed");
}
