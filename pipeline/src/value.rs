//! The text side of the type table: a field of a record to a typed value of a column, or the reason why not.
//!
//! Hot path: no allocation for anything but a String that holds escapes. Exact: a Decimal never goes through a float.

use std::borrow::Cow;

use crate::schema::Column;

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

/// Returns the typed value of a field.
///
/// # Errors
/// The [`Problem`] that makes the record a dead letter.
pub fn parse<'a>(column: &Column, field: Field<'a>) -> Result<Value<'a>, Problem> {
    let _ = (column, field);
    todo!("contract helper")
}
