//! A consumer group, seen from outside: how far it has committed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::process::Running;
use crate::stage::PATIENCE;
use crate::topic::{ANSWER, Topic};

/// How often the group is asked.
const ASK: Duration = Duration::from_millis(20);

/// A group that only asks: it never joins.
pub(crate) struct Group {
    asker: BaseConsumer,
    list: TopicPartitionList,
    partitions: i32,
}

impl Group {
    /// Returns the group of a name.
    pub(crate) fn of(kafka: &str, name: &str, topic: &Topic) -> anyhow::Result<Self> {
        let asker = ClientConfig::new().set("bootstrap.servers", kafka).set("group.id", name).set("log_level", "3").create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&topic.name, 0, topic.partitions - 1);
        Ok(Self { asker, list, partitions: topic.partitions })
    }

    /// Returns what is committed of each partition; 0 where nothing is.
    pub(crate) fn committed(&self) -> anyhow::Result<Vec<i64>> {
        let answer = self.asker.committed_offsets(self.list.clone(), ANSWER).context("failed to ask for the group's offsets")?;
        let mut committed = vec![0; usize::try_from(self.partitions)?];
        for element in answer.elements() {
            if let Offset::Offset(offset) = element.offset() {
                committed[usize::try_from(element.partition())?] = offset;
            }
        }
        Ok(committed)
    }

    /// Waits until as many messages are committed, while a process works on them.
    pub(crate) fn wait(&self, messages: u64, running: &mut Running) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A group without a coordinator yet has committed nothing.
            let committed = self.committed().unwrap_or_else(|_| vec![0]);
            if committed.iter().sum::<i64>().unsigned_abs() >= messages {
                return Ok(());
            }
            running.check()?;
            if Instant::now() > deadline {
                bail!("only {committed:?} is committed of {messages}; its last lines:\n{}", running.last_lines());
            }
            std::thread::sleep(ASK);
        }
    }
}
