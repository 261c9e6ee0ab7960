use std::io::Read;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value as Json, json};
use stockpipeline::plan::{PlannedObject, ZoneName};
use stockpipeline::rules::{
    DECODER_VERSION, DeadLetterZone, LineCompression, PageCompression, PartitionField, ProcessedFormat, ProcessedZone, RawZone, Transform,
};
use stockpipeline::schema::{Column, ColumnType, Rounding, Schema, TimeReading, Zone};

use super::*;
use crate::record::Header;

pub(crate) const PARQUET: ProcessedFormat = ProcessedFormat::Parquet { compression: PageCompression::Zstd };
const NO_HEADERS: &Vec<Header> = &Vec::new();

/// 2013-03-01T12:00:00Z.
const NOON_MILLIS: i64 = 1_362_139_200_000;

fn column(name: &str, from: &str, column_type: ColumnType, nullable: bool) -> Column {
    Column { name: name.to_owned(), from: from.to_owned(), column_type, nullable, comment: None }
}

fn decimal(precision: u8, scale: u8) -> ColumnType {
    ColumnType::Decimal { precision, scale, rounding: Rounding::Reject }
}

fn schema() -> Schema {
    let time = ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } };
    Schema {
        columns: vec![
            column("symbol", "symbol", ColumnType::String, false),
            column("ts", "ts", time, true),
            column("price", "Adj Close", decimal(18, 4), true),
            column("size", "size", ColumnType::Bigint, true),
            column("lots", "lots", ColumnType::Int, true),
            column("bid", "bid", ColumnType::Double, true),
            column("wide", "wide", decimal(38, 10), true),
            column("live", "live", ColumnType::Boolean, true),
            column("listed", "listed", ColumnType::Date { format: None }, true),
        ],
        event_time: 1,
        max_future_seconds: 86_400,
    }
}

pub(crate) fn rules(format: ProcessedFormat) -> Rules {
    let day = PartitionField { name: "dt".to_owned(), column: 1, transform: Transform::Day { time_zone: Zone::utc() } };
    Rules {
        decoder: DECODER_VERSION,
        topic: "ticks".to_owned(),
        schema: schema(),
        raw: Some(RawZone { prefix: "raw/ticks".to_owned(), compression: LineCompression::Zstd }),
        processed: Some(ProcessedZone { prefix: "processed/ticks".to_owned(), format, partition_by: vec![day], sort_by: vec![0, 1] }),
        dead_letters: DeadLetterZone { prefix: "dlq/ticks".to_owned(), compression: LineCompression::Gzip },
    }
}

fn record(offset: i64, payload: Option<&[u8]>) -> Record<'_> {
    Record { offset, timestamp_millis: Some(NOON_MILLIS), key: Some(b"key"), payload, headers: NO_HEADERS }
}

fn seal(last: i64) -> Seal {
    Seal { epoch: Epoch::of("tests"), partition: 3, first: 0, last, sealed_at_micros: NOON_MILLIS * 1_000 }
}

type Objects = Vec<(PlannedObject, Bytes)>;

fn encode(buffer: Buffer) -> Objects {
    let mut sealed = buffer.seal(&seal(99));
    let listed = sealed.objects().to_vec();
    let encoded: Objects = std::iter::from_fn(|| sealed.encode_next()).map(|(object, pieces)| (object, pieces.to_bytes())).collect();
    assert!(encoded.iter().map(|(object, _)| object).eq(&listed));
    assert!(listed.is_sorted_by(|left, right| left.key < right.key));
    encoded
}

fn encode_all(rules: Rules, payloads: &[&str]) -> Objects {
    let mut buffer = Buffer::new(Arc::new(rules), 3, Limits::NONE);
    for (offset, payload) in (0..).zip(payloads) {
        assert_eq!(buffer.push(&record(offset, Some(payload.as_bytes()))), Push::Taken);
    }
    encode(buffer)
}

