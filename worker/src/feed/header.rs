//! A file's column names against the declared columns: what each field is called and how it is written.

use std::collections::BTreeSet;

use stockpipeline::checked::CsvReplay;
use stockpipeline::schema::{Column, Schema};
use stockpipeline::value::{self, Value};

use super::cut::{self, Field};
use super::json::{self, Form, Member};
use super::{FeedError, MAX_ROW_BYTES, MICROS_PER_DAY, Malformed};

/// Most bytes of a header that an error message shows.
const SHOWN_BYTES: usize = 1000;

/// What is known of a file's fields before its first row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// One member a field, in the file's order.
    pub(super) members: Vec<Member>,
    /// Position of the key's field.
    pub(super) key: usize,
    /// Position of the event time's field and the column that reads it, where order or pace need it.
    pub(super) event_time: Option<(usize, Column)>,
    pub(super) delimiter: u8,
    pub(super) null_values: Vec<Vec<u8>>,
    /// Bit `n` says that a null value of `n` bytes exists, the last bit also for longer ones: most fields need no comparison.
    null_lengths: u64,
}

/// What the header is checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The file, for messages.
    pub(super) name: &'a str,
    pub(super) schema: &'a Schema,
    pub(super) key_column: usize,
    /// Whether order or pace need the event time.
    pub(super) needs_event_time: bool,
}

