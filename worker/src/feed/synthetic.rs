//! A seeded random walk of prices, computed from the row number alone: any row is as near as the next.
//!
//! Row `i` is the tick `i / symbols` of symbol `i mod symbols`; its event time is the start plus `i` / rate (1,000 rows a
//! second of event time where the rate is unlimited). Values follow from the columns:
//!
//! | column | value |
//! |---|---|
//! | key column | the symbol |
//! | Timestamp, Date | the row's event time, in the column's own reading and format |
//! | Decimal, Double | the symbol's price in the column's scale (Double: 4 digits); above it where the name holds `high` or `ask`, below where it holds `low` or `bid` |
//! | Int, Bigint | a volume; the row number where the name is `id`, ends with `_id` or holds `seq` |
//! | Boolean | by chance |
//! | String | `A` to `D` by chance; `buy` or `sell` where the name holds `side` |
//!
//! All arithmetic is on whole numbers: every machine makes the same rows.

use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use stockpipeline::checked::Synthetic;
use stockpipeline::schema::{Column, ColumnType, EpochUnit, Schema, TimeReading};

use super::json::{Form, Member};
use super::mix::mix;
use super::places::hex;
use super::{Counts, RowHead};

/// Rows a second of event time where the source itself is unlimited.
const DEFAULT_RATE: u32 = 1000;

/// Digits of a price after its point.
const PRICE_SCALE: u8 = 4;

/// Waves of the walk: the ticks of one (as a power of two) and how far it moves a price, in millionths of the base price.
/// A wave four times as long moves about twice as far, as a random walk does; together they stay within 26 percent.
const WAVES: [(u32, i64); 8] = [(1, 150), (3, 300), (5, 700), (7, 1_500), (9, 3_500), (12, 14_000), (15, 60_000), (18, 180_000)];

/// What the text of a value is made of.
#[derive(Debug, Clone)]
enum Content {
    Symbol,
    /// Spread on the price in millionths, and the digits before and after the point that fit.
    Price {
        spread: i64,
        whole_digits: u32,
        scale: u8,
    },
    /// Below this number.
    Number {
        limit: u64,
    },
    Volume,
    Boolean,
    Choice(&'static [&'static str]),
    Time(TimeText),
}

/// How an instant is written.
#[derive(Debug, Clone)]
enum TimeText {
    Iso,
    IsoDate,
    Format { format: String, time_zone: TimeZone },
    Epoch(EpochUnit),
}

/// Rows of a synthetic source.
pub(super) struct Ticks {
    symbols: Vec<String>,
    seed: u64,
    rows: Option<u64>,
    start_micros: i64,
    rate: u32,
    members: Vec<(Member, Content)>,
    fingerprint: String,
    /// Number of the next row; the one before it was found last.
    next: u64,
    found: bool,
    counts: Counts,
    text: Vec<u8>,
}

impl Ticks {
    /// Returns the rows of a source, before the first.
    pub(super) fn new(settings: &Synthetic, schema: &Schema, key_column: usize) -> Self {
        let members = schema
            .columns
            .iter()
            .enumerate()
            .map(|(position, column)| {
                let content = if position == key_column { Content::Symbol } else { Content::of(column) };
                (Member::new(&column.from, Form::of([column].into_iter()), position), content)
            })
            .collect();
        Self {
            symbols: settings.symbols.clone(),
            seed: settings.seed,
            rows: if settings.symbols.is_empty() { Some(0) } else { settings.rows },
            start_micros: settings.start_micros,
            rate: settings.rows_per_second.unwrap_or(DEFAULT_RATE).max(1),
            members,
            fingerprint: fingerprint(settings),
            next: 0,
            found: false,
            counts: Counts::default(),
            text: Vec::new(),
        }
    }

    pub(super) fn advance(&mut self) -> Option<RowHead<'_>> {
        self.found = self.rows.is_none_or(|rows| self.next < rows);
        if !self.found {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.counts.rows += 1;
        let event_time_micros = Some(self.event_time(number));
        let key = self.symbol(number).as_bytes();
        Some(RowHead { number, line: 0, byte_offset: 0, key, event_time_micros, malformed: None })
    }

