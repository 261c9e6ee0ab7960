//! What a buffer says it holds is what it holds. A binary of its own: it counts the allocations of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
/// Most of HELD.
static PEAK: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator can only be counted by being one; every call goes to the system's unchanged")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
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

/// Lets one test at a time allocate.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

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

fn seal(records: i64) -> Seal {
    Seal { epoch: Epoch::of("memory"), partition: 0, first: 0, last: records - 1, sealed_at_micros: 0 }
}

#[test]
fn a_buffer_holds_what_it_says() {
    let _alone = alone();
    for records in [100_i64, 10_000, 100_000] {
        let payloads: Vec<Vec<u8>> = (0..records).map(payload).collect();
        let rules = Arc::new(rules(true));
        let before = HELD.load(Ordering::Relaxed);
        let mut buffer = Buffer::new(rules, 0, Limits::NONE);
        for (offset, payload) in (0..).zip(&payloads) {
            push(&mut buffer, offset, payload);
        }
        check("buffer", records, buffer.memory_bytes(), HELD.load(Ordering::Relaxed) - before);
        let mut sealed = buffer.seal(&seal(records));
        while let Some(encoded) = sealed.encode_next() {
            drop(encoded);
            check("sealed", records, sealed.memory_bytes(), HELD.load(Ordering::Relaxed) - before);
        }
        assert_eq!(sealed.memory_bytes(), 0);
    }
}

#[test]
fn many_buffers_that_hold_little_take_little_and_say_so() {
    let _alone = alone();
    for records in [1_i64, 50] {
        let rules = Arc::new(rules(true));
        let payloads: Vec<Vec<u8>> = (0..records).map(payload).collect();
        let before = HELD.load(Ordering::Relaxed);
        let mut buffers: Vec<Buffer> = (0..64).map(|partition| Buffer::new(Arc::clone(&rules), partition, Limits::NONE)).collect();
        for (offset, payload) in (0..).zip(&payloads) {
            for buffer in &mut buffers {
                push(buffer, offset, payload);
            }
        }
        let said: usize = buffers.iter().map(Buffer::memory_bytes).sum();
        let held = HELD.load(Ordering::Relaxed) - before;
        assert!(held < 64 * (64 << 10), "64 buffers of {records} records hold {held}");
        assert!(said + 64 * (4 << 10) >= held, "64 buffers of {records} records: say {said}, hold {held}");
    }
}

#[test]
fn making_objects_takes_no_more_than_is_charged_for_it() {
    let _alone = alone();
    for (records, processed) in [(1_i64, true), (1_000, true), (100_000, true), (400_000, true), (400_000, false)] {
        let rules = Arc::new(rules(processed));
        let before = HELD.load(Ordering::Relaxed);
        let mut buffer = Buffer::new(rules, 0, Limits::NONE);
        for offset in 0..records {
            push(&mut buffer, offset, &payload(offset));
        }
        let charged = buffer.memory_bytes() + buffer.encoding_bytes();
        PEAK.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut sealed = buffer.seal(&seal(records));
        let mut objects = Vec::new();
        while let Some(object) = sealed.encode_next() {
            objects.push(object);
        }
        let peak = PEAK.load(Ordering::Relaxed) - before;
        assert!(peak <= charged, "{records} records, processed {processed}: charged {charged}, held {peak}");
    }
}

#[test]
fn raw_lines_cost_no_allocation_a_record() {
    let _alone = alone();
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
