//! A record's JSON text to the typed values of the declared columns, or the one reason why it has no row. Pure.
//!
//! What a record becomes depends on the record and the schema alone. A field belongs to the column whose `from` it is; a column
//! that no field names exactly takes the one that names it but for its (ASCII) case. The whole text is checked, whether declared or not.

mod dead_letter;
mod escape;
mod names;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;

use stockpipeline::schema::Schema;
use stockpipeline::value::{self, Field, Value};

pub use dead_letter::{
    CLASSES, DUPLICATE_FIELD, DeadLetter, FUTURE_EVENT_TIME, INVALID_JSON, MALFORMED, MISSING_VALUE, NOT_AN_OBJECT, OUT_OF_RANGE,
    TOMBSTONE, TOO_DEEP, TOO_PRECISE, WRONG_TYPE,
};
use dead_letter::{column_problem, future, syntax, whole_record};
pub(crate) use escape::escape_into;
use names::{Found, Name, Names};
pub use scan::MAX_DEPTH;
use scan::{Flaw, Kind, Scanner, Token};

/// What a payload is, whatever the columns make of it.
#[derive(Debug)]
pub enum Payload<'a> {
    /// There is none.
    Tombstone,
    /// Bytes that are no UTF-8.
    Binary {
        /// Position of the first byte that is none.
        at: usize,
    },
    /// Text that is no JSON object.
    Text {
        /// The text.
        text: &'a str,
        /// Why it is none.
        dead_letter: DeadLetter,
    },
    /// A JSON object.
    Object(Object<'a>),
}

/// A JSON object, checked from its first byte to its last.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the object's text")]
pub struct Object<'a> {
    /// The whole payload.
    text: &'a str,
    /// Position of the opening brace.
    start: usize,
    /// Position after the closing one.
    end: usize,
    /// Whether it has no members.
    pub is_empty: bool,
    /// Whether line breaks stand between its tokens.
    pub line_breaks: bool,
    /// Whether a member has a name that the raw zone gives itself (`_kafka_…`, `_raw…`).
    pub reserved_name: bool,
    /// Whether two members have one name, declared or not: JSON readers differ in what they make of that.
    pub repeated_name: bool,
    /// Number of the first declared field that stands in it twice, and where it does so again.
    pub duplicate: Option<(usize, usize)>,
    /// Members that no column takes.
    pub unknown_fields: u64,
}

/// Reads payloads of one schema. What it keeps between records makes it faster and changes no answer.
pub struct Decoder {
    names: Names,
    /// Number of the field of each column.
    fields: Vec<usize>,
    /// What the last object holds for each field, by position in its text.
    slots: Vec<Option<Slot>>,
    /// Members of the last object that match fields only without case.
    folded: Vec<(usize, Token)>,
    name: String,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    token: Token,
    folded: bool,
}

