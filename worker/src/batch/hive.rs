//! Which Hive partition a row belongs to.
//!
//! Neighbours mostly share a day and an hour, so values are remembered by a slot of the column's values within which they cannot differ.

use std::collections::HashMap;

use stockpipeline::layout;
use stockpipeline::rules::{PartitionField, Transform};
use stockpipeline::schema::Schema;
use stockpipeline::value::Value;

/// Slots remembered of one field.
const MAX_SLOTS: usize = 16_384;

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// Zones change their offset by whole quarters of an hour, nearly always.
const QUARTER_MICROS: i64 = HOUR_MICROS / 4;

/// The Hive partitions that the rows of a buffer have touched.
pub(crate) struct HivePartitions {
    fields: Vec<FieldValues>,
    by_values: HashMap<Box<[u32]>, u32>,
    partitions: Vec<Partition>,
    last: Vec<u32>,
    last_number: u32,
    current: Vec<u32>,
}

/// One Hive partition and its rows.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    values: Box<[u32]>,
    /// Rows.
    pub(crate) rows: u64,
    /// Smallest and largest event time.
    pub(crate) event_times: Option<(i64, i64)>,
}

/// The values of one partition field by number.
struct FieldValues {
    field: PartitionField,
    texts: Vec<String>,
    by_text: HashMap<String, u32>,
    by_slot: HashMap<i64, u32>,
    last_slot: Option<(i64, u32)>,
    last_text: Option<(String, u32)>,
    text: String,
}

/// Where a row belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A partition that has rows.
    Known(u32),
    /// One that the row would open.
    New,
}

impl HivePartitions {
    /// Returns no partitions.
    pub(crate) fn new(fields: &[PartitionField]) -> Self {
        let fields = fields.iter().map(FieldValues::new).collect();
        Self { fields, by_values: HashMap::new(), partitions: Vec::new(), last: Vec::new(), last_number: 0, current: Vec::new() }
    }

    /// Returns where a row belongs.
    #[inline]
    pub(crate) fn place(&mut self, schema: &Schema, values: &[Value<'_>]) -> Place {
        self.current.clear();
        for field in &mut self.fields {
            self.current.push(field.number(schema, values));
        }
        if self.current == self.last && !self.partitions.is_empty() {
            return Place::Known(self.last_number);
        }
        match self.by_values.get(self.current.as_slice()) {
            Some(number) => {
                self.last.clone_from(&self.current);
                self.last_number = *number;
                Place::Known(*number)
            }
            None => Place::New,
        }
    }

    /// Opens the partition of the row that was placed last.
    pub(crate) fn open(&mut self) -> u32 {
        let number = u32::try_from(self.partitions.len()).expect("fewer partitions than rows");
        let values: Box<[u32]> = self.current.as_slice().into();
        self.partitions.push(Partition { values: values.clone(), rows: 0, event_times: None });
        self.by_values.insert(values, number);
        number
    }

    /// Counts a row of a partition.
    #[inline]
    pub(crate) fn count(&mut self, number: u32, event_time: Option<i64>) {
        let Some(partition) = self.partitions.get_mut(number as usize) else { return };
        partition.rows += 1;
        if let Some(time) = event_time {
            let (first, last) = partition.event_times.unwrap_or((time, time));
            partition.event_times = Some((first.min(time), last.max(time)));
        }
    }

    /// Returns how many partitions have rows.
    pub(crate) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Returns the partitions by number.
    pub(crate) fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Returns the names and (unescaped) values of a partition, in path order.
    pub(crate) fn path(&self, partition: &Partition) -> Vec<(String, String)> {
        let pair = |(field, value): (&FieldValues, &u32)| {
            (field.field.name.clone(), field.texts.get(*value as usize).cloned().unwrap_or_default())
        };
        self.fields.iter().zip(&partition.values).map(pair).collect()
    }

    /// Returns the bytes of memory held, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let partition = size_of::<Partition>() + 3 * size_of::<Box<[u32]>>() + 8 * self.fields.len();
        self.partitions.capacity() * partition + self.fields.iter().map(FieldValues::memory_bytes).sum::<usize>()
    }
}

impl FieldValues {
    fn new(field: &PartitionField) -> Self {
        Self {
            field: field.clone(),
            texts: Vec::new(),
            by_text: HashMap::new(),
            by_slot: HashMap::new(),
            last_slot: None,
            last_text: None,
            text: String::new(),
        }
    }

