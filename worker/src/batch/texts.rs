//! Texts of a String column. A text that came before is kept once, as long as texts repeat.

use super::blocks::Blocks;

/// Bytes of a segment of the arena; a longer text has a segment of its own.
const SEGMENT_BYTES: usize = 65_536;

/// Distinct texts above which repeats are no longer looked for.
const MAX_DISTINCT: usize = 65_536;

/// Slots looked at before a text counts as new; so texts made to collide cost no more than others.
const MAX_PROBES: usize = 16;

/// Texts, one a row.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    rows: Blocks<u32>,
    entries: Blocks<Entry>,
    segments: Vec<Vec<u8>>,
    /// Entry numbers plus one by hash; empty before the first text and once repeats are no longer looked for.
    table: Vec<u32>,
    plain: bool,
    held_bytes: usize,
    longest: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    segment: u32,
    start: u32,
    len: u32,
}

impl Texts {
    /// Appends a row.
    #[inline]
    pub(crate) fn push(&mut self, text: &str) {
        let entry = if self.plain { self.add(text) } else { self.intern(text) };
        self.rows.push(entry);
    }

    /// Returns how many rows were appended.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Returns the number of a row's text; rows of one number have one text.
    #[inline]
    pub(crate) fn entry(&self, row: usize) -> u32 {
        self.rows.get(row)
    }

    /// Returns how many numbers there are.
    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of the text of a number.
    #[inline]
    pub(crate) fn bytes(&self, entry: u32) -> &[u8] {
        let Entry { segment, start, len } = self.entries.get(entry as usize);
        let segment = self.segments.get(segment as usize).map_or(&[][..], Vec::as_slice);
        segment.get(start as usize..start as usize + len as usize).unwrap_or_default()
    }

    /// Returns the length of the longest text.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Frees a block of rows.
    pub(crate) fn free(&mut self, block: usize) {
        self.rows.free(block);
    }

    /// Returns the bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
            + self.entries.memory_bytes()
            + self.held_bytes
            + self.segments.capacity() * size_of::<Vec<u8>>()
            + self.table.capacity() * size_of::<u32>()
    }

    #[inline]
    fn intern(&mut self, text: &str) -> u32 {
        if self.table.len() <= self.entries.len() * 2 && !self.grow_table() {
            return self.add(text);
        }
        let mask = self.table.len() - 1;
        let mut slot = usize::try_from(hash(text.as_bytes()) >> 16).unwrap_or_default() & mask;
        for _ in 0..MAX_PROBES {
            match self.table[slot].checked_sub(1) {
                Some(entry) if self.bytes(entry) == text.as_bytes() => return entry,
                Some(_) => slot = (slot + 1) & mask,
                None => {
                    let entry = self.add(text);
                    self.table[slot] = entry + 1;
                    return entry;
                }
            }
        }
        self.add(text)
    }

    /// Makes room in the table; false when repeats are too few to be looked for.
    #[cold]
    fn grow_table(&mut self) -> bool {
        let distinct = self.entries.len();
        if distinct >= MAX_DISTINCT || (distinct >= 4_096 && distinct * 2 > self.rows.len()) {
            self.plain = true;
            self.table = Vec::new();
            return false;
        }
        let size = (self.table.len() * 4).max(64);
        let mask = size - 1;
        let mut table = vec![0_u32; size];
        for entry in self.table.iter().filter_map(|slot| slot.checked_sub(1)) {
            let mut slot = usize::try_from(hash(self.bytes(entry)) >> 16).unwrap_or_default() & mask;
            for _ in 0..MAX_PROBES {
                if table[slot] == 0 {
                    table[slot] = entry + 1;
                    break;
                }
                slot = (slot + 1) & mask;
            }
        }
        self.table = table;
        true
    }

    #[inline]
    fn add(&mut self, text: &str) -> u32 {
        let entry = u32::try_from(self.entries.len()).expect("rows are numbered by u32");
        let fits = self.segments.last().is_some_and(|segment| segment.len() + text.len() <= segment.capacity());
        if !fits {
            self.add_segment(text.len());
        }
        let number = self.segments.len() - 1;
        let segment = &mut self.segments[number];
        let start = segment.len();
        self.longest = self.longest.max(text.len());
        segment.extend_from_slice(text.as_bytes());
        self.entries.push(Entry {
            segment: u32::try_from(number).expect("fewer segments than entries"),
            start: u32::try_from(start).expect("a segment that starts a second text has at most 64 KiB"),
            len: u32::try_from(text.len()).expect("kafka's records are below 2 GiB"),
        });
        entry
    }

    #[cold]
    fn add_segment(&mut self, at_least: usize) {
        // The first segments are small: most columns hold few texts, and most buffers are sealed early.
        let size = (1_024 << self.segments.len().min(6)).min(SEGMENT_BYTES).max(at_least);
        self.held_bytes += size;
        self.segments.push(Vec::with_capacity(size));
    }
}

/// Mixes a text's bytes, eight at a time; the last eight may overlap.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded into one word")]
        let folded = product as u64 ^ (product >> 64) as u64;
        folded
    };
    let mut state = mix(FACTOR, bytes.len() as u64);
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        state = mix(state, u64::from_le_bytes(*word));
        rest = tail;
    }
    if let Some(word) = bytes.last_chunk::<8>() {
        return if rest.is_empty() { state } else { mix(state, u64::from_le_bytes(*word)) };
    }
    let word = rest.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    mix(state, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_texts_whether_texts_repeat_or_not() {
        let all_distinct = |index: usize| format!("text {index}");
        let few = |index: usize| "ab".repeat(index % 300);
        let first_few_then_many = |index: usize| if index < 10_000 { few(index) } else { all_distinct(index) };
        let cases: [(&dyn Fn(usize) -> String, usize); 3] = [(&all_distinct, 60_000), (&few, 300), (&first_few_then_many, 50_300)];
        for (text, distinct) in cases {
            let mut texts = Texts::default();
            for index in 0..60_000 {
                texts.push(&text(index));
            }
            for index in 0..60_000 {
                assert_eq!(texts.bytes(texts.entry(index)), text(index).as_bytes());
            }
            assert!(texts.entries() >= distinct && texts.entries() <= distinct + distinct / 10, "{}", texts.entries());
        }
    }
}
