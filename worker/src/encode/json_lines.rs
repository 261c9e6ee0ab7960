//! Rows as JSON lines, each with the declared columns' names.

use stockpipeline::rules::LineCompression;
use stockpipeline::schema::{ColumnType, KAFKA_COLUMNS};
use stockpipeline::value::{self, DATE_BYTES};

use super::Rows;
use crate::batch::clock_text::ClockText;
use crate::batch::lines::Lines;
use crate::batch::push_text;
use crate::batch::raw::push_integer;
use crate::batch::rows::Column;
use crate::pieces::Pieces;

/// Rows gathered at a time, so that what a line takes from many places is near when it is written.
const SLICE_ROWS: usize = 1_024;

/// Cells of one declared column in the order of the lines.
enum Cells<'a> {
    Text(Vec<Option<&'a [u8]>>),
    Int(Vec<Option<i32>>),
    Long(Vec<Option<i64>>),
    Wide(Vec<Option<i128>>),
    Double(Vec<Option<f64>>),
    Boolean(Vec<Option<bool>>),
}

impl Rows<'_> {
    /// Returns the rows as JSON lines.
    pub(crate) fn json_lines(&mut self, compression: LineCompression) -> Pieces {
        let mut lines = Lines::new(compression);
        // One clock a column: a row's instants mostly lie in the same seconds as those of the row before.
        let mut kafka_clock = ClockText::new();
        let mut clocks: Vec<ClockText> = self.schema.columns.iter().map(|_| ClockText::new()).collect();
        let names: Vec<Vec<u8>> =
            self.schema.columns.iter().map(|column| format!(",{}:", serde_json::Value::from(column.name.as_str())).into_bytes()).collect();
        let order = self.order;
        for slice in order.chunks(SLICE_ROWS) {
            let offsets: Vec<i64> = slice.iter().map(|row| self.buffered.offsets.get(*row as usize)).collect();
            let timestamps: Vec<Option<i64>> = slice.iter().map(|row| self.buffered.timestamps.get(*row as usize)).collect();
            let columns: Vec<Cells<'_>> = self.buffered.columns.iter().map(|column| Cells::gather(column, slice)).collect();
            for (index, (offset, timestamp)) in offsets.into_iter().zip(timestamps).enumerate() {
                let out = lines.line();
                push_kafka_columns(self.partition, offset, timestamp, &mut kafka_clock, out);
                for (((name, cells), declared), clock) in names.iter().zip(&columns).zip(&self.schema.columns).zip(&mut clocks) {
                    out.extend_from_slice(name);
                    cells.push(index, &declared.column_type, clock, out);
                }
                out.push(b'}');
                lines.end_line();
            }
            self.release(slice);
        }
        lines.finish()
    }
}

fn push_kafka_columns(kafka_partition: i32, kafka_offset: i64, kafka_timestamp: Option<i64>, clock: &mut ClockText, out: &mut Vec<u8>) {
    let [partition, offset, timestamp] = KAFKA_COLUMNS;
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(partition.as_bytes());
    out.extend_from_slice(b"\":");
    push_integer(i64::from(kafka_partition), out);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(offset.as_bytes());
    out.extend_from_slice(b"\":");
    push_integer(kafka_offset, out);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(timestamp.as_bytes());
    out.extend_from_slice(b"\":");
    push_instant(kafka_timestamp, clock, out);
}

impl<'a> Cells<'a> {
    fn gather(column: &'a Column, slice: &[u32]) -> Self {
        let rows = slice.iter().map(|row| *row as usize);
        match column {
            Column::Text(nulls, texts) => {
                Self::Text(rows.map(|row| if nulls.contain(row) { None } else { Some(texts.bytes(texts.entry(row))) }).collect())
            }
            Column::Int(cells) => Self::Int(rows.map(|row| cells.get(row)).collect()),
            Column::Long(cells) => Self::Long(rows.map(|row| cells.get(row)).collect()),
            Column::Wide(cells) => Self::Wide(rows.map(|row| cells.get(row)).collect()),
            Column::Double(cells) => Self::Double(rows.map(|row| cells.get(row)).collect()),
            Column::Boolean(cells) => Self::Boolean(rows.map(|row| cells.get(row)).collect()),
        }
    }

    /// Appends a cell as a JSON value.
    fn push(&self, index: usize, column_type: &ColumnType, clock: &mut ClockText, out: &mut Vec<u8>) {
        match self {
            Self::Text(cells) => push_text(cells[index].map(|bytes| std::str::from_utf8(bytes).unwrap_or_default()), out),
            Self::Int(cells) => match (cells[index], column_type) {
                (None, _) => push_null(out),
                (Some(days), ColumnType::Date { .. }) => {
                    out.push(b'"');
                    out.extend_from_slice(value::date_text(days, &mut [0; DATE_BYTES]).as_bytes());
                    out.push(b'"');
                }
                (Some(number), _) => push_integer(i64::from(number), out),
            },
            Self::Long(cells) => match (cells[index], column_type) {
                (None, _) => push_null(out),
                (instant, ColumnType::Timestamp { .. }) => push_instant(instant, clock, out),
                (Some(digits), ColumnType::Decimal { scale, .. }) => push_decimal(i128::from(digits), *scale, out),
                (Some(number), _) => push_integer(number, out),
            },
            Self::Wide(cells) => match (cells[index], column_type) {
                (Some(digits), ColumnType::Decimal { scale, .. }) => push_decimal(digits, *scale, out),
                _ => push_null(out),
            },
            Self::Double(cells) => match cells[index] {
                Some(number) => serde_json::to_writer(out, &number).expect("writing to memory cannot fail"),
                None => push_null(out),
            },
            Self::Boolean(cells) => match cells[index] {
                Some(true) => out.extend_from_slice(b"true"),
                Some(false) => out.extend_from_slice(b"false"),
                None => push_null(out),
            },
        }
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
    let scale = usize::from(scale);
    // 39 digits of an i128, or the zeros of a small number before and behind its point.
    let mut text = [b'0'; 40];
    let mut start = text.len();
    let mut rest = digits.unsigned_abs();
    while u64::try_from(rest).is_err() {
        start -= 1;
        text[start] = digit(u64::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
    }
    // Most decimals fit a word, whose division is many times faster.
    let mut rest = u64::try_from(rest).unwrap_or(0);
    while rest > 0 {
        start -= 1;
        text[start] = digit(rest % 10);
        rest /= 10;
    }
    let point = text.len() - scale;
    if digits < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&text[start.min(point - 1)..point]);
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(&text[point..]);
    }
}

fn digit(number: u64) -> u8 {
    b"0123456789"[usize::try_from(number).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_all_digits_of_their_scale() {
        for (digits, scale, expected) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (12_345, 2, "123.45"),
            (12_345, 0, "12345"),
            (i128::from(u64::MAX) + 1, 1, "1844674407370955161.6"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 38, "0.99999999999999999999999999999999999999"),
            (-99_999_999_999_999_999_999_999_999_999_999_999_999, 0, "-99999999999999999999999999999999999999"),
        ] {
            let mut out = Vec::new();
            push_decimal(digits, scale, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
