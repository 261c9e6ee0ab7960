//! A whole file in memory, read in another order than its own: by event time, or shuffled.
//!
//! Rows stay as the file has them, one after the other: a row costs its text and 16 bytes, 20 in `EventTime` order.

use std::io::Read;
use std::mem::size_of;

use super::cut::{Cut, Cutter};
use super::header::Header;
use super::mix::Shuffle;
use super::places::Stored;
use super::unpack::Text;
use super::window::mark_bytes;
use super::{FeedError, Malformed};

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Where a row stands in the file's text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) offset: u64,
    /// Line on which the row starts; the last number that fits for later ones.
    pub(super) line: u32,
    /// Length, and in the upper bits the flaw.
    packed: u32,
}

/// Bits of a length in an entry: [`super::MAX_ROW_BYTES`] fits.
const LENGTH_BITS: u32 = 20;
const _: () = assert!(super::MAX_ROW_BYTES < 1 << LENGTH_BITS);

impl Entry {
    fn new(offset: u64, line: u64, cut: Cut) -> Self {
        let flaw = Malformed::ALL.iter().position(|kind| Some(*kind) == cut.flaw).map_or(0, |position| position + 1);
        let packed = u32::try_from(cut.end | flaw << LENGTH_BITS).expect("a length of 20 bits and a small number");
        Self { offset, line: u32::try_from(line).unwrap_or(u32::MAX), packed }
    }

    fn length(self) -> usize {
        (self.packed & ((1 << LENGTH_BITS) - 1)) as usize
    }

    /// Returns what is wrong with the row as it was cut.
    pub(super) fn flaw(self) -> Option<Malformed> {
        let number = (self.packed >> LENGTH_BITS) as usize;
        number.checked_sub(1).map(|position| Malformed::ALL[position])
    }
}

/// A file's text and rows.
pub(super) struct Loaded {
    text: Vec<u8>,
    rows: Vec<Entry>,
    blank_lines: u64,
    order: Sequence,
}

enum Sequence {
    /// Indexes of the rows.
    Listed(Vec<u32>),
    /// Another permutation each pass.
    Shuffled { seed: u64, pass: Shuffle },
}

/// Which order, for messages and to make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// By event time; rows without a readable one first, ties in the file's order.
    EventTime,
    /// Shuffled by a seed.
    Random(u64),
}

impl Wish {
    fn label(self) -> &'static str {
        match self {
            Self::EventTime => "EventTime",
            Self::Random(_) => "Random",
        }
    }
}

/// What limits the memory of a file.
struct Budget<'a> {
    stored: &'a Stored,
    order: &'static str,
    bytes: u64,
}

impl Budget<'_> {
    fn check(&self, text: &Vec<u8>, rows: &Vec<Entry>, further: usize) -> Result<(), FeedError> {
        let bytes = (text.capacity() + rows.capacity() * size_of::<Entry>() + further) as u64;
        if bytes > self.bytes {
            return Err(FeedError::MemoryBudget { name: self.stored.name().to_owned(), order: self.order, bytes, budget: self.bytes });
        }
        Ok(())
    }
}

impl Loaded {
    /// Reads a stored file into at most `budget` bytes. Gives the rows in the file's own order, the header's row among them.
    pub(super) fn read(stored: &Stored, delimiter: u8, wish: Wish, budget: u64) -> Result<Self, FeedError> {
        let budget = Budget { stored, order: wish.label(), bytes: budget };
        let text = read_text(&budget)?;
        let (rows, blank_lines) = find_rows(&text, delimiter, &budget)?;
        Ok(Self { text, rows, blank_lines, order: Sequence::Listed(Vec::new()) })
    }

    /// Takes the first row away: it is the header.
    pub(super) fn take_first(&mut self) -> Option<Vec<u8>> {
        if self.rows.is_empty() {
            return None;
        }
        let first = self.rows.remove(0);
        Some(self.text_of(first).to_vec())
    }