    pub(super) fn encode(&mut self, value: &mut Vec<u8>) {
        if !self.found {
            return;
        }
        let number = self.next - 1;
        let mut text = std::mem::take(&mut self.text);
        let price = self.price(number);
        for (position, (member, content)) in (0u64..).zip(&self.members) {
            text.clear();
            let chance = || mix(self.seed ^ mix(number ^ position << 56));
            match content {
                Content::Symbol => text.extend_from_slice(self.symbol(number).as_bytes()),
                Content::Price { spread, whole_digits, scale } => {
                    // A spread varies by half of itself, so that two columns do not move as one.
                    let spread = spread + spread * low_bits(chance(), 8) / 512;
                    write_price(price + price * spread / 1_000_000, *whole_digits, *scale, &mut text);
                }
                Content::Number { limit } => write_number(number % limit, &mut text),
                Content::Volume => write_number((1 + chance() % 50) * [1, 10, 100, 100][pick(chance() >> 8, 4)], &mut text),
                Content::Boolean => text.extend_from_slice(if chance() & 1 == 0 { b"false" } else { b"true" }),
                Content::Choice(texts) => text.extend_from_slice(texts[pick(chance(), texts.len())].as_bytes()),
                Content::Time(form) => write_time(form, self.event_time(number), &mut text),
            }
            member.write(&text, value);
        }
        value.push(b'}');
        self.text = text;
    }

    pub(super) fn seek(&mut self, number: u64) -> bool {
        self.found = false;
        self.next = self.rows.map_or(number, |rows| number.min(rows));
        self.next == number
    }

