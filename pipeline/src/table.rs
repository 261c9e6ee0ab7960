//! The catalogue tables of a pipeline as values: the one model behind Glue's tables and Athena's DDL.
//!
//! In the raw zone and the dead letters the source's fields are strings whatever the declared type: those zones hold every record,
//! also the broken ones, and one field that a typed column cannot read fails a whole query in Athena. SQL casts them (`try_cast`).

use std::collections::BTreeMap;

use crate::rules::{DeadLetterZone, ProcessedFormat, ProcessedZone, RawZone, Rules};
use crate::schema::{KAFKA_COLUMNS, Schema};

/// Partition key of the raw zone and the dead letters: the UTC day of sealing.
pub const SEALED_DAY: &str = "dt";
/// Column of the raw zone with the text of a payload that is no JSON object.
pub const RAW_TEXT: &str = "_raw";
/// Column of the raw zone with the base64 of a payload that is no UTF-8 text.
pub const RAW_BASE64: &str = "_raw_base64";
/// Names that no declared column may have, because every table or the raw zone's has them already.
pub const RESERVED_COLUMNS: [&str; 6] = [KAFKA_COLUMNS[0], KAFKA_COLUMNS[1], KAFKA_COLUMNS[2], SEALED_DAY, RAW_TEXT, RAW_BASE64];
/// Column of the dead letters: label of the reason ([`crate::value::Problem::label`] or the decoder's).
pub const ERROR_CLASS: &str = "error_class";
/// Column of the dead letters: the reason as a sentence, without the value.
pub const ERROR_MESSAGE: &str = "error_message";
/// Column of the dead letters: the column whose value was refused, where it was one.
pub const ERROR_COLUMN: &str = "error_column";
/// Column of the dead letters: Kafka topic.
pub const TOPIC: &str = "topic";
/// Column of the dead letters: key of the record, base64 where `key_encoding` says so.
pub const KEY: &str = "key";
/// Column of the dead letters: `utf8` or `base64`; null without a key.
pub const KEY_ENCODING: &str = "key_encoding";
/// Column of the dead letters: headers of the record, in order.
pub const HEADERS: &str = "headers";
/// Fields of one header: name, value and the value's encoding.
pub const HEADER_FIELDS: [&str; 3] = ["name", "value", "encoding"];
/// Column of the dead letters: payload of the record, base64 where `payload_encoding` says so.
pub const PAYLOAD: &str = "payload";
/// Column of the dead letters: `utf8` or `base64`; null without a payload.
pub const PAYLOAD_ENCODING: &str = "payload_encoding";
/// Encoding of text that stands as it is.
pub const UTF8: &str = "utf8";
/// Encoding of bytes that are no UTF-8 text.
pub const BASE64: &str = "base64";

/// A catalogue table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Columns, in order.
    pub columns: Vec<TableColumn>,
    /// Names of the partition keys, in path order; all of them strings.
    pub partition_keys: Vec<String>,
    /// Where the objects lie: `s3://<bucket>/<prefix>/`.
    pub location: String,
    /// How the objects are read.
    pub format: TableFormat,
    /// Properties of the reader (Glue's `SerdeInfo.Parameters`).
    pub serde_properties: BTreeMap<String, String>,
    /// Properties of the table (Glue's `Parameters`), ownership marks not among them.
    pub properties: BTreeMap<String, String>,
}

/// A column of a catalogue table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Name.
    pub name: String,
    /// Glue (Hive) type.
    pub glue_type: String,
    /// Comment.
    pub comment: Option<String>,
}

/// How a table's objects are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Apache Parquet.
    Parquet,
    /// JSON lines, by `org.openx.data.jsonserde`.
    JsonLines,
}

impl TableFormat {
    /// Returns the class that reads the rows (Glue's `SerializationLibrary`).
    #[must_use]
    pub fn serde(self) -> &'static str {
        match self {
            Self::Parquet => "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            Self::JsonLines => "org.openx.data.jsonserde.JsonSerDe",
        }
    }

    /// Returns the class of the input format.
    #[must_use]
    pub fn input_format(self) -> &'static str {
        match self {
            Self::Parquet => "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            Self::JsonLines => "org.apache.hadoop.mapred.TextInputFormat",
        }
    }

    /// Returns the class of the output format.
    #[must_use]
    pub fn output_format(self) -> &'static str {
        match self {
            Self::Parquet => "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            Self::JsonLines => "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        }
    }

    fn classification(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::JsonLines => "json",
        }
    }
}

