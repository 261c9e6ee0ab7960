//! Typed rows in columns: one set a buffer, whatever the number of Hive partitions.

use stockpipeline::schema::{ColumnType, Schema};
use stockpipeline::value::Value;

use super::blocks::{BLOCK, Blocks};
use super::texts::Texts;

/// Most digits of a Decimal that is held in 64 bits.
pub(crate) const LONG_DIGITS: u8 = 18;

/// The rows of a buffer. Whole rows only.
#[derive(Debug)]
pub(crate) struct Rows {
    /// `_kafka_offset`.
    pub(crate) offsets: Blocks<i64>,
    /// `_kafka_timestamp` in microseconds.
    pub(crate) timestamps: Cells<i64>,
    /// Number of the Hive partition.
    pub(crate) hive: Blocks<u32>,
    /// Declared columns.
    pub(crate) columns: Vec<Column>,
}

/// Cells that may be null.
#[derive(Debug, Default)]
pub(crate) struct Cells<T> {
    pub(crate) values: Blocks<T>,
    pub(crate) nulls: Nulls,
}

/// Which cells are null. Takes memory from the first one on.
#[derive(Debug, Default)]
pub(crate) struct Nulls {
    flags: Option<Blocks<bool>>,
}

/// The cells of one declared column.
#[derive(Debug)]
pub(crate) enum Column {
    /// String.
    Text(Nulls, Texts),
    /// Int and Date.
    Int(Cells<i32>),
    /// Bigint, Timestamp and short Decimals.
    Long(Cells<i64>),
    /// Long Decimals.
    Wide(Cells<i128>),
    /// Double.
    Double(Cells<f64>),
    /// Boolean.
    Boolean(Cells<bool>),
}

impl<T: Copy + Default> Cells<T> {
    #[inline]
    fn push(&mut self, value: Option<T>) {
        self.nulls.push(value.is_none(), self.values.len());
        self.values.push(value.unwrap_or_default());
    }

    /// Returns a row's value; None for a null.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<T> {
        if self.nulls.contain(row) { None } else { Some(self.values.get(row)) }
    }

    fn free(&mut self, block: usize) {
        self.values.free(block);
        self.nulls.free(block);
    }

    fn memory_bytes(&self) -> usize {
        self.values.memory_bytes() + self.nulls.memory_bytes()
    }
}

impl Nulls {
    /// Notes whether the cell that follows `rows` others is null.
    #[inline]
    fn push(&mut self, is_null: bool, rows: usize) {
        if let Some(flags) = &mut self.flags {
            flags.push(is_null);
        } else if is_null {
            self.begin(rows);
        }
    }

    #[cold]
    fn begin(&mut self, rows: usize) {
        let mut flags = Blocks::default();
        flags.fill_to(rows, false);
        flags.push(true);
        self.flags = Some(flags);
    }

    /// Returns whether there may be any.
    pub(crate) fn any(&self) -> bool {
        self.flags.is_some()
    }

    /// Returns whether a row's cell is null.
    #[inline]
    pub(crate) fn contain(&self, row: usize) -> bool {
        self.flags.as_ref().is_some_and(|flags| flags.get(row))
    }

    fn free(&mut self, block: usize) {
        if let Some(flags) = &mut self.flags {
            flags.free(block);
        }
    }

    fn memory_bytes(&self) -> usize {
        self.flags.as_ref().map_or(0, Blocks::memory_bytes)
    }
}

