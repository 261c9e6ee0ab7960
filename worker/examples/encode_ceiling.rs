//! What one core takes from a record to the bytes of objects, step by step: nanoseconds of CPU time a record, best of several rounds.
//!
//! `cargo run --release --example encode_ceiling [records] [case]`

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark prints figures")]

#[path = "../src/allocator.rs"]
mod allocator;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stockpipeline::layout::Epoch;
use stockpipeline::plan::ZoneName;
use stockpipeline::rules::{
    DeadLetterZone, LineCompression, PageCompression, PartitionField, ProcessedFormat, ProcessedZone, RawZone, Rules, Transform,
};
use stockpipeline::schema::{Column, ColumnType, Rounding, Schema, TimeReading, Zone};
use stockpipeline_worker::batch::{Buffer, Limits, Push, Seal, Sealed};
use stockpipeline_worker::decode::{Decoder, Payload};
use stockpipeline_worker::record::{Header, Record};

const ROUNDS: usize = 5;
const NO_HEADERS: &Vec<Header> = &Vec::new();

fn main() {
    let records = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let payloads = ticks(records);
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    println!("{records} ticks of {} bytes", bytes / records.max(1));

    let only = std::env::args().nth(2);
    if only.is_none() {
        decode_only(&payloads);
    }
    let parquet = |compression| Some(ProcessedFormat::Parquet { compression });
    let lines = |compression| Some(ProcessedFormat::JsonLines { compression });
    let cases = [
        ("raw, not compressed", Some(LineCompression::None), None),
        ("raw gzip", Some(LineCompression::Gzip), None),
        ("raw zstd", Some(LineCompression::Zstd), None),
        ("parquet, not compressed", None, parquet(PageCompression::None)),
        ("parquet snappy", None, parquet(PageCompression::Snappy)),
        ("parquet zstd", None, parquet(PageCompression::Zstd)),
        ("json lines zstd", None, lines(LineCompression::Zstd)),
        ("raw zstd + parquet zstd", Some(LineCompression::Zstd), parquet(PageCompression::Zstd)),
    ];
    for (name, raw, processed) in cases.into_iter().filter(|(name, ..)| only.as_deref().is_none_or(|only| *name == only)) {
        whole_path(name, &Arc::new(rules(raw, processed)), &payloads);
    }
}

fn decode_only(payloads: &[Vec<u8>]) {
    let schema = schema();
    let mut decoder = Decoder::new(&schema);
    let scan = best(payloads.len(), || {
        for payload in payloads {
            black_box(decoder.scan(Some(payload)));
        }
    });
    let typed = best(payloads.len(), || {
        let mut values = Vec::new();
        for payload in payloads {
            let Payload::Object(object) = decoder.scan(Some(payload)) else { continue };
            black_box(decoder.values(&schema, &object, None, &mut values).is_ok());
            black_box(values.len());
            values.clear();
        }
    });
    let ignored = best(payloads.len(), || {
        for payload in payloads {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok());
        }
    });
    println!("{:28} {ignored:6.1} ns", "serde_json, ignoring all");
    println!("{:28} {scan:6.1} ns", "scan");
    println!("{:28} {typed:6.1} ns", "scan and typed values");
}

fn whole_path(name: &str, rules: &Arc<Rules>, payloads: &[Vec<u8>]) {
    let (mut push, mut encode, mut memory, mut size) = (f64::MAX, f64::MAX, 0, 0);
    for _ in 0..ROUNDS {
        let started = cpu_time();
        let buffer = filled(rules, payloads);
        push = push.min(cpu_time().saturating_sub(started).as_secs_f64());
        memory = buffer.memory_bytes();
        let started = cpu_time();
        size = encoded_bytes(buffer.seal(&seal(payloads.len())));
        encode = encode.min(cpu_time().saturating_sub(started).as_secs_f64());
    }
    let per_record = |seconds: f64| seconds * 1e9 / payloads.len() as f64;
    println!(
        "{name:28} push {:6.1} ns, seal and encode {:6.1} ns, together {:6.1} ns; {:5.1} bytes a record held, {:5.1} written",
        per_record(push),
        per_record(encode),
        per_record(push + encode),
        memory as f64 / payloads.len() as f64,
        size as f64 / payloads.len() as f64,
    );
}