impl Decoder {
    /// Returns a decoder of a schema's records.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let (names, fields) = Names::of(schema);
        let slots = vec![None; names.fields()];
        Self { names, fields, slots, folded: Vec::new(), name: String::new() }
    }

    /// Returns the bytes of memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.names.memory_bytes()
            + self.fields.capacity() * size_of::<usize>()
            + self.slots.capacity() * size_of::<Option<Slot>>()
            + self.folded.capacity() * size_of::<(usize, Token)>()
            + self.name.capacity()
    }

    /// Checks a payload and finds its declared fields.
    pub fn scan<'a>(&mut self, payload: Option<&'a [u8]>) -> Payload<'a> {
        let Some(bytes) = payload else { return Payload::Tombstone };
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return Payload::Binary { at: error.valid_up_to() },
        };
        let mut scanner = Scanner::new(text);
        let object = match scanner.peek() {
            Some(b'{') => self.object(text, &mut scanner),
            _ => Err(other_value(&mut scanner)),
        };
        match object {
            Ok(object) => Payload::Object(object),
            Err(dead_letter) => Payload::Text { text, dead_letter },
        }
    }

    fn object<'a>(&mut self, text: &'a str, scanner: &mut Scanner<'a>) -> Result<Object<'a>, DeadLetter> {
        self.names.begin();
        self.slots.fill(None);
        self.folded.clear();
        let start = scanner.at();
        let mut object = Object {
            text,
            start,
            end: start,
            is_empty: true,
            line_breaks: false,
            reserved_name: false,
            repeated_name: false,
            duplicate: None,
            unknown_fields: 0,
        };
        self.members(text, scanner, &mut object).map_err(syntax)?;
        object.line_breaks = scanner.line_breaks();
        object.end = scanner.at();
        if scanner.peek().is_some() {
            return Err(syntax(scanner.flaw("the end of the text")));
        }
        object.repeated_name |= !self.names.is_sure() && repeats_a_name(object.whole());
        self.settle_folded(&mut object);
        Ok(object)
    }

    fn members(&mut self, text: &str, scanner: &mut Scanner<'_>, object: &mut Object<'_>) -> Result<(), Flaw> {
        scanner.take(b'{', "`{`")?;
        if scanner.peek() == Some(b'}') {
            scanner.pass(1);
            return Ok(());
        }
        object.is_empty = false;
        loop {
            let name = self.name(text, scanner)?;
            let at = scanner.at();
            let token = scanner.value(1)?;
            object.reserved_name |= name.reserved;
            object.repeated_name |= name.repeated;
            match name.found {
                Found::Exact(field) => match &mut self.slots[field] {
                    Some(_) => object.duplicate = object.duplicate.or(Some((field, at))),
                    slot => *slot = Some(Slot { token, folded: false }),
                },
                Found::Folded(group) => self.folded.push((group, token)),
                Found::Unknown => object.unknown_fields += 1,
            }
            match scanner.peek() {
                Some(b',') => scanner.pass(1),
                Some(b'}') => {
                    scanner.pass(1);
                    return Ok(());
                }
                _ => return Err(scanner.flaw("`,` or `}`")),
            }
        }
    }

    /// Passes a name and its colon.
    #[inline]
    fn name(&mut self, text: &str, scanner: &mut Scanner<'_>) -> Result<Name, Flaw> {
        if scanner.peek() != Some(b'"') {
            return Err(scanner.flaw("a name"));
        }
        if let Some((name, length)) = self.names.guess(scanner.rest()) {
            scanner.pass(length);
            return Ok(name);
        }
        let start = scanner.at() + 1;
        let kind = scanner.string()?;
        let inside = &text[start..scanner.at() - 1];
        scanner.take(b':', "`:`")?;
        if kind == Kind::Plain {
            return Ok(self.names.look_up(inside, true));
        }
        self.name.clear();
        escape::unescape(inside, &mut self.name);
        Ok(self.names.look_up(&self.name, false))
    }

    /// Gives members that match a field only without case to the fields that nothing matches exactly.
    fn settle_folded(&mut self, object: &mut Object<'_>) {
        for (group, token) in &self.folded {
            let mut used = false;
            for field in self.names.group(*group) {
                match &mut self.slots[*field] {
                    Some(slot) if slot.folded => {
                        used = true;
                        object.duplicate = object.duplicate.or(Some((*field, token.start)));
                    }
                    Some(_) => {}
                    slot => {
                        used = true;
                        *slot = Some(Slot { token: *token, folded: true });
                    }
                }
            }
            object.unknown_fields += u64::from(!used);
        }
    }

    /// Appends the typed values of the object that was scanned last, one a column, and checks its event time.
    ///
    /// # Errors
    /// The first reason, in column order, why the record has no row. What was appended is then of no use.
    pub fn values<'a>(
        &self,
        schema: &Schema,
        object: &Object<'a>,
        timestamp_millis: Option<i64>,
        values: &mut Vec<Value<'a>>,
    ) -> Result<(), DeadLetter> {
        if let Some((field, at)) = object.duplicate {
            return Err(self.duplicate(schema, field, at));
        }
        for (index, (column, field)) in schema.columns.iter().zip(&self.fields).enumerate() {
            let token = self.slots.get(*field).copied().flatten().map(|slot| slot.token);
            match value::parse(column, token.map_or(Field::Null, |token| field_of(object.text, token))) {
                Ok(value) => values.push(value),
                Err(problem) => return Err(column_problem(index, column, problem, token)),
            }
        }
        check_event_time(schema, timestamp_millis, values)
    }

    #[cold]
    fn duplicate(&self, schema: &Schema, field: usize, at: usize) -> DeadLetter {
        let column = self.fields.iter().position(|other| *other == field);
        let name = column.and_then(|index| schema.columns.get(index)).map_or("", |column| column.name.as_str());
        DeadLetter { class: DUPLICATE_FIELD, column, message: format!("column {name}: its field stands in the record again at byte {at}") }
    }
}

