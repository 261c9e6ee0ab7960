//! Spec: the producer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{TRANSACTION_INTERVAL, TextMap, TimeSpan, between, immutable, only_keys, rules, text_map};
use super::kafka::ConfigValue;
use super::worker::ProducerWorker;

/// Producer configs of librdkafka that may be set.
pub const PRODUCER_CONFIGS: [(&str, ConfigValue); 18] = [
    ("batch.num.messages", ConfigValue::Integer),
    ("batch.size", ConfigValue::Integer),
    ("broker.address.family", ConfigValue::Word(&["any", "v4", "v6"])),
    ("client.dns.lookup", ConfigValue::Word(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"])),
    ("compression.level", ConfigValue::Integer),
    ("compression.type", ConfigValue::Word(&["none", "gzip", "snappy", "lz4", "zstd"])),
    ("connections.max.idle.ms", ConfigValue::Integer),
    ("linger.ms", ConfigValue::Number),
    ("message.max.bytes", ConfigValue::Integer),
    ("metadata.max.age.ms", ConfigValue::Integer),
    ("queue.buffering.max.kbytes", ConfigValue::Integer),
    ("queue.buffering.max.messages", ConfigValue::Integer),
    ("reconnect.backoff.max.ms", ConfigValue::Integer),
    ("reconnect.backoff.ms", ConfigValue::Integer),
    ("retry.backoff.ms", ConfigValue::Integer),
    ("socket.keepalive.enable", ConfigValue::Boolean),
    ("socket.nagle.disable", ConfigValue::Boolean),
    ("topic.metadata.refresh.interval.ms", ConfigValue::Integer),
];

/// Feeds the source into the topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.keyColumn) == has(oldSelf.keyColumn) && (!has(self.keyColumn) || self.keyColumn == oldSelf.keyColumn)", "producer.keyColumn is immutable"),
    ("has(self.slotsTopic) == has(oldSelf.slotsTopic) && (!has(self.slotsTopic) || self.slotsTopic == oldSelf.slotsTopic)", "producer.slotsTopic is immutable"),
])))]
pub struct Producer {
    /// Units of work that Kafka's group protocol hands to producer replicas, 1 to 1,000; more replicas than slots idle. Immutable.
    /// Default: 16.
    #[schemars(range(min = 1, max = 1000), extend("x-kubernetes-validations" = immutable("producer.slots")))]
    pub slots: i32,
    /// Compacted topic of the slots' progress, with `slots` partitions; name one that was made beforehand where workers may not make
    /// topics. Immutable. Default: the topic's name with `.slots` behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub slots_topic: Option<String>,
    /// Column whose text is the records' key: rows of one key keep their order. Immutable. Default: the first String column.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub key_column: Option<String>,
    /// How often a transaction is committed; readers see records only then. 10ms to 5s. Default: 1s.
    #[schemars(extend("x-kubernetes-validations" = between(TRANSACTION_INTERVAL)))]
    pub transaction_interval: TimeSpan,
    /// Producer configs of librdkafka from a list of allowed ones; values are texts. Default: none. Example: `{linger.ms: "20"}`.
    #[schemars(schema_with = "text_map", extend("x-kubernetes-validations" = only_keys(&PRODUCER_CONFIGS)))]
    pub config: TextMap,
    /// The pods.
    pub worker: ProducerWorker,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            slots: 16,
            slots_topic: None,
            key_column: None,
            transaction_interval: TimeSpan::of("1s"),
            config: TextMap::new(),
            worker: ProducerWorker::default(),
        }
    }
}
