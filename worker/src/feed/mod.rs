//! Rows of a source, in a fixed order, from any row number on.
//!
//! A row has two phases, so that a replica that owns few slots pays little for the others' rows: [`Feed::advance`]
//! finds the next row and gives its number and key, [`Feed::encode`] writes the value of the row that it found.
//! Which row has which number depends on the source's content, order and seed only, never on the process that reads it.
//!
//! Nothing is dropped in silence: a row that cannot be parsed goes on as its own text with a reason
//! ([`Malformed`]); only lines without a single byte are left out, and counted.

mod csv;
mod cut;
mod download;
mod error;
mod header;
mod json;
mod mix;
mod order;
mod synthetic;
mod unpack;
mod window;

pub mod pace;
pub mod places;

use std::fmt;

use stockpipeline::checked::Source;
use stockpipeline::schema::Schema;

pub use error::FeedError;
pub use pace::Schedule;
pub use places::{Limits, Places};

/// Most bytes of a row's text and of its value: below a topic's usual `max.message.bytes`. Longer text goes on in pieces.
pub const MAX_ROW_BYTES: usize = 900_000;

/// What a feed is opened with, apart from its source.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Declared columns.
    pub schema: &'a Schema,
    /// Index of the column whose text is the key.
    pub key_column: usize,
    /// Where files lie and how they are fetched.
    pub places: &'a Places,
    /// Most bytes that a file in `EventTime` or `Random` order may take in memory.
    pub memory_bytes: u64,
}

/// The row that [`Feed::advance`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHead<'a> {
    /// Number of the row in production order, from 0; goes on over passes.
    pub number: u64,
    /// Line of the file on which the row starts, from 1; 0 where there is no file.
    pub line: u64,
    /// Byte offset in the (uncompressed) file.
    pub byte_offset: u64,
    /// Text of the key column; empty for a row that could not be parsed and for a null key.
    pub key: &'a [u8],
    /// Event time, microseconds since 1970, where order or pace need it and the row has a readable one.
    pub event_time_micros: Option<i64>,
    /// Why the row could not be parsed; its value is then its own text.
    pub malformed: Option<Malformed>,
}

/// One whole row, reused from call to call: its buffers keep their capacity.
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
    /// Event time, microseconds since 1970, where order or pace need it and the row has a readable one.
    pub event_time_micros: Option<i64>,
    /// Why the row could not be parsed: the label of a [`Malformed`].
    pub malformed: Option<&'static str>,
}

/// Why a row could not be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Every field is empty.
    EmptyRow,
    /// More or fewer fields than the header.
    WrongFieldCount,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// A quote that is not closed within [`MAX_ROW_BYTES`] or before the end of the file. The row ends with its line.
    UnbalancedQuote,
    /// Text or value above [`MAX_ROW_BYTES`]; text above it goes on in pieces, each a row.
    TooLong,
}

impl Malformed {
    /// Every reason, in the order of [`Counts::malformed`].
    pub const ALL: [Self; 5] = [Self::EmptyRow, Self::WrongFieldCount, Self::InvalidUtf8, Self::UnbalancedQuote, Self::TooLong];

    /// Returns the label used in headers, logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::EmptyRow => "EmptyRow",
            Self::WrongFieldCount => "WrongFieldCount",
            Self::InvalidUtf8 => "InvalidUtf8",
            Self::UnbalancedQuote => "UnbalancedQuote",
            Self::TooLong => "TooLong",
        }
    }
}

/// What a feed has passed since it was opened, sought rows not included.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Rows, malformed ones included.
    pub rows: u64,
    /// Malformed rows, in the order of [`Malformed::ALL`].
    pub malformed: [u64; Malformed::ALL.len()],
    /// Lines without a single byte, which are no rows.
    pub blank_lines: u64,
}

/// What seeking a row came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// The row is the next one.
    Found,
    /// A finite source has fewer rows; the feed is at its end.
    Beyond,
    /// So many rows were passed as one call may pass; the same call again goes on.
    Underway,
}

/// How much of the stored (compressed) file has been read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct BytesRead {
    /// Bytes read in the present pass.
    pub read: u64,
    /// Bytes of the file.
    pub total: u64,
}

/// Rows of a source.
pub struct Feed {
    kind: Kind,
}

