//! A Kafka broker in process: librdkafka's mock cluster, which speaks the real protocol over loopback.
//!
//! What it isn't: each partition keeps 5 MiB or 100,000 messages and drops older ones without a word, so whoever produces
//! must be held back by the reader's lag; its transactions are a stub; `DescribeTopics` is not answered, so there is no topic id.

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// The running broker; it stops when this is dropped.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
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
        MockCluster::new(1).map(|cluster| Self { cluster }).map_err(BrokerError::Start)
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// [`BrokerError::CreateTopic`], for one that exists too.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        let failed = |source| BrokerError::CreateTopic { topic: topic.to_owned(), source };
        self.cluster.create_topic(topic, partitions, 1).map_err(failed)
    }

    /// Returns the addresses for `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Returns librdkafka's handle, through which tests inject errors and delays.
    #[must_use]
    pub fn mock(&self) -> &MockCluster<'static, DefaultProducerContext> {
        &self.cluster
    }
}