impl Column {
    fn of(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::String => Self::Text(Nulls::default(), Texts::default()),
            ColumnType::Int | ColumnType::Date { .. } => Self::Int(Cells::default()),
            ColumnType::Decimal { precision, .. } if *precision > LONG_DIGITS => Self::Wide(Cells::default()),
            ColumnType::Bigint | ColumnType::Timestamp { .. } | ColumnType::Decimal { .. } => Self::Long(Cells::default()),
            ColumnType::Double => Self::Double(Cells::default()),
            ColumnType::Boolean => Self::Boolean(Cells::default()),
        }
    }

    /// Appends a value; one of another type than the column's counts as null.
    #[inline]
    fn push(&mut self, value: &Value<'_>) {
        match (self, value) {
            (Self::Text(nulls, texts), Value::String(text)) => {
                nulls.push(false, texts.rows());
                texts.push(text);
            }
            (Self::Text(nulls, texts), _) => {
                nulls.push(true, texts.rows());
                texts.push("");
            }
            (Self::Int(cells), Value::Int(value) | Value::Date(value)) => cells.push(Some(*value)),
            (Self::Int(cells), _) => cells.push(None),
            (Self::Long(cells), Value::Bigint(value) | Value::Timestamp(value)) => cells.push(Some(*value)),
            (Self::Long(cells), Value::Decimal(digits)) => cells.push(i64::try_from(*digits).ok()),
            (Self::Long(cells), _) => cells.push(None),
            (Self::Wide(cells), Value::Decimal(digits)) => cells.push(Some(*digits)),
            (Self::Wide(cells), _) => cells.push(None),
            (Self::Double(cells), Value::Double(value)) => cells.push(Some(*value)),
            (Self::Double(cells), _) => cells.push(None),
            (Self::Boolean(cells), Value::Boolean(value)) => cells.push(Some(*value)),
            (Self::Boolean(cells), _) => cells.push(None),
        }
    }

    /// Returns the texts of a String column.
    pub(crate) fn texts(&self) -> Option<&Texts> {
        match self {
            Self::Text(_, texts) => Some(texts),
            Self::Int(_) | Self::Long(_) | Self::Wide(_) | Self::Double(_) | Self::Boolean(_) => None,
        }
    }

    fn free(&mut self, block: usize) {
        match self {
            Self::Text(nulls, texts) => {
                nulls.free(block);
                texts.free(block);
            }
            Self::Int(cells) => cells.free(block),
            Self::Long(cells) => cells.free(block),
            Self::Wide(cells) => cells.free(block),
            Self::Double(cells) => cells.free(block),
            Self::Boolean(cells) => cells.free(block),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Text(nulls, texts) => nulls.memory_bytes() + texts.memory_bytes(),
            Self::Int(cells) => cells.memory_bytes(),
            Self::Long(cells) => cells.memory_bytes(),
            Self::Wide(cells) => cells.memory_bytes(),
            Self::Double(cells) => cells.memory_bytes(),
            Self::Boolean(cells) => cells.memory_bytes(),
        }
    }
}

impl Rows {
    /// Returns no rows of a schema.
    pub(crate) fn new(schema: &Schema) -> Self {
        let columns = schema.columns.iter().map(|column| Column::of(&column.column_type)).collect();
        Self { offsets: Blocks::default(), timestamps: Cells::default(), hive: Blocks::default(), columns }
    }

    /// Appends a row: a value for each declared column.
    #[inline]
    pub(crate) fn push(&mut self, offset: i64, timestamp_micros: Option<i64>, hive: u32, values: &[Value<'_>]) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp_micros);
        self.hive.push(hive);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
    }

    /// Returns how many rows were appended.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Returns the number of a row's block.
    #[inline]
    pub(crate) fn block_of(row: u32) -> usize {
        row as usize / BLOCK
    }

    /// Frees the rows of a block; they must not be asked for again.
    pub(crate) fn free(&mut self, block: usize) {
        self.offsets.free(block);
        self.timestamps.free(block);
        for column in &mut self.columns {
            column.free(block);
        }
    }

    /// Returns the bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.offsets.memory_bytes()
            + self.timestamps.memory_bytes()
            + self.hive.memory_bytes()
            + self.columns.iter().map(Column::memory_bytes).sum::<usize>()
            + self.columns.capacity() * size_of::<Column>()
    }
}