fn text(key: &str, bytes: &Bytes) -> String {
    let mut text = String::new();
    let extension = key.rsplit('.').next();
    if extension == Some("gz") {
        flate2::read::GzDecoder::new(bytes.as_ref()).read_to_string(&mut text).unwrap();
    } else if extension == Some("zst") {
        text = String::from_utf8(zstd::decode_all(bytes.as_ref()).unwrap()).unwrap();
    } else {
        text = String::from_utf8(bytes.to_vec()).unwrap();
    }
    assert!(text.ends_with('\n'));
    text
}

fn lines(objects: &Objects, zone: ZoneName) -> Vec<Json> {
    let of_zone = objects.iter().filter(|(object, _)| object.zone == zone);
    let lines: Vec<(u64, String)> = of_zone.map(|(object, bytes)| (object.rows, text(&object.key, bytes))).collect();
    for (rows, text) in &lines {
        assert_eq!(*rows, text.lines().count() as u64);
    }
    lines.iter().flat_map(|(_, text)| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn batches(bytes: &Bytes) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

/// Arrow prints instants of a named zone only with a crate of its own.
fn without_zone(array: &ArrayRef) -> ArrayRef {
    match array.as_any().downcast_ref::<TimestampMicrosecondArray>() {
        Some(instants) => Arc::new(instants.clone().with_timezone_opt(None::<Arc<str>>)),
        None => Arc::clone(array),
    }
}

/// Returns the rows of all Parquet objects as text, after the Hive values of their object.
fn rows(objects: &Objects) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("-");
    let mut rows = Vec::new();
    for (object, bytes) in objects.iter().filter(|(object, _)| object.zone == ZoneName::Processed) {
        let before = rows.len();
        for batch in batches(bytes) {
            let arrays: Vec<ArrayRef> = batch.columns().iter().map(without_zone).collect();
            let columns: Vec<_> = arrays.iter().map(|array| ArrayFormatter::try_new(array, &options).unwrap()).collect();
            for index in 0..batch.num_rows() {
                let hive = object.hive.iter().map(|(name, value)| format!("{name}={value}"));
                rows.push(hive.chain(columns.iter().map(|column| column.value(index).to_string())).collect());
            }
        }
        assert_eq!((rows.len() - before) as u64, object.rows);
    }
    rows
}

#[test]
fn rows_lie_typed_and_sorted_under_their_hive_values() {
    let objects = encode_all(
        rules(PARQUET),
        &[
            r#"{"symbol":"B","ts":"2013-03-01T10:00:00.000001Z","Adj Close":"1.5","size":9007199254740993,"lots":-1,"bid":0.1,"wide":12345678901234567890.5,"live":true,"listed":"2010-02-28"}"#,
            r#"{"symbol":"A","ts":"2013-03-01T11:00:00Z"}"#,
            r#"{"symbol":"A","ts":"2013-02-28T23:59:59Z","bid":-0.0}"#,
            r#"{"symbol":"A","ts":"2013-03-01T09:00:00+02:00","live":false}"#,
            r#"{"symbol":"A"}"#,
        ],
    );
    let keys: Vec<&str> = objects.iter().map(|(object, _)| object.key.as_str()).collect();
    let name = format!("{}-p00003-00000000000000000000-00000000000000000099", Epoch::of("tests").short());
    let expected = [
        format!("processed/ticks/dt=2013-02-28/{name}.parquet"),
        format!("processed/ticks/dt=2013-03-01/{name}.parquet"),
        format!("processed/ticks/dt=__HIVE_DEFAULT_PARTITION__/{name}.parquet"),
        format!("raw/ticks/dt=2013-03-01/{name}.jsonl.zst"),
    ];
    assert_eq!(keys, expected);
    let event_times: Vec<_> = objects.iter().map(|(object, _)| (object.min_event_time_micros, object.max_event_time_micros)).collect();
    assert_eq!(event_times[0], (Some(1_362_095_999_000_000), Some(1_362_095_999_000_000)));
    assert_eq!(event_times[1], (Some(1_362_121_200_000_000), Some(1_362_135_600_000_000)));
    assert_eq!(event_times[2], (None, None));

    let noon = "2013-03-01T12:00:00";
    let expected = [
        vec!["dt=2013-02-28", "3", "2", noon, "A", "2013-02-28T23:59:59", "-", "-", "-", "-0.0", "-", "-", "-"],
        vec!["dt=2013-03-01", "3", "3", noon, "A", "2013-03-01T07:00:00", "-", "-", "-", "-", "-", "false", "-"],
        vec!["dt=2013-03-01", "3", "1", noon, "A", "2013-03-01T11:00:00", "-", "-", "-", "-", "-", "-", "-"],
        vec![
            "dt=2013-03-01",
            "3",
            "0",
            noon,
            "B",
            "2013-03-01T10:00:00.000001",
            "1.5000",
            "9007199254740993",
            "-1",
            "0.1",
            "12345678901234567890.5000000000",
            "true",
            "2010-02-28",
        ],
        vec!["dt=__HIVE_DEFAULT_PARTITION__", "3", "4", noon, "A", "-", "-", "-", "-", "-", "-", "-", "-"],
    ];
    assert_eq!(rows(&objects), expected);
}

#[test]
fn parquet_files_have_the_types_of_the_type_table_and_every_column_is_optional() {
    let objects = encode_all(rules(PARQUET), &[r#"{"symbol":"A","ts":"2013-03-01T10:00:00Z"}"#]);
    let reader = ParquetRecordBatchReaderBuilder::try_new(objects[0].1.clone()).unwrap();
    let mut message = Vec::new();
    parquet::schema::printer::print_schema(&mut message, reader.parquet_schema().root_schema());
    insta::assert_snapshot!(String::from_utf8(message).unwrap());
    let metadata = reader.metadata().file_metadata();
    assert_eq!(metadata.key_value_metadata(), None);
    let declared = parquet::arrow::ArrowSchemaConverter::new().convert(&crate::encode::arrow_schema(&schema())).unwrap();
    assert_eq!(reader.parquet_schema().root_schema(), declared.root_schema());
    assert_eq!(reader.schema().as_ref(), &crate::encode::arrow_schema(&schema()));
}

#[test]
fn every_page_compression_reads_back_the_same() {
    let payloads = [r#"{"symbol":"A","ts":"2013-03-01T10:00:00Z"}"#, r#"{"symbol":"B","ts":"2013-03-01T10:00:00Z"}"#];
    let expected = rows(&encode_all(rules(PARQUET), &payloads));
    for compression in [PageCompression::None, PageCompression::Snappy, PageCompression::Gzip] {
        assert_eq!(rows(&encode_all(rules(ProcessedFormat::Parquet { compression }), &payloads)), expected);
    }
}

#[test]
fn json_lines_have_the_declared_names_and_exact_numbers() {
    let format = ProcessedFormat::JsonLines { compression: LineCompression::None };
    let objects = encode_all(
        rules(format),
        &[
            r#"{"symbol":"B\"\n","ts":"2013-03-01T10:00:00.000001Z","Adj Close":"-0.05","size":-7,"lots":1,"bid":1e-7,"wide":"0","live":true,"listed":"2010-02-28"}"#,
            r#"{"symbol":"A","ts":"2013-03-01T11:00:00Z"}"#,
        ],
    );
    let (object, bytes) = &objects[0];
    assert_eq!(
        text(&object.key, bytes),
        concat!(
            r#"{"_kafka_partition":3,"_kafka_offset":1,"_kafka_timestamp":"2013-03-01 12:00:00.000000","symbol":"A","ts":"2013-03-01 11:00:00.000000","price":null,"size":null,"lots":null,"bid":null,"wide":null,"live":null,"listed":null}"#,
            "\n",
            r#"{"_kafka_partition":3,"_kafka_offset":0,"_kafka_timestamp":"2013-03-01 12:00:00.000000","symbol":"B\"\n","ts":"2013-03-01 10:00:00.000001","price":-0.0500,"size":-7,"lots":1,"bid":1e-7,"wide":0.0000000000,"live":true,"listed":"2010-02-28"}"#,
            "\n"
        )
    );
}

#[test]
fn every_record_is_one_readable_raw_line_that_holds_its_payload() {
    let head = json!({"_kafka_partition": 3, "_kafka_offset": 0, "_kafka_timestamp": "2013-03-01 12:00:00.000"});
    let with = |members: Json| {
        let mut line = head.clone();
        line.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        line
    };
    let as_text = |payload: &[u8]| with(json!({"_raw": std::str::from_utf8(payload).unwrap()}));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let spliced: [(&[u8], Json); 6] = [
        (b"{}", json!({})),
        (b" { } ", json!({})),
        (br#"{"a":1}"#, json!({"a": 1})),
        (b"\r\n{\r\n  \"a\" : [ 1,\n2 ] ,\n\"b\":\"\\n\"\n}\n", json!({"a": [1, 2], "b": "\n"})),
        (br#"{"symbol":"A","symbol_":"\u0000","Adj Close":1e400}"#, json!({"symbol": "A", "symbol_": "\0"})),
        ("{\"\u{2028}\":\"\u{1F4C8}\"}".as_bytes(), json!({"\u{2028}": "\u{1F4C8}"})),
    ];
    let texts: [&[u8]; 16] = [
        br#"{"x":1,"x":2}"#,
        br#"{"x":1,"y":2,"x":2}"#,
        b"",
        b"not json",
        br#"{"symbol":"A""#,
        b"[1,\n2]",
        b"null",
        b"7",
        br#"{"symbol":"A","symbol":"B"}"#,
        br#"{"SYMBOL":"A","Symbol":"B"}"#,
        br#"{"_kafka_offset":7}"#,
        br#"{"_raw":"x"}"#,
        br#"{"a":"\ud83d"}"#,
        b"\xEF\xBB\xBF{}",
        b"{\"a\":\"\0\x1f\"}",
        deep.as_bytes(),
    ];
    let check = |payload: Option<&[u8]>, expected: Json| {
        let mut buffer = Buffer::new(Arc::new(rules(PARQUET)), 3, Limits::NONE);
        buffer.push(&record(0, payload));
        let objects = encode(buffer);
        let (object, bytes) = objects.iter().find(|(object, _)| object.zone == ZoneName::Raw).unwrap();
        let text = text(&object.key, bytes);
        assert_eq!(text.lines().count(), 1, "{text}");
        // A number beyond f64 is valid JSON that serde_json's own value does not hold.
        let line: Json = serde_json::from_str(&text.replace(r#","Adj Close":1e400"#, "")).unwrap();
        assert_eq!(line, expected, "{text}");
    };
    for (payload, members) in spliced {
        check(Some(payload), with(members));
    }
    for payload in texts {
        check(Some(payload), as_text(payload));
    }
    check(Some(b"{\"a\":\"\xFF\"}"), with(json!({"_raw_base64": "eyJhIjoi/yJ9"})));
    check(None, with(json!({"_raw": null})));
}

#[test]
fn kafka_timestamps_that_sql_cannot_read_are_null() {
    for (timestamp_millis, expected) in [
        (None, json!(null)),
        (Some(-1), json!("1969-12-31 23:59:59.999")),
        (Some(0), json!("1970-01-01 00:00:00.000")),
        (Some(253_402_300_799_999), json!("9999-12-31 23:59:59.999")),
        (Some(253_402_300_800_000), json!(null)),
        (Some(i64::MAX), json!(null)),
        (Some(i64::MIN), json!(null)),
    ] {
        let mut buffer = Buffer::new(Arc::new(rules(PARQUET)), 3, Limits::NONE);
        buffer.push(&Record { timestamp_millis, ..record(0, Some(br#"{"symbol":"A"}"#)) });
        let objects = encode(buffer);
        assert_eq!(lines(&objects, ZoneName::Raw)[0]["_kafka_timestamp"], expected);
        let in_row = &rows(&objects)[0][3];
        assert_eq!(in_row == "-", expected == json!(null), "{in_row}");
    }
}

#[test]
fn a_dead_letter_tells_why_and_keeps_all_that_kafka_held() {
    let headers = vec![
        Header { name: "source".to_owned(), value: Some(b"test".to_vec()) },
        Header { name: "source".to_owned(), value: Some(b"\xFF".to_vec()) },
        Header { name: "none".to_owned(), value: None },
    ];
    let mut buffer = Buffer::new(Arc::new(rules(PARQUET)), 3, Limits::NONE);
    buffer.push(&Record { headers: &headers, ..record(7, Some(br#"{"symbol":"A","ts":"soon"}"#)) });
    buffer.push(&Record { key: Some(b"\xFF"), timestamp_millis: None, ..record(8, Some(b"\xFF")) });
    buffer.push(&Record { key: None, ..record(9, None) });
    buffer.push(&record(10, Some(br#"{"symbol":"A"}"#)));
    let counts = buffer.counts().clone();
    assert_eq!((counts.records, counts.processed, counts.raw), (4, 1, 4));
    assert_eq!(counts.dead_letters, BTreeMap::from([(decode::INVALID_JSON, 1), (decode::MALFORMED, 1), (decode::TOMBSTONE, 1)]));
    let letters = lines(&encode(buffer), ZoneName::DeadLetters);
    let expected_headers = json!([
        {"name": "source", "value": "test", "encoding": "utf8"},
        {"name": "source", "value": "/w==", "encoding": "base64"},
        {"name": "none", "value": null, "encoding": null},
    ]);
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        let mut names: Vec<&str> = letter.as_object().unwrap().keys().map(String::as_str).collect();
        let table = rules(PARQUET).dead_letters_table("bucket");
        let mut columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        columns.sort_unstable();
        assert_eq!(names, columns);
    }
    assert!(letters[0]["error_message"].as_str().unwrap().contains("column ts"));
    let mut first = letters[0].clone();
    first["error_message"] = json!("");
    assert_eq!(
        first,
        json!({
            "error_class": "Malformed", "error_message": "", "error_column": "ts", "topic": "ticks", "_kafka_partition": 3, "_kafka_offset": 7,
            "_kafka_timestamp": "2013-03-01 12:00:00.000", "key": "key", "key_encoding": "utf8", "headers": expected_headers,
            "payload": "{\"symbol\":\"A\",\"ts\":\"soon\"}", "payload_encoding": "utf8",
        })
    );
    assert_eq!(
        (&letters[1]["key"], &letters[1]["payload"], &letters[1]["payload_encoding"]),
        (&json!("/w=="), &json!("/w=="), &json!("base64"))
    );
    assert_eq!((&letters[1]["_kafka_timestamp"], &letters[1]["error_column"]), (&json!(null), &json!(null)));
    assert_eq!((&letters[2]["key"], &letters[2]["payload"], &letters[2]["payload_encoding"]), (&json!(null), &json!(null), &json!(null)));
}

#[test]
fn without_a_processed_zone_all_is_raw_and_nothing_is_dead() {
    let mut buffer = Buffer::new(Arc::new(Rules { processed: None, ..rules(PARQUET) }), 3, Limits::NONE);
    for (offset, payload) in (0..).zip([r#"{"symbol":"A"}"#, "not json", "{}"]) {
        buffer.push(&record(offset, Some(payload.as_bytes())));
    }
    let objects = encode(buffer);
    assert_eq!(objects.len(), 1);
    assert_eq!(lines(&objects, ZoneName::Raw).len(), 3);
}

#[test]
fn an_empty_buffer_has_no_objects() {
    let mut sealed = Buffer::new(Arc::new(rules(PARQUET)), 3, Limits::NONE).seal(&seal(9));
    assert!(sealed.objects().is_empty());
    assert!(sealed.encode_next().is_none());
    assert!(sealed.encode_next().is_none());
}

#[test]
fn a_full_buffer_takes_no_record_and_stays_as_it_is() {
    let day = |day: u32| format!(r#"{{"symbol":"A","ts":"2013-02-{day:02}T10:00:00Z"}}"#);
    let (first, second, third) = (day(1), day(2), day(3));
    let bytes = first.len() as u64 + 3;
    let none = Limits::NONE;
    let cases = [
        (Limits { max_records: 2, ..none }, vec![&first, &second, &third], Full::Records, 2),
        (Limits { max_bytes: 2 * bytes, ..none }, vec![&first, &second, &third], Full::Bytes, 2),
        (Limits { max_bytes: 2 * bytes - 1, ..none }, vec![&first, &second], Full::Bytes, 1),
        // The first record is larger than the limit and is taken all the same.
        (Limits { max_bytes: 1, ..none }, vec![&first, &second], Full::Bytes, 1),
        (Limits { max_hive_partitions: 2, ..none }, vec![&first, &second, &first, &third], Full::HivePartitions, 3),
        (Limits { max_hive_partitions: 0, ..none }, vec![&first, &first, &second], Full::HivePartitions, 2),
    ];
    for (limits, payloads, full, taken) in cases {
        let mut buffer = Buffer::new(Arc::new(rules(PARQUET)), 3, limits);
        let pushed: Vec<Push> =
            (0..).zip(&payloads).map(|(offset, payload)| buffer.push(&record(offset, Some(payload.as_bytes())))).collect();
        assert_eq!(pushed[..taken], vec![Push::Taken; taken]);
        assert_eq!(pushed[taken..], vec![Push::Full(full); payloads.len() - taken]);
        assert_eq!(buffer.counts().records, taken as u64);
        // What depends on the next record only that one can tell.
        let is_known = !matches!(full, Full::HivePartitions) && limits.max_bytes != 2 * bytes - 1;
        assert_eq!(buffer.full(), is_known.then_some(full));
        let objects = encode(buffer);
        assert_eq!((rows(&objects).len(), lines(&objects, ZoneName::Raw).len()), (taken, taken));
    }
}

#[test]
fn dead_letters_open_no_hive_partition() {
    let mut buffer = Buffer::new(Arc::new(rules(PARQUET)), 3, Limits { max_hive_partitions: 1, ..Limits::NONE });
    assert_eq!(buffer.push(&record(0, Some(br#"{"symbol":"A","ts":"2013-02-01T00:00:00Z"}"#))), Push::Taken);
    assert_eq!(buffer.push(&record(1, Some(br#"{"ts":"2013-02-02T00:00:00Z"}"#))), Push::Taken);
    assert_eq!(buffer.push(&record(2, Some(br#"{"symbol":"A","ts":"2013-02-02T00:00:00Z"}"#))), Push::Full(Full::HivePartitions));
}

#[test]
fn hive_values_of_every_kind_of_text_stay_in_their_place() {
    let mut rules = rules(PARQUET);
    let zone = rules.processed.as_mut().unwrap();
    zone.partition_by = vec![PartitionField { name: "symbol".to_owned(), column: 0, transform: Transform::Identity }];
    let long = "x".repeat(300);
    let symbols = ["BRK.B", "BF/B", "../../x", "", &long, "\u{1F4C8}", "a=b", "%2F"];
    let payloads: Vec<String> = symbols.iter().map(|symbol| json!({"symbol": symbol}).to_string()).collect();
    let objects = encode_all(rules, &payloads.iter().map(String::as_str).collect::<Vec<_>>());
    let processed: Vec<&PlannedObject> =
        objects.iter().map(|(object, _)| object).filter(|object| object.zone == ZoneName::Processed).collect();
    assert_eq!(processed.len(), symbols.len());
    for object in processed {
        assert_eq!(object.key.matches('/').count(), 3, "{}", object.key);
        assert!(!object.key.contains("/.."), "{}", object.key);
    }
    let mut found: Vec<String> = rows(&objects).into_iter().map(|row| row[4].clone()).collect();
    found.sort();
    let mut expected: Vec<String> = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    expected.sort();
    assert_eq!(found, expected);
}

/// Ticks of many shapes: late, null, dead, unsorted.
fn mixed(count: usize) -> Vec<String> {
    let tick = |index: usize| match index % 97 {
        0 => "not json".to_owned(),
        1 => format!(r#"{{"symbol":"S{}"}}"#, index % 7),
        2 => format!(r#"{{"ts":"2013-03-01T00:00:00Z","symbol":"only-{index}","bid":{index}.5}}"#),
        _ => format!(
            r#"{{"symbol":"S{}","ts":"2013-02-{:02}T{:02}:{:02}:00Z","Adj Close":"{}.25","size":{index},"unknown":[{index}]}}"#,
            index * 7 % 50,
            index / 5_000 % 3 + 1,
            index % 24,
            index * 31 % 60,
            index * 17 % 1_000
        ),
    };
    (0..count).map(tick).collect()
}

#[test]
fn the_same_records_under_the_same_rules_give_the_same_objects_and_rows() {
    for format in [PARQUET, ProcessedFormat::JsonLines { compression: LineCompression::Zstd }] {
        let payloads = mixed(20_000);
        let mut first = Buffer::new(
            Arc::new(rules(format)),
            3,
            Limits { max_records: 30_000, max_bytes: 1 << 30, max_hive_partitions: MAX_HIVE_PARTITIONS },
        );
        let mut second = Buffer::new(Arc::new(rules(format)), 3, Limits::NONE);
        for (offset, payload) in (0..).zip(&payloads) {
            let record = record(offset, Some(payload.as_bytes()));
            assert_eq!(first.push(&record), Push::Taken);
            // What a reader of memory or counts does in between changes nothing.
            let _ = (second.memory_bytes(), second.counts().records);
            assert_eq!(second.push(&record), Push::Taken);
        }
        assert_eq!(first.counts(), second.counts());
        let (first, second) = (encode(first), encode(second));
        assert_eq!(first, second);
        let total: u64 = first.iter().filter(|(object, _)| object.zone != ZoneName::Raw).map(|(object, _)| object.rows).sum();
        assert_eq!(total, payloads.len() as u64);
    }
}

#[test]
fn rows_of_many_blocks_are_sorted_and_none_is_lost() {
    let payloads = mixed(30_000);
    let objects = encode_all(rules(PARQUET), &payloads.iter().map(String::as_str).collect::<Vec<_>>());
    let found = rows(&objects);
    // Hive value, symbol, event time (its text sorts as it does; a null is "-", which sorts first), offset.
    let key = |row: &Vec<String>| (row[0].clone(), row[4].clone(), row[5].clone(), row[2].parse::<i64>().unwrap());
    assert!(found.is_sorted_by_key(key));
    let dead = lines(&objects, ZoneName::DeadLetters).into_iter().map(|line| line["_kafka_offset"].as_i64().unwrap());
    let mut offsets: Vec<i64> = found.iter().map(|row| row[2].parse().unwrap()).chain(dead).collect();
    offsets.sort_unstable();
    assert!(offsets.into_iter().eq(0..30_000));
    for row in found.iter().filter(|row| row[4].starts_with('S') && row[7] != "-") {
        let index: usize = row[2].parse().unwrap();
        assert_eq!(
            (row[4].clone(), row[6].clone(), row[7].clone()),
            (format!("S{}", index * 7 % 50), format!("{}.2500", index * 17 % 1_000), index.to_string())
        );
    }
}

#[test]
fn rows_a_day_before_the_newest_count_as_late() {
    let mut buffer = Buffer::new(Arc::new(rules(PARQUET)), 3, Limits::NONE);
    for (offset, day) in (0..).zip([10, 11, 10, 9, 11]) {
        buffer.push(&record(offset, Some(format!(r#"{{"symbol":"A","ts":"2013-02-{day:02}T00:00:00Z"}}"#).as_bytes())));
    }
    assert_eq!(buffer.counts().late_rows, 1);
}

#[test]
fn texts_longer_than_a_slice_keep_their_rows() {
    let long = "y".repeat(5 << 20);
    let payloads: Vec<String> = (0..8).map(|index| json!({"symbol": format!("{index}{long}")}).to_string()).collect();
    let objects = encode_all(rules(PARQUET), &payloads.iter().map(String::as_str).collect::<Vec<_>>());
    let found = rows(&objects);
    assert_eq!(found.len(), 8);
    assert!(found.iter().enumerate().all(|(index, row)| row[4].len() == long.len() + 1 && row[4].starts_with(&index.to_string())));
}
