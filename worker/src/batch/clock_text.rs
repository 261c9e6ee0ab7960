//! Instants as text, `yyyy-MM-dd HH:mm:ss` and a fraction: the form that Athena reads as a timestamp.

use stockpipeline::value::{self, DATE_BYTES};

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
        let days = i32::try_from(second.div_euclid(DAY_SECONDS)).unwrap_or(i32::MAX);
        self.text[..10].copy_from_slice(value::date_text(days, &mut [0; DATE_BYTES]).as_bytes());
        let of_day = second.rem_euclid(DAY_SECONDS);
        for (place, number) in [(11, of_day / 3_600), (14, of_day / 60 % 60), (17, of_day % 60)] {
            self.text[place..place + 2].copy_from_slice(&digits2(number));
        }
    }
}

/// Returns a number below 100 as two digits.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "the numbers are parts of a clock, never negative")]
fn digits2(number: i64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[inline]
#[expect(clippy::cast_sign_loss, reason = "the numbers are parts of a clock, never negative")]
fn digits3(number: i64) -> [u8; 3] {
    [b'0' + (number / 100 % 10) as u8, b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stockpipeline::value::{TIMESTAMP_BYTES, timestamp_text};

    use super::*;

    proptest! {
        #[test]
        fn instants_stand_as_the_contract_has_them(instants in prop::collection::vec(FIRST_MICROS..=LAST_MICROS, 1..20), step in 0_i64..2_000_000) {
            let mut clock = ClockText::new();
            for micros in instants.into_iter().flat_map(|micros| [micros, micros.saturating_add(step).min(LAST_MICROS)]) {
                let mut out = Vec::new();
                clock.micros(micros, &mut out);
                let mut buffer = [0; TIMESTAMP_BYTES];
                let mut expected = timestamp_text(micros, &mut buffer).to_owned();
                if expected.len() == 19 {
                    expected.push_str(".000000");
                }
                prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
