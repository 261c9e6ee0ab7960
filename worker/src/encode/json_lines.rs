//! Rows as JSON lines, each with the declared columns' names.

use bytes::Bytes;
use stockpipeline::rules::LineCompression;
use stockpipeline::schema::{ColumnType, KAFKA_COLUMNS};
use stockpipeline::value::{self, DATE_BYTES};

use super::Rows;
use crate::batch::clock_text::ClockText;
use crate::batch::lines::Lines;
use crate::batch::push_text;
use crate::batch::raw::push_integer;
use crate::batch::rows::Column;

/// Rows after which blocks are freed.
const SLICE_ROWS: usize = 8_192;

impl Rows<'_> {
    /// Returns the rows as JSON lines.
    pub(crate) fn json_lines(&mut self, compression: LineCompression) -> Bytes {
        let mut lines = Lines::new(compression);
        let mut clock = ClockText::new();
        let names: Vec<Vec<u8>> =
            self.schema.columns.iter().map(|column| format!(",{}:", serde_json::Value::from(column.name.as_str())).into_bytes()).collect();
        let order = self.order;
        for slice in order.chunks(SLICE_ROWS) {
            for row in slice {
                self.write_line(*row as usize, &names, &mut clock, lines.line());
                lines.end_line();
            }
            self.release(slice);
        }
        lines.finish()
    }

    fn write_line(&self, row: usize, names: &[Vec<u8>], clock: &mut ClockText, out: &mut Vec<u8>) {
        let [partition, offset, timestamp] = KAFKA_COLUMNS;
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(partition.as_bytes());
        out.extend_from_slice(b"\":");
        push_integer(i64::from(self.partition), out);
        out.extend_from_slice(b",\"");
        out.extend_from_slice(offset.as_bytes());
        out.extend_from_slice(b"\":");
        push_integer(self.buffered.offsets.get(row), out);
        out.extend_from_slice(b",\"");
        out.extend_from_slice(timestamp.as_bytes());
        out.extend_from_slice(b"\":");
        push_instant(self.buffered.timestamps.get(row), clock, out);
        for ((name, column), declared) in names.iter().zip(&self.buffered.columns).zip(&self.schema.columns) {
            out.extend_from_slice(name);
            push_cell(column, &declared.column_type, row, clock, out);
        }
        out.push(b'}');
    }
}

fn push_cell(column: &Column, column_type: &ColumnType, row: usize, clock: &mut ClockText, out: &mut Vec<u8>) {
    match column {
        Column::Text(nulls, texts) => {
            let text = std::str::from_utf8(texts.bytes(texts.entry(row))).unwrap_or_default();
            push_text((!nulls.contain(row)).then_some(text), out);
        }
        Column::Int(cells) => match (cells.get(row), column_type) {
            (None, _) => push_null(out),
            (Some(days), ColumnType::Date { .. }) => {
                out.push(b'"');
                out.extend_from_slice(value::date_text(days, &mut [0; DATE_BYTES]).as_bytes());
                out.push(b'"');
            }
            (Some(number), _) => push_integer(i64::from(number), out),
        },
        Column::Long(cells) => match (cells.get(row), column_type) {
            (None, _) => push_null(out),
            (instant, ColumnType::Timestamp { .. }) => push_instant(instant, clock, out),
            (Some(digits), ColumnType::Decimal { scale, .. }) => push_decimal(i128::from(digits), *scale, out),
            (Some(number), _) => push_integer(number, out),
        },
        Column::Wide(cells) => match (cells.get(row), column_type) {
            (Some(digits), ColumnType::Decimal { scale, .. }) => push_decimal(digits, *scale, out),
            _ => push_null(out),
        },
        Column::Double(cells) => match cells.get(row) {
            Some(number) => serde_json::to_writer(out, &number).expect("writing to memory cannot fail"),
            None => push_null(out),
        },
        Column::Boolean(cells) => match cells.get(row) {
            Some(true) => out.extend_from_slice(b"true"),
            Some(false) => out.extend_from_slice(b"false"),
            None => push_null(out),
        },
    }
}

fn push_null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

fn push_instant(micros: Option<i64>, clock: &mut ClockText, out: &mut Vec<u8>) {
    match micros {
        Some(micros) => {
            out.push(b'"');
            clock.micros(micros, out);
            out.push(b'"');
        }
        None => push_null(out),
    }
}

/// Appends unscaled digits as a JSON number with all digits of the scale.
fn push_decimal(digits: i128, scale: u8, out: &mut Vec<u8>) {
    let text = format!("{:0width$}", digits.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = text.split_at(text.len() - usize::from(scale));
    if digits < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}
