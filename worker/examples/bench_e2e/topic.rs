//! Topics: made new, filled, removed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use tokio::runtime::Runtime;

/// Wait for one answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// Wait for one answer that is asked for again.
const LOOK: Duration = Duration::from_secs(5);

/// A topic of this benchmark; removed when dropped.
pub(crate) struct Topic {
    /// Name.
    pub(crate) name: String,
    /// Number of partitions.
    pub(crate) partitions: i32,
    admin: AdminClient<DefaultClientContext>,
    asker: BaseConsumer,
    runtime: Runtime,
}

impl Topic {
    /// Makes a topic with a name of its own, on as many replicas as there are brokers, at most three.
    pub(crate) fn create(kafka: &str, purpose: &str, partitions: i32) -> anyhow::Result<Self> {
        let name = format!("bench-{purpose}-{}-{}", std::process::id(), stockpipeline_program::clock::wall_millis());
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka).set("log_level", "3");
        let (admin, asker): (AdminClient<_>, BaseConsumer) = (config.create()?, config.create()?);
        let brokers = asker.fetch_metadata(None, ANSWER).context("Kafka does not answer")?.brokers().len();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let replicas = i32::try_from(brokers.min(3))?;
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(replicas));
        let answers = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(ANSWER))))?;
        for answer in answers {
            answer.map_err(|(name, code)| anyhow::anyhow!("failed to make the topic {name}: {code}"))?;
        }
        let topic = Self { name, partitions, admin, asker, runtime };
        let deadline = Instant::now() + ANSWER;
        while !topic.has_leaders() || topic.ends().is_err() {
            ensure!(Instant::now() < deadline, "the topic {} has no leaders", topic.name);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(topic)
    }

    /// Returns whether each partition has a leader; what it asks for is what the client then knows.
    fn has_leaders(&self) -> bool {
        let Ok(metadata) = self.asker.fetch_metadata(Some(&self.name), LOOK) else { return false };
        let leaders = metadata.topics().iter().flat_map(MetadataTopic::partitions).filter(|partition| partition.leader() >= 0).count();
        usize::try_from(self.partitions).is_ok_and(|partitions| leaders == partitions)
    }

    /// Returns where each partition ends.
    pub(crate) fn ends(&self) -> anyhow::Result<Vec<i64>> {
        (0..self.partitions).map(|partition| Ok(self.asker.fetch_watermarks(&self.name, partition, LOOK)?.1)).collect()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let slots = format!("{}.slots", self.name);
        let deletion = self.admin.delete_topics(&[&self.name, &slots], &AdminOptions::new());
        if let Err(error) = self.runtime.block_on(deletion) {
            eprintln!("failed to delete the topic {}: {error}", self.name);
        }
    }
}
