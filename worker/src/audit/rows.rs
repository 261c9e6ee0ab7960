//! The positions of an object's rows: which Kafka partition and offset each one came from. Pure.
//!
//! Reads Parquet by projection and JSON lines by streaming; holds 8 bytes a row and one line.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use stockpipeline::plan::ZoneName;
use stockpipeline::rules::{LineCompression, ProcessedFormat, Rules};
use stockpipeline::schema::KAFKA_COLUMNS;

use super::report::DifferenceKind;

/// Longest line that is read: Kafka's largest payload as base64, with room.
const MAX_LINE_BYTES: u64 = 256 << 20;
/// Rows of a Parquet file that are decoded at once.
const BATCH_ROWS: usize = 65_536;

const PARTITION: &str = KAFKA_COLUMNS[0];
const OFFSET: &str = KAFKA_COLUMNS[1];

/// Where a line says its position, and the class of a dead letter.
struct Names {
    partition: &'static str,
    offset: &'static str,
    class: Option<&'static str>,
}

const ROW_NAMES: Names = Names { partition: PARTITION, offset: OFFSET, class: None };
const DEAD_LETTER_NAMES: Names = Names { partition: PARTITION, offset: OFFSET, class: Some("error_class") };

/// How an object's rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Apache Parquet.
    Parquet,
    /// JSON lines of the raw or the processed zone.
    Lines(LineCompression),
    /// JSON lines of dead letters.
    DeadLetters(LineCompression),
}

impl Format {
    /// Returns the format of a zone under the rules of a plan; None where the rules have no such zone.
    pub(super) fn of(zone: ZoneName, rules: &Rules) -> Option<Self> {
        match zone {
            ZoneName::Raw => rules.raw.as_ref().map(|raw| Self::Lines(raw.compression)),
            ZoneName::DeadLetters => Some(Self::DeadLetters(rules.dead_letters.compression)),
            ZoneName::Processed => rules.processed.as_ref().map(|processed| match processed.format {
                ProcessedFormat::Parquet { .. } => Self::Parquet,
                ProcessedFormat::JsonLines { compression } => Self::Lines(compression),
            }),
        }
    }
}

/// The rows of one object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// Offset of every row of the partition, in the object's order.
    pub(super) offsets: Vec<i64>,
    /// Rows that name another Kafka partition.
    pub(super) of_other_partitions: u64,
    /// Rows by the class they name; dead letters only.
    pub(super) classes: BTreeMap<String, u64>,
}

impl Rows {
    fn take(&mut self, partition: i32, position: (i64, i64)) {
        if position.0 == i64::from(partition) {
            self.offsets.push(position.1);
        } else {
            self.of_other_partitions += 1;
        }
    }

    /// Returns how many rows the object holds.
    pub(super) fn count(&self) -> u64 {
        self.offsets.len() as u64 + self.of_other_partitions
    }
}

/// An object that can't be read as what its zone holds.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// No Parquet file of rows with their Kafka positions.
    #[error("no Parquet file of rows with {PARTITION} and {OFFSET}: {0}")]
    Parquet(String),
    /// A line that is no JSON object with a Kafka position.
    #[error("line {line}: {message}")]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// More rows than the plan lists; reading stopped there.
    #[error("holds more than {0} rows")]
    TooManyRows(u64),
}

impl Unreadable {
    /// Returns which promise an unreadable object breaks.
    pub(super) fn kind(&self) -> DifferenceKind {
        match self {
            Self::Parquet(_) | Self::Line { .. } => DifferenceKind::UnreadableObject,
            Self::TooManyRows(_) => DifferenceKind::RowCount,
        }
    }
}

/// Returns the rows of an object of one Kafka partition; stops after `at_most` rows.
///
/// # Errors
/// [`Unreadable`] when the bytes are not what the format says, or hold more rows.
pub(super) fn read(format: Format, bytes: Bytes, partition: i32, at_most: u64) -> Result<Rows, Unreadable> {
    match format {
        Format::Parquet => read_parquet(bytes, partition, at_most),
        Format::Lines(compression) => read_compressed(compression, &ROW_NAMES, bytes, (partition, at_most)),
        Format::DeadLetters(compression) => read_compressed(compression, &DEAD_LETTER_NAMES, bytes, (partition, at_most)),
    }
}

