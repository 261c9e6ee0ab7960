//! Brokers, topic, consumer group and the configs that may be set.

use super::findings::Findings;
use super::shape::keyed;
use super::{address, suggest};
use crate::checked::{Kafka, KafkaAuth, KafkaTls, KeyRef, Topic};
use crate::spec::bounds::TextMap;
use crate::spec::kafka::{self as spec, AuthType, ConfigValue, DEFAULT_PARTITIONS, Management, Mechanism, TOPIC_CONFIGS};
use crate::spec::source::SourceType;
use crate::spec::{PipelineSpec, aws};

/// Checks everything under `kafka`.
pub(crate) fn check(spec: &PipelineSpec, name: &str, findings: &mut Findings) -> Kafka {
    let kafka = &spec.kafka;
    for (index, server) in kafka.bootstrap_servers.iter().enumerate() {
        address::broker(findings, &format!("spec.kafka.bootstrapServers[{index}]"), server);
    }
    let consumer_group = kafka.consumer_group.clone().unwrap_or_else(|| name.to_owned());
    if matches!(consumer_group.as_str(), "." | "..") {
        findings.wrong("spec.kafka.consumerGroup", consumer_group.as_str(), "is no name", "use letters, digits and . _ -");
    }
    let tls = kafka.tls.as_ref().filter(|tls| tls.enabled).map(|tls| KafkaTls { ca: tls.ca_ref.as_ref().map(key_ref) });
    if tls.is_none() {
        check_plain(kafka.auth.auth_type, findings);
    }
    Kafka {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        auth: auth(&kafka.auth, findings),
        tls,
        topic: topic(spec, findings),
        consumer_group,
    }
}

fn check_plain(auth: AuthType, findings: &mut Findings) {
    match auth {
        AuthType::None => {}
        AuthType::SaslScram => {
            findings.warn(
                "spec.kafka.tls",
                "is off, so that records and the SCRAM exchange cross the network readable; set tls: {enabled: true}",
            );
        }
        AuthType::MskIam | AuthType::MutualTls => {
            findings.broken("spec.kafka.tls", &format!("is off, but {auth:?} needs it"), "set tls: {enabled: true}");
        }
    }
}

fn auth(auth: &spec::Auth, findings: &mut Findings) -> KafkaAuth {
    let members =
        [("saslScram", AuthType::SaslScram, auth.sasl_scram.is_some()), ("mutualTls", AuthType::MutualTls, auth.mutual_tls.is_some())];
    for (name, kind, is_set) in members {
        let path = format!("spec.kafka.auth.{name}");
        if is_set && auth.auth_type != kind {
            findings.broken(&path, &format!("is set although type is {:?}", auth.auth_type), &format!("remove it, or set type: {kind:?}"));
        } else if !is_set && auth.auth_type == kind {
            findings.broken(&path, &format!("is required when type is {kind:?}"), "add it");
        }
    }
    match (auth.auth_type, &auth.sasl_scram, &auth.mutual_tls) {
        (AuthType::SaslScram, Some(scram), _) => KafkaAuth::SaslScram {
            mechanism: match scram.mechanism {
                Mechanism::Sha256 => "SCRAM-SHA-256".to_owned(),
                Mechanism::Sha512 => "SCRAM-SHA-512".to_owned(),
            },
            username: key_ref(&scram.username_ref),
            password: key_ref(&scram.password_ref),
        },
        (AuthType::MutualTls, _, Some(tls)) => KafkaAuth::MutualTls { certificate_secret: tls.certificate_ref.name.clone() },
        (AuthType::MskIam, _, _) => KafkaAuth::MskIam,
        (AuthType::None | AuthType::SaslScram | AuthType::MutualTls, _, _) => KafkaAuth::None,
    }
}

fn key_ref(reference: &aws::KeyRef) -> KeyRef {
    KeyRef { name: reference.name.clone(), key: reference.key.clone() }
}

fn topic(spec: &PipelineSpec, findings: &mut Findings) -> Topic {
    let topic = &spec.kafka.topic;
    topic_name(findings, "spec.kafka.topic.name", &topic.name);
    configs(findings, "spec.kafka.topic.config", &topic.config, &TOPIC_CONFIGS);
    let external = spec.source.source_type == SourceType::ExternalTopic;
    // A topic that others fill has the partitions that they gave it, unless the spec says how many there must be.
    let managed = topic.management == Management::Managed && (!external || topic.partitions.is_some());
    let partitions = topic.partitions.or(if managed { Some(DEFAULT_PARTITIONS) } else { None });
    Topic { name: topic.name.clone(), managed, partitions, replication_factor: topic.replication_factor, config: topic.config.clone() }
}

/// Checks what the pattern of a topic's name cannot say.
pub(crate) fn topic_name(findings: &mut Findings, path: &str, name: &str) {
    if matches!(name, "." | "..") {
        findings.wrong(path, name, "is no name that Kafka takes", "use letters, digits and . _ -");
    }
}

/// Checks that a map of configs holds only allowed keys, each with a value that can be right.
pub(crate) fn configs(findings: &mut Findings, path: &str, configs: &TextMap, allowed: &[(&str, ConfigValue)]) {
    for (key, value) in configs {
        let path = keyed(path, key);
        let Some((_, kind)) = allowed.iter().find(|(name, _)| name == key) else {
            findings.broken(&path, "may not be set", &suggest::remedy(key, allowed.iter().map(|(name, _)| *name)));
            continue;
        };
        let (fits, remedy) = match kind {
            ConfigValue::Integer => (value.parse::<i64>().is_ok_and(|number| number >= -1), "use a whole number".to_owned()),
            ConfigValue::Number => {
                (value.parse::<f64>().is_ok_and(|number| number >= 0.0 && number.is_finite()), "use a number of at least 0".to_owned())
            }
            ConfigValue::Boolean => (matches!(value.as_str(), "true" | "false"), "use \"true\" or \"false\"".to_owned()),
            ConfigValue::Word(words) => (words.contains(&value.as_str()), format!("use one of {}", words.join(", "))),
        };
        if !fits {
            findings.wrong(&path, value.as_str(), "is no value of this config", &remedy);
        }
    }
}
