//! Buffered rows to the bytes of objects. Pure; writes to memory only.
//!
//! Parquet: every column is OPTIONAL, whatever the schema says of nulls, so that a column may become nullable without a change of the files.
//! The files carry nothing that differs between two workers that encode the same rows with the same release.

mod json_lines;
mod parquet_file;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use stockpipeline::schema::{ColumnType, KAFKA_COLUMNS, Schema};

use crate::batch::rows;

/// The rows of one object, in their order, out of those of a buffer.
pub(crate) struct Rows<'a> {
    pub(crate) schema: &'a Schema,
    /// `_kafka_partition`.
    pub(crate) partition: i32,
    pub(crate) buffered: &'a mut rows::Rows,
    pub(crate) order: &'a [u32],
    /// Rows of each block that are still to be encoded; a block without any is freed.
    pub(crate) left: &'a mut [u32],
}

/// Returns the Arrow schema of the processed zone: the Kafka columns and the declared ones, all nullable.
#[must_use]
pub fn arrow_schema(schema: &Schema) -> arrow::datatypes::Schema {
    schema_of(schema, arrow_type)
}

/// Returns the Arrow (and so the Parquet) type of a column.
#[must_use]
pub fn arrow_type(column_type: &ColumnType) -> DataType {
    match column_type {
        ColumnType::String => DataType::Utf8,
        ColumnType::Int => DataType::Int32,
        ColumnType::Bigint => DataType::Int64,
        ColumnType::Double => DataType::Float64,
        ColumnType::Decimal { precision, scale, .. } => DataType::Decimal128(*precision, scale_of(*scale)),
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Timestamp { .. } => instant(),
        ColumnType::Date { .. } => DataType::Date32,
    }
}

fn schema_of(schema: &Schema, type_of: impl Fn(&ColumnType) -> DataType) -> arrow::datatypes::Schema {
    let [partition, offset, timestamp] = KAFKA_COLUMNS;
    let mut fields = vec![
        Field::new(partition, DataType::Int32, true),
        Field::new(offset, DataType::Int64, true),
        Field::new(timestamp, instant(), true),
    ];
    fields.extend(schema.columns.iter().map(|column| Field::new(&column.name, type_of(&column.column_type), true)));
    arrow::datatypes::Schema::new(fields)
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

fn scale_of(scale: u8) -> i8 {
    i8::try_from(scale).expect("a scale is at most 38")
}

impl Rows<'_> {
    /// Notes that rows are encoded and frees the blocks that hold no others.
    fn release(&mut self, encoded: &[u32]) {
        for row in encoded {
            let block = rows::Rows::block_of(*row);
            self.left[block] -= 1;
            if self.left[block] == 0 {
                self.buffered.free(block);
            }
        }
    }
}
