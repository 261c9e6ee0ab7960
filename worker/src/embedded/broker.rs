//! A Kafka broker in process: librdkafka's mock cluster, which speaks the real protocol over loopback.
//!
//! What it isn't: each partition keeps 5 MiB or 100,000 messages and drops older ones without a word, so whoever produces
//! must be held back by the reader's lag; its transactions are a stub; `DescribeTopics` is not answered, so there is no topic id.

#![expect(unsafe_code, reason = "the delay of a group's first rebalance can be set only in librdkafka's C interface")]

use rdkafka::bindings as rd;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};

/// The running broker; it stops when this is dropped.
pub struct EmbeddedBroker {
    /// Owns the cluster; nothing is produced with it.
    owner: BaseProducer,
}

/// The embedded broker failed.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No broker.
    #[error("failed to start the embedded broker")]
    Start(#[source] KafkaError),
    /// No topic.
    #[error("failed to create topic {topic:?} on the embedded broker")]
    CreateTopic {
        /// Topic.
        topic: String,
        /// What librdkafka said.
        #[source]
        source: KafkaError,
    },
}

impl EmbeddedBroker {
    /// Starts one broker on a free port of loopback.
    ///
    /// # Errors
    /// [`BrokerError::Start`].
    pub fn start() -> Result<Self, BrokerError> {
        Self::cluster(1)
    }

    /// Starts a cluster of brokers, numbered from 1, each on a free port of loopback.
    ///
    /// # Errors
    /// [`BrokerError::Start`].
    pub fn cluster(brokers: u8) -> Result<Self, BrokerError> {
        let brokers = brokers.to_string();
        let owner: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", brokers).create().map_err(BrokerError::Start)?;
        // By default a group waits three seconds for more members before anyone gets a partition.
        // SAFETY: the client lives, and owns a mock cluster since it was made with one; the call sets a number under a lock.
        unsafe {
            let cluster = rd::rd_kafka_handle_mock_cluster(owner.client().native_ptr());
            rd::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
        Ok(Self { owner })
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// [`BrokerError::CreateTopic`], for one that exists too.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        let failed = |source| BrokerError::CreateTopic { topic: topic.to_owned(), source };
        self.mock().create_topic(topic, partitions, 1).map_err(failed)
    }

    /// Returns the addresses for `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.mock().bootstrap_servers()
    }

    /// Returns librdkafka's handle, through which tests inject errors and delays.
    ///
    /// # Panics
    /// Never: the owner was made with a cluster.
    #[must_use]
    pub fn mock(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.owner.client().mock_cluster().expect("the owner was made with a cluster")
    }
}