enum Kind {
    Csv(Box<csv::Replay>),
    Synthetic(Box<synthetic::Ticks>),
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl Feed {
    /// Opens a source: fetches the file if it is elsewhere, takes its fingerprint, checks its header and, for an order
    /// that needs it, reads it into memory. The feed stands before row 0.
    ///
    /// # Errors
    /// [`FeedError`]; a download is retried first, as [`Limits`] says. Safe to cancel.
    pub async fn open(source: &Source, opening: &Opening<'_>) -> Result<Self, FeedError> {
        match source {
            Source::CsvReplay(settings) => Ok(Self { kind: Kind::Csv(Box::new(csv::Replay::open(settings, opening).await?)) }),
            Source::Synthetic(settings) => {
                Ok(Self { kind: Kind::Synthetic(Box::new(synthetic::Ticks::new(settings, opening.schema, opening.key_column))) })
            }
            Source::ExternalTopic => Err(FeedError::NotProduced),
        }
    }

    /// Finds the next row; None at the end of a finite source, and of a repeated one that has no row at all.
    /// May block on the file. After an error every further call gives an error too.
    ///
    /// # Errors
    /// [`FeedError`] when the source cannot be read on; every row before it was given.
    pub fn advance(&mut self) -> Result<Option<RowHead<'_>>, FeedError> {
        match &mut self.kind {
            Kind::Csv(replay) => replay.advance(),
            Kind::Synthetic(ticks) => Ok(ticks.advance()),
        }
    }

    /// Appends the value of the row that [`Feed::advance`] found last: a JSON object, or its own text if it is malformed.
    /// At most [`MAX_ROW_BYTES`].
    pub fn encode(&mut self, value: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Csv(replay) => replay.encode(value),
            Kind::Synthetic(ticks) => ticks.encode(value),
        }
    }

    /// Fills `row` with the next row; false at the end of a finite source. [`Feed::advance`] and [`Feed::encode`] in one.
    ///
    /// # Errors
    /// As [`Feed::advance`].
    pub fn next(&mut self, row: &mut Row) -> Result<bool, FeedError> {
        let Some(head) = self.advance()? else {
            return Ok(false);
        };
        row.number = head.number;
        row.line = head.line;
        row.byte_offset = head.byte_offset;
        row.key.clear();
        row.key.extend_from_slice(head.key);
        row.event_time_micros = head.event_time_micros;
        row.malformed = head.malformed.map(Malformed::label);
        row.value.clear();
        self.encode(&mut row.value);
        Ok(true)
    }

    /// Moves the feed so that the next row is row `number`, which may lie in a later pass; false when a finite source
    /// has fewer rows than that (the feed is then at its end). Backwards starts the file again. May block on the file.
    ///
    /// # Errors
    /// As [`Feed::advance`].
    pub fn seek(&mut self, number: u64) -> Result<bool, FeedError> {
        Ok(self.seek_within(number, u64::MAX)? == Sought::Found)
    }

    /// Does what [`Feed::seek`] does, but passes at most so many rows of the file, for who has other things to do meanwhile.
    ///
    /// # Errors
    /// As [`Feed::advance`].
    pub fn seek_within(&mut self, number: u64, most_rows: u64) -> Result<Sought, FeedError> {
        match &mut self.kind {
            Kind::Csv(replay) => replay.seek(number, most_rows),
            Kind::Synthetic(ticks) => Ok(if ticks.seek(number) { Sought::Found } else { Sought::Beyond }),
        }
    }

    /// Returns the rows of the whole source: for a repeated file those of one pass. None while unknown (a file in its own
    /// order, before its end was reached once) and for an endless source.
    #[must_use]
    pub fn rows_total(&self) -> Option<u64> {
        match &self.kind {
            Kind::Csv(replay) => replay.rows_total(),
            Kind::Synthetic(ticks) => ticks.rows_total(),
        }
    }

    /// Returns how much of the file has been read, for progress while [`Feed::rows_total`] is unknown; None without a file.
    #[must_use]
    pub fn bytes_read(&self) -> Option<BytesRead> {
        match &self.kind {
            Kind::Csv(replay) => Some(replay.bytes_read()),
            Kind::Synthetic(_) => None,
        }
    }

    /// Returns the hex SHA-256 of the stored file's bytes and size, or of a synthetic source's settings. Part of the
    /// replay's id: another content is another source.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        match &self.kind {
            Kind::Csv(replay) => replay.fingerprint(),
            Kind::Synthetic(ticks) => ticks.fingerprint(),
        }
    }

    /// Returns what the feed has passed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match &self.kind {
            Kind::Csv(replay) => replay.counts(),
            Kind::Synthetic(ticks) => ticks.counts(),
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Feed").field("fingerprint", &self.fingerprint()).field("counts", &self.counts()).finish_non_exhaustive()
    }
}
