//! Rows as one Parquet file.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal64Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use stockpipeline::rules::PageCompression;
use stockpipeline::schema::{ColumnType, KAFKA_COLUMNS};

use super::{Rows, arrow_type, scale_of, schema_of};
use crate::batch::blocks::BLOCK;
use crate::batch::lines::Segments;
use crate::batch::rows::{Cells, Column, LONG_DIGITS, Nulls};
use crate::batch::texts::Texts;
use crate::pieces::Pieces;

/// Rows gathered at a time: what is not yet encoded of them is held twice.
const SLICE_ROWS: usize = BLOCK;

/// Bytes of texts gathered at a time, so that few long rows are held twice, and none outgrows Arrow's 32-bit offsets.
const SLICE_TEXT_BYTES: usize = 16 << 20;

/// Rows of a row group: a reader holds one group, and skips by page inside it.
const GROUP_ROWS: usize = 1 << 20;

/// Encoded bytes of a row group; the writer holds as much until the group ends.
const GROUP_BYTES: usize = 64 << 20;

/// Rows that tell whether the values of a column repeat.
const SAMPLE_ROWS: usize = 1_000;

const ZSTD_LEVEL: i32 = 1;
const GZIP_LEVEL: u32 = 1;

impl Rows<'_> {
    /// Returns the rows as a Parquet file.
    pub(crate) fn parquet(&mut self, compression: PageCompression) -> Pieces {
        const PROOF: &str = "writing to memory cannot fail, and the batches have the writer's schema";
        let schema = Arc::new(schema_of(self.schema, held_type));
        let options = ArrowWriterOptions::new().with_properties(self.properties(compression)).with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Segments::default(), Arc::clone(&schema), options).expect(PROOF);
        let order = self.order;
        let mut rest = order;
        while !rest.is_empty() {
            let (slice, later) = rest.split_at(self.slice_rows(rest));
            writer.write(&self.gather(&schema, slice)).expect(PROOF);
            self.release(slice);
            rest = later;
        }
        writer.into_inner().expect(PROOF).into_pieces()
    }

    fn properties(&self, compression: PageCompression) -> WriterProperties {
        let mut properties = WriterProperties::builder()
            // Data pages of the first version: every engine reads them, the second not all.
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(codec(compression))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES));
        let [_, offset, timestamp] = KAFKA_COLUMNS;
        let mut distinct = vec![(offset, true), (timestamp, true)];
        for (column, declared) in self.buffered.columns.iter().zip(&self.schema.columns) {
            match column {
                Column::Long(cells) if self.hardly_repeat(|row| cells.values.get(row)) => distinct.push((&declared.name, true)),
                Column::Int(cells) if self.hardly_repeat(|row| i64::from(cells.values.get(row))) => distinct.push((&declared.name, true)),
                Column::Double(cells) if self.hardly_repeat(|row| cells.values.get(row).to_bits()) => {
                    distinct.push((&declared.name, false));
                }
                Column::Text(_, texts) if self.hardly_repeat(|row| texts.entry(row)) => distinct.push((&declared.name, false)),
                Column::Long(_) | Column::Int(_) | Column::Double(_) | Column::Text(..) | Column::Wide(_) | Column::Boolean(_) => {}
            }
        }
        for (name, as_deltas) in distinct {
            let path = ColumnPath::from(name);
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
            if as_deltas {
                properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
        }
        properties.build()
    }

    /// Returns whether nearly all cells of a sample differ: a dictionary would hash each of them and then hold them once more.
    fn hardly_repeat<T: Ord>(&self, cell: impl Fn(usize) -> T) -> bool {
        let step = (self.order.len() / SAMPLE_ROWS).max(1);
        let mut sample: Vec<T> = self.order.iter().step_by(step).take(SAMPLE_ROWS).map(|row| cell(*row as usize)).collect();
        let rows = sample.len();
        sample.sort_unstable();
        sample.dedup();
        sample.len() > rows / 10 * 9
    }

    /// Returns how many of the rows are gathered next.
    fn slice_rows(&self, rows: &[u32]) -> usize {
        let most = rows.len().min(SLICE_ROWS);
        let is_bounded = |texts: &Texts| texts.longest() * SLICE_ROWS <= SLICE_TEXT_BYTES;
        let texts: Vec<&Texts> = self.buffered.columns.iter().filter_map(Column::texts).filter(|texts| !is_bounded(texts)).collect();
        if texts.is_empty() {
            return most;
        }
        let mut bytes = 0;
        for (index, row) in rows.iter().take(most).enumerate() {
            bytes += texts.iter().map(|texts| texts.bytes(texts.entry(*row as usize)).len()).sum::<usize>();
            if bytes > SLICE_TEXT_BYTES {
                return index.max(1);
            }
        }
        most
    }

    fn gather(&self, schema: &SchemaRef, slice: &[u32]) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        arrays.push(Arc::new(Int32Array::from(vec![self.partition; slice.len()])));
        arrays.push(Arc::new(Int64Array::from_iter_values(slice.iter().map(|row| self.buffered.offsets.get(*row as usize)))));
        let (timestamps, nulls) = gather(&self.buffered.timestamps, slice);
        arrays.push(Arc::new(TimestampMicrosecondArray::new(timestamps, nulls).with_timezone("UTC")));
        for (column, declared) in self.buffered.columns.iter().zip(&self.schema.columns) {
            arrays.push(array(column, &declared.column_type, slice));
        }
        RecordBatch::try_new(Arc::clone(schema), arrays).expect("the arrays are made by the schema")
    }
}

