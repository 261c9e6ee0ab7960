//! A file that is read from front to back, row by row, through a window of bounded size.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use super::FeedError;
use super::cut::{Cut, Cutter};
use super::places::Stored;
use super::unpack::Text;

/// Size of the window while rows are short. It grows to a few times [`super::MAX_ROW_BYTES`] at most.
const WINDOW_BYTES: usize = 256 * 1024;

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// The text within the window.
    pub(super) range: Range<usize>,
    /// Offset of the text in the file.
    pub(super) offset: u64,
    /// Line of the file on which the row starts, from 1.
    pub(super) line: u64,
    /// How the row was cut.
    pub(super) cut: Cut,
}

/// A file that is read from front to back.
pub(super) struct Window {
    text: Text,
    stored: Arc<Stored>,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// Offset in the file of `buffer[start]`.
    offset: u64,
    line: u64,
    at_end: bool,
    cutter: Cutter,
    /// What ended the reading, told again to who goes on.
    failure: Option<(io::ErrorKind, String)>,
}

impl Window {
    /// Opens a stored file at its first row, behind a byte order mark.
    pub(super) fn open(stored: &Arc<Stored>, delimiter: u8) -> Result<Self, FeedError> {
        let mut window = Self {
            text: Text::open(stored)?,
            stored: Arc::clone(stored),
            buffer: vec![0; WINDOW_BYTES],
            start: 0,
            filled: 0,
            offset: 0,
            line: 1,
            at_end: false,
            cutter: Cutter::new(delimiter),
            failure: None,
        };
        while window.filled < MARKS[1].len() && !window.at_end {
            window.fill()?;
        }
        let mark = mark_bytes(&window.buffer[..window.filled]);
        window.start = mark;
        window.offset = mark as u64;
        Ok(window)
    }

    /// Finds the next row or blank line; None at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Spot>, FeedError> {
        loop {
            let bytes = &self.buffer[self.start..self.filled];
            if bytes.is_empty() && self.at_end {
                return Ok(None);
            }
            let cut = if bytes.is_empty() { None } else { self.cutter.cut(self.offset, bytes, self.at_end) };
            let Some(cut) = cut else {
                self.fill()?;
                continue;
            };
            let spot = Spot { range: self.start..self.start + cut.end, offset: self.offset, line: self.line, cut };
            self.start += cut.next;
            self.offset += cut.next as u64;
            self.line += cut.lines;
            if !cut.leftover {
                return Ok(Some(spot));
            }
        }
    }

    /// Returns the text of the row that was found last.
    pub(super) fn text(&self, range: &Range<usize>) -> &[u8] {
        &self.buffer[range.clone()]
    }

    /// Returns how many bytes of the stored file were used.
    pub(super) fn used(&self) -> u64 {
        self.text.used()
    }

    /// Reads on, making room first.
    fn fill(&mut self) -> Result<(), FeedError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.filled == self.buffer.len() {
            // Only a row that fills the window comes here, and a row is cut at the latest when its length is known to be too long.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        if self.failure.is_none() {
            match self.text.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.at_end = true,
                Ok(read) => self.filled += read,
                Err(error) => self.failure = Some((error.kind(), error.to_string())),
            }
        }
        // What was read of a file that has changed meanwhile is not what the fingerprint stands for.
        self.stored.check_unchanged()?;
        match &self.failure {
            None => Ok(()),
            Some((kind, message)) => Err(FeedError::Damaged {
                name: self.stored.name().to_owned(),
                stored_offset: self.text.used(),
                text_offset: self.offset,
                error: io::Error::new(*kind, message.clone()),
            }),
        }
    }
}

/// UTF-8's byte order mark, and the same one after somebody took it for Latin-1 and wrote that as UTF-8.
const MARKS: [&[u8]; 2] = [b"\xef\xbb\xbf", b"\xc3\xaf\xc2\xbb\xc2\xbf"];

/// Returns the length of a byte order mark at the start of a file.
pub(super) fn mark_bytes(bytes: &[u8]) -> usize {
    MARKS.iter().find(|mark| bytes.starts_with(mark)).map_or(0, |mark| mark.len())
}