impl Table {
    /// Returns the table of the processed zone: the Kafka columns, then the declared ones with their types.
    #[must_use]
    pub fn processed(schema: &Schema, zone: &ProcessedZone, bucket: &str) -> Self {
        let format = match zone.format {
            ProcessedFormat::Parquet { .. } => TableFormat::Parquet,
            ProcessedFormat::JsonLines { .. } => TableFormat::JsonLines,
        };
        let mut columns = kafka_columns();
        columns.extend(schema.columns.iter().map(|column| TableColumn {
            name: column.name.clone(),
            glue_type: column.column_type.glue_type(),
            comment: column.comment.clone(),
        }));
        let partition_keys = zone.partition_by.iter().map(|field| field.name.clone()).collect();
        Self::new(columns, partition_keys, location(bucket, &zone.prefix), format)
    }

    /// Returns the table of the raw zone: the Kafka columns, the text of payloads that are no JSON object, then the source's fields.
    #[must_use]
    pub fn raw(schema: &Schema, zone: &RawZone, bucket: &str) -> Self {
        let mut columns = kafka_columns();
        columns.push(column(RAW_TEXT, "string", "payload that is no JSON object"));
        columns.push(column(RAW_BASE64, "string", "payload that is no UTF-8 text, as base64"));
        columns.extend(schema.columns.iter().map(|column| TableColumn {
            name: column.name.clone(),
            glue_type: "string".to_owned(),
            comment: column.comment.clone(),
        }));
        let mut table = Self::new(columns, vec![SEALED_DAY.to_owned()], location(bucket, &zone.prefix), TableFormat::JsonLines);
        // The source's names count with their case, so each that differs from its column is mapped.
        table.set_reader("case.insensitive", "false");
        // A payload may name one field twice, which this reader takes for malformed: a row of nulls, instead of no table at all.
        table.set_reader("ignore.malformed.json", "true");
        for column in schema.columns.iter().filter(|column| column.from != column.name) {
            table.set_reader(&format!("mapping.{}", column.name), &column.from);
        }
        table
    }

    /// Returns the table of the dead letters.
    #[must_use]
    pub fn dead_letters(zone: &DeadLetterZone, bucket: &str) -> Self {
        let [name, value, encoding] = HEADER_FIELDS;
        let headers = format!("array<struct<{name}:string,{value}:string,{encoding}:string>>");
        let mut columns = kafka_columns();
        columns.extend([
            column(ERROR_CLASS, "string", "class of the reason, as in the metrics"),
            column(ERROR_MESSAGE, "string", "the reason, without the value"),
            column(ERROR_COLUMN, "string", "column whose value was refused"),
            column(TOPIC, "string", "Kafka topic"),
            column(KEY, "string", "key of the record"),
            column(KEY_ENCODING, "string", "utf8 or base64"),
            column(HEADERS, &headers, "headers of the record"),
            column(PAYLOAD, "string", "payload of the record"),
            column(PAYLOAD_ENCODING, "string", "utf8 or base64"),
        ]);
        Self::new(columns, vec![SEALED_DAY.to_owned()], location(bucket, &zone.prefix), TableFormat::JsonLines)
    }

    fn new(columns: Vec<TableColumn>, partition_keys: Vec<String>, location: String, format: TableFormat) -> Self {
        let properties =
            BTreeMap::from([("EXTERNAL".to_owned(), "TRUE".to_owned()), ("classification".to_owned(), format.classification().to_owned())]);
        let serde_properties = BTreeMap::from([("serialization.format".to_owned(), "1".to_owned())]);
        Self { columns, partition_keys, location, format, serde_properties, properties }
    }

    fn set_reader(&mut self, name: &str, value: &str) {
        self.serde_properties.insert(name.to_owned(), value.to_owned());
    }
}

impl Rules {
    /// Returns the table of the processed zone, where it is on.
    #[must_use]
    pub fn processed_table(&self, bucket: &str) -> Option<Table> {
        self.processed.as_ref().map(|zone| Table::processed(&self.schema, zone, bucket))
    }

    /// Returns the table of the raw zone, where it is on.
    #[must_use]
    pub fn raw_table(&self, bucket: &str) -> Option<Table> {
        self.raw.as_ref().map(|zone| Table::raw(&self.schema, zone, bucket))
    }

    /// Returns the table of the dead letters.
    #[must_use]
    pub fn dead_letters_table(&self, bucket: &str) -> Table {
        Table::dead_letters(&self.dead_letters, bucket)
    }
}

fn kafka_columns() -> Vec<TableColumn> {
    let comments = ["partition of the record", "offset of the record", "timestamp of the record"];
    Schema::kafka_columns().into_iter().zip(comments).map(|((name, glue_type), comment)| column(name, glue_type, comment)).collect()
}

fn column(name: &str, glue_type: &str, comment: &str) -> TableColumn {
    TableColumn { name: name.to_owned(), glue_type: glue_type.to_owned(), comment: Some(comment.to_owned()) }
}

fn location(bucket: &str, prefix: &str) -> String {
    format!("s3://{bucket}/{prefix}/")
}
