//! Reads the progress records of slots: from the tail of each slot's partition, as far back as needed.
//!
//! A transaction that is still being decided is waited for, because its rows would otherwise be produced again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{ProgressRecord, ReplayId};
use crate::kafka::{Clients, Context, KafkaError, logs, refusal};

mod rows;

/// Offsets that are looked at first: the newest record of a replay that runs is among them.
const FIRST_TAIL: i64 = 64;
/// How many times as much each further look takes.
const TAIL_GROWTH: i64 = 32;
/// How long one question to the broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at a transaction that is still being decided.
const UNDECIDED_PAUSE: Duration = Duration::from_millis(100);

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Slots topic.
    pub topic: &'a str,
    /// Group of the replay, whose permission is used.
    pub group: &'a str,
    /// The replay, with its source.
    pub wanted: &'a ProgressRecord,
    /// Longest wait for everything, undecided transactions included.
    pub timeout: Duration,
}

/// What was found of one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Row of the replay's last record; 0 where it has begun and has come no further.
    pub row: Option<u64>,
    /// Fingerprint of another content under the same name, where the replay itself has no record.
    pub other_content: Option<String>,
    /// Whether any replay of the source into this incarnation of the topic has a record.
    pub knows_source: bool,
}

/// A search that did not end with an answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Kafka refused or did not answer.
    #[error("failed to read the progress records of {topic:?}")]
    Kafka {
        /// Slots topic.
        topic: String,
        /// What Kafka said.
        #[source]
        source: KafkaError,
    },
    /// Nothing more is to be waited for.
    #[error("cancelled while reading the progress records of {topic:?}")]
    Cancelled {
        /// Slots topic.
        topic: String,
    },
}

/// A reader of the slots topic.
pub struct Reader {
    records: BaseConsumer<Context>,
    /// Sees the end of the log, undecided transactions included.
    ends: BaseConsumer<Context>,
}

impl Reader {
    /// Makes the clients; they join no group.
    ///
    /// # Errors
    /// [`KafkaError::Setting`].
    pub fn new(clients: &Clients, group: &str) -> Result<Self, KafkaError> {
        let create = |isolation: &str| {
            let mut config = clients.client_config();
            config
                .set("group.id", group)
                .set("enable.auto.commit", "false")
                .set("enable.auto.offset.store", "false")
                .set("enable.partition.eof", "true")
                // The end of a partition is told by an empty answer, which the broker would hold back this long.
                .set("fetch.wait.max.ms", "50")
                .set("auto.offset.reset", "earliest")
                .set("isolation.level", isolation);
            let created = config.create_with_context(clients.context());
            created.map_err(|error| KafkaError::Setting { message: clients.scrub(&error.to_string()) })
        };
        Ok(Self { records: create("read_committed")?, ends: create("read_uncommitted")? })
    }

    /// Returns what the records say of slots.
    ///
    /// # Errors
    /// [`SearchError`]; never a position that a transaction may still move.
    pub fn find(&self, search: &Search<'_>, slots: &[u32], cancel: &CancellationToken) -> Result<BTreeMap<u32, Found>, SearchError> {
        let wait = Wait { search, deadline: Instant::now() + search.timeout, cancel };
        let mut found: BTreeMap<u32, Found> = slots.iter().map(|slot| (*slot, Found::default())).collect();
        let partitions: Vec<i32> = slots.iter().map(|slot| i32::try_from(*slot).unwrap_or(i32::MAX)).collect();
        let mut logs = self.decided_logs(&wait, &partitions)?;
        logs.retain(|_, (low, high)| low < high);
        let mut tail = FIRST_TAIL;
        while !logs.is_empty() {
            let starts: BTreeMap<i32, i64> =
                logs.iter().map(|(partition, (low, high))| (*partition, high.saturating_sub(tail).max(*low))).collect();
            let read = self.read(&wait, &starts)?;
            for (partition, seen) in read {
                let at_the_start = logs.get(&partition).is_none_or(|(low, _)| starts.get(&partition).is_some_and(|start| start <= low));
                // That the replay has begun may be said once more behind what it has produced since.
                if seen.row.is_some_and(|row| row > 0) || at_the_start {
                    logs.remove(&partition);
                    if let Ok(slot) = u32::try_from(partition) {
                        found.insert(slot, seen);
                    }
                }
            }
            tail = tail.saturating_mul(TAIL_GROWTH);
        }
        Ok(found)
    }

    /// Returns partitions' logs once every transaction that was in them is decided.
    fn decided_logs(&self, wait: &Wait<'_>, partitions: &[i32]) -> Result<BTreeMap<i32, (i64, i64)>, SearchError> {
        let topic = wait.search.topic;
        let ends = self.logs(&self.ends, wait, partitions)?;
        loop {
            let logs = self.logs(&self.records, wait, partitions)?;
            let is_decided = |(partition, (_, stable)): (&i32, &(i64, i64))| ends.get(partition).is_none_or(|(_, end)| stable >= end);
            if logs.iter().all(is_decided) {
                return Ok(logs);
            }
            debug!(topic, "waiting for transactions that are still being decided");
            wait.left()?;
            std::thread::sleep(UNDECIDED_PAUSE);
        }
    }

    fn logs(
        &self,
        consumer: &BaseConsumer<Context>,
        wait: &Wait<'_>,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, (i64, i64)>, SearchError> {
        let left = wait.left()?;
        self.serve();
        logs(consumer, wait.search.topic, partitions, left.min(REQUEST_TIMEOUT)).map_err(|error| wait.failed(error))
    }

