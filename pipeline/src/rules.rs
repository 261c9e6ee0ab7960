//! Rules: everything that decides what a record becomes, and where.
//!
//! A plan carries the rules that it was sealed under, so that any worker of any version of the spec can finish it.
//! Rows, Hive values, dead-letter verdicts and keys depend only on the Kafka record and these rules.

use serde::{Deserialize, Serialize};

use crate::schema::{ColumnType, MAX_DECIMAL_DIGITS, Schema, Zone};

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

impl Rules {
    /// Checks what a stored plan could get wrong: columns that are not there, types and transforms out of bounds.
    ///
    /// # Errors
    /// A sentence that names the contradiction.
    pub fn check(&self) -> Result<(), &'static str> {
        let columns = &self.schema.columns;
        match columns.get(self.schema.event_time).map(|column| &column.column_type) {
            Some(ColumnType::Timestamp { .. } | ColumnType::Date { .. }) => {}
            _ => return Err("the event time is no Timestamp or Date column"),
        }
        for column in columns {
            if let ColumnType::Decimal { precision, scale, .. } = column.column_type
                && (!(1..=MAX_DECIMAL_DIGITS).contains(&precision) || scale > precision)
            {
                return Err("a Decimal column has no valid precision and scale");
            }
        }
        let Some(processed) = &self.processed else { return Ok(()) };
        if processed.sort_by.iter().any(|column| *column >= columns.len()) {
            return Err("a sort column is not in the schema");
        }
        for field in &processed.partition_by {
            if field.column >= columns.len() {
                return Err("a partition field's column is not in the schema");
            }
            if let Transform::Bucket { count: 0 } | Transform::Truncate { width: 0 } = field.transform {
                return Err("a partition field's bucket count or width is 0");
            }
        }
        Ok(())
    }
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

#[cfg(test)]
pub(crate) mod example {
    //! Rules with every type, reading and transform, for the tests of this crate.

    use super::*;
    use crate::schema::{Column, EpochUnit, Rounding, TimeReading};

    fn column(name: &str, from: &str, column_type: ColumnType) -> Column {
        Column { name: name.to_owned(), from: from.to_owned(), column_type, nullable: name != "symbol", comment: None }
    }

    fn field(name: &str, column: usize, transform: Transform) -> PartitionField {
        PartitionField { name: name.to_owned(), column, transform }
    }

    fn timestamp(reading: TimeReading) -> ColumnType {
        ColumnType::Timestamp { reading }
    }

    pub(crate) fn rules() -> Rules {
        let new_york = || Zone::named("America/New_York").expect("the zone is bundled");
        let mut columns = vec![
            column("symbol", "Index", ColumnType::String),
            column("ts", "Date", timestamp(TimeReading::Iso { time_zone: Zone::utc() })),
            column("close", "Close", ColumnType::Double),
            column("adj_close", "Adj Close", ColumnType::Decimal { precision: 18, scale: 6, rounding: Rounding::HalfEven }),
            column("volume", "volume", ColumnType::Bigint),
            column("lots", "lots", ColumnType::Int),
            column("halted", "it's \"halted\" \\ now", ColumnType::Boolean),
            column("settles", "settles", ColumnType::Date { format: Some("%d/%m/%Y".to_owned()) }),
            column("listed", "listed", ColumnType::Date { format: None }),
            column("sent", "sent", timestamp(TimeReading::Epoch { unit: EpochUnit::Nanoseconds })),
            column("local", "local", timestamp(TimeReading::Format { format: "%d.%m.%Y %H:%M".to_owned(), time_zone: new_york() })),
        ];
        columns[0].comment = Some("the index's symbol\nas the venue names it; `^GSPC`".to_owned());
        Rules {
            decoder: DECODER_VERSION,
            topic: "ticks".to_owned(),
            schema: Schema { columns, event_time: 1, max_future_seconds: 86_400 },
            raw: Some(RawZone { prefix: "raw/us-equities".to_owned(), compression: LineCompression::Zstd }),
            processed: Some(ProcessedZone {
                prefix: "processed/us-equities".to_owned(),
                format: ProcessedFormat::Parquet { compression: PageCompression::Zstd },
                partition_by: vec![
                    field("dt", 1, Transform::Day { time_zone: new_york() }),
                    field("hour", 1, Transform::Hour { time_zone: Zone::utc() }),
                    field("year", 1, Transform::Year { time_zone: Zone::utc() }),
                    field("month", 1, Transform::Month { time_zone: Zone::utc() }),
                    field("venue", 0, Transform::Identity),
                    field("bucket", 0, Transform::Bucket { count: 12 }),
                    field("initial", 0, Transform::Truncate { width: 1 }),
                ],
                sort_by: vec![0, 1],
            }),
            dead_letters: DeadLetterZone { prefix: "dlq/us-equities".to_owned(), compression: LineCompression::Gzip },
        }
    }
}
