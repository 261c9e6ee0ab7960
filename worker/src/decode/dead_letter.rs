//! Why a record has no row: the classes of dead letters and their messages, which hold nothing of the payload.

use stockpipeline::schema::{Column, Schema};
use stockpipeline::value::Problem;

use super::scan::{Expected, Flaw, MAX_DEPTH, Token};

/// Text that is no JSON.
pub const INVALID_JSON: &str = "InvalidJson";
/// JSON, but no object.
pub const NOT_AN_OBJECT: &str = "NotAnObject";
/// A declared field that stands twice in the record.
pub const DUPLICATE_FIELD: &str = "DuplicateField";
/// More than [`MAX_DEPTH`] arrays and objects within each other.
pub const TOO_DEEP: &str = "TooDeep";
/// No value in a column that is not nullable.
pub const MISSING_VALUE: &str = "MissingValue";
/// A value of a type that the column does not take.
pub const WRONG_TYPE: &str = "WrongType";
/// Text that is no value of the column's type.
pub const MALFORMED: &str = "Malformed";
/// A value outside the column's range.
pub const OUT_OF_RANGE: &str = "OutOfRange";
/// More digits after the point than the column has.
pub const TOO_PRECISE: &str = "TooPrecise";
/// An event time too far after the record's Kafka timestamp.
pub const FUTURE_EVENT_TIME: &str = "FutureEventTime";
/// A record without a payload.
pub const TOMBSTONE: &str = "Tombstone";

/// All classes of dead letters.
pub const CLASSES: [&str; 11] = [
    INVALID_JSON,
    NOT_AN_OBJECT,
    DUPLICATE_FIELD,
    TOO_DEEP,
    MISSING_VALUE,
    WRONG_TYPE,
    MALFORMED,
    OUT_OF_RANGE,
    TOO_PRECISE,
    FUTURE_EVENT_TIME,
    TOMBSTONE,
];

/// Why a record has no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// One of [`CLASSES`].
    pub class: &'static str,
    /// Index of the column, where one is the cause.
    pub column: Option<usize>,
    /// Column, reason and byte position; nothing of the payload.
    pub message: String,
}

#[cold]
pub(super) fn future(schema: &Schema, event_time: i64, timestamp_millis: i64) -> DeadLetter {
    let seconds = event_time.saturating_sub(timestamp_millis.saturating_mul(1_000)) / 1_000_000;
    let name = schema.columns.get(schema.event_time).map_or("", |column| column.name.as_str());
    let message =
        format!("column {name}: the event time is {seconds} s after the record's Kafka timestamp, more than schema.maxFuture allows");
    DeadLetter { class: FUTURE_EVENT_TIME, column: Some(schema.event_time), message }
}

#[cold]
pub(super) fn syntax(flaw: Flaw) -> DeadLetter {
    let at = flaw.at;
    match flaw.expected {
        Expected::Token(token) => whole_record(INVALID_JSON, format!("no JSON: expected {token} at byte {at}")),
        Expected::LessDepth => whole_record(TOO_DEEP, format!("more than {MAX_DEPTH} arrays and objects within each other at byte {at}")),
    }
}

pub(super) fn whole_record(class: &'static str, message: String) -> DeadLetter {
    DeadLetter { class, column: None, message }
}

#[cold]
pub(super) fn column_problem(index: usize, column: &Column, problem: Problem, token: Option<Token>) -> DeadLetter {
    let class = match problem {
        Problem::Missing => MISSING_VALUE,
        Problem::WrongType => WRONG_TYPE,
        Problem::Malformed => MALFORMED,
        Problem::OutOfRange => OUT_OF_RANGE,
        Problem::TooPrecise => TOO_PRECISE,
    };
    let place = token.map_or_else(String::new, |token| format!(" (at byte {})", token.start));
    DeadLetter { class, column: Some(index), message: format!("{}{place}", problem.describe(column)) }
}
