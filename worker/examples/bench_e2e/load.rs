//! The load: ticks that can be told apart by their volume, and what fills a topic with them.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use stockpipeline_program::clock::wall_millis;

use crate::tick::{self, Tick};

/// Ticks that can be told apart.
pub(crate) const MOST_MESSAGES: u64 = 1 << 23;
/// Least volume: all have seven digits.
const LEAST_VOLUME: u64 = 1_000_000;
/// Odd, so that its multiples below a power of two are all different, and look like any volumes.
const STRIDE: u64 = 5_367_653;
/// Messages after which delivery reports are served.
const SERVED_EVERY: u64 = 5_000;
/// Wait for the last acknowledgement.
const FLUSH: Duration = Duration::from_mins(2);

/// Ticks, each with a volume that no other one has.
pub(crate) struct Ticks {
    walk: Vec<Tick>,
}

impl Ticks {
    /// Returns the ticks, the same ones every time.
    pub(crate) fn new() -> Self {
        Self { walk: tick::ticks() }
    }

    /// Returns a tick's symbol and its JSON.
    pub(crate) fn json(&self, number: u64) -> (&'static str, String) {
        let tick = self.of(number);
        let start = tick.json.find(VOLUME).expect("a tick has a volume") + VOLUME.len();
        (tick.symbol, spliced(&tick.json, start, volume(number)))
    }

    /// Returns a tick as a line of CSV.
    pub(crate) fn csv(&self, number: u64) -> String {
        let tick = self.of(number);
        let start = tick.csv.match_indices(',').nth(6).expect("a tick has nine fields").0 + 1;
        spliced(&tick.csv, start, volume(number))
    }

    fn of(&self, number: u64) -> &Tick {
        let index = number % u64::try_from(self.walk.len()).expect("a length fits");
        &self.walk[usize::try_from(index).expect("an index fits")]
    }
}

/// What stands before a tick's volume in JSON.
pub(crate) const VOLUME: &str = r#""volume":"#;

/// Returns which tick has a volume: its number times the stride, below the number of ticks that can be told apart.
pub(crate) fn place(volume: u64) -> Option<usize> {
    let place = volume.checked_sub(LEAST_VOLUME).filter(|place| *place < MOST_MESSAGES)?;
    usize::try_from(place).ok()
}

/// Returns the volume of a tick.
pub(crate) fn volume(number: u64) -> u64 {
    LEAST_VOLUME + number.wrapping_mul(STRIDE) % MOST_MESSAGES
}

fn spliced(text: &str, start: usize, volume: u64) -> String {
    let end = start + text[start..].find(',').expect("a field follows the volume");
    format!("{}{volume}{}", &text[..start], &text[end..])
}

/// Fills a topic with as many ticks, the same number in each partition, and returns their mean size.
pub(crate) fn fill(kafka: &str, topic: &str, partitions: i32, messages: u64) -> anyhow::Result<u64> {
    let producer = producer(kafka, 50)?;
    let ticks = Ticks::new();
    let mut bytes = 0;
    for number in 0..messages {
        let partition = i32::try_from(number % u64::try_from(partitions)?)?;
        let (symbol, json) = ticks.json(number);
        bytes += json.len() as u64;
        send(&producer, BaseRecord::to(topic).partition(partition).key(symbol).payload(&json))?;
        if number % SERVED_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH)?;
    Ok(bytes / messages)
}

/// What a steady load has sent: for each partition, when each of its messages was sent.
pub(crate) struct Sent {
    /// Milliseconds since 1970 by partition and offset.
    pub(crate) at_millis: Vec<Vec<i64>>,
}

/// Sends ticks at a steady rate, round the partitions of a new topic, until told to stop.
pub(crate) fn steady(kafka: &str, topic: &str, partitions: i32, rate: u64, go_on: impl Fn() -> bool) -> anyhow::Result<Sent> {
    let producer = producer(kafka, 5)?;
    let ticks = Ticks::new();
    let mut at_millis = vec![Vec::new(); usize::try_from(partitions)?];
    let started = Instant::now();
    let mut number = 0;
    while go_on() && number < MOST_MESSAGES {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a count below 2^53")]
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        while number < due {
            let partition = i32::try_from(number % u64::try_from(partitions)?)?;
            let (symbol, json) = ticks.json(number);
            at_millis[usize::try_from(partition)?].push(wall_millis());
            send(&producer, BaseRecord::to(topic).partition(partition).key(symbol).payload(&json))?;
            number += 1;
        }
        producer.poll(Duration::from_millis(2));
    }
    producer.flush(FLUSH)?;
    ensure!(producer.in_flight_count() == 0, "the load was not acknowledged");
    Ok(Sent { at_millis })
}

fn producer(kafka: &str, linger_millis: u32) -> anyhow::Result<BaseProducer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("compression.type", "lz4")
        .set("linger.ms", linger_millis.to_string())
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "500000")
        .create()?)
}

fn send(producer: &BaseProducer, record: BaseRecord<'_, str, String>) -> anyhow::Result<()> {
    let mut record = record;
    while let Err((error, unsent)) = producer.send(record) {
        let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else { bail!(error) };
        record = unsent;
        producer.poll(Duration::from_millis(10));
    }
    Ok(())
}
