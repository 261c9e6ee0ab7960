//! Text of numbers to integers, exact decimals and doubles, without allocation.
//!
//! One grammar for all: `[+-] digits [. digits] [e [+-] digits]`, digits on at least one side of the point. Integers and decimals
//! never go through a float; an exponent is exact (`1.5e3` is 1500).

use super::Problem;
use crate::schema::{MAX_DECIMAL_DIGITS, Rounding};

const MAX_DIGITS: u32 = MAX_DECIMAL_DIGITS as u32;
/// Digits that fit in a u64 whatever they are.
const QUICK_DIGITS: usize = 19;
/// Digits of the largest Bigint.
const BIGINT_DIGITS: u32 = 19;
/// Beyond this an exponent makes no difference: no text has so many digits.
const MAX_EXPONENT: i64 = 1_000_000_000_000;

const POWERS: [u128; MAX_DIGITS as usize + 1] = {
    let mut powers = [1; MAX_DIGITS as usize + 1];
    let mut power = 1;
    while power < powers.len() {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
};

const QUICK_POWERS: [u64; QUICK_DIGITS + 1] = {
    let mut powers = [1; QUICK_DIGITS + 1];
    let mut power = 1;
    while power < powers.len() {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
};

/// What happens to digits beyond the scale.
#[derive(Debug, Clone, Copy)]
pub(super) enum Excess {
    /// As a column's rounding says.
    Round(Rounding),
    /// Cut towards minus infinity.
    Floor,
}

/// Returns the integer of a text: digits, or any number that is one exactly.
pub(super) fn integer(text: &str) -> Result<i64, Problem> {
    if let Some((negative, digits, 0)) = quick(text.as_bytes())
        && let Ok(value) = i64::try_from(digits)
    {
        return Ok(if negative { -value } else { value });
    }
    let value = decimal(text, 0, BIGINT_DIGITS, Excess::Round(Rounding::Reject))?;
    i64::try_from(value).map_err(|_| Problem::OutOfRange)
}

/// Returns the unscaled decimal of a text: its value times 10^`scale`, of at most `digits` digits.
///
/// A negative scale drops digits before the point.
pub(super) fn decimal(text: &str, scale: i32, digits: u32, excess: Excess) -> Result<i128, Problem> {
    let limit = POWERS[digits.min(MAX_DIGITS) as usize];
    if let Some((negative, value, fraction)) = quick(text.as_bytes())
        && let Some((kept, dropped)) = shifted(value, scale - fraction)
        && kept < limit
    {
        let up = dropped != Dropped::NOTHING && rounds_up(negative, kept % 2 == 1, dropped, excess)?;
        let value = kept + u128::from(up);
        return if value < limit { Ok(signed(negative, value)) } else { Err(Problem::OutOfRange) };
    }
    Number::scan(text.as_bytes()).ok_or(Problem::Malformed)?.unscaled(i64::from(scale), digits, excess)
}

/// The digits beyond the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dropped {
    /// The first one.
    tenth: u64,
    /// Whether anything but zeros follows it.
    rest: bool,
}

impl Dropped {
    const NOTHING: Self = Self { tenth: 0, rest: false };
}

/// Returns a magnitude times 10^`shift` and what is cut off, or None where that is too much for quick arithmetic.
#[inline]
fn shifted(value: u64, shift: i32) -> Option<(u128, Dropped)> {
    let power = *QUICK_POWERS.get(shift.unsigned_abs() as usize)?;
    if shift >= 0 {
        // Two factors below 2^64: no overflow.
        return Some((u128::from(value) * u128::from(power), Dropped::NOTHING));
    }
    let (kept, dropped) = (value / power, value % power);
    Some((kept.into(), Dropped { tenth: dropped / (power / 10), rest: dropped % (power / 10) != 0 }))
}

/// Returns whether the magnitude grows by one when something other than zeros is dropped.
fn rounds_up(negative: bool, odd: bool, Dropped { tenth, rest }: Dropped, excess: Excess) -> Result<bool, Problem> {
    match excess {
        Excess::Round(Rounding::Reject) => Err(Problem::TooPrecise),
        Excess::Round(Rounding::HalfEven) => Ok(tenth > 5 || (tenth == 5 && (rest || odd))),
        Excess::Round(Rounding::HalfUp) => Ok(tenth >= 5),
        Excess::Round(Rounding::Truncate) => Ok(false),
        Excess::Floor => Ok(negative),
    }
}

/// Returns the double nearest to a text, or None where the text is the name of NaN or infinity.
pub(super) fn double(text: &str) -> Result<Option<f64>, Problem> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        Ok(_) if text.bytes().any(|byte| byte.is_ascii_digit()) => Err(Problem::OutOfRange),
        Ok(_) => Ok(None),
        Err(_) => Err(Problem::Malformed),
    }
}

