//! Rules: everything that decides what a record becomes, and where.
//!
//! A plan carries the rules that it was sealed under, so that any worker of any version of the spec can finish it.
//! Rows, Hive values, dead-letter verdicts and keys depend only on the Kafka record and these rules.

use serde::{Deserialize, Serialize};

use crate::schema::{Schema, Zone};

/// Version of the decoder's behaviour; raised whenever the same record and rules would give other rows.
pub const DECODER_VERSION: u32 = 1;

/// What a record becomes: zones, schema and the decoder's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// Version of the decoder ([`DECODER_VERSION`]).
    pub decoder: u32,
    /// Kafka topic, as dead letters name it.
    pub topic: String,
    /// Declared columns.
    pub schema: Schema,
    /// Raw zone, where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawZone>,
    /// Processed zone and the dead letters beside it; None only in a benchmark of the raw path alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed: Option<ProcessedZone>,
    /// Where records go that have no place in the processed zone.
    pub dead_letters: DeadLetterZone,
}

/// The raw zone: JSON lines, one a record, partitioned by the day of sealing (`dt`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawZone {
    /// Key prefix without a slash at either end.
    pub prefix: String,
    /// Compression of the lines.
    pub compression: LineCompression,
}

/// The processed zone: typed rows, partitioned by columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessedZone {
    /// Key prefix without a slash at either end.
    pub prefix: String,
    /// Format of the objects.
    pub format: ProcessedFormat,
    /// Hive partition fields, in path order; never empty.
    pub partition_by: Vec<PartitionField>,
    /// Indexes of the columns that rows of a file are sorted by; ties keep offset order.
    pub sort_by: Vec<usize>,
}

/// The dead-letter zone: JSON lines, partitioned by the day of sealing (`dt`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterZone {
    /// Key prefix without a slash at either end.
    pub prefix: String,
    /// Compression of the lines.
    pub compression: LineCompression,
}

/// Format of the processed zone's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum ProcessedFormat {
    /// Apache Parquet with statistics and page index.
    Parquet {
        /// Compression of the pages.
        compression: PageCompression,
    },
    /// One JSON object a line.
    JsonLines {
        /// Compression of the lines.
        compression: LineCompression,
    },
}

/// Compression of JSON lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineCompression {
    /// Plain text, `.jsonl`.
    None,
    /// gzip, `.jsonl.gz`.
    Gzip,
    /// Zstandard, `.jsonl.zst`.
    Zstd,
}

/// Compression of Parquet pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageCompression {
    /// No compression.
    None,
    /// Snappy.
    Snappy,
    /// gzip.
    Gzip,
    /// Zstandard (the default).
    Zstd,
}

/// One Hive partition key of the processed zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionField {
    /// Name of the partition key in paths and in Glue.
    pub name: String,
    /// Index of the column it is made from.
    pub column: usize,
    /// How the value is made.
    #[serde(flatten)]
    pub transform: Transform,
}

/// How a partition value is made from a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transform", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Transform {
    /// `YYYY` of a Timestamp or Date.
    Year {
        /// Zone that the year is taken in.
        time_zone: Zone,
    },
    /// `YYYY-MM` of a Timestamp or Date.
    Month {
        /// Zone that the month is taken in.
        time_zone: Zone,
    },
    /// `YYYY-MM-DD` of a Timestamp or Date.
    Day {
        /// Zone that the day is taken in.
        time_zone: Zone,
    },
    /// `HH` of a Timestamp.
    Hour {
        /// Zone that the hour is taken in.
        time_zone: Zone,
    },
    /// The value's own text.
    Identity,
    /// Bucket number: Java-compatible murmur2 of the value's text modulo `count`.
    Bucket {
        /// Number of buckets, at least 1.
        count: u32,
    },
    /// The first `width` characters of a String, or an integer rounded down to a multiple of `width`.
    Truncate {
        /// Width, at least 1.
        width: u32,
    },
}

impl LineCompression {
    /// Returns the file extension, without a leading dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "jsonl",
            Self::Gzip => "jsonl.gz",
            Self::Zstd => "jsonl.zst",
        }
    }
}

impl ProcessedFormat {
    /// Returns the file extension, without a leading dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet { .. } => "parquet",
            Self::JsonLines { compression } => compression.extension(),
        }
    }
}