    pub(super) fn rows_total(&self) -> Option<u64> {
        self.rows
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn symbol(&self, number: u64) -> &str {
        &self.symbols[pick(number, self.symbols.len())]
    }

    fn event_time(&self, number: u64) -> i64 {
        let micros = u128::from(number) * 1_000_000 / u128::from(self.rate);
        self.start_micros.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Returns the price of a row in units of its last digit: a base of the symbol, moved by waves of all lengths.
    fn price(&self, number: u64) -> i64 {
        let symbols = self.symbols.len() as u64;
        let (tick, symbol) = (number / symbols, number % symbols);
        let own = mix(self.seed ^ mix(symbol));
        // 20 to 500, in ten thousandths.
        let base = 200_000 + i64::try_from(own % 4_800_000).expect("below 4,800,000");
        let moved: i64 = (0u64..).zip(WAVES).map(|(wave, (power, reach))| wave_at(own ^ mix(wave), tick, power) * reach / 65_536).sum();
        base + base * moved / 1_000_000
    }
}

/// Returns a wave's height at a tick, -32,768 to 32,767: between heights by chance at the ends of its block.
fn wave_at(own: u64, tick: u64, power: u32) -> i64 {
    let (block, within) = (tick >> power, low_bits(tick, power));
    let height = |block: u64| low_bits(mix(own ^ block.wrapping_mul(0x2545_f491_4f6c_dd1d)), 16) - 32_768;
    let (left, right) = (height(block), height(block.wrapping_add(1)));
    left + (((right - left) * within) >> power)
}

/// Returns a number modulo a length.
fn pick(number: u64, length: usize) -> usize {
    usize::try_from(number % length as u64).expect("below a length")
}

/// Returns the lowest bits of a number, at most 62.
fn low_bits(number: u64, bits: u32) -> i64 {
    i64::try_from(number & ((1 << bits) - 1)).expect("at most 62 bits")
}

impl Content {
    fn of(column: &Column) -> Self {
        let name = column.from.to_lowercase();
        let spread = if name.contains("high") || name.contains("ask") {
            400
        } else if name.contains("low") || name.contains("bid") {
            -400
        } else {
            0
        };
        let is_number = name == "id" || name.ends_with("_id") || name.contains("seq");
        match &column.column_type {
            ColumnType::String if name.contains("side") => Self::Choice(&["buy", "sell"]),
            ColumnType::String => Self::Choice(&["A", "B", "C", "D"]),
            ColumnType::Int if is_number => Self::Number { limit: 1 << 31 },
            ColumnType::Bigint if is_number => Self::Number { limit: 1 << 63 },
            ColumnType::Int | ColumnType::Bigint => Self::Volume,
            ColumnType::Double => Self::Price { spread, whole_digits: 18, scale: PRICE_SCALE },
            ColumnType::Decimal { precision, scale, .. } => {
                Self::Price { spread, whole_digits: u32::from(precision.saturating_sub(*scale)).min(18), scale: *scale }
            }
            ColumnType::Boolean => Self::Boolean,
            ColumnType::Timestamp { reading } => Self::Time(match reading {
                TimeReading::Iso { .. } => TimeText::Iso,
                TimeReading::Format { format, time_zone } => {
                    TimeText::Format { format: format.clone(), time_zone: time_zone.rules().clone() }
                }
                TimeReading::Epoch { unit } => TimeText::Epoch(*unit),
            }),
            ColumnType::Date { format: None } => Self::Time(TimeText::IsoDate),
            ColumnType::Date { format: Some(format) } => Self::Time(TimeText::Format { format: format.clone(), time_zone: TimeZone::UTC }),
        }
    }
}

/// Appends a price, which is in ten thousandths, with `scale` digits after its point.
fn write_price(price: i64, whole_digits: u32, scale: u8, text: &mut Vec<u8>) {
    let price = price.unsigned_abs();
    write_number(price / 10_000 % 10u64.pow(whole_digits), text);
    if scale == 0 {
        return;
    }
    text.push(b'.');
    write_digits(price % 10_000, PRICE_SCALE.into(), text);
    let cut = text.len() - usize::from(PRICE_SCALE.saturating_sub(scale));
    text.truncate(cut);
    text.resize(cut + usize::from(scale.saturating_sub(PRICE_SCALE)), b'0');
}

fn write_number(number: u64, text: &mut Vec<u8>) {
    write_digits(number, number.checked_ilog10().unwrap_or(0) as usize + 1, text);
}

/// Appends the last `digits` digits of a number.
fn write_digits(number: u64, digits: usize, text: &mut Vec<u8>) {
    let start = text.len();
    text.resize(start + digits, b'0');
    let mut rest = number;
    for digit in text[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn write_time(form: &TimeText, micros: i64, text: &mut Vec<u8>) {
    let instant = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    match form {
        TimeText::Iso | TimeText::IsoDate => {
            let moment = TimeZone::UTC.to_datetime(instant);
            let two = |number: i8, text: &mut Vec<u8>| write_digits(u64::from(number.unsigned_abs()), 2, text);
            write_digits(u64::from(moment.year().unsigned_abs()), 4, text);
            text.push(b'-');
            two(moment.month(), text);
            text.push(b'-');
            two(moment.day(), text);
            if matches!(form, TimeText::IsoDate) {
                return;
            }
            text.push(b'T');
            two(moment.hour(), text);
            text.push(b':');
            two(moment.minute(), text);
            text.push(b':');
            two(moment.second(), text);
            text.push(b'.');
            write_digits(u64::from(moment.subsec_nanosecond().unsigned_abs()) / 1000, 6, text);
            text.push(b'Z');
        }
        TimeText::Format { format, time_zone } => {
            let zoned = instant.to_zoned(time_zone.clone());
            // The format was checked with the schema; what cannot be written stays empty and shows as a dead letter.
            if let Ok(written) = jiff::fmt::strtime::format(format, &zoned) {
                text.extend_from_slice(written.as_bytes());
            }
        }
        TimeText::Epoch(unit) => {
            let written = match unit {
                EpochUnit::Seconds => write!(text, "{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000)),
                EpochUnit::Milliseconds => write!(text, "{}", micros.div_euclid(1_000)),
                EpochUnit::Microseconds => write!(text, "{micros}"),
                EpochUnit::Nanoseconds => write!(text, "{}", i128::from(micros) * 1_000),
            };
            written.expect("writing to memory cannot fail");
        }
    }
}

/// Returns the hex SHA-256 of what decides about the rows. The columns are no part of it: one that is added leaves the values
/// of the others as they are, so the source goes on where it is; so is the number of rows, which may grow.
fn fingerprint(settings: &Synthetic) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"synthetic 1\n");
    for symbol in &settings.symbols {
        hasher.update((symbol.len() as u64).to_le_bytes());
        hasher.update(symbol);
    }
    hasher.update(settings.rows_per_second.unwrap_or(DEFAULT_RATE).to_le_bytes());
    hasher.update(settings.seed.to_le_bytes());
    hasher.update(settings.start_micros.to_le_bytes());
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests;