/// Returns the Arrow type that a column is gathered in; its Parquet type is that of [`arrow_type`].
fn held_type(column_type: &ColumnType) -> DataType {
    match column_type {
        ColumnType::Decimal { precision, scale, .. } if *precision <= LONG_DIGITS => DataType::Decimal64(*precision, scale_of(*scale)),
        other => arrow_type(other),
    }
}

fn codec(compression: PageCompression) -> Compression {
    match compression {
        PageCompression::None => Compression::UNCOMPRESSED,
        PageCompression::Snappy => Compression::SNAPPY,
        PageCompression::Gzip => Compression::GZIP(GzipLevel::try_new(GZIP_LEVEL).expect("gzip has this level")),
        PageCompression::Zstd => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("zstd has this level")),
    }
}

fn array(column: &Column, column_type: &ColumnType, slice: &[u32]) -> ArrayRef {
    match column {
        Column::Text(nulls, texts) => text_array(nulls, texts, slice),
        Column::Int(cells) => {
            let (values, nulls) = gather(cells, slice);
            if let ColumnType::Date { .. } = column_type {
                Arc::new(Date32Array::new(values, nulls))
            } else {
                Arc::new(Int32Array::new(values, nulls))
            }
        }
        Column::Long(cells) => {
            let (values, nulls) = gather(cells, slice);
            match held_type(column_type) {
                DataType::Decimal64(precision, scale) => {
                    Arc::new(Decimal64Array::new(values, nulls).with_data_type(DataType::Decimal64(precision, scale)))
                }
                DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone("UTC")),
                _ => Arc::new(Int64Array::new(values, nulls)),
            }
        }
        Column::Wide(cells) => {
            let (values, nulls) = gather(cells, slice);
            Arc::new(Decimal128Array::new(values, nulls).with_data_type(held_type(column_type)))
        }
        Column::Double(cells) => {
            let (values, nulls) = gather(cells, slice);
            Arc::new(Float64Array::new(values, nulls))
        }
        Column::Boolean(cells) => {
            let values = BooleanBuffer::collect_bool(slice.len(), |index| cells.values.get(slice[index] as usize));
            Arc::new(BooleanArray::new(values, gather_nulls(&cells.nulls, slice)))
        }
    }
}

fn gather<T: arrow::datatypes::ArrowNativeType + Default>(cells: &Cells<T>, slice: &[u32]) -> (ScalarBuffer<T>, Option<NullBuffer>) {
    let values: Vec<T> = slice.iter().map(|row| cells.values.get(*row as usize)).collect();
    (ScalarBuffer::from(values), gather_nulls(&cells.nulls, slice))
}

fn gather_nulls(nulls: &Nulls, slice: &[u32]) -> Option<NullBuffer> {
    if !nulls.any() {
        return None;
    }
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(slice.len(), |index| !nulls.contain(slice[index] as usize)));
    if nulls.null_count() == 0 { None } else { Some(nulls) }
}

fn text_array(nulls: &Nulls, texts: &Texts, slice: &[u32]) -> ArrayRef {
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(slice.len() + 1);
    ends.push(0_i32);
    for row in slice {
        bytes.extend_from_slice(texts.bytes(texts.entry(*row as usize)));
        ends.push(
            i32::try_from(bytes.len()).expect("a slice holds at most one text beyond its limit, and kafka's records are below 2 GiB"),
        );
    }
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    Arc::new(StringArray::new(ends, Buffer::from_vec(bytes), gather_nulls(nulls, slice)))
}