fn read_parquet(bytes: Bytes, partition: i32, at_most: u64) -> Result<Rows, Unreadable> {
    let unreadable = |error: &dyn fmt::Display| Unreadable::Parquet(error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| unreadable(&error))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [PARTITION, OFFSET]);
    let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|error| unreadable(&error))?;
    let mut rows = Rows::default();
    for batch in batches {
        take_batch(&batch.map_err(|error| unreadable(&error))?, partition, &mut rows)?;
        if rows.count() > at_most {
            return Err(Unreadable::TooManyRows(at_most));
        }
    }
    Ok(rows)
}

fn take_batch(batch: &RecordBatch, partition: i32, rows: &mut Rows) -> Result<(), Unreadable> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Unreadable::Parquet(format!("column {name} is missing")));
    let partitions = column(PARTITION)?.as_primitive_opt::<Int32Type>().ok_or_else(|| wrong_type(PARTITION))?;
    let offsets = column(OFFSET)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong_type(OFFSET))?;
    for position in partitions.iter().zip(offsets) {
        match position {
            (Some(of), Some(offset)) => rows.take(partition, (i64::from(of), offset)),
            (None, _) | (_, None) => return Err(Unreadable::Parquet("a row without its position".to_owned())),
        }
    }
    Ok(())
}

fn wrong_type(name: &str) -> Unreadable {
    Unreadable::Parquet(format!("column {name} is of another type"))
}

fn read_compressed(compression: LineCompression, names: &'static Names, bytes: Bytes, limits: (i32, u64)) -> Result<Rows, Unreadable> {
    let source = bytes.reader();
    match compression {
        LineCompression::None => read_lines(source, names, limits),
        LineCompression::Gzip => read_lines(BufReader::new(flate2::bufread::MultiGzDecoder::new(source)), names, limits),
        LineCompression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(source)
                .map_err(|error| Unreadable::Line { line: 1, message: error.to_string() })?;
            read_lines(BufReader::new(decoder), names, limits)
        }
    }
}

fn read_lines(mut source: impl BufRead, names: &'static Names, (partition, at_most): (i32, u64)) -> Result<Rows, Unreadable> {
    let mut rows = Rows::default();
    let mut text = Vec::new();
    let mut line = 0;
    loop {
        line += 1;
        text.clear();
        let wrong = |message: String| Unreadable::Line { line, message };
        let length = source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut text).map_err(|error| wrong(error.to_string()))?;
        if length == 0 {
            return Ok(rows);
        }
        if text.pop() != Some(b'\n') {
            return Err(wrong("no line end".to_owned()));
        }
        let row = parse_line(&text, names)
            .map_err(|error| wrong(format!("no JSON object with {} and {}: {error}", names.partition, names.offset)))?;
        rows.take(partition, row.position);
        if let Some(class) = row.class {
            match rows.classes.get_mut(&class) {
                Some(count) => *count += 1,
                None => drop(rows.classes.insert(class, 1)),
            }
        }
        if rows.count() > at_most {
            return Err(Unreadable::TooManyRows(at_most));
        }
    }
}

fn parse_line(text: &[u8], names: &'static Names) -> Result<LineRow, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let row = deserializer.deserialize_map(LineVisitor { names })?;
    deserializer.end()?;
    Ok(row)
}

/// What a line says of itself.
struct LineRow {
    position: (i64, i64),
    class: Option<String>,
}

/// Takes the first of each name: a payload that has a field of the same name stands behind the spliced ones.
struct LineVisitor {
    names: &'static Names,
}

impl<'de> Visitor<'de> for LineVisitor {
    type Value = LineRow;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LineRow, A::Error> {
        use serde::de::Error;
        let (mut partition, mut offset, mut class) = (None, None, None);
        while let Some(name) = map.next_key_seed(self.names)? {
            match name {
                Name::Partition if partition.is_none() => partition = Some(map.next_value()?),
                Name::Offset if offset.is_none() => offset = Some(map.next_value()?),
                Name::Class if class.is_none() => class = Some(map.next_value()?),
                Name::Partition | Name::Offset | Name::Class | Name::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let partition = partition.ok_or_else(|| A::Error::missing_field(self.names.partition))?;
        let offset = offset.ok_or_else(|| A::Error::missing_field(self.names.offset))?;
        Ok(LineRow { position: (partition, offset), class })
    }
}

/// Which of [`Names`] a name is.
enum Name {
    Partition,
    Offset,
    Class,
    Other,
}

impl<'de> DeserializeSeed<'de> for &Names {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for &Names {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(if name == self.partition {
            Name::Partition
        } else if name == self.offset {
            Name::Offset
        } else if Some(name) == self.class {
            Name::Class
        } else {
            Name::Other
        })
    }
}

#[cfg(test)]
mod tests;
