use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;

use super::*;

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

fn positions(partitions: Vec<i32>, offsets: Vec<i64>) -> Vec<(&'static str, ArrayRef)> {
    let text = StringArray::from(vec!["x"; offsets.len()]);
    vec![(PARTITION, Arc::new(Int32Array::from(partitions))), (OFFSET, Arc::new(Int64Array::from(offsets))), ("symbol", Arc::new(text))]
}

fn gzip(text: &str) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

fn check(format: Format, bytes: impl Into<Bytes>, expected: Result<&[i64], &str>) {
    match (read(format, bytes.into(), 7, 3), expected) {
        (Ok(rows), Ok(offsets)) => assert_eq!(rows.offsets, offsets),
        (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

const PLAIN: Format = Format::Lines(LineCompression::None);
const TWO_LINES: &str = "{\"_kafka_partition\":7,\"_kafka_offset\":5}\n{\"_kafka_partition\":7,\"_kafka_offset\":6,\"a\":1}\n";

#[test]
fn parquet_rows_give_their_offsets_in_order() {
    check(Format::Parquet, parquet(positions(vec![7, 7, 7], vec![3, 1, 2])), Ok(&[3, 1, 2]));
    check(Format::Parquet, parquet(positions(vec![], vec![])), Ok(&[]));
}

#[test]
fn parquet_without_positions_is_unreadable() {
    check(Format::Parquet, Bytes::from_static(b"PAR1 no"), Err("no Parquet file"));
    check(Format::Parquet, parquet(positions(vec![7], vec![1]).split_off(1)), Err("column _kafka_partition is missing"));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    check(Format::Parquet, parquet(vec![(PARTITION, wide.clone()), (OFFSET, wide)]), Err("column _kafka_partition is of another type"));
}

#[test]
fn lines_of_every_compression_give_their_offsets() {
    check(PLAIN, TWO_LINES, Ok(&[5, 6]));
    check(Format::Lines(LineCompression::Gzip), gzip(TWO_LINES), Ok(&[5, 6]));
    check(Format::Lines(LineCompression::Zstd), zstd::encode_all(TWO_LINES.as_bytes(), 1).unwrap(), Ok(&[5, 6]));
    let members = [gzip(TWO_LINES), gzip(TWO_LINES.get(..41).unwrap())].concat();
    check(Format::Lines(LineCompression::Gzip), members, Ok(&[5, 6, 5]));
    check(PLAIN, "", Ok(&[]));
}

#[test]
fn the_first_of_a_repeated_name_is_the_position() {
    check(PLAIN, "{\"_kafka_partition\":7,\"_kafka_offset\":5,\"_kafka_offset\":\"mine\",\"_kafka_partition\":{}}\n", Ok(&[5]));
}

#[test]
fn a_deeply_nested_payload_is_read() {
    let depth = 10_000;
    let line = format!("{{\"_kafka_partition\":7,\"_kafka_offset\":5,\"a\":{}{}}}\n", "[".repeat(depth), "]".repeat(depth));
    check(PLAIN, line, Ok(&[5]));
}

#[test]
fn lines_that_are_no_rows_are_unreadable_with_their_number() {
    let cases = [
        ("not json\n", "line 1: no JSON object"),
        ("[1]\n", "line 1: no JSON object"),
        (
            "{\"_kafka_partition\":7,\"_kafka_offset\":5}\n{\"_kafka_partition\":7}\n",
            "line 2: no JSON object with _kafka_partition and _kafka_offset: missing field `_kafka_offset`",
        ),
        ("{\"_kafka_partition\":\"7\",\"_kafka_offset\":5}\n", "line 1"),
        ("{\"_kafka_partition\":7,\"_kafka_offset\":5} {}\n", "line 1"),
        ("{\"_kafka_partition\":7,\"_kafka_offset\":5}", "line 1: no line end"),
        ("\n", "line 1"),
    ];
    for (text, reason) in cases {
        check(PLAIN, text, Err(reason));
    }
    check(Format::Lines(LineCompression::Gzip), gzip(TWO_LINES).slice(..30), Err("line"));
    check(Format::Lines(LineCompression::Zstd), "no zstd", Err("line 1"));
}

#[test]
fn rows_of_other_partitions_are_counted_apart() {
    let rows = read(Format::Parquet, parquet(positions(vec![7, 8, 7], vec![1, 2, 3])), 7, 9).unwrap();
    assert_eq!((rows.offsets.as_slice(), rows.of_other_partitions, rows.count()), ([1, 3].as_slice(), 1, 3));
}

#[test]
fn reading_stops_above_what_the_plan_lists() {
    check(Format::Parquet, parquet(positions(vec![7; 4], vec![1, 2, 3, 4])), Err("holds more than 3 rows"));
    check(PLAIN, TWO_LINES.repeat(2), Err("holds more than 3 rows"));
}

#[test]
fn only_dead_letters_name_a_class() {
    let lines = "{\"error_class\":\"NotJson\",\"_kafka_partition\":7,\"_kafka_offset\":5}\n";
    let classes = |format| read(format, Bytes::from(lines), 7, 3).unwrap().classes;
    assert_eq!(classes(Format::DeadLetters(LineCompression::None)), BTreeMap::from([("NotJson".to_owned(), 1)]));
    assert_eq!(classes(PLAIN), BTreeMap::new());
}
