//! Hive partition values of typed values.
//!
//! Values are unescaped texts. Hive has one name for a null and for an empty text, so both are [`NULL_PARTITION`]. A value whose
//! escaped form is longer than [`HIVE_VALUE_BYTES`] is cut and ends in `~` and 16 hexadecimal digits of its SHA-256: the
//! row itself keeps its whole column, and equal values still meet in one partition.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::escape::escaped_bytes;
use super::{NULL_PARTITION, hex};
use crate::civil::{MICROS_PER_DAY, MICROS_PER_SECOND, civil_from_days, day_of};
use crate::murmur2;
use crate::rules::{PartitionField, Transform};
use crate::schema::{Column, Zone};
use crate::value::{DATE_BYTES, Value, day_text, push_integer};

/// Bytes of the longest Hive value in a path, escapes included.
pub const HIVE_VALUE_BYTES: usize = 200;
/// Bytes of the mark that ends a cut value.
const CUT_MARK_BYTES: usize = 1 + 16;

/// Appends the (unescaped) Hive value of a column's value under a partition field to `out`.
///
/// A value that the transform does not take (which no checked pipeline has) is a null.
pub fn hive_value(field: &PartitionField, column: &Column, value: &Value<'_>, out: &mut String) {
    let start = out.len();
    match &field.transform {
        Transform::Year { time_zone } => push_day(value, time_zone, "YYYY".len(), out),
        Transform::Month { time_zone } => push_day(value, time_zone, "YYYY-MM".len(), out),
        Transform::Day { time_zone } => push_day(value, time_zone, "YYYY-MM-DD".len(), out),
        Transform::Hour { time_zone } => {
            if let Some(local) = local_micros(value, time_zone) {
                let hour = local.rem_euclid(MICROS_PER_DAY) / (3_600 * MICROS_PER_SECOND);
                if hour < 10 {
                    out.push('0');
                }
                push_integer(hour, out);
            }
        }
        Transform::Identity => {
            value.write_text(&column.column_type, out);
            cut(start, out);
        }
        Transform::Bucket { count } => push_bucket(column, value, *count, out),
        Transform::Truncate { width } => {
            push_truncated(column, value, *width, out);
            cut(start, out);
        }
    }
    if out.len() == start {
        out.push_str(NULL_PARTITION);
    }
}

/// Returns the bytes of the longest value of a transform in a path, escapes included.
pub(super) fn longest_value(transform: &Transform) -> usize {
    let longest = match transform {
        Transform::Year { .. } => 5,
        Transform::Month { .. } => 8,
        Transform::Day { .. } => 11,
        Transform::Hour { .. } => 2,
        Transform::Bucket { .. } => 10,
        Transform::Identity | Transform::Truncate { .. } => HIVE_VALUE_BYTES,
    };
    longest.max(NULL_PARTITION.len())
}

fn local_micros(value: &Value<'_>, zone: &Zone) -> Option<i64> {
    match value {
        Value::Timestamp(micros) => Some(zone.local(*micros)),
        // A calendar day is the same in every zone.
        Value::Date(_) => value.event_time_micros(),
        Value::Null | Value::String(_) | Value::Int(_) | Value::Bigint(_) | Value::Double(_) | Value::Decimal(_) | Value::Boolean(_) => {
            None
        }
    }
}

/// Appends the first `width` characters of the local day `YYYY-MM-DD`.
fn push_day(value: &Value<'_>, zone: &Zone, width: usize, out: &mut String) {
    let Some(local) = local_micros(value, zone) else { return };
    // The zone may carry the first and the last day of the type table into the years 0 and 10000.
    let day = civil_from_days(day_of(local));
    if day.year > 9_999 {
        out.push('1');
    }
    out.push_str(&day_text(day, &mut [0; DATE_BYTES])[..width]);
}

fn push_bucket(column: &Column, value: &Value<'_>, count: u32, out: &mut String) {
    let bucket = match value {
        Value::Null => return,
        Value::String(text) => murmur2::bucket(text.as_bytes(), count),
        Value::Int(_)
        | Value::Bigint(_)
        | Value::Double(_)
        | Value::Decimal(_)
        | Value::Boolean(_)
        | Value::Timestamp(_)
        | Value::Date(_) => {
            let start = out.len();
            value.write_text(&column.column_type, out);
            let bucket = murmur2::bucket(&out.as_bytes()[start..], count);
            out.truncate(start);
            bucket
        }
    };
    push_integer(i64::from(bucket), out);
}

fn push_truncated(column: &Column, value: &Value<'_>, width: u32, out: &mut String) {
    match value {
        Value::Int(number) => push_floor(i64::from(*number), width, out),
        Value::Bigint(number) => push_floor(*number, width, out),
        Value::Null
        | Value::String(_)
        | Value::Double(_)
        | Value::Decimal(_)
        | Value::Boolean(_)
        | Value::Timestamp(_)
        | Value::Date(_) => {
            let start = out.len();
            value.write_text(&column.column_type, out);
            if let Some((end, _)) = out[start..].char_indices().nth(usize::try_from(width).unwrap_or(usize::MAX)) {
                out.truncate(start + end);
            }
        }
    }
}

fn push_floor(number: i64, width: u32, out: &mut String) {
    let above = number.rem_euclid(i64::from(width.max(1)));
    match number.checked_sub(above) {
        Some(floor) => push_integer(floor, out),
        // The multiple below lies outside the type.
        None => write!(out, "{}", i128::from(number) - i128::from(above)).expect("writing to a String cannot fail"),
    }
}

/// Shortens the value that starts at `start` when its escaped form is too long.
fn cut(start: usize, out: &mut String) {
    let value = &out[start..];
    // No byte becomes more than three.
    if value.len() <= HIVE_VALUE_BYTES / 3 || value.chars().map(escaped_bytes).sum::<usize>() <= HIVE_VALUE_BYTES {
        return;
    }
    let mark = hex(&Sha256::digest(value.as_bytes())[..8]);
    let mut left = HIVE_VALUE_BYTES - CUT_MARK_BYTES;
    let mut end = 0;
    for (position, character) in value.char_indices() {
        let Some(rest) = left.checked_sub(escaped_bytes(character)) else { break };
        left = rest;
        end = position + character.len_utf8();
    }
    out.truncate(start + end);
    out.push('~');
    out.push_str(&mark);
}
