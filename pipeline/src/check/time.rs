//! Durations, instants, time zones and strftime patterns.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::findings::Findings;
use crate::civil::MICROS_PER_DAY;
use crate::schema::{Column, ColumnType, Zone};
use crate::spec::bounds::{SpanBounds, TimeSpan};
use crate::value::{self, Field, Value};

/// Returns a duration within its bounds; zero after an error.
pub(crate) fn span(findings: &mut Findings, path: &str, text: &TimeSpan, bounds: SpanBounds) -> Duration {
    let SpanBounds { least, most } = bounds;
    let (lower, upper) = (parse_span(least).unwrap_or(Duration::ZERO), parse_span(most).unwrap_or(Duration::MAX));
    match parse_span(&text.0) {
        Some(duration) if (lower..=upper).contains(&duration) => duration,
        Some(duration) => {
            let reason = if duration < lower { "is too short" } else { "is too long" };
            findings.wrong(path, text.0.as_str(), reason, &format!("use {least} to {most}"));
            Duration::ZERO
        }
        None => {
            findings.wrong(path, text.0.as_str(), "is no duration", "write whole numbers with units, such as 60s or 1s500ms");
            Duration::ZERO
        }
    }
}

/// Returns the duration of a text such as `1h30m`, or None when it is none or too long to count in milliseconds.
pub(crate) fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).filter(|&digits| digits > 0)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|character: char| character.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(letters);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(milliseconds)?)?;
        rest = after;
    }
    if text.is_empty() { None } else { Some(Duration::from_millis(total)) }
}

/// Returns an instant in RFC 3339; 1970 after an error.
pub(crate) fn instant(findings: &mut Findings, path: &str, text: &str) -> Timestamp {
    text.parse::<Timestamp>().unwrap_or_else(|_| {
        findings.wrong(path, text, "is no instant of RFC 3339", "write it with a zone, such as 2024-01-02T14:30:00Z");
        Timestamp::UNIX_EPOCH
    })
}

/// Returns a time zone; UTC after an error.
pub(crate) fn zone(findings: &mut Findings, path: &str, name: &str) -> Zone {
    // A zone without an IANA name, such as a POSIX rule, would not survive in a plan.
    Zone::named(name).filter(|zone| name == "UTC" || zone.rules().iana_name().is_some()).unwrap_or_else(|| {
        findings.wrong(path, name, "is no time zone of IANA", "use a name such as America/New_York or UTC");
        Zone::utc()
    })
}

/// Checks a day, `YYYY-MM-DD`.
pub(crate) fn day(findings: &mut Findings, path: &str, text: &str) {
    if text.parse::<civil::Date>().is_err() {
        findings.wrong(path, text, "is no day", "write YYYY-MM-DD, such as 2020-01-01");
    }
}

/// Checks a strftime pattern: what it writes must read back as the same day, the way records are read.
pub(crate) fn pattern(findings: &mut Findings, path: &str, pattern: &str, column_type: ColumnType) {
    if let Err(reason) = try_pattern(pattern, column_type) {
        findings.wrong(path, pattern, &reason, "use a pattern with a whole date, such as %Y-%m-%d %H:%M:%S or %d/%m/%Y");
    }
}

/// Microseconds of what a pattern may cut a time to: a day, an hour, a minute, a second, a millisecond, nothing.
const TIME_STEPS: [i64; 6] = [MICROS_PER_DAY, 3_600_000_000, 60_000_000, 1_000_000, 1_000, 1];

fn try_pattern(pattern: &str, column_type: ColumnType) -> Result<(), String> {
    let column = Column { name: "time".to_owned(), from: "time".to_owned(), column_type, nullable: false, comment: None };
    // Parts that differ from each other and from what missing ones would be; an afternoon, so that %I needs %p.
    let moment = civil::date(2013, 10, 27).at(21, 34, 56, 123_456_000);
    let Ok(moment) = moment.to_zoned(TimeZone::UTC) else { return Ok(()) };
    let text = strtime::format(pattern, &moment).map_err(|error| format!("is no strftime pattern ({error})"))?;
    let written = moment.timestamp().as_microsecond();
    // What a pattern leaves out is zero: the record's time, cut to hours, minutes or less.
    let is_cut_of = |read: i64| TIME_STEPS.iter().any(|step| written - written.rem_euclid(*step) == read);
    match value::parse(&column, Field::Text(Cow::Borrowed(&text))) {
        Ok(Value::Date(days)) if written.div_euclid(MICROS_PER_DAY) == i64::from(days) => Ok(()),
        Ok(Value::Timestamp(micros)) if is_cut_of(micros) => Ok(()),
        Ok(_) | Err(_) => Err(format!("does not read back what it writes, such as {text:?}")),
    }
}