fn filled(rules: &Arc<Rules>, payloads: &[Vec<u8>]) -> Buffer {
    let mut buffer = Buffer::new(Arc::clone(rules), 3, Limits::NONE);
    for (offset, payload) in (0_i64..).zip(payloads) {
        let timestamp_millis = Some(1_795_000_000_000 + offset / 5);
        let record = Record { offset, timestamp_millis, key: None, payload: Some(payload), headers: NO_HEADERS };
        assert_eq!(buffer.push(&record), Push::Taken);
    }
    assert!(buffer.counts().dead_letters.is_empty(), "{:?}", buffer.counts());
    buffer
}

fn encoded_bytes(mut sealed: Sealed) -> usize {
    let mut size = 0;
    while let Some((object, bytes)) = sealed.encode_next() {
        assert_ne!(object.zone, ZoneName::DeadLetters);
        size += black_box(bytes).len();
    }
    size
}

/// Returns the CPU time of this thread, which others on the machine hardly change.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn best(records: usize, mut round: impl FnMut()) -> f64 {
    let seconds = (0..ROUNDS).map(|_| {
        let started = cpu_time();
        round();
        cpu_time().saturating_sub(started).as_secs_f64()
    });
    seconds.fold(f64::MAX, f64::min) * 1e9 / records as f64
}

fn seal(records: usize) -> Seal {
    let last = i64::try_from(records).unwrap_or(i64::MAX) - 1;
    Seal { epoch: Epoch::of("ceiling"), partition: 3, first: 0, last, sealed_at_micros: 1_795_000_000_000_000 }
}

fn rules(raw: Option<LineCompression>, processed: Option<ProcessedFormat>) -> Rules {
    let day = PartitionField { name: "dt".to_owned(), column: 1, transform: Transform::Day { time_zone: Zone::utc() } };
    let hour = PartitionField { name: "hour".to_owned(), column: 1, transform: Transform::Hour { time_zone: Zone::utc() } };
    Rules {
        decoder: stockpipeline::rules::DECODER_VERSION,
        topic: "ticks".to_owned(),
        schema: schema(),
        raw: raw.map(|compression| RawZone { prefix: "raw/ticks".to_owned(), compression }),
        processed: processed.map(|format| ProcessedZone {
            prefix: "processed/ticks".to_owned(),
            format,
            partition_by: vec![day, hour],
            sort_by: vec![0, 1],
        }),
        dead_letters: DeadLetterZone { prefix: "dlq/ticks".to_owned(), compression: LineCompression::Zstd },
    }
}

fn schema() -> Schema {
    let column =
        |name: &str, column_type, nullable| Column { name: name.to_owned(), from: name.to_owned(), column_type, nullable, comment: None };
    let decimal = || ColumnType::Decimal { precision: 18, scale: 4, rounding: Rounding::Reject };
    Schema {
        columns: vec![
            column("symbol", ColumnType::String, false),
            column("ts", ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } }, false),
            column("price", decimal(), true),
            column("size", ColumnType::Bigint, true),
            column("exchange", ColumnType::String, true),
            column("bid", ColumnType::Double, true),
            column("ask", ColumnType::Double, true),
            column("seq", ColumnType::Bigint, true),
        ],
        event_time: 1,
        max_future_seconds: 86_400 * 3_650,
    }
}

/// Returns seeded random walks of 500 symbols, 5,000 ticks a second.
fn ticks(records: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let names: Vec<String> =
        (0..500).map(|_| (0..=random(3) + 1).map(|_| char::from(b'A' + u8::try_from(random(26)).unwrap_or(0))).collect()).collect();
    let mut prices: Vec<u64> = (0..500).map(|_| 100_000 + random(5_000_000)).collect();
    let mut tick = |number: usize| {
        let symbol = usize::try_from(random(500)).unwrap_or(0);
        prices[symbol] = (prices[symbol] + random(200)).saturating_sub(100).max(10_000);
        let price = prices[symbol];
        let micros = number as u64 * 200 + random(200);
        let (second, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (bid, ask) = (price / 100, price / 100 + 1);
        format!(
            "{{\"symbol\":\"{}\",\"ts\":\"2026-11-27T14:{:02}:{:02}.{fraction:06}Z\",\"price\":\"{}.{:04}\",\"size\":{},\"exchange\":\"{}\",\"bid\":{}.{:02},\"ask\":{}.{:02},\"seq\":{}}}",
            names[symbol],
            second / 60 % 60,
            second % 60,
            price / 10_000,
            price % 10_000,
            100 * (1 + random(20)),
            ["Q", "N", "P", "Z"][usize::try_from(random(4)).unwrap_or(0)],
            bid / 100,
            bid % 100,
            ask / 100,
            ask % 100,
            123_456_789 + number,
        )
        .into_bytes()
    };
    (0..records).map(&mut tick).collect()
}
