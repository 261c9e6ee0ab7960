//! The text side of the type table: a field of a record to a typed value of a column, or the reason why not.
//!
//! Hot path: no allocation (a strftime pattern's zone name excepted). Exact: a Decimal never goes through a float.
//! Forms are taken as they stand: no surrounding spaces, no thousands separators, and an empty text is a value of String only.

mod number;
mod text;
mod time;

use std::borrow::Cow;
use std::fmt;

use crate::civil::MICROS_PER_DAY;
use crate::schema::{Column, ColumnType, Rounding, TimeReading};
use number::Excess;

pub use text::{DATE_BYTES, TIMESTAMP_BYTES, date_text, timestamp_text};
pub(crate) use text::{day_text, push_integer};

/// A field as it stands in the record.
#[derive(Debug, Clone, PartialEq)]
pub enum Field<'a> {
    /// Missing, or JSON null.
    Null,
    /// JSON `true` or `false`.
    Boolean(bool),
    /// The exact text of a JSON number.
    Number(&'a str),
    /// The text of a JSON string, escapes resolved.
    Text(Cow<'a, str>),
    /// A JSON array or object, as its exact text.
    Nested(&'a str),
}

/// A typed value of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// String.
    String(Cow<'a, str>),
    /// Int.
    Int(i32),
    /// Bigint.
    Bigint(i64),
    /// Double; finite.
    Double(f64),
    /// Unscaled digits of a Decimal of the column's scale.
    Decimal(i128),
    /// Boolean.
    Boolean(bool),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
}

/// Why a field is no value of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Missing or null in a column that is not nullable.
    Missing,
    /// Of a type that the column does not take.
    WrongType,
    /// Text that is no value of the type.
    Malformed,
    /// Outside the type's range.
    OutOfRange,
    /// More digits after the point than the column's scale.
    TooPrecise,
}

/// Returns the typed value of a field, as the type table of the contract says.
///
/// | column | taken |
/// |---|---|
/// | String | text, the text of a number as it stands, `true` and `false` |
/// | Int, Bigint | a number, or text that is one, without digits other than zeros after the point (`5`, `5.0`, `5e0`) |
/// | Double | a number, or text that is one; `NaN` and `Infinity` (`inf`; any case and sign) are null |
/// | Decimal | a number, or text that is one, exactly |
/// | Boolean | a boolean, or the text `true` or `false` |
/// | Timestamp | text of its reading; epochs and strftime patterns take numbers as well |
/// | Date | text `YYYY-MM-DD`; a strftime pattern takes numbers as well |
///
/// # Errors
/// The [`Problem`] that makes the record a dead letter.
pub fn parse<'a>(column: &Column, field: Field<'a>) -> Result<Value<'a>, Problem> {
    let (text, form) = match field {
        Field::Text(text) => (text, Form::Text),
        Field::Number(text) => (Cow::Borrowed(text), Form::Number),
        Field::Boolean(value) => return boolean(&column.column_type, value),
        Field::Nested(_) => return Err(Problem::WrongType),
        Field::Null => return absent(column, Problem::Missing),
    };
    match &column.column_type {
        ColumnType::String => Ok(Value::String(text)),
        ColumnType::Int => i32::try_from(number::integer(&text)?).map(Value::Int).map_err(|_| Problem::OutOfRange),
        ColumnType::Bigint => number::integer(&text).map(Value::Bigint),
        ColumnType::Double => match number::double(&text)? {
            Some(value) => Ok(Value::Double(value)),
            None => absent(column, Problem::OutOfRange),
        },
        ColumnType::Decimal { precision, scale, rounding } => {
            number::decimal(&text, i32::from(*scale), u32::from(*precision), Excess::Round(*rounding)).map(Value::Decimal)
        }
        ColumnType::Boolean => match (form, &*text) {
            (Form::Text, "true") => Ok(Value::Boolean(true)),
            (Form::Text, "false") => Ok(Value::Boolean(false)),
            (Form::Text, _) => Err(Problem::Malformed),
            (Form::Number, _) => Err(Problem::WrongType),
        },
        ColumnType::Timestamp { reading } => match (form, reading) {
            (Form::Number, TimeReading::Iso { .. }) => Err(Problem::WrongType),
            (Form::Number, TimeReading::Format { .. } | TimeReading::Epoch { .. }) | (Form::Text, _) => {
                time::timestamp(reading, &text).map(Value::Timestamp)
            }
        },
        ColumnType::Date { format } => match (form, format) {
            (Form::Number, None) => Err(Problem::WrongType),
            (Form::Number, Some(_)) | (Form::Text, _) => time::date(format.as_deref(), &text).map(Value::Date),
        },
    }
}

