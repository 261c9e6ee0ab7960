//! Cuts text into rows and rows into fields, without copying a byte.
//!
//! Where a row ends depends on the bytes from the row's start on and on where earlier rows ended, never on how much of the
//! file is in memory at the time: row numbers are positions that a producer goes on from.
//!
//! Quotes as in RFC 4180 and as lenient as most readers: a field that starts with a quote is quoted; a quote further in
//! is text; what follows the closing quote is text too. A line ends with LF or CR LF.

use memchr::{memchr, memchr_iter, memchr2};

use super::{MAX_ROW_BYTES, Malformed};

const QUOTE: u8 = b'"';

/// Bytes that decide where a row ends: the longest text and its CR LF.
const VIEW_BYTES: usize = MAX_ROW_BYTES + 2;

/// A row's text within the bytes that were looked at: from their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// End of the text; the line end is not part of it.
    pub(super) end: usize,
    /// Start of what follows.
    pub(super) next: usize,
    /// Line ends that were passed, the row's own included.
    pub(super) lines: u64,
    /// What is wrong with the row already.
    pub(super) flaw: Option<Malformed>,
    /// Whether this is nothing at all after a piece of a line that was too long: neither a row nor a blank line.
    pub(super) leftover: bool,
}

/// Cuts text into rows.
#[derive(Debug, Clone)]
pub(super) struct Cutter {
    delimiter: u8,
    /// Up to this offset a quote ends with its line at the latest: the text was searched once for a closing quote. Without
    /// it a file of open quotes would be searched once a line.
    single_lines_until: u64,
    /// Whether the text goes on in the line of which a piece was cut.
    in_long_line: bool,
}

/// How a quoted row ends.
enum Ending {
    /// At this line feed.
    At(usize),
    /// With the bytes, no quote being open.
    Closed,
    /// With the bytes, within a quoted field.
    Open,
}

impl Cutter {
    /// Returns a cutter at the start of a file.
    pub(super) fn new(delimiter: u8) -> Self {
        Self { delimiter, single_lines_until: 0, in_long_line: false }
    }

    /// Cuts the row at the start of `bytes`, which is not empty; None when more bytes are needed to tell.
    /// `offset` is that of `bytes` in the file, `at_end` says that nothing follows them.
    pub(super) fn cut(&mut self, offset: u64, bytes: &[u8], at_end: bool) -> Option<Cut> {
        let view = &bytes[..bytes.len().min(VIEW_BYTES)];
        let last = at_end && view.len() == bytes.len();
        let line_feed = memchr(b'\n', view);
        let line = &view[..line_feed.unwrap_or(view.len())];
        if self.in_long_line || memchr(QUOTE, line).is_none() {
            return self.cut_line(view, line_feed, last, None);
        }
        if offset < self.single_lines_until {
            let flaw = matches!(self.ending(line), Ending::Open).then_some(Malformed::UnbalancedQuote);
            return self.cut_line(view, line_feed, last, flaw);
        }
        let open = match self.ending(view) {
            Ending::At(at) => {
                let end = text_end(view, at);
                if end <= MAX_ROW_BYTES {
                    let lines = 1 + memchr_iter(b'\n', &view[..at]).count() as u64;
                    return Some(Cut { end, next: at + 1, lines, flaw: None, leftover: false });
                }
                true
            }
            Ending::Closed if last && view.len() <= MAX_ROW_BYTES => {
                let lines = memchr_iter(b'\n', view).count() as u64;
                return Some(Cut { end: view.len(), next: view.len(), lines, flaw: None, leftover: false });
            }
            Ending::Closed | Ending::Open => last || view.len() == VIEW_BYTES,
        };
        if !open {
            return None;
        }
        self.single_lines_until = offset + view.len() as u64;
        let flaw = matches!(self.ending(line), Ending::Open).then_some(Malformed::UnbalancedQuote);
        self.cut_line(view, line_feed, last, flaw)
    }

    /// Cuts at the first line feed, whatever the quotes say.
    fn cut_line(&mut self, view: &[u8], line_feed: Option<usize>, last: bool, flaw: Option<Malformed>) -> Option<Cut> {
        let flaw = if self.in_long_line { Some(Malformed::TooLong) } else { flaw };
        let (end, next, lines) = match line_feed {
            Some(at) => (text_end(view, at), at + 1, 1),
            None if last || view.len() == VIEW_BYTES => (view.len(), view.len(), 0),
            None => return None,
        };
        if end > MAX_ROW_BYTES {
            self.in_long_line = true;
            return Some(Cut { end: MAX_ROW_BYTES, next: MAX_ROW_BYTES, lines: 0, flaw: Some(Malformed::TooLong), leftover: false });
        }
        let leftover = self.in_long_line && end == 0;
        self.in_long_line = false;
        Some(Cut { end, next, lines, flaw, leftover })
    }

