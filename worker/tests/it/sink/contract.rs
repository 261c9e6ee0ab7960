//! The other half of the contract of the tables: what a sink writes under the document that the operator renders has the columns, the types
//! and the order that Glue is given.

use std::fs::File;

use arrow::datatypes::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::{self, Document};

use super::stage::{Stage, TOPIC};
use super::stored::files;

const DOCUMENT: &str = include_str!("../../../../operator/tests/it/catalog/snapshots/it__catalog__contract__contract_document.snap");
const TABLES: &str = include_str!("../../../../operator/tests/it/catalog/snapshots/it__catalog__contract__contract_tables.snap");

/// Returns a golden file without its head.
fn golden(text: &'static str) -> &'static str {
    text.splitn(3, "---\n").nth(2).unwrap()
}

/// Returns the Hive type that readers of Parquet have for an Arrow type. Written by hand: the product's own table must agree with it.
fn hive_type(arrow: &DataType) -> String {
    match arrow {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => panic!("no reader of Hive tables knows {other}"),
    }
}

fn columns(table: &Value) -> Vec<(String, String)> {
    let columns = table["columns"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    columns.map(|column| (text(&column["name"]), text(&column["glue_type"]))).collect()
}

#[test]
fn what_a_sink_writes_is_what_glue_is_told() {
    let stage = Stage::new(1);
    // As the operator renders it, but for where things are.
    let rendered = document::read(golden(DOCUMENT)).unwrap().remove(0);
    let mut spec = rendered.body()["spec"].clone();
    spec["aws"] = json!({"region": "us-east-1", "endpoints": {"s3": stage.proxy.endpoint()}, "forcePathStyle": true});
    spec["kafka"]["bootstrapServers"] = json!([stage.bootstrap_servers(0)]);
    spec["kafka"]["topic"]["name"] = json!(TOPIC);
    let document = Document::new(rendered.name().unwrap(), rendered.namespace(), spec);
    let (pipeline, _) = Pipeline::check(&document, UnknownFields::Error).unwrap();
    let tables: Value = serde_json::from_str(golden(TABLES)).unwrap();
    let sink = stage.sink("only", pipeline);
    let record = json!({"Symbol Name": "BRK.B", "ts": "2026-01-01T10:00:00Z", "day": "2026-01-01", "lots": 1, "volume": 2, "vwap": 1.5,
        "price": "1.25", "notional": "12345678901234567890.12", "halted": false});
    stage.produce_payload(0, record.to_string().as_bytes());
    stage.produce_payload(0, b"poison");
    stage.wait_for_rows(2);
    assert!(sink.stop().unwrap().drained);

    let written = files(&stage.bucket());
    let path = |zone: &str| {
        let of_zone = written.iter().find(|path| path.strip_prefix(stage.bucket()).unwrap().starts_with(zone));
        of_zone.unwrap_or_else(|| panic!("nothing in {zone}: {written:?}")).clone()
    };
    let processed = path("processed");
    let schema = ParquetRecordBatchReaderBuilder::try_new(File::open(&processed).unwrap()).unwrap().schema().clone();
    let found: Vec<(String, String)> = schema.fields().iter().map(|field| (field.name().clone(), hive_type(field.data_type()))).collect();
    assert_eq!(found, columns(&tables["Processed"]));
    let folders = processed.strip_prefix(stage.bucket()).unwrap().to_str().unwrap().to_owned();
    let keys: Vec<&str> = folders.split('/').filter_map(|folder| folder.split_once('=')).map(|(key, _)| key).collect();
    let declared: Vec<String> =
        columns(&json!({"columns": tables["Processed"]["partition_keys"]})).into_iter().map(|(name, _)| name).collect();
    assert_eq!(keys, declared);
    assert_eq!(format!("s3://lake/{}", folders.split_once("dt=").unwrap().0), tables["Processed"]["location"].as_str().unwrap());

    // Every member of a line has its column, under the name that the reader maps to it.
    for (zone, table) in [("raw", "Raw"), ("dlq", "DeadLetters")] {
        let text = std::fs::read(path(zone)).unwrap();
        let text = if text.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) { zstd::decode_all(&text[..]).unwrap() } else { text };
        let known: Vec<String> = columns(&tables[table]).into_iter().map(|(name, _)| name).collect();
        let mapped: Vec<&str> = tables[table]["serde_parameters"].as_object().unwrap().values().filter_map(Value::as_str).collect();
        for line in String::from_utf8(text).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            for name in line.as_object().unwrap().keys() {
                assert!(known.contains(name) || mapped.contains(&name.as_str()), "{name} of {zone} has no column in {known:?}");
            }
        }
    }
}

#[test]
fn a_full_range_is_stored_without_waiting_for_the_next_record() {
    let stage = Stage::new(1);
    let rotation = serde_json::json!({ "maxRecords": 100, "maxInterval": "1h" });
    let sink = stage.sink("only", stage.pipeline(|spec| spec["sink"]["rotation"] = rotation));
    stage.produce(0, 0, 200);
    stage.wait_for_rows(200);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 200)]);
}