/// How a scalar stood in the record.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
}

fn boolean<'a>(column_type: &ColumnType, value: bool) -> Result<Value<'a>, Problem> {
    match column_type {
        ColumnType::Boolean => Ok(Value::Boolean(value)),
        ColumnType::String => Ok(Value::String(Cow::Borrowed(if value { "true" } else { "false" }))),
        ColumnType::Int
        | ColumnType::Bigint
        | ColumnType::Double
        | ColumnType::Decimal { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Date { .. } => Err(Problem::WrongType),
    }
}

fn absent<'a>(column: &Column, problem: Problem) -> Result<Value<'a>, Problem> {
    if column.nullable { Ok(Value::Null) } else { Err(problem) }
}

impl Value<'_> {
    /// Returns the instant of a Timestamp, or of a Date's midnight in UTC, in microseconds since 1970; None for anything else.
    #[must_use]
    pub fn event_time_micros(&self) -> Option<i64> {
        match self {
            Self::Timestamp(micros) => Some(*micros),
            Self::Date(days) => Some(i64::from(*days) * MICROS_PER_DAY),
            Self::Null | Self::String(_) | Self::Int(_) | Self::Bigint(_) | Self::Double(_) | Self::Decimal(_) | Self::Boolean(_) => None,
        }
    }
}

impl Problem {
    /// Every problem, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Missing, Self::WrongType, Self::Malformed, Self::OutOfRange, Self::TooPrecise];

    /// Returns the label used in metrics and as the class of a dead letter.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::Malformed => "malformed",
            Self::OutOfRange => "out_of_range",
            Self::TooPrecise => "too_precise",
        }
    }

    /// Returns the sentence for a person: the column, its type and what is wrong, never the value.
    #[must_use]
    pub fn describe(self, column: &Column) -> impl fmt::Display {
        Description { problem: self, column }
    }
}

struct Description<'a> {
    problem: Problem,
    column: &'a Column,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Column { name, from, column_type, .. } = self.column;
        write!(out, "column {name} ({column_type})")?;
        if from != name {
            write!(out, " from field {from:?}")?;
        }
        match self.problem {
            Problem::Missing => write!(out, " is missing or null and not nullable"),
            Problem::WrongType => write!(out, " does not take a value of this JSON type"),
            Problem::Malformed => write!(out, " cannot be read from this text: expected {}", Expected(column_type)),
            Problem::OutOfRange => write!(out, " cannot hold a value of this size: expected {}", Expected(column_type)),
            Problem::TooPrecise => match column_type {
                ColumnType::Decimal { scale, .. } => {
                    write!(out, " has more than {scale} digits after the point; raise the scale or set rounding")
                }
                ColumnType::String
                | ColumnType::Int
                | ColumnType::Bigint
                | ColumnType::Double
                | ColumnType::Boolean
                | ColumnType::Timestamp { .. }
                | ColumnType::Date { .. } => write!(out, " has digits after the point and takes whole numbers only"),
            },
        }
    }
}

/// What a column's text has to be, in words.
struct Expected<'a>(&'a ColumnType);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ColumnType::String => write!(out, "text"),
            ColumnType::Int => write!(out, "a whole number from {} to {}", i32::MIN, i32::MAX),
            ColumnType::Bigint => write!(out, "a whole number from {} to {}", i64::MIN, i64::MAX),
            ColumnType::Double => write!(out, "a finite number up to 1.8e308"),
            ColumnType::Decimal { precision, scale, rounding } => {
                write!(out, "a number of at most {} digits before the point", precision.saturating_sub(*scale))?;
                match rounding {
                    Rounding::Reject => write!(out, " and {scale} after it"),
                    Rounding::HalfEven | Rounding::HalfUp | Rounding::Truncate => Ok(()),
                }
            }
            ColumnType::Boolean => write!(out, "true or false"),
            ColumnType::Timestamp { reading } => match reading {
                TimeReading::Iso { .. } => write!(out, "an RFC 3339 instant or an ISO date or date-time of the years 0001 to 9999"),
                TimeReading::Format { format, .. } => write!(out, "a time like {format:?} of the years 0001 to 9999"),
                TimeReading::Epoch { unit } => {
                    write!(out, "{} since 1970 within the years 0001 to 9999", unit.plural())
                }
            },
            ColumnType::Date { format: None } => write!(out, "a day YYYY-MM-DD of the years 0001 to 9999"),
            ColumnType::Date { format: Some(format) } => write!(out, "a day like {format:?} of the years 0001 to 9999"),
        }
    }
}

#[cfg(test)]
mod tests;
