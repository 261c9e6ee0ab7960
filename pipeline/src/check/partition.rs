//! Hive partitions: transforms and the columns that they fit.

use super::findings::Findings;
use super::{schema, time};
use crate::rules::{PartitionField, Transform};
use crate::schema::{ColumnType, Schema, Zone};
use crate::spec::sink as spec;

/// A transform as it is written, without its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Year,
    Month,
    Day,
    Hour,
    Identity,
    Bucket(u32),
    Truncate(u32),
}

/// Checks every partition field.
pub(crate) fn check(fields: &[spec::PartitionField], checked: &Schema, findings: &mut Findings) -> Vec<PartitionField> {
    let mut partitions = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        let path = format!("spec.sink.processed.partitionBy[{index}]");
        if checked.position(&field.name).is_some() {
            let reason = "is the name of a column, and a table cannot have both";
            findings.wrong(&format!("{path}.name"), field.name.as_str(), reason, &format!("use another name, such as {}_key", field.name));
        }
        if field.name.starts_with("_kafka_") {
            findings.wrong(&format!("{path}.name"), field.name.as_str(), "is reserved", "use a name that does not start with _kafka_");
        }
        let written = parse(&field.transform);
        if written.is_none() {
            findings.wrong(
                &format!("{path}.transform"),
                field.transform.as_str(),
                "is no transform",
                "use year, month, day, hour, identity, bucket(16) or truncate(4)",
            );
        }
        let column = schema::position(checked, &format!("{path}.column"), &field.column, findings);
        let zone = time::zone(findings, &format!("{path}.timeZone"), &field.time_zone);
        if let (Some(written), Some(column)) = (written, column) {
            check_fit(&path, written, (field, &checked.columns[column].column_type), findings);
            partitions.push(PartitionField { name: field.name.clone(), column, transform: with_zone(written, zone) });
        }
    }
    partitions
}

fn parse(text: &str) -> Option<Written> {
    let number = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(')')?.parse::<u32>().ok().filter(|number| *number > 0);
    match text {
        "year" => Some(Written::Year),
        "month" => Some(Written::Month),
        "day" => Some(Written::Day),
        "hour" => Some(Written::Hour),
        "identity" => Some(Written::Identity),
        _ => number("bucket(").map(Written::Bucket).or_else(|| number("truncate(").map(Written::Truncate)),
    }
}

fn with_zone(written: Written, time_zone: Zone) -> Transform {
    match written {
        Written::Year => Transform::Year { time_zone },
        Written::Month => Transform::Month { time_zone },
        Written::Day => Transform::Day { time_zone },
        Written::Hour => Transform::Hour { time_zone },
        Written::Identity => Transform::Identity,
        Written::Bucket(count) => Transform::Bucket { count },
        Written::Truncate(width) => Transform::Truncate { width },
    }
}

fn check_fit(path: &str, written: Written, (field, column_type): (&spec::PartitionField, &ColumnType), findings: &mut Findings) {
    let timestamp = matches!(column_type, ColumnType::Timestamp { .. });
    let date = matches!(column_type, ColumnType::Date { .. });
    let whole = matches!(column_type, ColumnType::Int | ColumnType::Bigint);
    let (fits, wanted) = match written {
        Written::Year | Written::Month | Written::Day => (timestamp || date, "a Timestamp or Date column"),
        Written::Hour => (timestamp, "a Timestamp column"),
        // A floating-point number or an instant as a folder name would open one folder for nearly every row.
        Written::Identity | Written::Bucket(_) => {
            (!timestamp && !matches!(column_type, ColumnType::Double), "a column that is neither Double nor Timestamp")
        }
        Written::Truncate(_) => (whole || matches!(column_type, ColumnType::String), "a String, Int or Bigint column"),
    };
    if !fits {
        let reason = format!("does not fit column {} of type {}", field.column, column_type.spec_name());
        findings.wrong(&format!("{path}.transform"), field.transform.as_str(), &reason, &format!("use it with {wanted}"));
    }
    let zoned = timestamp && matches!(written, Written::Year | Written::Month | Written::Day | Written::Hour);
    if !zoned && field.time_zone != "UTC" {
        let reason = "means nothing here: only the year, month, day and hour of a Timestamp are taken in a zone";
        findings.wrong(&format!("{path}.timeZone"), field.time_zone.as_str(), reason, "remove it");
    }
}
