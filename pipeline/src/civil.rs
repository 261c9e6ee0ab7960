//! Days and instants of the proleptic Gregorian calendar as integers, without a time zone.
//!
//! Both conversions are Howard Hinnant's (`days_from_civil`, `civil_from_days`), exact for every year of the type table.

/// Microseconds of a second.
pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// First instant of the type table: 0001-01-01T00:00:00Z.
pub(crate) const FIRST_MICROS: i64 = days_from_civil(1, 1, 1) as i64 * MICROS_PER_DAY;
/// Last instant of the type table: 9999-12-31T23:59:59.999999Z.
pub(crate) const LAST_MICROS: i64 = (days_from_civil(9999, 12, 31) as i64 + 1) * MICROS_PER_DAY - 1;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    /// Year; 0 is 1 BC.
    pub(crate) year: i32,
    /// Month, 1 to 12.
    pub(crate) month: u32,
    /// Day of the month, 1 to 31.
    pub(crate) day: u32,
}

/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: u32 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u32 = 719_468;

/// Returns the days from 1970-01-01 to a day that exists, of the year 0 or later.
pub(crate) const fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    // March is the first month, so that the leap day is the last of the year; one era more keeps everything above 0.
    let year = (year + 400).cast_unsigned() - if month <= 2 { 1 } else { 0 };
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * ERA_DAYS + day_of_era).cast_signed() - (EPOCH_DAYS + ERA_DAYS).cast_signed()
}

/// Returns the day that lies so many days after 1970-01-01, from the year -399 to 9,999,999.
pub(crate) const fn civil_from_days(days: i32) -> Date {
    let days = days.cast_unsigned().wrapping_add(EPOCH_DAYS + ERA_DAYS);
    let day_of_era = days % ERA_DAYS;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_year = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
    let month = if month_of_year < 10 { month_of_year + 3 } else { month_of_year - 9 };
    let year = days / ERA_DAYS * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    Date { year: year.cast_signed() - 400, month, day }
}

/// Returns the number of days of a month, 1 to 12.
pub(crate) const fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Returns the days from 1970-01-01 to the day of an instant.
#[expect(clippy::cast_possible_truncation, reason = "2^63 microseconds are 107 million days")]
pub(crate) const fn day_of(micros: i64) -> i32 {
    micros.div_euclid(MICROS_PER_DAY) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_agree_with_the_calendar_of_jiff() {
        let mut date = jiff::civil::date(1, 1, 1);
        let mut days = days_from_civil(1, 1, 1);
        loop {
            let (year, month, day) = (i32::from(date.year()), date.month().unsigned_abs().into(), date.day().unsigned_abs().into());
            assert_eq!(days_from_civil(year, month, day), days, "{date}");
            assert_eq!(civil_from_days(days), Date { year, month, day }, "{date}");
            assert_eq!(days_in_month(year, month), u32::from(date.days_in_month().unsigned_abs()), "{date}");
            let Ok(next) = date.tomorrow() else { break };
            (date, days) = (next, days + 1);
        }
        assert_eq!(date, jiff::civil::date(9999, 12, 31));
    }

    #[test]
    fn instants_of_the_table_are_years_1_to_9999() {
        assert_eq!(FIRST_MICROS, -62_135_596_800_000_000);
        assert_eq!(LAST_MICROS, 253_402_300_799_999_999);
        assert_eq!(day_of(-1), -1);
        assert_eq!(day_of(0), 0);
    }
}
