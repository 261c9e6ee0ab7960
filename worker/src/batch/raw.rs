//! The raw zone's line of a record: one valid JSON object a line, whatever the payload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::clock_text::ClockText;
use crate::decode::{Object, Payload, escape_into};

/// Writes the lines of one Kafka partition.
#[derive(Debug)]
pub(crate) struct RawLine {
    /// `{"_kafka_partition":<partition>,"_kafka_offset":`
    head: Vec<u8>,
    clock: ClockText,
}

impl RawLine {
    /// Returns a writer of a Kafka partition's lines.
    pub(crate) fn new(partition: i32) -> Self {
        Self { head: format!("{{\"_kafka_partition\":{partition},\"_kafka_offset\":").into_bytes(), clock: ClockText::new() }
    }

    /// Appends the line of a record, without its end.
    ///
    /// An object keeps its text behind the Kafka columns; line breaks between its tokens become spaces. What is no object, or one whose
    /// members would not all be readable in the line, stands in `_raw` as text or in `_raw_base64`.
    #[inline]
    pub(crate) fn write(
        &mut self,
        offset: i64,
        timestamp_millis: Option<i64>,
        bytes: Option<&[u8]>,
        payload: &Payload<'_>,
        out: &mut Vec<u8>,
    ) {
        out.reserve(128 + bytes.map_or(0, <[u8]>::len));
        out.extend_from_slice(&self.head);
        push_integer(offset, out);
        match timestamp_millis {
            Some(millis) => {
                out.extend_from_slice(b",\"_kafka_timestamp\":\"");
                self.clock.millis(millis, out);
                out.push(b'"');
            }
            None => out.extend_from_slice(b",\"_kafka_timestamp\":null"),
        }
        match payload {
            Payload::Object(object) if object.is_empty => out.push(b'}'),
            Payload::Object(object) if is_readable(object) => {
                out.push(b',');
                let start = out.len();
                out.extend_from_slice(object.members().as_bytes());
                if object.line_breaks {
                    replace_line_breaks(&mut out[start..]);
                }
                out.push(b'}');
            }
            Payload::Object(_) | Payload::Text { .. } | Payload::Binary { .. } | Payload::Tombstone => write_as_text(bytes, out),
        }
    }
}

/// Whether every reader finds all members in the line. One that meets a name twice may take the whole line for malformed.
#[inline]
fn is_readable(object: &Object<'_>) -> bool {
    !object.reserved_name && !object.repeated_name && object.duplicate.is_none()
}

#[cold]
fn write_as_text(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b",\"_raw\":null}"),
        Some((_, Ok(text))) => {
            out.extend_from_slice(b",\"_raw\":\"");
            escape_into(text, out);
            out.extend_from_slice(b"\"}");
        }
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b",\"_raw_base64\":\"");
            push_base64(bytes, out);
            out.extend_from_slice(b"\"}");
        }
    }
}

/// In valid JSON a line break can only stand between tokens.
#[cold]
fn replace_line_breaks(members: &mut [u8]) {
    for byte in members {
        if *byte == b'\n' || *byte == b'\r' {
            *byte = b' ';
        }
    }
}

/// Appends bytes as base64.
pub(crate) fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
}

/// Appends an integer's digits.
#[inline]
pub(crate) fn push_integer(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}
