//! Rows of a source, in a fixed order, from any row number on.

use stockpipeline::schema::Schema;

/// One row, reused from call to call: its buffers keep their capacity.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of the row in production order, from 0; goes on over passes.
    pub number: u64,
    /// Line of the file on which the row starts, from 1; 0 where there is no file.
    pub line: u64,
    /// Byte offset in the (uncompressed) file.
    pub byte_offset: u64,
    /// Text of the key column; empty for a row that could not be parsed.
    pub key: Vec<u8>,
    /// A JSON object, or the row's own text when `malformed` says so.
    pub value: Vec<u8>,
    /// Event time, microseconds since 1970, where the row has a readable one.
    pub event_time_micros: Option<i64>,
    /// Why the row could not be parsed: a closed label such as `WrongFieldCount`.
    pub malformed: Option<&'static str>,
}

/// Rows of a source.
pub enum Feed {}

impl Feed {
    /// Fills `row` with the next row; false at the end of a finite source.
    ///
    /// # Errors
    /// [`FeedError`] when the source cannot be read on.
    pub fn next(&mut self, row: &mut Row) -> Result<bool, FeedError> {
        let _ = row;
        todo!("feed helper")
    }
}

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {}

#[expect(dead_code, reason = "skeleton")]
fn skeleton(_: &Schema) {}
