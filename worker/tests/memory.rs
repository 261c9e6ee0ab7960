//! What a buffer says it holds is what it holds. A binary of its own: it counts the allocations of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stockpipeline::layout::Epoch;
use stockpipeline::rules::{
    DECODER_VERSION, DeadLetterZone, LineCompression, PageCompression, PartitionField, ProcessedFormat, ProcessedZone, RawZone, Rules,
    Transform,
};
use stockpipeline::schema::{Column, ColumnType, Rounding, Schema, TimeReading, Zone};
use stockpipeline_worker::batch::{Buffer, Limits, Push, Seal};
use stockpipeline_worker::record::{Header, Record};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator can only be counted by being one; every call goes to the system's unchanged")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rules(processed: bool) -> Rules {
    let column =
        |name: &str, column_type| Column { name: name.to_owned(), from: name.to_owned(), column_type, nullable: true, comment: None };
    let day = PartitionField { name: "dt".to_owned(), column: 1, transform: Transform::Day { time_zone: Zone::utc() } };
    let format = ProcessedFormat::Parquet { compression: PageCompression::Snappy };
    let zone = ProcessedZone { prefix: "p".to_owned(), format, partition_by: vec![day], sort_by: vec![0, 1] };
    Rules {
        decoder: DECODER_VERSION,
        topic: "ticks".to_owned(),
        schema: Schema {
            columns: vec![
                column("symbol", ColumnType::String),
                column("ts", ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } }),
                column("price", ColumnType::Decimal { precision: 18, scale: 4, rounding: Rounding::Reject }),
                column("id", ColumnType::String),
                column("live", ColumnType::Boolean),
            ],
            event_time: 1,
            max_future_seconds: 0,
        },
        raw: Some(RawZone { prefix: "r".to_owned(), compression: LineCompression::None }),
        processed: processed.then_some(zone),
        dead_letters: DeadLetterZone { prefix: "d".to_owned(), compression: LineCompression::None },
    }
}

fn payload(index: i64) -> Vec<u8> {
    let (day, second) = (index % 28 + 1, index % 60);
    format!(
        r#"{{"symbol":"S{}","ts":"2013-02-{day:02}T10:00:{second:02}Z","price":{second}.5,"id":"{index:016x}","live":true}}"#,
        index % 300
    )
    .into_bytes()
}

fn push(buffer: &mut Buffer, offset: i64, payload: &[u8]) {
    let headers: &Vec<Header> = &Vec::new();
    let record = Record { offset, timestamp_millis: None, key: None, payload: Some(payload), headers };
    assert_eq!(buffer.push(&record), Push::Taken);
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_buffer_holds_what_it_says_and_raw_lines_cost_no_allocation_a_record() {
    for records in [100_i64, 10_000, 100_000] {
        let payloads: Vec<Vec<u8>> = (0..records).map(payload).collect();
        let rules = Arc::new(rules(true));
        let before = HELD.load(Ordering::Relaxed);
        let mut buffer = Buffer::new(rules, 0, Limits::NONE);
        for (offset, payload) in (0..).zip(&payloads) {
            push(&mut buffer, offset, payload);
        }
        check("buffer", records, buffer.memory_bytes(), HELD.load(Ordering::Relaxed) - before);
        let seal = Seal { epoch: Epoch::of("memory"), partition: 0, first: 0, last: records - 1, sealed_at_micros: 0 };
        let mut sealed = buffer.seal(&seal);
        while let Some(encoded) = sealed.encode_next() {
            drop(encoded);
            check("sealed", records, sealed.memory_bytes(), HELD.load(Ordering::Relaxed) - before);
        }
        assert_eq!(sealed.memory_bytes(), 0);
    }

    let payloads: Vec<Vec<u8>> = (0..100_000).map(payload).collect();
    let mut buffer = Buffer::new(Arc::new(rules(false)), 0, Limits::NONE);
    let before = CALLS.load(Ordering::Relaxed);
    for (offset, payload) in (0..).zip(&payloads) {
        push(&mut buffer, offset, payload);
    }
    let calls = CALLS.load(Ordering::Relaxed) - before;
    assert!(calls < 500, "{calls} allocations for 100,000 records");
}

/// A small constant goes uncounted: the names of objects and columns.
fn check(what: &str, records: i64, said: usize, held: usize) {
    let slack = 64 << 10;
    assert!(said + slack >= held && said <= held + held / 4 + slack, "{what} of {records} records: says {said}, holds {held}");
}
