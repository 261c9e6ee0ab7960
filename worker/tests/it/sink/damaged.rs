//! Batches that a broker serves and nobody can read. They are put into its log as bytes, past every producer's care.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use stockpipeline_worker::status::{Failure, PartitionState, Reason};

use super::stage::{RunningSink, Stage, TOPIC, until};

const RECORDS: i64 = 40;
/// What a batch of the second format has before its checksum, of which only the length is interpreted by it, and behind it before its records.
const HEAD_BYTES: usize = 21;
const LENGTH_AT: usize = 8;
const CODEC_AT: usize = HEAD_BYTES + 1;
/// Somewhere in the payload.
const ALTERED_AT: usize = 300;

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// A byte of a record is another one.
    Byte,
    /// It is packed in a way that no client knows.
    Codec,
    /// It says that it is gzip, and is not.
    Unpacked,
    /// It says that it is shorter than its own head.
    Short,
    /// It says that it is longer than it is.
    Long,
}

impl Damage {
    /// Returns a batch of one record with this damage.
    fn batch(self) -> Vec<u8> {
        let mut batch = whole();
        match self {
            Self::Byte => batch[ALTERED_AT] ^= 1,
            Self::Codec => batch[CODEC_AT] = 7,
            Self::Unpacked => batch[CODEC_AT] = 1,
            Self::Short => batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&20_i32.to_be_bytes()),
            Self::Long => batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&4_000_i32.to_be_bytes()),
        }
        if matches!(self, Self::Codec | Self::Unpacked) {
            sign(&mut batch);
        }
        batch
    }
}

/// Returns a batch of the second format with one record. It is not tiny: behind a checksum that is wrong, librdkafka goes on reading a hundred
/// bytes before the batch's end, and gives up the whole process over what it may find there in a batch's head.
fn whole() -> Vec<u8> {
    let payload = json!({ "symbol": "A", "ts": "2026-01-01T00:00:00Z", "price": 1, "size": 1, "note": "x".repeat(500) }).to_string();
    let payload = payload.as_bytes();
    // Attributes, times and offset within the batch are 0, there is no key, and behind the payload there are no headers.
    let mut record = vec![0, 0, 0, 1];
    record.extend(varint(payload.len()));
    record.extend(payload);
    record.push(0);
    let mut batch = vec![0; HEAD_BYTES];
    batch[16] = 2;
    batch.extend([0; 2 + 4 + 8 + 8]);
    batch.extend([0xff; 8 + 2 + 4]);
    batch.extend(1_i32.to_be_bytes());
    batch.extend(varint(record.len()));
    batch.extend(record);
    let length = i32::try_from(batch.len() - LENGTH_AT - 4).unwrap();
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    sign(&mut batch);
    batch
}

/// Returns a small number as records have it.
fn varint(number: usize) -> Vec<u8> {
    let mut rest = number * 2;
    let mut bytes = Vec::new();
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// Sets the CRC32C of what is behind it.
fn sign(batch: &mut [u8]) {
    let mut crc = u32::MAX;
    for byte in &batch[HEAD_BYTES..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    batch[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&(!crc).to_be_bytes());
}

/// Appends a batch to a partition as it is.
fn append(stage: &Stage, partition: i32, batch: &[u8]) {
    let mut request = Vec::new();
    // Produce, version 3, correlation 1, no client id; no transaction, one acknowledgement, a second.
    for number in [0_i16, 3, 0, 1, -1, -1, 1] {
        request.extend(number.to_be_bytes());
    }
    request.extend(1_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(i16::try_from(TOPIC.len()).unwrap().to_be_bytes());
    request.extend(TOPIC.as_bytes());
    for number in [1, partition, i32::try_from(batch.len()).unwrap()] {
        request.extend(number.to_be_bytes());
    }
    request.extend(batch);
    let mut stream = TcpStream::connect(stage.bootstrap_servers(0)).unwrap();
    stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&request).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    // Correlation, one topic and its name, one partition and its number.
    let code_at = 4 + 4 + 2 + TOPIC.len() + 4 + 4;
    assert_eq!(answer[code_at..code_at + 2], [0, 0], "{answer:?}");
}

fn paused(sink: &RunningSink) -> Option<Failure> {
    sink.status.read().paused.clone()
}

fn durable(sink: &RunningSink, partition: usize) -> i64 {
    let status = sink.status.read();
    status.sink.as_ref().and_then(|sink| sink.partitions.get(partition)).map_or(0, |partition| partition.durable)
}

#[test]
fn a_whole_batch_that_was_appended_as_bytes_is_stored_like_any_other() {
    let stage = Stage::new(1);
    append(&stage, 0, &whole());
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    until("it is durable", || durable(&sink, 0) == 1);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 1)]);
}

