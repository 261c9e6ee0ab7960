//! The rows of a CSV file, in its own order through a window or in another one from memory, once or again and again.

use std::sync::Arc;

use stockpipeline::checked::{CsvReplay, Order, Pace};

use super::cut::{Cut, Field};
use super::header::{self, Header, Wanted};
use super::order::{Entry, Loaded, Wish};
use super::places::Stored;
use super::window::{Spot, Window};
use super::{BytesRead, Counts, FeedError, Malformed, Opening, RowHead, Sought};

/// Rows of a CSV file.
pub(super) struct Replay {
    stored: Arc<Stored>,
    header: Header,
    has_header_row: bool,
    cursor: Cursor,
    repeat: bool,
    /// Number of the next row.
    next: u64,
    /// Number of the present pass's first row.
    pass_start: u64,
    rows_per_pass: Option<u64>,
    counts: Counts,
    found: Found,
    fields: Vec<Field>,
    scratch: Vec<u8>,
}

/// Where the rows come from.
enum Cursor {
    File(Box<Window>),
    Memory(Box<Loaded>),
}

/// The row that was found last.
struct Found {
    place: Place,
    malformed: Option<Malformed>,
}

enum Place {
    Nowhere,
    File(Spot),
    Memory(Entry),
}

impl Replay {
    /// Opens a replay before its first row.
    pub(super) async fn open(replay: &CsvReplay, opening: &Opening<'_>) -> Result<Self, FeedError> {
        let stored = Arc::new(Stored::open(&replay.location, opening.places).await?);
        let needs_event_time = replay.order == Order::EventTime || matches!(replay.pace, Pace::SpeedMillis(_));
        let (first, cursor) = Self::read_first(replay, &stored, opening.memory_bytes).await?;
        let names = match (&replay.header, first) {
            (Some(names), _) => names.clone(),
            (None, Some(row)) => header::names(&row, replay.delimiter, stored.name())?,
            (None, None) => {
                let problem = "the file has no line at all; upload it again, or give the names in the source's header field";
                return Err(FeedError::Header { name: stored.name().to_owned(), problem: problem.to_owned() });
            }
        };
        let wanted = Wanted { name: stored.name(), schema: opening.schema, key_column: opening.key_column, needs_event_time };
        let header = Header::new(&names, replay, wanted)?;
        let cursor = arrange(cursor, replay, &header, &stored, opening.memory_bytes).await?;
        let (rows_per_pass, blank_lines) = match &cursor {
            Cursor::File(_) => (None, 0),
            Cursor::Memory(loaded) => (Some(loaded.rows()), loaded.blank_lines()),
        };
        Ok(Self {
            stored,
            header,
            has_header_row: replay.header.is_none(),
            cursor,
            repeat: replay.repeat,
            next: 0,
            pass_start: 0,
            rows_per_pass,
            counts: Counts { blank_lines, ..Counts::default() },
            found: Found { place: Place::Nowhere, malformed: None },
            fields: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Opens the file and takes the header's row, where there is one.
    async fn read_first(replay: &CsvReplay, stored: &Arc<Stored>, budget: u64) -> Result<(Option<Vec<u8>>, Cursor), FeedError> {
        let (wish, delimiter, has_header_row) = (wish(replay), replay.delimiter, replay.header.is_none());
        let name = stored.name().to_owned();
        let stored = Arc::clone(stored);
        blocking(name, move || {
            let Some(wish) = wish else {
                let mut window = Window::open(&stored, delimiter)?;
                let first = if has_header_row { first_row(&mut window)? } else { None };
                return Ok((first, Cursor::File(Box::new(window))));
            };
            let mut loaded = Loaded::read(&stored, delimiter, wish, budget)?;
            let first = if has_header_row { loaded.take_first() } else { None };
            Ok((first, Cursor::Memory(Box::new(loaded))))
        })
        .await
    }

    pub(super) fn advance(&mut self) -> Result<Option<RowHead<'_>>, FeedError> {
        self.found.place = Place::Nowhere;
        let place = loop {
            match self.find()? {
                Some(place) => break place,
                None if !self.start_next_pass()? => return Ok(None),
                None => {}
            }
        };
        let (number, line, byte_offset, flaw) = match &place {
            Place::Nowhere => return Ok(None),
            Place::File(spot) => (self.next, spot.line, spot.offset, spot.cut.flaw),
            Place::Memory(entry) => (self.next, u64::from(entry.line), entry.offset, entry.flaw()),
        };
        self.next += 1;
        self.found.place = place;
        let row = text(&self.cursor, &self.found.place);
        let malformed = flaw.or_else(|| self.header.inspect(row, &mut self.fields));
        self.found.malformed = malformed;
        self.counts.rows += 1;
        if let Some(kind) = malformed {
            self.counts.malformed[kind as usize] += 1;
            return Ok(Some(RowHead { number, line, byte_offset, key: b"", event_time_micros: None, malformed }));
        }
        let event_time_micros = self.header.event_time(row, &self.fields, &mut self.scratch);
        let key = self.fields[self.header.key].text(row, &mut self.scratch);
        let key = if self.header.is_null(key) { b"" } else { key };
        Ok(Some(RowHead { number, line, byte_offset, key, event_time_micros, malformed: None }))
    }

    pub(super) fn encode(&mut self, value: &mut Vec<u8>) {
        let row = text(&self.cursor, &self.found.place);
        match (&self.found.place, self.found.malformed) {
            (Place::Nowhere, _) => {}
            (_, Some(_)) => value.extend_from_slice(row),
            (_, None) => self.header.write(row, &self.fields, &mut self.scratch, value),
        }
    }

    pub(super) fn seek(&mut self, number: u64, most_rows: u64) -> Result<Sought, FeedError> {
        self.found.place = Place::Nowhere;
        if self.rows_per_pass.is_none() {
            if number < self.next {
                self.start_pass(0, 0)?;
            }
            self.skip_to(number, most_rows)?;
            if self.next == number {
                return Ok(Sought::Found);
            }
        }
        let Some(rows) = self.rows_per_pass else {
            return Ok(Sought::Underway);
        };
        let pass = if self.repeat { number.checked_div(rows).unwrap_or(0) } else { 0 };
        let target = if self.repeat && rows > 0 { number } else { number.min(rows) };
        if pass * rows != self.pass_start || target < self.next {
            self.start_pass(pass, rows)?;
        }
        self.skip_to(target, most_rows)?;
        if self.next < target {
            return Ok(Sought::Underway);
        }
        Ok(if target == number { Sought::Found } else { Sought::Beyond })
    }

    pub(super) fn rows_total(&self) -> Option<u64> {
        self.rows_per_pass
    }

    pub(super) fn bytes_read(&self) -> BytesRead {
        let total = self.stored.size();
        let read = match &self.cursor {
            Cursor::File(window) => window.used(),
            Cursor::Memory(_) => total,
        };
        BytesRead { read, total }
    }

    pub(super) fn fingerprint(&self) -> &str {
        self.stored.fingerprint()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Finds the next row of this pass.
    fn find(&mut self) -> Result<Option<Place>, FeedError> {
        match &mut self.cursor {
            Cursor::Memory(loaded) => Ok(loaded.at(self.next - self.pass_start).map(Place::Memory)),
            Cursor::File(window) => {
                while let Some(spot) = window.next()? {
                    if spot.cut.end > 0 {
                        return Ok(Some(Place::File(spot)));
                    }
                    self.counts.blank_lines += 1;
                }
                self.rows_per_pass = Some(self.next - self.pass_start);
                Ok(None)
            }
        }
    }

    /// Goes on at the start of the file, if the source is repeated and has rows.
    fn start_next_pass(&mut self) -> Result<bool, FeedError> {
        let rows = self.rows_per_pass.unwrap_or(0);
        if !self.repeat || rows == 0 {
            return Ok(false);
        }
        self.start_pass(self.pass_start / rows + 1, rows)?;
        Ok(true)
    }

    /// Stands before the first row of a pass of `rows` rows.
    fn start_pass(&mut self, pass: u64, rows: u64) -> Result<(), FeedError> {
        match &mut self.cursor {
            Cursor::Memory(loaded) => loaded.start_pass(pass),
            Cursor::File(window) => {
                **window = Window::open(&self.stored, self.header.delimiter)?;
                if self.has_header_row {
                    first_row(window)?;
                }
            }
        }
        self.pass_start = pass.saturating_mul(rows);
        self.next = self.pass_start;
        Ok(())
    }

    /// Passes rows of this pass up to a number, or to the end of the pass; of a file at most so many.
    fn skip_to(&mut self, number: u64, most_rows: u64) -> Result<(), FeedError> {
        match &mut self.cursor {
            Cursor::Memory(loaded) => self.next = number.min(self.pass_start + loaded.rows()),
            Cursor::File(window) => {
                let stop = number.min(self.next.saturating_add(most_rows));
                while self.next < stop {
                    match window.next()? {
                        Some(Spot { cut: Cut { end: 0, .. }, .. }) => {}
                        Some(_) => self.next += 1,
                        None => {
                            self.rows_per_pass = Some(self.next - self.pass_start);
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns the order that needs the file in memory.
fn wish(replay: &CsvReplay) -> Option<Wish> {
    match replay.order {
        Order::File => None,
        Order::EventTime => Some(Wish::EventTime),
        Order::Random => Some(Wish::Random(replay.seed)),
    }
}

/// Puts a file in memory into its order.
async fn arrange(cursor: Cursor, replay: &CsvReplay, header: &Header, stored: &Arc<Stored>, budget: u64) -> Result<Cursor, FeedError> {
    match (cursor, wish(replay)) {
        (Cursor::Memory(mut loaded), Some(wish)) => {
            let (header, stored) = (header.clone(), Arc::clone(stored));
            blocking(stored.name().to_owned(), move || {
                loaded.arrange(wish, &header, &stored, budget)?;
                Ok(Cursor::Memory(loaded))
            })
            .await
        }
        (cursor, _) => Ok(cursor),
    }
}

/// Runs what blocks on the file or the processor for long.
async fn blocking<T: Send + 'static>(name: String, work: impl FnOnce() -> Result<T, FeedError> + Send + 'static) -> Result<T, FeedError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| FeedError::Read { name, error: std::io::Error::other(error) })?
}

/// Takes the first line that is not blank.
fn first_row(window: &mut Window) -> Result<Option<Vec<u8>>, FeedError> {
    while let Some(spot) = window.next()? {
        if spot.cut.end > 0 {
            return Ok(Some(window.text(&spot.range).to_vec()));
        }
    }
    Ok(None)
}

fn text<'a>(cursor: &'a Cursor, place: &Place) -> &'a [u8] {
    match (cursor, place) {
        (Cursor::File(window), Place::File(spot)) => window.text(&spot.range),
        (Cursor::Memory(loaded), Place::Memory(entry)) => loaded.text_of(*entry),
        (Cursor::File(_) | Cursor::Memory(_), Place::Nowhere | Place::File(_) | Place::Memory(_)) => b"",
    }
}