impl<'a> Object<'a> {
    fn whole(&self) -> &'a str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns the text between the braces, without them.
    #[must_use]
    pub fn members(&self) -> &'a str {
        self.text.get(self.start + 1..self.end - 1).unwrap_or_default()
    }
}

impl Payload<'_> {
    /// Returns why a payload that is no object has no row; None for an object.
    #[must_use]
    pub fn dead_letter(&self) -> Option<DeadLetter> {
        match self {
            Self::Tombstone => Some(whole_record(TOMBSTONE, "the record has no payload".to_owned())),
            Self::Binary { at } => Some(whole_record(INVALID_JSON, format!("the payload is no UTF-8 at byte {at}"))),
            Self::Text { dead_letter, .. } => Some(dead_letter.clone()),
            Self::Object(_) => None,
        }
    }
}

/// Returns the event time of a row in microseconds since 1970; None where it is null.
#[must_use]
pub fn event_time_micros(schema: &Schema, values: &[Value<'_>]) -> Option<i64> {
    values.get(schema.event_time).and_then(Value::event_time_micros)
}

/// Returns whether two members of a valid object have one name.
#[cold]
fn repeats_a_name(object: &str) -> bool {
    let mut names = HashSet::new();
    let mut scanner = Scanner::new(object);
    scanner.pass(1);
    while scanner.peek() == Some(b'"') {
        let start = scanner.at() + 1;
        let Ok(kind) = scanner.string() else { return false };
        let inside = object.get(start..scanner.at() - 1).unwrap_or_default();
        let name = if kind == Kind::Plain { Cow::Borrowed(inside) } else { Cow::Owned(unescaped(inside)) };
        if !names.insert(name) {
            return true;
        }
        if scanner.take(b':', "`:`").and_then(|()| scanner.value(1)).is_err() || scanner.peek() != Some(b',') {
            return false;
        }
        scanner.pass(1);
        scanner.peek();
    }
    false
}

fn unescaped(inside: &str) -> String {
    let mut text = String::with_capacity(inside.len());
    escape::unescape(inside, &mut text);
    text
}

#[inline]
fn field_of(text: &str, token: Token) -> Field<'_> {
    let whole = text.get(token.start..token.end).unwrap_or_default();
    match token.kind {
        Kind::Null => Field::Null,
        Kind::True => Field::Boolean(true),
        Kind::False => Field::Boolean(false),
        Kind::Number => Field::Number(whole),
        Kind::Plain => Field::Text(Cow::Borrowed(inside(whole))),
        Kind::Escaped => Field::Text(Cow::Owned(unescaped(inside(whole)))),
        Kind::Nested => Field::Nested(whole),
    }
}

fn inside(quoted: &str) -> &str {
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()
}

#[inline]
fn check_event_time(schema: &Schema, timestamp_millis: Option<i64>, values: &[Value<'_>]) -> Result<(), DeadLetter> {
    let (Some(timestamp), Some(event_time)) = (timestamp_millis, event_time_micros(schema, values)) else { return Ok(()) };
    let limit = timestamp.saturating_mul(1_000).saturating_add(schema.max_future_seconds.saturating_mul(1_000_000));
    if event_time <= limit { Ok(()) } else { Err(future(schema, event_time, timestamp)) }
}

/// Passes a value that is no object and returns why the text has no row.
#[cold]
fn other_value(scanner: &mut Scanner<'_>) -> DeadLetter {
    let first = scanner.peek();
    match scanner.value(0) {
        Err(flaw) => syntax(flaw),
        Ok(_) if scanner.peek().is_some() => syntax(scanner.flaw("the end of the text")),
        Ok(_) => {
            let found = match first {
                Some(b'[') => "an array",
                Some(b'"') => "a string",
                Some(b'n') => "null",
                Some(b't' | b'f') => "a boolean",
                _ => "a number",
            };
            whole_record(NOT_AN_OBJECT, format!("the payload is {found}, not an object"))
        }
    }
}