fn stops_its_partition_alone(damage: Damage) {
    let mut stage = Stage::new(2);
    stage.produce(0, 0, RECORDS);
    append(&stage, 0, &damage.batch());
    stage.produce(0, RECORDS + 1, RECORDS);
    stage.produce(1, 0, RECORDS);
    let sink = stage.sink("first", stage.pipeline(|_| {}));
    until("it is told", || paused(&sink).is_some());
    let failure = paused(&sink).unwrap();
    assert_eq!(failure.reason, Reason::RecordsUnreadable, "{failure:?}");
    for part in [TOPIC, "partition 0", &format!("offset {RECORDS}"), "kafka-delete-records"] {
        assert!(failure.message.contains(part), "{part} is not in {}", failure.message);
    }
    until("what is before it is stored, and the other partition", || (durable(&sink, 0), durable(&sink, 1)) == (RECORDS, RECORDS));
    stage.produce(1, RECORDS, RECORDS);
    until("the other partition goes on", || durable(&sink, 1) == 2 * RECORDS);
    let status = sink.status.read();
    let partition = status.sink.as_ref().unwrap().partitions[0];
    assert_eq!((partition.durable, partition.state, partition.paused), (RECORDS, PartitionState::Stopped, true));
    assert_eq!(status.fatal, None);
    assert_eq!(status.kafka.failing_since_millis, None);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, RECORDS), (1, 2 * RECORDS)]);

    // The log as it should be.
    stage.replace_broker();
    stage.produce(0, 0, 2 * RECORDS + 1);
    stage.produce(1, 0, 2 * RECORDS);
    let next = stage.sink("next", stage.pipeline(|_| {}));
    until("all is durable", || (durable(&next, 0), durable(&next, 1)) == (2 * RECORDS + 1, 2 * RECORDS));
    assert_eq!(paused(&next), None);
    assert!(next.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS + 1), (1, 2 * RECORDS)]);
}

#[test]
fn a_damaged_batch_stops_its_partition_alone_and_a_restart_finds_it_mended() {
    stops_its_partition_alone(Damage::Byte);
}

#[test]
fn a_batch_of_an_unknown_codec_stops_its_partition_alone() {
    stops_its_partition_alone(Damage::Codec);
}

#[test]
fn a_batch_that_cannot_be_unpacked_stops_its_partition_alone() {
    stops_its_partition_alone(Damage::Unpacked);
}

#[test]
fn a_batch_that_is_shorter_than_its_head_stops_its_partition_alone() {
    stops_its_partition_alone(Damage::Short);
}

#[test]
fn a_batch_that_ends_too_early_stops_its_partition_alone() {
    stops_its_partition_alone(Damage::Long);
}

#[test]
fn damaged_records_that_the_broker_drops_are_counted_and_the_rest_is_stored() {
    let stage = Stage::new(1);
    stage.produce(0, 0, RECORDS);
    append(&stage, 0, &Damage::Byte.batch());
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    until("it is told", || paused(&sink).is_some_and(|failure| failure.reason == Reason::RecordsUnreadable));
    until("what is before it is stored", || durable(&sink, 0) == RECORDS);
    // The embedded broker keeps 100,000 messages of a partition.
    stage.produce(0, RECORDS + 1, 130_000);
    until("the rest is durable", || durable(&sink, 0) == RECORDS + 1 + 130_000);
    until("nothing is unreadable any more", || paused(&sink).is_none());
    let loss = sink.status.read().sink.as_ref().unwrap().data_loss.clone().unwrap();
    assert!(loss.message.contains(&format!("offsets {RECORDS} to ")), "{}", loss.message);
    assert!(sink.stop().unwrap().drained);
    assert!(stage.stored().twice.is_empty());
}

#[test]
fn a_batch_that_ends_too_early_is_found_among_many_partitions_and_they_go_on() {
    const PARTITIONS: i32 = 30;
    let stage = Stage::new(PARTITIONS);
    (0..PARTITIONS).for_each(|partition| stage.produce(partition, 0, 2));
    append(&stage, 7, &Damage::Long.batch());
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    until("it is told", || paused(&sink).is_some_and(|failure| failure.reason == Reason::RecordsUnreadable));
    let message = paused(&sink).unwrap().message;
    assert!(message.contains("partition 7: the records at offset 2 "), "{message}");
    until("all that can be read is stored", || sink.durable() == i64::from(2 * PARTITIONS));
    (0..PARTITIONS).filter(|partition| *partition != 7).for_each(|partition| stage.produce(partition, 2, 1));
    until("the others go on", || sink.durable() == i64::from(3 * PARTITIONS - 1));
    assert_eq!(paused(&sink).unwrap().message, message);
    assert!(sink.stop().unwrap().drained);
}
