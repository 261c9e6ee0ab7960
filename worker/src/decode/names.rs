//! Which declared field a name in a record is.
//!
//! Records of a topic mostly hold the same names in the same order, so the names of earlier records are kept in their order,
//! quotes and colon included, and compared in place; only a name that is not where it is expected costs a look-up.
//! The answer depends on the name alone, never on what was seen before.

use std::collections::HashMap;

use stockpipeline::schema::Schema;

/// Names kept in the order they come in.
const MAX_HOPS: usize = 256;

/// Longest name that is kept.
const MAX_HOP_BYTES: usize = 256;

/// Hops looked at beyond the expected one, for records that leave fields out.
const LOOK_AHEAD: usize = 8;

/// What a name is to the declared columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The field of this number.
    Exact(usize),
    /// The fields of this group, were it not for the case.
    Folded(usize),
    /// No declared field.
    Unknown,
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    /// What it is to the declared columns.
    pub(crate) found: Found,
    /// Whether the raw zone gives columns of such a name itself.
    pub(crate) reserved: bool,
    /// Whether the record held the name before; for a name that is not kept this is not known, see [`Names::is_sure`].
    pub(crate) repeated: bool,
}

/// The declared fields by name.
pub(crate) struct Names {
    exact: HashMap<Box<str>, usize>,
    folded: HashMap<Box<str>, usize>,
    groups: Vec<Vec<usize>>,
    hops: Vec<Hop>,
    expected: usize,
    /// Number of the record.
    record: u64,
    is_sure: bool,
}

struct Hop {
    /// The name as it stands in records: quoted, with its colon.
    pattern: Box<[u8]>,
    /// The first bytes of `pattern` as one word, and a mask of those that it has.
    start: u128,
    mask: u128,
    found: Found,
    reserved: bool,
    /// Number of the last record that held it.
    record: u64,
}

impl Hop {
    fn new(text: &str, name: Name, record: u64) -> Self {
        let pattern = format!("\"{text}\":").into_bytes().into_boxed_slice();
        let mut word = [0_u8; 16];
        let mut mask = [0_u8; 16];
        for (index, byte) in pattern.iter().take(16).enumerate() {
            word[index] = *byte;
            mask[index] = u8::MAX;
        }
        let (start, mask) = (u128::from_le_bytes(word), u128::from_le_bytes(mask));
        Self { pattern, start, mask, found: name.found, reserved: name.reserved, record }
    }

    /// Returns whether the name stands at the start of the bytes.
    #[inline]
    fn stands_in(&self, rest: &[u8]) -> bool {
        match rest.first_chunk::<16>() {
            Some(word) => {
                u128::from_le_bytes(*word) & self.mask == self.start && (self.pattern.len() <= 16 || rest.starts_with(&self.pattern))
            }
            None => rest.starts_with(&self.pattern),
        }
    }

    #[inline]
    fn take(&mut self, record: u64) -> Name {
        let repeated = self.record == record;
        self.record = record;
        Name { found: self.found, reserved: self.reserved, repeated }
    }
}

impl Names {
    /// Returns the names of a schema and, for each column, the number of its field.
    pub(crate) fn of(schema: &Schema) -> (Self, Vec<usize>) {
        let mut names = Self {
            exact: HashMap::new(),
            folded: HashMap::new(),
            groups: Vec::new(),
            hops: Vec::new(),
            expected: 0,
            record: 0,
            is_sure: true,
        };
        let mut fields = Vec::with_capacity(schema.columns.len());
        for column in &schema.columns {
            let next = names.exact.len();
            let field = *names.exact.entry(column.from.as_str().into()).or_insert(next);
            if field == next {
                let group = *names.folded.entry(column.from.to_ascii_lowercase().into()).or_insert(names.groups.len());
                if group == names.groups.len() {
                    names.groups.push(Vec::new());
                }
                names.groups[group].push(field);
            }
            fields.push(field);
        }
        (names, fields)
    }

    /// Returns how many fields there are.
    pub(crate) fn fields(&self) -> usize {
        self.exact.len()
    }

    /// Returns the fields of a group of names that differ in case only.
    pub(crate) fn group(&self, group: usize) -> &[usize] {
        self.groups.get(group).map_or(&[], Vec::as_slice)
    }

    /// Begins a record.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.expected = 0;
        self.record += 1;
        self.is_sure = true;
    }

    /// Returns whether every name of the record so far is kept, so that [`Name::repeated`] tells all.
    #[inline]
    pub(crate) fn is_sure(&self) -> bool {
        self.is_sure
    }

    /// Returns what stands at the start of the bytes and the length of the name with its colon, when it is a name seen before.
    #[inline]
    pub(crate) fn guess(&mut self, rest: &[u8]) -> Option<(Name, usize)> {
        let end = self.hops.len().min(self.expected + LOOK_AHEAD);
        for (index, hop) in self.hops.get_mut(self.expected..end)?.iter_mut().enumerate() {
            if hop.stands_in(rest) {
                self.expected += index + 1;
                return Some((hop.take(self.record), hop.pattern.len()));
            }
        }
        None
    }

    /// Returns what a name is. One that holds no escape is kept for [`Names::guess`].
    pub(crate) fn look_up(&mut self, text: &str, plain: bool) -> Name {
        let name = Name { found: self.find(text), reserved: is_reserved(text), repeated: false };
        if !plain || text.len() > MAX_HOP_BYTES {
            self.is_sure = false;
            return name;
        }
        let is_kept = |hop: &Hop| hop.pattern.get(1..hop.pattern.len() - 2) == Some(text.as_bytes());
        if let Some(index) = self.hops.iter().position(is_kept) {
            self.expected = index + 1;
            return self.hops[index].take(self.record);
        }
        if self.hops.len() == MAX_HOPS {
            self.is_sure = false;
            return name;
        }
        self.hops.insert(self.expected, Hop::new(text, name, self.record));
        self.expected += 1;
        name
    }

    fn find(&self, name: &str) -> Found {
        if let Some(field) = self.exact.get(name) {
            return Found::Exact(*field);
        }
        self.folded.get(name.to_ascii_lowercase().as_str()).map_or(Found::Unknown, |group| Found::Folded(*group))
    }

    /// Returns the bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let declared: usize = self.exact.keys().map(|name| 2 * name.len() + 128).sum();
        let hops: usize = self.hops.iter().map(|hop| hop.pattern.len()).sum();
        declared + hops + self.hops.capacity() * size_of::<Hop>()
    }
}

/// Returns whether a name, in whatever case, is one that the raw zone's own columns have.
fn is_reserved(name: &str) -> bool {
    let starts_with = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    starts_with("_kafka_") || starts_with("_raw")
}