    /// Serves token refreshes; a client that has nothing assigned gives no record.
    fn serve(&self) {
        for consumer in [&self.records, &self.ends] {
            if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                debug!(error = %error, "event of a reader of the slots topic");
            }
        }
    }

    /// Reads partitions from their starts to their ends.
    fn read(&self, wait: &Wait<'_>, starts: &BTreeMap<i32, i64>) -> Result<BTreeMap<i32, Found>, SearchError> {
        let topic = wait.search.topic;
        let refused = |error: ClientError| wait.failed(refusal("read topic", topic, &error));
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for (partition, start) in starts {
            list.add_partition_offset(topic, *partition, Offset::Offset(*start)).map_err(refused)?;
        }
        self.records.assign(&list).map_err(refused)?;
        let mut open: BTreeMap<i32, Found> = starts.keys().map(|partition| (*partition, Found::default())).collect();
        let mut ended = BTreeMap::new();
        while !open.is_empty() {
            let left = wait.left()?;
            match self.records.poll(left.min(UNDECIDED_PAUSE)) {
                None => {}
                Some(Ok(message)) => {
                    if let Some(found) = open.get_mut(&message.partition()) {
                        note(found, wait.search.wanted, message.payload());
                    }
                }
                Some(Err(ClientError::PartitionEOF(partition))) => {
                    if let Some(found) = open.remove(&partition) {
                        ended.insert(partition, found);
                    }
                }
                Some(Err(error)) => return Err(refused(error)),
            }
        }
        self.records.unassign().map_err(refused)?;
        Ok(ended)
    }
}

/// Takes one record into account.
fn note(found: &mut Found, wanted: &ProgressRecord, payload: Option<&[u8]>) {
    let Some(payload) = payload else { return };
    let record: ProgressRecord = match serde_json::from_slice(payload) {
        Ok(record) => record,
        Err(error) => {
            warn!(error = %error, "a record of the slots topic is no progress record and is not used");
            return;
        }
    };
    let is_of_source = record.epoch == wanted.epoch && record.uri == wanted.uri;
    found.knows_source |= is_of_source;
    if record.replay == wanted.replay {
        *found = Found { row: Some(found.row.map_or(record.row, |row| row.max(record.row))), other_content: None, ..*found };
    } else if found.row.is_none() && is_of_source && record.fingerprint != wanted.fingerprint {
        found.other_content = Some(record.fingerprint);
    }
}

struct Wait<'a> {
    search: &'a Search<'a>,
    deadline: Instant,
    cancel: &'a CancellationToken,
}

impl Wait<'_> {
    fn left(&self) -> Result<Duration, SearchError> {
        if self.cancel.is_cancelled() {
            return Err(SearchError::Cancelled { topic: self.search.topic.to_owned() });
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let milliseconds = u64::try_from(self.search.timeout.as_millis()).unwrap_or(u64::MAX);
            return Err(self.failed(KafkaError::TimedOut { act: "read topic", target: self.search.topic.to_owned(), milliseconds }));
        }
        Ok(left)
    }

    fn failed(&self, source: KafkaError) -> SearchError {
        SearchError::Kafka { topic: self.search.topic.to_owned(), source }
    }
}

/// Returns the key under which compaction keeps the last record of a replay.
#[must_use]
pub fn key(replay: &ReplayId) -> &[u8] {
    replay.as_str().as_bytes()
}

/// Returns the key of the record that says that a replay has begun. Another than [`key`]: compaction must not keep it in place of progress.
#[must_use]
pub fn begun_key(replay: &ReplayId) -> Vec<u8> {
    [key(replay), b".begun"].concat()
}

#[cfg(test)]
mod tests {
    use stockpipeline::layout::Epoch;

    use super::*;

    fn record(replay: &str, epoch: &str, uri: &str, fingerprint: &str, row: u64) -> ProgressRecord {
        ProgressRecord {
            replay: serde_json::from_value(replay.into()).unwrap(),
            epoch: Epoch::of(epoch),
            uri: uri.to_owned(),
            fingerprint: fingerprint.to_owned(),
            row,
        }
    }

    #[test]
    fn last_record_of_the_replay_wins_and_other_content_of_its_source_is_seen() {
        let wanted = record("r", "e", "u", "f", 0);
        let found = |row, other_content: Option<&str>| Found { row, other_content: other_content.map(str::to_owned), knows_source: true };
        let cases: Vec<(Vec<ProgressRecord>, Found)> = vec![
            (vec![], Found::default()),
            (vec![record("r", "e", "u", "f", 5), record("r", "e", "u", "f", 9)], found(Some(9), None)),
            (vec![record("q", "e", "u", "g", 5)], found(None, Some("g"))),
            (vec![record("q", "e", "u", "g", 5), record("r", "e", "u", "f", 1)], found(Some(1), None)),
            (vec![record("q", "e", "v", "g", 5)], Found::default()),
            (vec![record("r", "e", "u", "f", 0)], found(Some(0), None)),
            (vec![record("r", "e", "u", "f", 7), record("r", "e", "u", "f", 0)], found(Some(7), None)),
            (vec![record("q", "other", "u", "g", 5)], Found::default()),
            (vec![record("q", "e", "u", "f", 5)], found(None, None)),
        ];
        for (records, expected) in cases {
            let mut found = Found::default();
            for record in &records {
                note(&mut found, &wanted, Some(&serde_json::to_vec(record).unwrap()));
            }
            note(&mut found, &wanted, None);
            note(&mut found, &wanted, Some(b"{}"));
            assert_eq!(found, expected, "{records:?}");
        }
    }
}
