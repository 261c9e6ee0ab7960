//! Columns of a pipeline and the one type table: spec name, Glue type and what a value is made of.
//!
//! The worker's Arrow and Parquet types follow from [`ColumnType`] by an exhaustive match, the text forms from
//! [`crate::value`]. Gives nothing of the user's raw spec: a [`Schema`] is checked.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::civil::{self, FIRST_MICROS, LAST_MICROS, MICROS_PER_DAY, MICROS_PER_SECOND, civil_from_days, day_of};

/// Names of the columns that every row starts with, in this order.
pub const KAFKA_COLUMNS: [&str; 3] = ["_kafka_partition", "_kafka_offset", "_kafka_timestamp"];
/// Most digits of a Decimal.
pub const MAX_DECIMAL_DIGITS: u8 = 38;

/// The declared columns of a pipeline, in order, and the one that carries the event time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// Declared columns; the Kafka columns stand before them in every table.
    pub columns: Vec<Column>,
    /// Index into `columns` of the event time (a Timestamp or Date column).
    pub event_time: usize,
    /// How far, in seconds, an event time may lie after the record's Kafka timestamp.
    pub max_future_seconds: i64,
}

/// One declared column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    /// Name in Parquet, Glue and SQL: `^[a-z_][a-z0-9_]*$`.
    pub name: String,
    /// Name of the field in the record; may hold spaces, case counts.
    pub from: String,
    /// Type of the values.
    #[serde(flatten)]
    pub column_type: ColumnType,
    /// Whether a missing or null value is allowed.
    pub nullable: bool,
    /// Text shown as the column's comment in Glue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Type of a column together with what is needed to read its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum ColumnType {
    /// UTF-8 text; a number or boolean is taken by its text.
    String,
    /// 32-bit signed integer.
    Int,
    /// 64-bit signed integer.
    Bigint,
    /// 64-bit IEEE 754 number; never NaN or infinite.
    Double,
    /// Exact decimal of `precision` digits, `scale` of them after the point.
    Decimal {
        /// Digits in all: 1 to 38.
        precision: u8,
        /// Digits after the point: 0 to `precision`.
        scale: u8,
        /// What happens to digits beyond the scale.
        rounding: Rounding,
    },
    /// `true` or `false`.
    Boolean,
    /// An instant with microseconds, in UTC.
    Timestamp {
        /// How the text or number is read.
        reading: TimeReading,
    },
    /// A calendar day.
    Date {
        /// strftime pattern of the text; an ISO date without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
    },
}

/// What happens to decimal digits beyond a column's scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rounding {
    /// The record is a dead letter, unless the digits are zeros.
    #[default]
    Reject,
    /// Half to even (banker's rounding).
    HalfEven,
    /// Half away from zero.
    HalfUp,
    /// Towards zero.
    Truncate,
}

/// How the text of a Timestamp column is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum TimeReading {
    /// RFC 3339 with 0 to 9 fraction digits, or an ISO date or date-time in `time_zone`.
    Iso {
        /// Zone of a text that names none.
        time_zone: Zone,
    },
    /// A strftime pattern; a text without a zone is in `time_zone`.
    Format {
        /// The strftime pattern.
        format: String,
        /// Zone of a text that names none.
        time_zone: Zone,
    },
    /// A number since 1970-01-01T00:00:00Z.
    Epoch {
        /// Unit of the number.
        unit: EpochUnit,
    },
}

/// Unit of an epoch number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochUnit {
    /// Whole seconds; a fraction is kept to the microsecond.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
    /// Billionths of a second; cut to the microsecond towards the past.
    Nanoseconds,
}

/// An IANA time zone that is known to exist; written as its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    rules: TimeZone,
    utc: bool,
}

