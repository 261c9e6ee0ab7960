//! Cron's five fields: minute, hour, day of the month, month, day of the week.

use std::fmt;

/// A schedule in cron's five fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// One bit a value, from 0; the fields in their order.
    fields: [u64; 5],
    /// Whether the day of the month and the day of the week were not `*`: then either one is enough.
    restricted_days: (bool, bool),
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Name, least and greatest value and first name's value of a field.
struct FieldRange {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const FIELDS: [FieldRange; 5] = [
    FieldRange { name: "minute", least: 0, most: 59, words: &[] },
    FieldRange { name: "hour", least: 0, most: 23, words: &[] },
    FieldRange { name: "day of the month", least: 1, most: 31, words: &[] },
    FieldRange { name: "month", least: 1, most: 12, words: &MONTHS },
    FieldRange { name: "day of the week", least: 0, most: 7, words: &WEEKDAYS },
];

impl Cron {
    /// Returns the schedule of a text such as `25 9 * * 1-5`.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(format!("has {} fields, not the five of cron", parts.len()));
        }
        let mut fields = [0_u64; 5];
        for ((bits, range), part) in fields.iter_mut().zip(&FIELDS).zip(&parts) {
            *bits = parse_field(part, range).ok_or_else(|| {
                format!("has {part:?} as its {}, which is no number, list or range from {} to {}", range.name, range.least, range.most)
            })?;
        }
        // Sunday is 0 and 7.
        if fields[4] & (1 << 7) != 0 {
            fields[4] = (fields[4] | 1) & !(1 << 7);
        }
        let restricted_days = (!parts[2].starts_with('*'), !parts[4].starts_with('*'));
        Ok(Self { text: parts.join(" "), fields, restricted_days })
    }

    /// Returns a schedule that never fires.
    #[must_use]
    pub(crate) fn never() -> Self {
        Self { text: String::new(), fields: [0; 5], restricted_days: (false, false) }
    }

    /// Returns whether the schedule fires in the minute of a local time.
    #[must_use]
    pub fn fires_at(&self, moment: jiff::civil::DateTime) -> bool {
        let has = |field: usize, value: i8| u32::try_from(value).is_ok_and(|value| self.fields[field] & (1 << value) != 0);
        let (by_date, by_weekday) = (has(2, moment.day()), has(4, moment.weekday().to_sunday_zero_offset()));
        let day = match self.restricted_days {
            (true, true) => by_date || by_weekday,
            (false, _) | (_, false) => by_date && by_weekday,
        };
        has(0, moment.minute()) && has(1, moment.hour()) && has(3, moment.month()) && day
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn parse_field(text: &str, range: &FieldRange) -> Option<u64> {
    let mut bits = 0;
    for item in text.split(',') {
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => (span, step.parse::<u32>().ok().filter(|step| (1..=59).contains(step))?),
            None => (item, 1),
        };
        let (first, last) = if span == "*" {
            (range.least, range.most)
        } else if let Some((first, last)) = span.split_once('-') {
            (parse_value(first, range)?, parse_value(last, range)?)
        } else {
            let value = parse_value(span, range)?;
            (value, if item.contains('/') { range.most } else { value })
        };
        if first > last {
            return None;
        }
        let mut value = first;
        while value <= last {
            bits |= 1 << value;
            value += step;
        }
    }
    Some(bits)
}

fn parse_value(text: &str, range: &FieldRange) -> Option<u32> {
    let word = range.words.iter().zip(range.least..).find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| value);
    let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    word.or(number).filter(|value| (range.least..=range.most).contains(value))
}