    /// Puts the rows into their order.
    pub(super) fn arrange(&mut self, wish: Wish, header: &Header, stored: &Stored, budget: u64) -> Result<(), FeedError> {
        let rows = u32::try_from(self.rows.len()).map_err(|_| FeedError::Unsupported {
            name: stored.name().to_owned(),
            problem: format!("order {} takes at most {} rows; use order File", wish.label(), u32::MAX),
        })?;
        self.order = match wish {
            Wish::Random(seed) => Sequence::Shuffled { seed, pass: Shuffle::new(seed, 0, u64::from(rows)) },
            Wish::EventTime => {
                let budget = Budget { stored, order: wish.label(), bytes: budget };
                budget.check(&self.text, &self.rows, self.rows.len() * (size_of::<(i64, u32)>() + size_of::<u32>()))?;
                Sequence::Listed(self.by_event_time(rows, header))
            }
        };
        Ok(())
    }

    fn by_event_time(&self, rows: u32, header: &Header) -> Vec<u32> {
        let (mut fields, mut scratch) = (Vec::new(), Vec::new());
        let mut times = Vec::with_capacity(self.rows.len());
        for (index, entry) in (0..rows).zip(&self.rows) {
            let row = self.text_of(*entry);
            let malformed = entry.flaw().or_else(|| header.inspect(row, &mut fields));
            let time = if malformed.is_none() { header.event_time(row, &fields, &mut scratch) } else { None };
            times.push((time.unwrap_or(i64::MIN), index));
        }
        times.sort_unstable();
        times.into_iter().map(|(_, index)| index).collect()
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Returns the blank lines of the file.
    pub(super) fn blank_lines(&self) -> u64 {
        self.blank_lines
    }

    /// Starts a pass.
    pub(super) fn start_pass(&mut self, number: u64) {
        if let Sequence::Shuffled { seed, pass } = &mut self.order {
            *pass = Shuffle::new(*seed, number, self.rows.len() as u64);
        }
    }

    /// Returns the row at a position of the present pass.
    pub(super) fn at(&self, position: u64) -> Option<Entry> {
        let index = match &self.order {
            Sequence::Listed(order) => usize::try_from(position).ok().and_then(|position| order.get(position).copied())? as usize,
            Sequence::Shuffled { pass, .. } => usize::try_from(pass.at(position)?).ok()?,
        };
        self.rows.get(index).copied()
    }

    /// Returns a row's text.
    pub(super) fn text_of(&self, entry: Entry) -> &[u8] {
        let start = usize::try_from(entry.offset).expect("an offset in memory");
        &self.text[start..start + entry.length()]
    }
}

fn read_text(budget: &Budget<'_>) -> Result<Vec<u8>, FeedError> {
    let stored = budget.stored;
    let mut reader = Text::open(stored)?;
    let mut text = Vec::new();
    let mut filled = 0;
    // One more than a plain file needs, so that its end shows without growing.
    let mut room = usize::try_from(stored.size()).unwrap_or(usize::MAX).min(64 << 20) + 1;
    loop {
        if filled == text.len() {
            // Grows by an eighth: twice the file would break a budget that the file itself keeps.
            text.reserve_exact(room);
            budget.check(&text, &Vec::new(), 0)?;
            text.resize(filled + room, 0);
            room = READ_BYTES.max(filled / 8);
        }
        match reader.read(&mut text[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) => {
                return Err(FeedError::Damaged {
                    name: stored.name().to_owned(),
                    stored_offset: reader.used(),
                    text_offset: filled as u64,
                    error,
                });
            }
        }
    }
    stored.check_unchanged()?;
    text.truncate(filled);
    text.shrink_to_fit();
    Ok(text)
}

fn find_rows(text: &[u8], delimiter: u8, budget: &Budget<'_>) -> Result<(Vec<Entry>, u64), FeedError> {
    let mut cutter = Cutter::new(delimiter);
    let (mut rows, mut blank_lines, mut line) = (Vec::new(), 0, 1);
    let mut at = mark_bytes(text);
    while at < text.len() {
        let cut = cutter.cut(at as u64, &text[at..], true).expect("nothing follows, so no more bytes are needed");
        if cut.end == 0 && !cut.leftover {
            blank_lines += 1;
        } else if !cut.leftover {
            if rows.len() == rows.capacity() {
                rows.reserve_exact((rows.len() / 8).max(4096));
                budget.check(&Vec::new(), &rows, text.len())?;
            }
            rows.push(Entry::new(at as u64, line, cut));
        }
        at += cut.next;
        line += cut.lines;
    }
    Ok((rows, blank_lines))
}
