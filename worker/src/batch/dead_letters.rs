//! The dead-letter zone's line of a record: why it has no row, and all that Kafka held of it. Its names are those of the table.

use stockpipeline::schema::Schema;
use stockpipeline::table::{BASE64, UTF8};

use super::clock_text::ClockText;
use super::raw::{push_base64, push_integer};
use crate::decode::{DeadLetter, escape_into};
use crate::record::Record;

/// Writes the dead letters of one Kafka partition.
#[derive(Debug)]
pub(crate) struct DeadLetterLine {
    partition: i32,
    clock: ClockText,
}

impl DeadLetterLine {
    /// Returns a writer of a Kafka partition's dead letters.
    pub(crate) fn new(partition: i32) -> Self {
        Self { partition, clock: ClockText::new() }
    }

    /// Appends the line of a record, without its end.
    pub(crate) fn write(&mut self, topic: &str, schema: &Schema, record: &Record<'_>, dead_letter: &DeadLetter, out: &mut Vec<u8>) {
        let column = dead_letter.column.and_then(|index| schema.columns.get(index)).map(|column| column.name.as_str());
        out.extend_from_slice(b"{\"error_class\":");
        push_text(Some(dead_letter.class), out);
        out.extend_from_slice(b",\"error_message\":");
        push_text(Some(&dead_letter.message), out);
        out.extend_from_slice(b",\"error_column\":");
        push_text(column, out);
        out.extend_from_slice(b",\"topic\":");
        push_text(Some(topic), out);
        out.extend_from_slice(b",\"_kafka_partition\":");
        push_integer(i64::from(self.partition), out);
        out.extend_from_slice(b",\"_kafka_offset\":");
        push_integer(record.offset, out);
        out.extend_from_slice(b",\"_kafka_timestamp\":");
        match record.timestamp_millis {
            Some(millis) => {
                out.push(b'"');
                self.clock.millis(millis, out);
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"key\":");
        let encoding = push_bytes(record.key, out);
        out.extend_from_slice(b",\"key_encoding\":");
        push_text(encoding, out);
        out.extend_from_slice(b",\"headers\":[");
        for (index, header) in record.headers.read().iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"{\"name\":" } else { b",{\"name\":" });
            push_text(Some(&header.name), out);
            out.extend_from_slice(b",\"value\":");
            let encoding = push_bytes(header.value.as_deref(), out);
            out.extend_from_slice(b",\"encoding\":");
            push_text(encoding, out);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"payload\":");
        let encoding = push_bytes(record.payload, out);
        out.extend_from_slice(b",\"payload_encoding\":");
        push_text(encoding, out);
        out.push(b'}');
    }
}

/// Appends a JSON string or `null`.
pub(crate) fn push_text(text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    escape_into(text, out);
    out.push(b'"');
}

/// Appends bytes as a JSON string, text where they are UTF-8 and base64 where not, and returns which.
fn push_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) -> Option<&'static str> {
    let Some(bytes) = bytes else {
        push_text(None, out);
        return None;
    };
    if let Ok(text) = std::str::from_utf8(bytes) {
        push_text(Some(text), out);
        Some(UTF8)
    } else {
        out.push(b'"');
        push_base64(bytes, out);
        out.push(b'"');
        Some(BASE64)
    }
}
