//! Durations, instants, time zones and strftime patterns.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil;
use jiff::fmt::strtime::BrokenDownTime;

use super::findings::Findings;
use crate::schema::Zone;
use crate::spec::bounds::{SpanBounds, TimeSpan};

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

/// Checks a strftime pattern: it must write a day and read the same day back.
pub(crate) fn pattern(findings: &mut Findings, path: &str, pattern: &str) {
    if let Err(reason) = try_pattern(pattern) {
        findings.wrong(path, pattern, &reason, "use a pattern with a whole date, such as %Y-%m-%d %H:%M:%S or %d/%m/%Y");
    }
}

fn try_pattern(pattern: &str) -> Result<(), String> {
    let moment =
        civil::date(2013, 10, 27).at(21, 34, 56, 123_456_000).to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    let text = jiff::fmt::strtime::format(pattern, &moment).map_err(|error| format!("is no strftime pattern ({error})"))?;
    let parsed = BrokenDownTime::parse(pattern, &text).map_err(|error| format!("writes what it cannot read ({error})"))?;
    let read = parsed.to_date().or_else(|_| parsed.to_timestamp().map(|instant| instant.to_zoned(jiff::tz::TimeZone::UTC).date()));
    match read {
        Ok(day) if day == moment.date() => Ok(()),
        Ok(_) | Err(_) => Err("does not hold a whole date".to_owned()),
    }
}