impl Zone {
    /// Returns UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { rules: TimeZone::UTC, utc: true }
    }

    /// Returns the zone of an IANA name such as `America/New_York`, or None when there is none of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("UTC") {
            return Some(Self::utc());
        }
        // The rules that were compiled in, so that rows do not depend on the machine's own time zone files.
        let rules = TimeZoneDatabase::bundled().get(name).ok()?;
        if rules.is_unknown() { None } else { Some(Self { rules, utc: false }) }
    }

    /// Returns whether the zone is UTC under that name.
    #[must_use]
    pub fn is_utc(&self) -> bool {
        self.utc
    }

    /// Returns the rules of the zone.
    #[must_use]
    pub fn rules(&self) -> &TimeZone {
        &self.rules
    }

    /// Returns the IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.rules.iana_name().unwrap_or("UTC")
    }

    /// Returns the local time of an instant; both in microseconds since 1970.
    pub(crate) fn local(&self, micros: i64) -> i64 {
        if self.is_utc() {
            return micros;
        }
        let seconds = micros.div_euclid(MICROS_PER_SECOND).clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let instant = Timestamp::from_second(seconds).expect("a second within the range of Timestamp is one");
        micros.saturating_add(offset_micros(self.rules.to_offset(instant)))
    }

    /// Returns the instant of a local time; both in microseconds since 1970.
    ///
    /// A local time that the zone skips is taken with the offset before the jump, one that it repeats is the earlier of both.
    pub(crate) fn instant(&self, local_micros: i64) -> i64 {
        if self.is_utc() {
            return local_micros;
        }
        let days = day_of(local_micros.clamp(FIRST_MICROS, LAST_MICROS));
        let civil::Date { year, month, day } = civil_from_days(days);
        let second = local_micros.rem_euclid(MICROS_PER_DAY) / MICROS_PER_SECOND;
        let part = |value: i64| i8::try_from(value).expect("hours, minutes and seconds are below 60");
        let year = i16::try_from(year).expect("the year was clamped to 1..=9999");
        let date = jiff::civil::date(year, part(month.into()), part(day.into()));
        let time = jiff::civil::time(part(second / 3_600), part(second / 60 % 60), part(second % 60), 0);
        let offset = match self.rules.to_ambiguous_timestamp(date.to_datetime(time)).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
        };
        local_micros.saturating_sub(offset_micros(offset))
    }
}

/// Returns the microseconds that a zone's local time is ahead of UTC.
pub(crate) fn offset_micros(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * MICROS_PER_SECOND
}

impl Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown time zone {name:?}")))
    }
}

impl Schema {
    /// Returns names and Glue types of the columns that every row starts with, in the order of [`KAFKA_COLUMNS`].
    #[must_use]
    pub fn kafka_columns() -> [(&'static str, &'static str); 3] {
        let [partition, offset, timestamp] = KAFKA_COLUMNS;
        [(partition, "int"), (offset, "bigint"), (timestamp, "timestamp")]
    }

    /// Returns the position of a column by its name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl ColumnType {
    /// Returns the type's name in a spec.
    #[must_use]
    pub fn spec_name(&self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Int => "Int",
            Self::Bigint => "Bigint",
            Self::Double => "Double",
            Self::Decimal { .. } => "Decimal",
            Self::Boolean => "Boolean",
            Self::Timestamp { .. } => "Timestamp",
            Self::Date { .. } => "Date",
        }
    }

    /// Returns the Glue (Hive) type of the column, as it stands in a table and in Athena's DDL.
    #[must_use]
    pub fn glue_type(&self) -> String {
        match self {
            Self::String => "string".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Bigint => "bigint".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Decimal { precision, scale, .. } => format!("decimal({precision},{scale})"),
            Self::Boolean => "boolean".to_owned(),
            Self::Timestamp { .. } => "timestamp".to_owned(),
            Self::Date { .. } => "date".to_owned(),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale, .. } => write!(out, "Decimal({precision},{scale})"),
            Self::String | Self::Int | Self::Bigint | Self::Double | Self::Boolean | Self::Timestamp { .. } | Self::Date { .. } => {
                out.write_str(self.spec_name())
            }
        }
    }
}

impl EpochUnit {
    /// Returns the unit's name in a sentence.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }
}