/// Returns sign, digits without the point and number of digits after it, for a number of up to 19 digits without an exponent.
#[inline]
fn quick(bytes: &[u8]) -> Option<(bool, u64, i32)> {
    let (negative, bytes) = sign(bytes);
    // One byte more than the digits, for the point; without one the digits are counted below.
    if bytes.len() > QUICK_DIGITS + 1 {
        return None;
    }
    let mut value = 0_u64;
    let mut digits = 0;
    let mut point = None;
    for &byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            digits += 1;
        } else if byte == b'.' && point.is_none() {
            point = Some(digits);
        } else {
            return None;
        }
    }
    if digits == 0 || digits > QUICK_DIGITS {
        return None;
    }
    let fraction = point.map_or(0, |before| digits - before);
    i32::try_from(fraction).ok().map(|fraction| (negative, value, fraction))
}

#[inline]
fn sign(bytes: &[u8]) -> (bool, &[u8]) {
    match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    }
}

fn signed(negative: bool, magnitude: u128) -> i128 {
    // A magnitude is below 10^38 and so below i128::MAX.
    let value = magnitude.cast_signed();
    if negative { -value } else { value }
}

/// The parts of a number's text.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    fn scan(bytes: &'a [u8]) -> Option<Self> {
        let (negative, bytes) = sign(bytes);
        let (whole, rest) = split_digits(bytes);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => split_digits(rest),
            rest => (&[][..], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        Some(Self { negative, whole, fraction, exponent })
    }

    fn unscaled(&self, scale: i64, digits: u32, excess: Excess) -> Result<i128, Problem> {
        let limit = POWERS[digits.min(MAX_DIGITS) as usize];
        // The power of ten that a digit counts in the result; below 0 it is dropped.
        let mut power = i64::try_from(self.whole.len()).unwrap_or(MAX_EXPONENT) - 1 + self.exponent + scale;
        let mut kept = 0_u128;
        let mut dropped = Dropped::NOTHING;
        for byte in self.whole.iter().chain(self.fraction) {
            let digit = byte - b'0';
            if power >= 0 {
                if kept == 0 && digit != 0 && power >= i64::from(digits) {
                    return Err(Problem::OutOfRange);
                }
                kept = kept * 10 + u128::from(digit);
            } else if power == -1 {
                dropped.tenth = digit.into();
            } else {
                dropped.rest |= digit != 0;
            }
            power -= 1;
        }
        if kept != 0 && power >= 0 {
            // The first digit's power is below `digits`, so this one is as well.
            kept *= POWERS[usize::try_from(power).map_or(0, |power| power + 1)];
        }
        if dropped != Dropped::NOTHING {
            kept += u128::from(rounds_up(self.negative, kept % 2 == 1, dropped, excess)?);
        }
        if kept < limit { Ok(signed(self.negative, kept)) } else { Err(Problem::OutOfRange) }
    }
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(bytes);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0, |value, digit| MAX_EXPONENT.min(value * 10 + i64::from(digit - b'0')));
    Some(if negative { -magnitude } else { magnitude })
}
