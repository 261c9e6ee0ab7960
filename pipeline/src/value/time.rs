//! Text of instants and days to integers, without allocation.
//!
//! RFC 3339 and ISO forms are read by hand; strftime patterns and zones other than UTC go through jiff. A local time that a zone
//! skips counts from before the jump, one that it repeats is the first of both.

use jiff::fmt::strtime::BrokenDownTime;

use super::Problem;
use super::number::{self, Excess};
use crate::civil::{FIRST_MICROS, LAST_MICROS, MICROS_PER_DAY, MICROS_PER_SECOND, days_from_civil, days_in_month};
use crate::schema::{EpochUnit, TimeReading, Zone, offset_micros};

/// Digits that hold every epoch number of the range in microseconds.
const EPOCH_DIGITS: u32 = 18;

/// Returns the instant of a text, microseconds since 1970, years 1 to 9999.
pub(super) fn timestamp(reading: &TimeReading, text: &str) -> Result<i64, Problem> {
    let micros = match reading {
        TimeReading::Iso { time_zone } => iso_timestamp(text.as_bytes(), time_zone)?,
        TimeReading::Format { format, time_zone } => formatted_timestamp(format, text, time_zone)?,
        TimeReading::Epoch { unit } => epoch(*unit, text)?,
    };
    if (FIRST_MICROS..=LAST_MICROS).contains(&micros) { Ok(micros) } else { Err(Problem::OutOfRange) }
}

/// Returns the day of a text, days since 1970, years 1 to 9999.
pub(super) fn date(format: Option<&str>, text: &str) -> Result<i32, Problem> {
    let Some(format) = format else { return iso_days(text.as_bytes()) };
    let date = BrokenDownTime::parse(format, text).and_then(|time| time.to_date()).map_err(|_| Problem::Malformed)?;
    let (year, month, day) = (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs());
    if year < 1 { Err(Problem::OutOfRange) } else { Ok(days_from_civil(year, u32::from(month), u32::from(day))) }
}

fn epoch(unit: EpochUnit, text: &str) -> Result<i64, Problem> {
    let scale = match unit {
        EpochUnit::Seconds => 6,
        EpochUnit::Milliseconds => 3,
        EpochUnit::Microseconds => 0,
        EpochUnit::Nanoseconds => -3,
    };
    let micros = number::decimal(text, scale, EPOCH_DIGITS, Excess::Floor)?;
    i64::try_from(micros).map_err(|_| Problem::OutOfRange)
}

fn formatted_timestamp(format: &str, text: &str, zone: &Zone) -> Result<i64, Problem> {
    let time = BrokenDownTime::parse(format, text).map_err(|_| Problem::Malformed)?;
    if let Some(timestamp) = time.timestamp() {
        return Ok(timestamp.as_nanosecond().div_euclid(1_000).try_into().unwrap_or(i64::MAX));
    }
    let local = time.to_datetime().map_err(|_| Problem::Malformed)?;
    let date = local.date();
    if date.year() < 1 {
        return Err(Problem::OutOfRange);
    }
    let days = days_from_civil(i32::from(date.year()), u32::from(date.month().unsigned_abs()), u32::from(date.day().unsigned_abs()));
    let seconds = i64::from(local.hour()) * 3_600 + i64::from(local.minute()) * 60 + i64::from(local.second());
    let micros = i64::from(days) * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + i64::from(local.subsec_nanosecond() / 1_000);
    if let Some(offset) = time.offset() {
        return Ok(micros - offset_micros(offset));
    }
    match time.iana_time_zone() {
        Some(name) => Ok(Zone::named(name).ok_or(Problem::Malformed)?.instant(micros)),
        None => Ok(zone.instant(micros)),
    }
}

fn iso_timestamp(bytes: &[u8], zone: &Zone) -> Result<i64, Problem> {
    let (date, rest) = bytes.split_at_checked(10).ok_or(Problem::Malformed)?;
    let days = iso_days(date)?;
    let (of_day, rest) = match rest {
        [] => (0, rest),
        [b'T' | b't' | b' ', rest @ ..] => iso_time(rest).ok_or(Problem::Malformed)?,
        _ => return Err(Problem::Malformed),
    };
    let local = i64::from(days) * MICROS_PER_DAY + of_day;
    match rest {
        [] => Ok(zone.instant(local)),
        [b'Z' | b'z'] => Ok(local),
        offset => Ok(local - iso_offset(offset).ok_or(Problem::Malformed)? * MICROS_PER_SECOND),
    }
}

/// Reads `YYYY-MM-DD` and nothing after it.
fn iso_days(bytes: &[u8]) -> Result<i32, Problem> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else { return Err(Problem::Malformed) };
    let parts = (two(y1, y2), two(y3, y4), two(m1, m2), two(d1, d2));
    let (Some(century), Some(year), Some(month), Some(day)) = parts else { return Err(Problem::Malformed) };
    let year = (century * 100 + year).cast_signed();
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return Err(Problem::Malformed);
    }
    if year == 0 { Err(Problem::OutOfRange) } else { Ok(days_from_civil(year, month, day)) }
}

/// Reads `HH:MM[:SS[.fraction]]`, gives the microseconds of the day and what stands after.
fn iso_time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let &[h1, h2, b':', m1, m2, ref rest @ ..] = bytes else { return None };
    let (hour, minute) = (two(h1, h2)?, two(m1, m2)?);
    let (second, rest) = match *rest {
        [b':', s1, s2, ref rest @ ..] => (two(s1, s2)?, rest),
        _ => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', digits @ ..] => iso_fraction(digits)?,
        rest => (0, rest),
    };
    // A leap second is the last second of its minute, as in jiff and java.time.
    let seconds = hour * 3_600 + minute * 60 + second.min(59);
    Some((i64::from(seconds) * MICROS_PER_SECOND + fraction, rest))
}

/// Reads 1 to 9 digits as a fraction of a second, cut to microseconds.
fn iso_fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let (fraction, rest) = bytes.split_at(digits);
    let weights = [100_000, 10_000, 1_000, 100, 10, 1];
    let micros = fraction.iter().zip(weights).map(|(digit, weight)| weight * u32::from(digit - b'0')).sum::<u32>();
    Some((i64::from(micros), rest))
}

/// Reads `+HH:MM`, `+HHMM` or `+HH` and gives seconds east of UTC.
fn iso_offset(bytes: &[u8]) -> Option<i64> {
    let (east, hour, minute) = match *bytes {
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => (sign == b'+', two(h1, h2)?, two(m1, m2)?),
        [sign @ (b'+' | b'-'), h1, h2] => (sign == b'+', two(h1, h2)?, 0),
        _ => return None,
    };
    if hour > 23 || minute > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3_600 + minute * 60);
    Some(if east { seconds } else { -seconds })
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens < 10 && ones < 10 { Some(u32::from(tens) * 10 + u32::from(ones)) } else { None }
}
