//! What the broker says of a group's offsets and of a partition's log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::{KafkaError, native};

/// Pause between two asks for offsets that a transaction still holds undecided.
const UNDECIDED_PAUSE: Duration = Duration::from_millis(100);

/// A group's committed offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Kafka partition.
    pub partition: i32,
    /// Next offset and the metadata committed with it; None where the group has none.
    pub offset: Option<(i64, String)>,
}

/// Returns the committed offsets of partitions with their metadata, in the order asked for.
///
/// A `read_committed` consumer asks for stable offsets: while a transaction that commits one is undecided, this waits, up to the time-out.
///
/// # Errors
/// [`KafkaError::Refused`] or [`KafkaError::TimedOut`]; never an offset that may be wrong.
pub fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    timeout: Duration,
) -> Result<Vec<Committed>, KafkaError> {
    const ACT: &str = "fetch committed offsets of topic";
    let deadline = Instant::now() + timeout;
    loop {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let code = match consumer.committed_offsets(list, left) {
            Ok(list) => match native::committed_of(&list) {
                Ok(all) => return Ok(all),
                Err(code) => code,
            },
            Err(error) => code_of(&error),
        };
        match code {
            RDKafkaErrorCode::UnstableOffsetCommit if !left.is_zero() => std::thread::sleep(UNDECIDED_PAUSE.min(left)),
            RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::UnstableOffsetCommit => return Err(timed_out(ACT, topic, timeout)),
            code => return Err(refused(ACT, topic, code)),
        }
    }
}

/// Returns, for each partition, the first offset whose timestamp is not before the given milliseconds; None where there is none yet.
///
/// # Errors
/// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
pub fn offsets_for_times<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    times_millis: &[(i32, i64)],
    timeout: Duration,
) -> Result<Vec<(i32, Option<i64>)>, KafkaError> {
    let times = times_millis.iter().map(|(partition, millis)| (*partition, Offset::Offset(*millis)));
    list_offsets(consumer, topic, times, timeout)
}

/// Returns the low and the high watermark of partitions, with two questions to each broker; of a `read_committed` consumer the last stable
/// offset in place of the high one.
///
/// # Errors
/// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
pub fn logs<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    timeout: Duration,
) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
    let deadline = Instant::now() + timeout;
    let list = |end: Offset| {
        let left = deadline.saturating_duration_since(Instant::now());
        list_offsets(consumer, topic, partitions.iter().map(|partition| (*partition, end)), left)
    };
    // In this order a log that loses its start in between is at worst taken for longer than it is.
    let starts: BTreeMap<i32, Option<i64>> = list(Offset::Beginning)?.into_iter().collect();
    let logs = list(Offset::End)?.into_iter().map(|(partition, high)| {
        let low = starts.get(&partition).copied().flatten().unwrap_or(0);
        (partition, (low, high.unwrap_or(low)))
    });
    Ok(logs.collect())
}

/// Asks brokers for offsets by time; [`Offset::Beginning`] and [`Offset::End`] are times of the protocol, too.
fn list_offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    times: impl ExactSizeIterator<Item = (i32, Offset)>,
    timeout: Duration,
) -> Result<Vec<(i32, Option<i64>)>, KafkaError> {
    const ACT: &str = "look up offsets of topic";
    if times.len() == 0 {
        return Ok(Vec::new());
    }
    let mut list = TopicPartitionList::with_capacity(times.len());
    for (partition, time) in times {
        let added = list.add_partition_offset(topic, partition, time);
        added.map_err(|error| refused(ACT, topic, code_of(&error)))?;
    }
    let found = consumer.offsets_for_times(list, timeout).map_err(|error| failure(ACT, topic, timeout, &error))?;
    let mut offsets = Vec::with_capacity(found.count());
    for element in found.elements() {
        element.error().map_err(|error| failure(ACT, topic, timeout, &error))?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::End | Offset::Beginning | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        };
        offsets.push((element.partition(), offset));
    }
    Ok(offsets)
}

/// Returns the low and the high watermark of a partition; of a `read_committed` client the last stable offset in place of the high one.
///
/// # Errors
/// [`KafkaError::Refused`] or [`KafkaError::TimedOut`].
pub fn watermarks<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32, timeout: Duration) -> Result<(i64, i64), KafkaError> {
    client.fetch_watermarks(topic, partition, timeout).map_err(|error| failure("fetch watermarks of topic", topic, timeout, &error))
}

pub(super) fn code_of(error: &ClientError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

/// Returns librdkafka's refusal of an act, without its free text.
pub(crate) fn refusal(act: &'static str, target: &str, error: &ClientError) -> KafkaError {
    refused(act, target, code_of(error))
}

fn failure(act: &'static str, topic: &str, timeout: Duration, error: &ClientError) -> KafkaError {
    match code_of(error) {
        RDKafkaErrorCode::OperationTimedOut => timed_out(act, topic, timeout),
        code => refused(act, topic, code),
    }
}

fn timed_out(act: &'static str, topic: &str, timeout: Duration) -> KafkaError {
    KafkaError::TimedOut { act, target: topic.to_owned(), milliseconds: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) }
}

fn refused(act: &'static str, topic: &str, code: RDKafkaErrorCode) -> KafkaError {
    KafkaError::Refused { act, target: topic.to_owned(), code, message: code.to_string() }
}
