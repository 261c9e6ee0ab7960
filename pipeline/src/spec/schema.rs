//! Spec: declared columns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{MAX_FUTURE, TimeSpan, between, rules};

/// Declared columns: the one truth about the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("self.evolution == 'Unrestricted' || oldSelf.columns.all(o, self.columns.exists(n, n.name == o.name && n.type == o.type && (has(n.precision) ? n.precision : 0) == (has(o.precision) ? o.precision : 0) && (has(n.scale) ? n.scale : 0) == (has(o.scale) ? o.scale : 0)))", "columns can only be added, their types stay; set evolution: Unrestricted to force a change"),
    ("self.evolution == 'Unrestricted' || self.columns.all(n, n.nullable || oldSelf.columns.exists(o, o.name == n.name))", "an added column must be nullable"),
])))]
pub struct TableSchema {
    /// Additive: columns are only added, at the end and nullable, and types stay; Unrestricted: anything goes, and old files may
    /// no longer fit the table. Default: Additive.
    #[serde(default)]
    pub evolution: Evolution,
    /// Column that carries the event time; a Timestamp or Date.
    #[schemars(length(min = 1, max = 128))]
    pub event_time_column: String,
    /// How far an event time may lie after the time at which Kafka got the record; a later one makes the record a dead letter.
    /// 0s to 87600h. Default: 24h.
    #[serde(default = "a_day")]
    #[schemars(extend("x-kubernetes-validations" = between(MAX_FUTURE)))]
    pub max_future: TimeSpan,
    /// Columns in table order, 1 to 200. The tables start with `_kafka_partition`, `_kafka_offset` and `_kafka_timestamp`.
    #[schemars(length(min = 1, max = 200), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub columns: Vec<Column>,
}

/// How columns may change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Evolution {
    /// Columns are only added, at the end.
    #[default]
    Additive,
    /// Anything goes.
    Unrestricted,
}

/// One declared column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("(self.type == 'Decimal') == has(self.precision) && (self.type == 'Decimal') == has(self.scale)", "set precision and scale exactly for a Decimal"),
    ("!has(self.precision) || !has(self.scale) || self.scale <= self.precision", "scale must not exceed precision"),
    ("self.type == 'Decimal' || !has(self.rounding)", "rounding is for a Decimal only"),
    ("self.type in ['Timestamp', 'Date'] || !has(self.format)", "format is for a Timestamp or Date only"),
    ("self.type == 'Timestamp' || (!has(self.timeZone) && !has(self.unit))", "timeZone and unit are for a Timestamp only"),
    ("!has(self.unit) || (!has(self.format) && !has(self.timeZone))", "unit is for epoch numbers; it excludes format and timeZone"),
    ("self.name != 'dt' && !self.name.startsWith('_kafka_') && !self.name.startsWith('_raw')", "dt and names that start with _kafka_ or _raw are reserved"),
])))]
pub struct Column {
    /// Name in the tables and in SQL: lower-case letters, digits and `_`, not a digit first; not `dt`,
    /// `_kafka_...` or `_raw...`. Example: `adj_close`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub name: String,
    /// Type of the values.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// Name of the field in the source; may hold spaces, case counts. Default: `name`, compared without case when no field is
    /// named exactly so. Example: `Adj Close`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub from: Option<String>,
    /// Whether a missing or null value is allowed; if not, it makes the record a dead letter. Default: true.
    #[serde(default = "yes")]
    pub nullable: bool,
    /// Digits of a Decimal in all, 1 to 38.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 38))]
    pub precision: Option<i32>,
    /// Digits of a Decimal after the point, 0 to `precision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 38))]
    pub scale: Option<i32>,
    /// What happens to digits beyond a Decimal's scale: Reject makes the record a dead letter. Default: Reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// strftime pattern of a Timestamp's or Date's text. Default: ISO 8601 / RFC 3339. Example: `%d/%m/%Y %H:%M:%S`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub format: Option<String>,
    /// IANA zone of a Timestamp's text that names none. Default: UTC. Example: `America/New_York`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// Unit of a Timestamp that is a number since 1970-01-01T00:00:00Z. Default: the value is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<EpochUnit>,
    /// Comment of the column in Glue, at most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub comment: Option<String>,
}

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ColumnType {
    /// UTF-8 text.
    String,
    /// 32-bit signed integer.
    Int,
    /// 64-bit signed integer.
    Bigint,
    /// 64-bit floating-point number.
    Double,
    /// Exact decimal of `precision` digits, `scale` of them after the point.
    Decimal,
    /// true or false.
    Boolean,
    /// An instant with microseconds, in UTC.
    Timestamp,
    /// A calendar day.
    Date,
}

/// What happens to decimal digits beyond a column's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Rounding {
    /// The record is a dead letter, unless the digits are zeros.
    Reject,
    /// Half to even (banker's rounding).
    HalfEven,
    /// Half away from zero.
    HalfUp,
    /// Towards zero.
    Truncate,
}

/// Unit of an epoch number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EpochUnit {
    /// Seconds; a fraction is kept to the microsecond.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
    /// Billionths of a second.
    Nanoseconds,
}

fn a_day() -> TimeSpan {
    TimeSpan::of("24h")
}

fn yes() -> bool {
    true
}