    /// Returns the number of a row's value.
    #[inline]
    fn number(&mut self, schema: &Schema, values: &[Value<'_>]) -> u32 {
        let null = Value::Null;
        let value = values.get(self.field.column).unwrap_or(&null);
        match slot_of(&self.field.transform, value) {
            Some(slot) => match self.last_slot {
                Some((last, number)) if last == slot => number,
                _ => self.number_of_slot(slot, schema, value),
            },
            None => self.number_of_text(schema, value),
        }
    }

    fn number_of_slot(&mut self, slot: i64, schema: &Schema, value: &Value<'_>) -> u32 {
        if let Some(number) = self.by_slot.get(&slot) {
            self.last_slot = Some((slot, *number));
            return *number;
        }
        let number = self.number_of_value(schema, value);
        if !is_uniform(&self.field.transform, slot, value) {
            return number;
        }
        if self.by_slot.len() >= MAX_SLOTS {
            self.by_slot.clear();
        }
        self.by_slot.insert(slot, number);
        self.last_slot = Some((slot, number));
        number
    }

    fn number_of_text(&mut self, schema: &Schema, value: &Value<'_>) -> u32 {
        let Value::String(text) = value else { return self.number_of_value(schema, value) };
        if let Some((last, number)) = &self.last_text
            && last == text.as_ref()
        {
            return *number;
        }
        let number = self.number_of_value(schema, value);
        let (last, last_number) = self.last_text.get_or_insert_default();
        last.clear();
        last.push_str(text);
        *last_number = number;
        number
    }

    fn number_of_value(&mut self, schema: &Schema, value: &Value<'_>) -> u32 {
        self.text.clear();
        if let Some(column) = schema.columns.get(self.field.column) {
            layout::hive_value(&self.field, column, value, &mut self.text);
        }
        if let Some(number) = self.by_text.get(self.text.as_str()) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).expect("fewer values than rows");
        self.texts.push(self.text.clone());
        self.by_text.insert(self.text.clone(), number);
        number
    }

    fn memory_bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| 2 * text.capacity() + 4 * size_of::<String>()).sum();
        let last = self.last_text.as_ref().map_or(0, |(text, _)| text.capacity());
        texts + self.by_slot.capacity() * 2 * size_of::<i64>() + last + self.text.capacity()
    }
}

/// Returns the number of a range of the column's values that mostly have one partition value; None where text decides.
#[inline]
fn slot_of(transform: &Transform, value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Timestamp(micros) => match transform {
            Transform::Year { time_zone } | Transform::Month { time_zone } | Transform::Day { time_zone } => {
                Some(micros.div_euclid(if time_zone.is_utc() { DAY_MICROS } else { QUARTER_MICROS }))
            }
            Transform::Hour { time_zone } => Some(micros.div_euclid(if time_zone.is_utc() { HOUR_MICROS } else { QUARTER_MICROS })),
            Transform::Identity | Transform::Bucket { .. } | Transform::Truncate { .. } => None,
        },
        Value::Date(days) => Some(i64::from(*days)),
        Value::Int(number) => Some(i64::from(*number)),
        Value::Bigint(number) => Some(*number),
        Value::Null | Value::String(_) | Value::Double(_) | Value::Decimal(_) | Value::Boolean(_) => None,
    }
}

/// Returns whether all values of a slot have the partition value that this one has.
fn is_uniform(transform: &Transform, slot: i64, value: &Value<'_>) -> bool {
    let Value::Timestamp(_) = value else { return true };
    let zone = match transform {
        Transform::Year { time_zone } | Transform::Month { time_zone } | Transform::Day { time_zone } | Transform::Hour { time_zone } => {
            time_zone
        }
        Transform::Identity | Transform::Bucket { .. } | Transform::Truncate { .. } => return false,
    };
    if zone.is_utc() {
        return true;
    }
    // The zone's clock runs through the quarter without a jump and without striking the hour inside it.
    let offset_at = |micros: i64| jiff::Timestamp::from_microsecond(micros).ok().map(|instant| zone.rules().to_offset(instant).seconds());
    let start = slot * QUARTER_MICROS;
    match (offset_at(start), offset_at(start + QUARTER_MICROS - 1)) {
        (Some(first), Some(last)) => first == last && first % 900 == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stockpipeline::schema::{Column, ColumnType, TimeReading, Zone};

    use super::*;

    fn schema() -> Schema {
        let time = ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } };
        let column = Column { name: "ts".to_owned(), from: "ts".to_owned(), column_type: time, nullable: true, comment: None };
        Schema { columns: vec![column], event_time: 0, max_future_seconds: 0 }
    }

    proptest! {
        /// Zones with odd offsets, with summer time and with a day that was left out.
        #[test]
        fn remembered_values_are_the_values(
            name in prop::sample::select(vec!["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Monrovia", "Asia/Kathmandu"]),
            start in -2_000_000_000_i64..2_000_000_000,
            steps in prop::collection::vec(-4_000_i64..4_000, 1..60),
        ) {
            let schema = schema();
            let zone = || Zone::named(name).unwrap();
            let fields = [
                PartitionField { name: "day".to_owned(), column: 0, transform: Transform::Day { time_zone: zone() } },
                PartitionField { name: "hour".to_owned(), column: 0, transform: Transform::Hour { time_zone: zone() } },
                PartitionField { name: "year".to_owned(), column: 0, transform: Transform::Year { time_zone: zone() } },
            ];
            let mut hive = HivePartitions::new(&fields);
            let mut second = start;
            for step in steps {
                second += step;
                let values = [Value::Timestamp(second * 1_000_000 + 999_999)];
                let number = match hive.place(&schema, &values) {
                    Place::Known(number) => number,
                    Place::New => hive.open(),
                };
                let expected: Vec<(String, String)> = fields
                    .iter()
                    .map(|field| {
                        let mut text = String::new();
                        layout::hive_value(field, &schema.columns[0], &values[0], &mut text);
                        (field.name.clone(), text)
                    })
                    .collect();
                prop_assert_eq!(hive.path(&hive.partitions()[number as usize]), expected);
            }
        }
    }
}
