//! Instants as text, `yyyy-MM-dd HH:mm:ss` and a fraction: the form that Athena reads as a timestamp.

/// First and last instant whose year has four digits.
pub(crate) const FIRST_MICROS: i64 = -62_135_596_800_000_000;
pub(crate) const LAST_MICROS: i64 = 253_402_300_799_999_999;

const DAY_SECONDS: i64 = 86_400;

/// Writes instants; one of the same second as the last costs next to nothing.
#[derive(Debug)]
pub(crate) struct ClockText {
    second: i64,
    text: [u8; 19],
}

impl ClockText {
    /// Returns a writer.
    pub(crate) fn new() -> Self {
        Self { second: 0, text: *b"1970-01-01 00:00:00" }
    }

    /// Appends an instant with milliseconds.
    #[inline]
    pub(crate) fn millis(&mut self, millis: i64, out: &mut Vec<u8>) {
        self.second(millis.div_euclid(1_000), out);
        let fraction = digits3(millis.rem_euclid(1_000));
        out.extend_from_slice(&[b'.', fraction[0], fraction[1], fraction[2]]);
    }

    /// Appends an instant with microseconds.
    #[inline]
    pub(crate) fn micros(&mut self, micros: i64, out: &mut Vec<u8>) {
        self.millis(micros.div_euclid(1_000), out);
        out.extend_from_slice(&digits3(micros.rem_euclid(1_000)));
    }

    #[inline]
    fn second(&mut self, second: i64, out: &mut Vec<u8>) {
        if second != self.second {
            self.turn(second);
        }
        out.extend_from_slice(&self.text);
    }

    fn turn(&mut self, second: i64) {
        self.second = second;
        self.text[..10].copy_from_slice(&day(second.div_euclid(DAY_SECONDS)));
        let of_day = second.rem_euclid(DAY_SECONDS);
        for (place, number) in [(11, of_day / 3_600), (14, of_day / 60 % 60), (17, of_day % 60)] {
            self.text[place..place + 2].copy_from_slice(&digits2(number));
        }
    }
}

/// Returns a day as `yyyy-MM-dd`; years of other than four digits are cut to theirs.
pub(crate) fn day(days: i64) -> [u8; 10] {
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00";
    text[..2].copy_from_slice(&digits2(year.rem_euclid(10_000) / 100));
    text[2..4].copy_from_slice(&digits2(year.rem_euclid(100)));
    text[5..7].copy_from_slice(&digits2(month));
    text[8..].copy_from_slice(&digits2(day));
    text
}

/// Returns year, month and day of a day since 1970 in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Returns a number below 100 as two digits.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the remainders are single digits")]
fn digits2(number: i64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the remainders are single digits")]
fn digits3(number: i64) -> [u8; 3] {
    [b'0' + (number / 100 % 10) as u8, b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}