impl Header {
    /// Checks the column names of a file: no name twice, none missing that a column cannot do without.
    pub(super) fn new(names: &[String], replay: &CsvReplay, wanted: Wanted<'_>) -> Result<Self, FeedError> {
        let refused = |problem: String| FeedError::Header { name: wanted.name.to_owned(), problem };
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                return Err(refused(format!(
                    "it names the column {name:?} twice; give the names in the source's header field (header: {})",
                    shown(names)
                )));
            }
        }
        let columns = &wanted.schema.columns;
        let places: Vec<Option<usize>> = columns.iter().map(|column| place(names, &column.from)).collect();
        let needed = |index: usize| {
            !columns[index].nullable || index == wanted.key_column || (wanted.needs_event_time && index == wanted.schema.event_time)
        };
        let lacking = || (0..columns.len()).filter(|index| places[*index].is_none());
        let name = |index: usize| columns[index].from.as_str();
        let missing: Vec<&str> = lacking().filter(|index| needed(*index)).map(name).collect();
        let (Some(key), true) = (places[wanted.key_column], missing.is_empty()) else {
            return Err(refused(format!("it lacks {missing:?}; the file has {}; set `from` to a name of the file", shown(names))));
        };
        let null: Vec<&str> = lacking().map(name).collect();
        if !null.is_empty() {
            tracing::warn!(
                file = wanted.name,
                header = %shown(names),
                "the file lacks {null:?}: their columns are null in each of its rows; set `from` to a name of the file if that is not meant"
            );
        }
        let members: Vec<Member> = names
            .iter()
            .enumerate()
            .map(|(position, name)| {
                let readers = columns.iter().zip(&places).filter(|(_, place)| **place == Some(position)).map(|(column, _)| column);
                Member::new(name, Form::of(readers), position)
            })
            .collect();
        if members.iter().map(Member::most_name_bytes).sum::<usize>() > MAX_ROW_BYTES / 2 {
            return Err(refused(format!(
                "its names alone take more than {} bytes a row; give shorter ones in the source's header field",
                MAX_ROW_BYTES / 2
            )));
        }
        let event_time = places[wanted.schema.event_time]
            .filter(|_| wanted.needs_event_time)
            .map(|position| (position, columns[wanted.schema.event_time].clone()));
        let null_values: Vec<Vec<u8>> = replay.null_values.iter().map(|text| text.clone().into_bytes()).collect();
        let null_lengths = null_values.iter().fold(0, |lengths, text| lengths | 1 << text.len().min(63));
        Ok(Self { members, key, event_time, delimiter: replay.delimiter, null_values, null_lengths })
    }

    /// Returns whether a text means null.
    pub(super) fn is_null(&self, text: &[u8]) -> bool {
        self.null_lengths >> text.len().min(63) & 1 == 1 && self.null_values.iter().any(|null| null == text)
    }

    /// Splits a row and says what is wrong with it.
    pub(super) fn inspect(&self, row: &[u8], fields: &mut Vec<Field>) -> Option<Malformed> {
        cut::split(row, self.delimiter, fields);
        if fields.iter().all(|field| field.is_empty()) {
            return Some(Malformed::EmptyRow);
        }
        if fields.len() != self.members.len() {
            return Some(Malformed::WrongFieldCount);
        }
        if !row.is_ascii() && std::str::from_utf8(row).is_err() {
            return Some(Malformed::InvalidUtf8);
        }
        // Names take at most half of the limit, an escaped byte at most six.
        if row.len() > MAX_ROW_BYTES / 2 / 6 {
            let mut json = Vec::new();
            self.write(row, fields, &mut Vec::new(), &mut json);
            return (json.len() > MAX_ROW_BYTES).then_some(Malformed::TooLong);
        }
        None
    }

    /// Returns the event time of a row that is not malformed, in microseconds since 1970.
    pub(super) fn event_time(&self, row: &[u8], fields: &[Field], scratch: &mut Vec<u8>) -> Option<i64> {
        let (position, column) = self.event_time.as_ref()?;
        let text = fields[*position].text(row, scratch);
        if self.is_null(text) {
            return None;
        }
        let number = json::is_number(text) && Form::of([column].into_iter()) == Form::Number;
        let text = std::str::from_utf8(text).ok()?;
        let field = if number { value::Field::Number(text) } else { value::Field::Text(text.into()) };
        match value::parse(column, field) {
            Ok(Value::Timestamp(micros)) => Some(micros),
            Ok(Value::Date(days)) => Some(i64::from(days) * MICROS_PER_DAY),
            Ok(
                Value::Null
                | Value::String(_)
                | Value::Int(_)
                | Value::Bigint(_)
                | Value::Double(_)
                | Value::Decimal(_)
                | Value::Boolean(_),
            )
            | Err(_) => None,
        }
    }

    /// Appends a row that is not malformed as a JSON object.
    pub(super) fn write(&self, row: &[u8], fields: &[Field], scratch: &mut Vec<u8>, json: &mut Vec<u8>) {
        for (member, field) in self.members.iter().zip(fields) {
            let text = field.text(row, scratch);
            if self.is_null(text) {
                member.write_null(json);
            } else {
                member.write(text, json);
            }
        }
        json.push(b'}');
    }
}

/// Reads the names from a header row.
pub(super) fn names(row: &[u8], delimiter: u8, file: &str) -> Result<Vec<String>, FeedError> {
    let refused = |problem: &str| FeedError::Header { name: file.to_owned(), problem: problem.to_owned() };
    if std::str::from_utf8(row).is_err() {
        return Err(refused("it is not UTF-8; convert the file"));
    }
    let (mut fields, mut scratch) = (Vec::new(), Vec::new());
    cut::split(row, delimiter, &mut fields);
    let mut names = Vec::with_capacity(fields.len());
    for field in fields {
        let text = field.text(row, &mut scratch);
        if text.contains(&b'\r') {
            return Err(refused("its lines end with a carriage return alone; convert the file to LF or CR LF"));
        }
        names.push(String::from_utf8_lossy(text).into_owned());
    }
    Ok(names)
}

/// Returns the place of a name: the same text, else the first that differs in case only.
fn place(names: &[String], from: &str) -> Option<usize> {
    let exact = names.iter().position(|name| name == from);
    exact.or_else(|| names.iter().position(|name| name.to_lowercase() == from.to_lowercase()))
}

fn shown(names: &[String]) -> String {
    let mut text = format!("{names:?}");
    if text.len() > SHOWN_BYTES {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text.push_str(" ...");
    }
    text
}
