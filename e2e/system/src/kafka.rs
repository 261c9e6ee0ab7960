//! The brokers as the test sees them: topics, leaders, groups, and what is in a log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::metadata::{MetadataBroker, MetadataTopic};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long reading a whole topic may take.
const READING: Duration = Duration::from_mins(5);

/// A record to send: partition, key, and a value where it is no tombstone.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Partition.
    pub partition: i32,
    /// Key.
    pub key: String,
    /// Value; None for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// A client of the stage's brokers.
#[derive(Debug, Clone)]
pub struct Kafka {
    servers: String,
}

impl Kafka {
    /// Returns a client; connects to nothing yet.
    #[must_use]
    pub fn new(servers: &str) -> Self {
        Self { servers: servers.to_owned() }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client with these settings can be made")
    }

    fn consumer(&self) -> BaseConsumer {
        self.config().set("group.id", "e2e-looks").create().expect("a consumer with these settings can be made")
    }

    /// Returns the leader of each partition of a topic; None while the brokers do not answer.
    pub async fn leaders(&self, topic: &str) -> Option<BTreeMap<i32, i32>> {
        let topic = topic.to_owned();
        self.ask(move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
            let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            Ok(partitions.map(|partition| (partition.id(), partition.leader())).collect())
        })
        .await
    }

    /// Returns the brokers that are up; None while none answers.
    pub async fn brokers(&self) -> Option<BTreeSet<i32>> {
        self.ask(|consumer| Ok(consumer.fetch_metadata(None, PATIENCE)?.brokers().iter().map(MetadataBroker::id).collect())).await
    }

    /// Returns whether every partition of every topic has a leader and all of its replicas in sync.
    pub async fn is_whole(&self) -> bool {
        let whole = self.ask(|consumer| {
            let metadata = consumer.fetch_metadata(None, PATIENCE)?;
            let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            Ok(partitions.all(|partition| partition.leader() >= 0 && partition.isr().len() == partition.replicas().len()))
        });
        whole.await.unwrap_or(false)
    }

    /// Returns the ends of a topic's partitions; None while the brokers do not answer.
    pub async fn ends(&self, topic: &str) -> Option<BTreeMap<i32, i64>> {
        let partitions: Vec<i32> = self.leaders(topic).await?.into_keys().collect();
        let topic = topic.to_owned();
        self.ask(move |consumer| {
            let end = |&partition: &i32| Ok((partition, consumer.fetch_watermarks(&topic, partition, PATIENCE)?.1));
            partitions.iter().map(end).collect()
        })
        .await
    }

    /// Returns the names of the groups that start with a prefix; None while the brokers do not answer.
    pub async fn groups(&self, prefix: &str) -> Option<Vec<String>> {
        let prefix = prefix.to_owned();
        self.ask(move |consumer| {
            let groups = consumer.fetch_group_list(None, PATIENCE)?;
            Ok(groups.groups().iter().map(|group| group.name().to_owned()).filter(|name| name.starts_with(&prefix)).collect())
        })
        .await
    }

    /// Deletes a group with all of its offsets; it must have no member.
    ///
    /// # Errors
    /// What the coordinator says.
    pub async fn delete_group(&self, group: &str) -> Result<(), String> {
        let deleted = self.admin().delete_groups(&[group], &AdminOptions::new()).await.map_err(|error| error.to_string())?;
        deleted.into_iter().try_for_each(|one| one.map(drop).map_err(|(group, code)| format!("{group}: {code}")))
    }

    /// Makes a topic of three replicas, where there are so many brokers.
    ///
    /// # Panics
    /// When the brokers refuse it.
    pub async fn make_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let replicas = i32::try_from(self.servers.split(',').count().min(3)).expect("it is at most three");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let made = self.admin().create_topics([&topic], &AdminOptions::new()).await.expect("the brokers answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, name: &str) {
        // One that others have deleted is gone, which is what was wanted.
        drop(self.admin().delete_topics(&[name], &AdminOptions::new()).await);
    }

    /// Sends records with further settings of the producer, and waits until the brokers have them.
    ///
    /// # Panics
    /// When they don't take them.
    pub async fn send(&self, topic: &str, records: Vec<Sent>, settings: &[(&str, &str)]) {
        let mut config = self.config();
        config.set("enable.idempotence", "true");
        for (setting, value) in settings {
            config.set(*setting, *value);
        }
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer with these settings can be made");
        let topic = topic.to_owned();
        let sent = tokio::task::spawn_blocking(move || -> Result<(), KafkaError> {
            for record in &records {
                let mut next = BaseRecord::to(&topic).partition(record.partition).key(&record.key);
                if let Some(value) = &record.value {
                    next = next.payload(value);
                }
                producer.send(next).map_err(|(error, _)| error)?;
            }
            producer.flush(READING)
        });
        sent.await.expect("sending does not panic").expect("the brokers take the records");
    }

    /// Returns how many records of a topic a consumer sees that leaves out what was not committed; None while the brokers do not answer.
    pub async fn count(&self, topic: &str) -> Option<u64> {
        let ends = self.ends(topic).await?;
        let mut config = self.config();
        config.set("group.id", "e2e-counts").set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().expect("a consumer with these settings can be made");
        let topic = topic.to_owned();
        tokio::task::spawn_blocking(move || read_to_the_end(&consumer, &topic, &ends)).await.ok().flatten()
    }

    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&BaseConsumer) -> KafkaResult<T> + Send + 'static) -> Option<T> {
        let consumer = self.consumer();
        tokio::task::spawn_blocking(move || question(&consumer).ok()).await.ok().flatten()
    }
}

/// Counts the records of all partitions of a topic, each to its end.
fn read_to_the_end(consumer: &BaseConsumer, topic: &str, ends: &BTreeMap<i32, i64>) -> Option<u64> {
    let mut partitions = TopicPartitionList::new();
    for &partition in ends.keys() {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).ok()?;
    }
    consumer.assign(&partitions).ok()?;
    let (began, mut count, mut ended) = (Instant::now(), 0, BTreeSet::new());
    while ended.len() < ends.len() {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(record)) => {
                ended.remove(&record.partition());
                count += 1;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(_)) | None => {}
        }
        if began.elapsed() > READING {
            return None;
        }
    }
    Some(count)
}
