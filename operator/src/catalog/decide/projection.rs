//! The table parameters from which Athena computes partitions instead of looking them up.
//!
//! A row whose partition value is null lies outside every projection; registered partitions show it.

use std::collections::BTreeMap;

use stockpipeline::rules::{PartitionField, Transform};
use stockpipeline::table::SEALED_DAY;

/// First day on which any pipeline can have sealed an object.
const FIRST_SEALED_DAY: &str = "2025-01-01";
/// First day where the check has let none through: no transform needs one then.
const NO_DAY: &str = "1970-01-01";

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// Returns the parameters for the partitions of the processed zone. Event times may lie up to `max_future_seconds` ahead of now, and a
/// zone's day up to one more.
pub(super) fn of_fields(fields: &[PartitionField], start: Option<&str>, max_future_seconds: i64) -> BTreeMap<String, String> {
    let days = max_future_seconds.max(0) / DAY_SECONDS + i64::from(max_future_seconds % DAY_SECONDS > 0) + 1;
    let start = start.unwrap_or(NO_DAY);
    // Of `YYYY-MM-DD`, which the check has made sure of.
    let (year, month) = (start.get(..4).unwrap_or(start), start.get(..7).unwrap_or(start));
    let mut parameters = enabled();
    for field in fields {
        let settings = match &field.transform {
            Transform::Year { .. } => date("yyyy", year, days / 365 + 1, "YEARS"),
            Transform::Month { .. } => date("yyyy-MM", month, days / 28 + 1, "MONTHS"),
            Transform::Day { .. } => date("yyyy-MM-dd", start, days, "DAYS"),
            Transform::Hour { .. } => vec![("type", "integer".to_owned()), ("range", "0,23".to_owned()), ("digits", "2".to_owned())],
            Transform::Bucket { count } => {
                let buckets: Vec<String> = (0..*count).map(|bucket| bucket.to_string()).collect();
                vec![("type", "enum".to_owned()), ("values", buckets.join(","))]
            }
            // Any text may stand there, so a query has to name it.
            Transform::Identity | Transform::Truncate { .. } => vec![("type", "injected".to_owned())],
        };
        add(&mut parameters, &field.name, settings);
    }
    parameters
}

/// Returns the parameters for the day of sealing, by which the raw zone and the dead letters are partitioned.
pub(super) fn of_sealed_day() -> BTreeMap<String, String> {
    let mut parameters = enabled();
    add(&mut parameters, SEALED_DAY, date("yyyy-MM-dd", FIRST_SEALED_DAY, 1, "DAYS"));
    parameters
}

fn enabled() -> BTreeMap<String, String> {
    BTreeMap::from([("projection.enabled".to_owned(), "true".to_owned())])
}

/// Returns the settings of a date from a first one to some units ahead of now.
fn date(format: &str, first: &str, ahead: i64, unit: &str) -> Vec<(&'static str, String)> {
    vec![
        ("type", "date".to_owned()),
        ("format", format.to_owned()),
        ("range", format!("{first},NOW+{ahead}{unit}")),
        ("interval", "1".to_owned()),
        ("interval.unit", unit.to_owned()),
    ]
}

fn add(parameters: &mut BTreeMap<String, String>, name: &str, settings: Vec<(&str, String)>) {
    parameters.extend(settings.into_iter().map(|(setting, value)| (format!("projection.{name}.{setting}"), value)));
}