    /// Finds the end of a row that has quotes.
    fn ending(&self, bytes: &[u8]) -> Ending {
        let mut at = 0;
        loop {
            if bytes.get(at) == Some(&QUOTE) {
                match closing_quote(bytes, at + 1) {
                    Some(close) => at = close + 1,
                    None => return Ending::Open,
                }
            }
            match memchr2(self.delimiter, b'\n', &bytes[at..]) {
                Some(found) if bytes[at + found] == b'\n' => return Ending::At(at + found),
                Some(found) => at += found + 1,
                None => return Ending::Closed,
            }
        }
    }
}

/// Returns the end of a text whose line feed is at `line_feed`.
fn text_end(bytes: &[u8], line_feed: usize) -> usize {
    if line_feed > 0 && bytes[line_feed - 1] == b'\r' { line_feed - 1 } else { line_feed }
}

/// Finds the quote that closes a field whose text starts at `from`; two quotes are one of the text.
fn closing_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let quote = at + memchr(QUOTE, &bytes[at..])?;
        if bytes.get(quote + 1) != Some(&QUOTE) {
            return Some(quote);
        }
        at = quote + 2;
    }
}

/// One field within its row's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    start: u32,
    end: u32,
    /// Whether quotes within it stand for something else, so that the text is not simply the bytes.
    quotes: bool,
}

impl Field {
    fn new(start: usize, end: usize, quotes: bool) -> Self {
        Self { start: narrow(start), end: narrow(end), quotes }
    }

    /// Returns the field's text, resolved into `scratch` where quotes stand for something else.
    pub(super) fn text<'a>(self, row: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let bytes = &row[self.start as usize..self.end as usize];
        if !self.quotes {
            return bytes;
        }
        scratch.clear();
        let close = closing_quote(bytes, 1).unwrap_or(bytes.len());
        let mut at = 1;
        while let Some(found) = memchr(QUOTE, &bytes[at..close]) {
            scratch.extend_from_slice(&bytes[at..=at + found]);
            at += found + 2;
        }
        scratch.extend_from_slice(&bytes[at..close]);
        scratch.extend_from_slice(bytes.get(close + 1..).unwrap_or_default());
        scratch
    }

    /// Returns whether the text is empty.
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

fn narrow(position: usize) -> u32 {
    u32::try_from(position).expect("a row is at most MAX_ROW_BYTES long")
}

/// Splits a row's text into fields. A text without a byte is one empty field.
pub(super) fn split(row: &[u8], delimiter: u8, fields: &mut Vec<Field>) {
    fields.clear();
    if memchr(QUOTE, row).is_some() {
        return split_quoted(row, delimiter, fields);
    }
    // Eight bytes at a time: fields are so short that a search for each would cost more.
    let pattern = u64::from_le_bytes([delimiter; 8]);
    let (chunks, rest) = row.as_chunks::<8>();
    let (mut start, mut base) = (0, 0);
    for chunk in chunks {
        let mut hits = zero_bytes(u64::from_le_bytes(*chunk) ^ pattern);
        while hits != 0 {
            let end = base + (hits.trailing_zeros() / 8) as usize;
            fields.push(Field::new(start, end, false));
            start = end + 1;
            hits &= hits - 1;
        }
        base += 8;
    }
    for (end, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == delimiter) {
        fields.push(Field::new(start, base + end, false));
        start = base + end + 1;
    }
    fields.push(Field::new(start, row.len(), false));
}

/// Returns the highest bit of every byte that is zero.
fn zero_bytes(bytes: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((bytes & LOW) + LOW) | bytes | LOW)
}

fn split_quoted(row: &[u8], delimiter: u8, fields: &mut Vec<Field>) {
    let mut start = 0;
    loop {
        let quoted = row.get(start) == Some(&QUOTE);
        let close = if quoted { closing_quote(row, start + 1).unwrap_or(row.len()) } else { start };
        let after = if quoted { (close + 1).min(row.len()) } else { start };
        let end = memchr(delimiter, &row[after..]).map_or(row.len(), |found| after + found);
        fields.push(if !quoted {
            Field::new(start, end, false)
        } else if end == close + 1 && memchr(QUOTE, &row[start + 1..close]).is_none() {
            Field::new(start + 1, close, false)
        } else {
            Field::new(start, end, true)
        });
        if end == row.len() {
            return;
        }
        start = end + 1;
    }
}

#[cfg(test)]
mod tests;
