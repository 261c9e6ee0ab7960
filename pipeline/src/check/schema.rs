//! Declared columns.

use super::findings::Findings;
use super::{suggest, time, unsigned};
use crate::schema::{Column, ColumnType, EpochUnit, Rounding, Schema, TimeReading, Zone};
use crate::spec::bounds::MAX_FUTURE;
use crate::spec::schema::{self as spec, TableSchema};

/// Checks every column and the event time.
pub(crate) fn check(schema: &TableSchema, findings: &mut Findings) -> Schema {
    let mut columns = Vec::with_capacity(schema.columns.len());
    for (index, column) in schema.columns.iter().enumerate() {
        columns.push(check_column(&format!("spec.schema.columns[{index}]"), column, findings));
    }
    let max_future = time::span(findings, "spec.schema.maxFuture", &schema.max_future, MAX_FUTURE);
    let max_future_seconds = i64::try_from(max_future.as_secs()).unwrap_or(i64::MAX);
    let mut checked = Schema { columns, event_time: 0, max_future_seconds };
    let path = "spec.schema.eventTimeColumn";
    if let Some(index) = position(&checked, path, &schema.event_time_column, findings) {
        checked.event_time = index;
        let column_type = &checked.columns[index].column_type;
        if !matches!(column_type, ColumnType::Timestamp { .. } | ColumnType::Date { .. }) {
            let reason = format!("is a column of type {}", column_type.spec_name());
            findings.wrong(path, schema.event_time_column.as_str(), &reason, "name a Timestamp or Date column");
        }
    }
    checked
}

/// Returns the position of a column that a field names, or reports that there is none.
pub(crate) fn position(schema: &Schema, path: &str, name: &str, findings: &mut Findings) -> Option<usize> {
    let found = schema.position(name);
    if found.is_none() {
        let remedy = match schema.columns.iter().find(|column| column.from == name) {
            Some(column) => format!("name the column, {}, not the field that it is read from", column.name),
            None => suggest::remedy(name, schema.columns.iter().map(|column| column.name.as_str())),
        };
        findings.wrong(path, name, "is no declared column", &remedy);
    }
    found
}

fn check_column(path: &str, column: &spec::Column, findings: &mut Findings) -> Column {
    if is_reserved(&column.name) {
        let remedy = "use another name than dt and none that starts with _kafka_ or _raw";
        findings.wrong(&format!("{path}.name"), column.name.as_str(), "is a name that the tables have for themselves", remedy);
    }
    check_extras(path, column, findings);
    Column {
        name: column.name.clone(),
        from: column.from.clone().unwrap_or_else(|| column.name.clone()),
        column_type: column_type(path, column, findings),
        nullable: column.nullable,
        comment: column.comment.clone().inspect(|comment| check_comment(path, comment, findings)),
    }
}

/// The Kafka columns stand in every table; the raw zone's has columns for what is no JSON object, and its partition.
fn is_reserved(name: &str) -> bool {
    name == "dt" || name.starts_with("_kafka_") || name.starts_with("_raw")
}

fn check_comment(path: &str, comment: &str, findings: &mut Findings) {
    if comment.chars().any(char::is_control) {
        findings.wrong(&format!("{path}.comment"), comment, "holds a control character, which Glue refuses", "write it on one line");
    }
}

/// Reports what is set for another type.
fn check_extras(path: &str, column: &spec::Column, findings: &mut Findings) {
    use spec::ColumnType as Kind;
    let kind = column.column_type;
    let decimal: &[Kind] = &[Kind::Decimal];
    let timestamp: &[Kind] = &[Kind::Timestamp];
    let extras = [
        ("precision", column.precision.is_some(), decimal),
        ("scale", column.scale.is_some(), decimal),
        ("rounding", column.rounding.is_some(), decimal),
        ("format", column.format.is_some(), &[Kind::Timestamp, Kind::Date]),
        ("timeZone", column.time_zone.is_some(), timestamp),
        ("unit", column.unit.is_some(), timestamp),
    ];
    for (field, is_set, kinds) in extras {
        if is_set && !kinds.contains(&kind) {
            let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
            findings.broken(
                &format!("{path}.{field}"),
                &format!("means nothing for type {kind:?}"),
                &format!("remove it, or use type: {}", names.join(" or ")),
            );
        }
    }
}

fn column_type(path: &str, column: &spec::Column, findings: &mut Findings) -> ColumnType {
    match column.column_type {
        spec::ColumnType::String => ColumnType::String,
        spec::ColumnType::Int => ColumnType::Int,
        spec::ColumnType::Bigint => ColumnType::Bigint,
        spec::ColumnType::Double => ColumnType::Double,
        spec::ColumnType::Boolean => ColumnType::Boolean,
        spec::ColumnType::Decimal => decimal(path, column, findings),
        spec::ColumnType::Timestamp => ColumnType::Timestamp { reading: reading(path, column, findings) },
        spec::ColumnType::Date => {
            let date = ColumnType::Date { format: column.format.clone() };
            if let Some(format) = &column.format {
                time::pattern(findings, &format!("{path}.format"), format, date.clone());
            }
            date
        }
    }
}

fn decimal(path: &str, column: &spec::Column, findings: &mut Findings) -> ColumnType {
    for (field, value) in [("precision", column.precision), ("scale", column.scale)] {
        if value.is_none() {
            findings.broken(&format!("{path}.{field}"), "is required for a Decimal", "add it, such as precision: 18 and scale: 6");
        }
    }
    if let (Some(precision), Some(scale)) = (column.precision, column.scale)
        && scale > precision
    {
        findings.wrong(&format!("{path}.scale"), scale, &format!("is above the precision of {precision}"), "use at most the precision");
    }
    ColumnType::Decimal {
        precision: column.precision.map_or(38, unsigned),
        scale: column.scale.map_or(0, unsigned),
        rounding: match column.rounding {
            None | Some(spec::Rounding::Reject) => Rounding::Reject,
            Some(spec::Rounding::HalfEven) => Rounding::HalfEven,
            Some(spec::Rounding::HalfUp) => Rounding::HalfUp,
            Some(spec::Rounding::Truncate) => Rounding::Truncate,
        },
    }
}

fn reading(path: &str, column: &spec::Column, findings: &mut Findings) -> TimeReading {
    if let Some(unit) = column.unit {
        for (field, is_set) in [("format", column.format.is_some()), ("timeZone", column.time_zone.is_some())] {
            if is_set {
                findings.broken(&format!("{path}.{field}"), "is set beside unit, which reads a number", "keep one of them");
            }
        }
        return TimeReading::Epoch {
            unit: match unit {
                spec::EpochUnit::Seconds => EpochUnit::Seconds,
                spec::EpochUnit::Milliseconds => EpochUnit::Milliseconds,
                spec::EpochUnit::Microseconds => EpochUnit::Microseconds,
                spec::EpochUnit::Nanoseconds => EpochUnit::Nanoseconds,
            },
        };
    }
    let zone_name = column.time_zone.as_deref();
    let time_zone = zone_name.map_or_else(Zone::utc, |name| time::zone(findings, &format!("{path}.timeZone"), name));
    match &column.format {
        Some(format) => {
            // In UTC, so that what the pattern writes is also what it must read.
            let utc = TimeReading::Format { format: format.clone(), time_zone: Zone::utc() };
            time::pattern(findings, &format!("{path}.format"), format, ColumnType::Timestamp { reading: utc });
            TimeReading::Format { format: format.clone(), time_zone }
        }
        None => TimeReading::Iso { time_zone },
    }
}
