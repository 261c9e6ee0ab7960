//! Typed values back to text: the one form that Hive values, buckets and JSON lines share.
//!
//! Timestamps stand as `YYYY-MM-DD HH:MM:SS[.ffffff]` in UTC: of the forms that Athena's JSON readers, Spark and Hive know it is the
//! only one that keeps microseconds in all of them.

use std::fmt::Write;

use super::Value;
use crate::civil::{Date, FIRST_MICROS, LAST_MICROS, MICROS_PER_DAY, MICROS_PER_SECOND, civil_from_days, day_of};
use crate::schema::ColumnType;

/// Bytes of the longest text of a timestamp.
pub const TIMESTAMP_BYTES: usize = 26;
/// Bytes of a day's text.
pub const DATE_BYTES: usize = 10;

impl Value<'_> {
    /// Appends the value's text; nothing for a null.
    ///
    /// A Decimal has all digits of its column's scale, a Double the fewest that read back as the same number.
    pub fn write_text(&self, column_type: &ColumnType, out: &mut String) {
        match self {
            Self::Null => {}
            Self::String(text) => out.push_str(text),
            Self::Int(value) => push_integer(i64::from(*value), out),
            Self::Bigint(value) => push_integer(*value, out),
            Self::Double(value) => write!(out, "{value}").expect("writing to a String cannot fail"),
            Self::Decimal(unscaled) => {
                let scale = if let ColumnType::Decimal { scale, .. } = column_type { *scale } else { 0 };
                push_decimal(*unscaled, scale, out);
            }
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Timestamp(micros) => out.push_str(timestamp_text(*micros, &mut [0; TIMESTAMP_BYTES])),
            Self::Date(days) => out.push_str(date_text(*days, &mut [0; DATE_BYTES])),
        }
    }
}

/// Writes an instant as `YYYY-MM-DD HH:MM:SS`, with six more digits where it is no whole second.
///
/// Instants outside the years 1 to 9999 stand as the nearest one inside.
pub fn timestamp_text(micros: i64, buffer: &mut [u8; TIMESTAMP_BYTES]) -> &str {
    let micros = micros.clamp(FIRST_MICROS, LAST_MICROS);
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    let (second, fraction) = (part(of_day / MICROS_PER_SECOND), part(of_day % MICROS_PER_SECOND));
    put_day(civil_from_days(day_of(micros)), buffer);
    buffer[10] = b' ';
    put(second / 3_600, &mut buffer[11..13]);
    buffer[13] = b':';
    put(second / 60 % 60, &mut buffer[14..16]);
    buffer[16] = b':';
    put(second % 60, &mut buffer[17..19]);
    buffer[19] = b'.';
    put(fraction, &mut buffer[20..]);
    ascii(if fraction == 0 { &buffer[..19] } else { &buffer[..] })
}

/// Writes a day as `YYYY-MM-DD`.
///
/// Days outside the years 1 to 9999 stand as the nearest one inside.
pub fn date_text(days: i32, buffer: &mut [u8; DATE_BYTES]) -> &str {
    day_text(civil_from_days(days.clamp(day_of(FIRST_MICROS), day_of(LAST_MICROS))), buffer)
}

/// Writes a day with the last four digits of its year.
pub(crate) fn day_text(day: Date, buffer: &mut [u8; DATE_BYTES]) -> &str {
    put_day(day, buffer);
    ascii(buffer)
}

fn put_day(Date { year, month, day }: Date, buffer: &mut [u8]) {
    put(year.cast_unsigned(), &mut buffer[..4]);
    buffer[4] = b'-';
    put(month, &mut buffer[5..7]);
    buffer[7] = b'-';
    put(day, &mut buffer[8..10]);
}

/// Fills a slice with the last decimal digits of a number.
#[inline]
fn put(mut value: u32, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn part(of_day: i64) -> u32 {
    u32::try_from(of_day).expect("a day has 86,400 seconds of a million microseconds")
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("digits and separators are ASCII")
}

pub(crate) fn push_integer(value: i64, out: &mut String) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push('-');
    }
    out.push_str(ascii(&digits[start..]));
}

fn push_decimal(unscaled: i128, scale: u8, out: &mut String) {
    if unscaled < 0 {
        out.push('-');
    }
    let start = out.len();
    let width = usize::from(scale) + 1;
    write!(out, "{:0width$}", unscaled.unsigned_abs()).expect("writing to a String cannot fail");
    if scale > 0 {
        let point = out.len() - usize::from(scale);
        debug_assert!(point > start, "one digit at least stands before the point");
        out.insert(point, '.');
    }
}
