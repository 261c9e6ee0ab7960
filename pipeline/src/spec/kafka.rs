//! Spec: brokers, topic and consumer group.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::aws::{KeyRef, NameRef};
use super::bounds::{TextMap, immutable, only_keys, rules, text_map};

/// What the value of a Kafka config may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigValue {
    /// A whole number, -1 or more.
    Integer,
    /// A number, 0 or more.
    Number,
    /// true or false.
    Boolean,
    /// One of a few words.
    Word(&'static [&'static str]),
}

/// Topic configs that may be set.
pub const TOPIC_CONFIGS: [(&str, ConfigValue); 23] = [
    ("cleanup.policy", ConfigValue::Word(&["delete", "compact", "compact,delete", "delete,compact"])),
    ("compression.type", ConfigValue::Word(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"])),
    ("delete.retention.ms", ConfigValue::Integer),
    ("file.delete.delay.ms", ConfigValue::Integer),
    ("flush.messages", ConfigValue::Integer),
    ("flush.ms", ConfigValue::Integer),
    ("index.interval.bytes", ConfigValue::Integer),
    ("local.retention.bytes", ConfigValue::Integer),
    ("local.retention.ms", ConfigValue::Integer),
    ("max.compaction.lag.ms", ConfigValue::Integer),
    ("max.message.bytes", ConfigValue::Integer),
    ("message.timestamp.after.max.ms", ConfigValue::Integer),
    ("message.timestamp.before.max.ms", ConfigValue::Integer),
    ("message.timestamp.type", ConfigValue::Word(&["CreateTime", "LogAppendTime"])),
    ("min.cleanable.dirty.ratio", ConfigValue::Number),
    ("min.compaction.lag.ms", ConfigValue::Integer),
    ("min.insync.replicas", ConfigValue::Integer),
    ("preallocate", ConfigValue::Boolean),
    ("remote.storage.enable", ConfigValue::Boolean),
    ("retention.bytes", ConfigValue::Integer),
    ("retention.ms", ConfigValue::Integer),
    ("segment.bytes", ConfigValue::Integer),
    ("segment.ms", ConfigValue::Integer),
];

/// Partitions of a topic that this pipeline makes and fills, when none are set.
pub const DEFAULT_PARTITIONS: i32 = 6;

/// Brokers, topic and consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.consumerGroup) == has(oldSelf.consumerGroup) && (!has(self.consumerGroup) || self.consumerGroup == oldSelf.consumerGroup)", "consumerGroup is immutable"),
    ("!(self.auth.type in ['MskIam', 'MutualTls']) || (has(self.tls) && self.tls.enabled)", "MskIam and MutualTls need tls: {enabled: true}"),
])))]
pub struct Kafka {
    /// Brokers to start from, `host:port`, 1 to 32. Example: `["kafka:9092"]`.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 3, max = 262), regex(pattern = r"^(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?):[0-9]{1,5}$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub bootstrap_servers: Vec<String>,
    /// How clients authenticate. Default: not at all.
    #[serde(default)]
    pub auth: Auth,
    /// TLS. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The topic.
    pub topic: Topic,
    /// Consumer group of the sinks; transactional ids and the producers' groups start with it. Immutable. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub consumer_group: Option<String>,
}

/// How Kafka clients authenticate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("(self.type == 'SaslScram') == has(self.saslScram)", "set saslScram exactly when type is SaslScram"),
    ("(self.type == 'MutualTls') == has(self.mutualTls)", "set mutualTls exactly when type is MutualTls"),
])))]
pub struct Auth {
    /// None; SaslScram: user name and password; MskIam: Amazon MSK with the pod's AWS identity; MutualTls: a client certificate.
    /// Default: None.
    #[serde(rename = "type")]
    pub auth_type: AuthType,
    /// User name and password. Set exactly when `type` is SaslScram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_scram: Option<SaslScram>,
    /// A client certificate. Set exactly when `type` is MutualTls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutual_tls: Option<MutualTls>,
}

/// Kind of authentication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthType {
    /// No authentication.
    #[default]
    None,
    /// SASL SCRAM with user name and password.
    SaslScram,
    /// Amazon MSK with IAM credentials.
    MskIam,
    /// A client certificate.
    MutualTls,
}

/// User name and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaslScram {
    /// SCRAM-SHA-256 or SCRAM-SHA-512. Default: SCRAM-SHA-512.
    #[serde(default)]
    pub mechanism: Mechanism,
    /// Secret and key of the user name.
    pub username_ref: KeyRef,
    /// Secret and key of the password.
    pub password_ref: KeyRef,
}

/// SCRAM mechanism.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    Sha256,
    /// SHA-512.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    Sha512,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MutualTls {
    /// Secret of type kubernetes.io/tls (keys `tls.crt` and `tls.key`).
    pub certificate_ref: NameRef,
}

/// TLS of the Kafka connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// Whether connections use TLS. Default: true.
    pub enabled: bool,
    /// Secret and key of a private certificate authority, PEM. Default: the system's authorities. Example: `{name: kafka-ca, key: ca.crt}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<KeyRef>,
}

/// The topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("!has(self.partitions) || !has(oldSelf.partitions) || self.partitions >= oldSelf.partitions", "topic.partitions can only grow"),
    ("!has(oldSelf.partitions) || has(self.partitions)", "topic.partitions can only grow, not be removed"),
])))]
pub struct Topic {
    /// Name. Immutable. Example: `ticks.us-equities`.
    #[schemars(
        length(min = 1, max = 249),
        regex(pattern = r"^[a-zA-Z0-9._-]+$"),
        extend("x-kubernetes-validations" = immutable("topic.name"))
    )]
    pub name: String,
    /// Managed: workers make a missing topic, add partitions and set configs; Observe: they only look, and wait for a missing one.
    /// Default: Managed.
    #[serde(default)]
    pub management: Management,
    /// Partitions, 1 to 10,000; can only grow. Default: 6; with Observe or an ExternalTopic whatever the topic has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: Option<i32>,
    /// Replication factor, 1 to 100. Default: the broker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replication_factor: Option<i32>,
    /// Topic configs from a list of allowed ones; values are texts. Default: none. Example: `{retention.ms: "259200000"}`.
    #[serde(default)]
    #[schemars(schema_with = "text_map", extend("x-kubernetes-validations" = only_keys(&TOPIC_CONFIGS)))]
    pub config: TextMap,
}

/// Who keeps the topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Management {
    /// Workers make the topic and keep its partitions and configs.
    #[default]
    Managed,
    /// Workers only look.
    Observe,
}

impl Default for Tls {
    fn default() -> Self {
        Self { enabled: true, ca_ref: None }
    }
}
