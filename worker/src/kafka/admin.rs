//! Administrative acts on topics, each with a deadline. "Exists already" and "is not there" are answers, not errors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer};

use super::native::{self, Question};
use super::{Clients, Context, KafkaError, TopicIdentity, refusal};

/// Client for administrative acts.
pub struct Admin {
    // A producer, because it is the lightest client; unlike rdkafka's admin client its queue of events can be served, which tokens need.
    client: BaseProducer<Context>,
    context: Context,
}

/// A topic to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewTopic<'a> {
    /// Name.
    pub name: &'a str,
    /// Partitions.
    pub partitions: i32,
    /// Replication factor; the broker's own default without it.
    pub replication_factor: Option<i32>,
    /// Topic configs.
    pub config: &'a BTreeMap<String, String>,
}

/// What the broker says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Id; None where the broker answers a zero id.
    pub topic_id: Option<String>,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of its first partition.
    pub replication_factor: i32,
}

/// One config of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Name.
    pub name: String,
    /// Value in force, the broker's default included.
    pub value: String,
}

/// Outcome of making or deleting something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This call did it.
    Done,
    /// It was so before.
    Already,
}

impl Admin {
    pub(super) fn new(clients: &Clients) -> Result<Self, KafkaError> {
        let context = clients.context();
        let created = clients.client_config().create_with_context(context.clone());
        let client = created.map_err(|error| KafkaError::Setting { message: clients.scrub(&error.to_string()) })?;
        Ok(Self { client, context })
    }

    /// Returns what the broker says of a topic, or None when it has none of that name. Never makes it.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
    pub fn describe_topic(&self, topic: &str, timeout: Duration) -> Result<Option<TopicDescription>, KafkaError> {
        let question = Question::new("describe topic", topic, timeout);
        self.answered(native::describe_topic(self.client.client(), &question, &|| self.serve()))
    }

    /// Returns the number of a topic's partitions, or None when it is not there. Works on brokers that cannot describe topics.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Result<Option<u32>, KafkaError> {
        self.serve();
        self.answered(partitions(self.client.client(), topic, timeout))
    }

    /// Returns the ids of the cluster and a topic.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] (also where there is no such topic) or [`KafkaError::TimedOut`]; never taken for "no id".
    pub fn topic_id(&self, topic: &str, timeout: Duration) -> Result<TopicIdentity, KafkaError> {
        self.answered(native::identity(self.client.client(), topic, timeout, &|| self.serve()))
    }

    /// Returns the id of the cluster; None where no broker tells it in time.
    #[must_use]
    pub fn cluster_id(&self, timeout: Duration) -> Option<String> {
        let deadline = Instant::now() + timeout;
        loop {
            self.serve();
            let left = deadline.saturating_duration_since(Instant::now());
            let id = native::cluster_id(self.client.client(), left.min(native::SERVE_EVERY));
            if id.is_some() || left.is_zero() {
                return id;
            }
        }
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
    pub fn create_topic(&self, topic: &NewTopic<'_>, timeout: Duration) -> Result<Outcome, KafkaError> {
        let question = Question::new("create topic", topic.name, timeout);
        let created = self.answered(native::create_topic(self.client.client(), &question, topic, &|| self.serve()));
        unless(created, RDKafkaErrorCode::TopicAlreadyExists)
    }

    /// Raises a topic's number of partitions to `total`.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
    pub fn create_partitions(&self, topic: &str, total: i32, timeout: Duration) -> Result<(), KafkaError> {
        let question = Question::new("add partitions to topic", topic, timeout);
        self.answered(native::create_partitions(self.client.client(), &question, total, &|| self.serve()))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
    pub fn delete_topic(&self, topic: &str, timeout: Duration) -> Result<Outcome, KafkaError> {
        let question = Question::new("delete topic", topic, timeout);
        let deleted = self.answered(native::delete_topic(self.client.client(), &question, &|| self.serve()));
        unless(deleted, RDKafkaErrorCode::UnknownTopicOrPartition)
    }

    /// Returns the configs of a topic that are in force.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
    pub fn describe_configs(&self, topic: &str, timeout: Duration) -> Result<Vec<ConfigValue>, KafkaError> {
        let question = Question::new("describe configs of topic", topic, timeout);
        self.answered(native::describe_configs(self.client.client(), &question, &|| self.serve()))
    }

    /// Sets some configs of a topic and leaves all others as they are.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
    pub fn set_configs(&self, topic: &str, configs: &[(&str, &str)], timeout: Duration) -> Result<(), KafkaError> {
        let question = Question::new("set configs of topic", topic, timeout);
        self.answered(native::set_configs(self.client.client(), &question, configs, &|| self.serve()))
    }

    /// Serves logs, errors and token refreshes, which wait in the client's own queue.
    fn serve(&self) {
        self.client.poll(Duration::ZERO);
    }

    /// Notes that brokers answer, and scrubs what they refuse with.
    fn answered<T>(&self, result: Result<T, KafkaError>) -> Result<T, KafkaError> {
        match result {
            Ok(value) => {
                self.context.succeeded();
                Ok(value)
            }
            Err(KafkaError::Refused { act, target, code, message }) => {
                Err(KafkaError::Refused { act, target, code, message: self.context.scrub(&message) })
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns the number of a topic's partitions, or None when it is not there, as [`Admin::partitions`] does.
///
/// # Errors
/// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
pub fn partitions<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<Option<u32>, KafkaError> {
    const ACT: &str = "look up partitions of topic";
    let metadata = client.fetch_metadata(Some(topic), timeout).map_err(|error| refusal(ACT, topic, &error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::NoError | RDKafkaErrorCode::LeaderNotAvailable) => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
        Some(code) => {
            return Err(KafkaError::Refused { act: ACT, target: topic.to_owned(), code, message: code.to_string() });
        }
    }
    let count = found.partitions().len();
    Ok(u32::try_from(count).ok().filter(|count| *count > 0))
}

fn unless(result: Result<(), KafkaError>, already: RDKafkaErrorCode) -> Result<Outcome, KafkaError> {
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(error) if error.code() == Some(already) => Ok(Outcome::Already),
        Err(error) => Err(error),
    }
}
