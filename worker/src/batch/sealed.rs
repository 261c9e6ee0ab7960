//! A sealed buffer: which objects it becomes, and their bytes one by one.

use std::sync::Arc;

use stockpipeline::layout::{self, Range};
use stockpipeline::plan::{PlannedObject, ZoneName};
use stockpipeline::rules::{ProcessedFormat, Rules};

use super::hive::HivePartitions;
use super::lines::Lines;
use super::rows::Rows;
use super::sort::Sorter;
use super::{Buffer, Seal};
use crate::encode;
use crate::pieces::Pieces;

/// A sealed buffer: its objects are known, their bytes are made one by one.
pub struct Sealed {
    objects: Vec<PlannedObject>,
    contents: Vec<Content>,
    next: usize,
    rules: Arc<Rules>,
    partition: i32,
    raw: Option<Lines>,
    dead_letters: Option<Lines>,
    rows: Option<SealedRows>,
}

/// What an object is made of.
#[derive(Debug, Clone, Copy)]
enum Content {
    Raw,
    DeadLetters,
    /// The rows of the Hive partition of this number.
    Rows(u32),
}

/// Rows grouped by Hive partition.
struct SealedRows {
    rows: Rows,
    hive: HivePartitions,
    grouped: Option<Grouped>,
}

struct Grouped {
    sorter: Sorter,
    /// Row numbers, those of one Hive partition together and in offset order.
    order: Vec<u32>,
    /// Where each Hive partition's rows start in `order`.
    starts: Vec<usize>,
    /// Rows of each block that are still to be encoded.
    left: Vec<u32>,
}

impl Sealed {
    /// Fixes the objects of a buffer.
    pub(super) fn of(buffer: Buffer, seal: &Seal) -> Self {
        let Buffer { rules, partition, raw, dead_letters, rows, hive, .. } = buffer;
        let mut listed = Vec::new();
        let range = Range { epoch: &seal.epoch, partition: seal.partition, first: seal.first, last: seal.last };
        let day = vec![("dt".to_owned(), layout::sealed_day(seal.sealed_at_micros))];
        if let (Some(zone), Some(lines)) = (&rules.raw, &raw) {
            let key = layout::object_key(&zone.prefix, &day, &range, zone.compression.extension());
            listed.push((lines_object(ZoneName::Raw, key, &day, lines.count()), Content::Raw));
        }
        if let Some(lines) = &dead_letters {
            let zone = &rules.dead_letters;
            let key = layout::object_key(&zone.prefix, &day, &range, zone.compression.extension());
            listed.push((lines_object(ZoneName::DeadLetters, key, &day, lines.count()), Content::DeadLetters));
        }
        if let Some(zone) = &rules.processed {
            for (number, partition) in (0_u32..).zip(hive.partitions()) {
                let path = hive.path(partition);
                let object = PlannedObject {
                    zone: ZoneName::Processed,
                    key: layout::object_key(&zone.prefix, &path, &range, zone.format.extension()),
                    hive: path,
                    rows: partition.rows,
                    min_event_time_micros: partition.event_times.map(|(first, _)| first),
                    max_event_time_micros: partition.event_times.map(|(_, last)| last),
                };
                listed.push((object, Content::Rows(number)));
            }
        }
        listed.retain(|(object, _)| object.rows > 0);
        listed.sort_by(|(left, _), (right, _)| left.key.cmp(&right.key));
        let (objects, contents) = listed.into_iter().unzip();
        let rows = rules.processed.is_some().then_some(SealedRows { rows, hive, grouped: None });
        Self { objects, contents, next: 0, rules, partition, raw, dead_letters, rows }
    }

    /// Returns the objects in key order, as the plan lists them.
    #[must_use]
    pub fn objects(&self) -> &[PlannedObject] {
        &self.objects
    }

    /// Returns the bytes of memory still held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let lines = |lines: &Option<Lines>| lines.as_ref().map_or(0, Lines::memory_bytes);
        lines(&self.raw) + lines(&self.dead_letters) + self.rows.as_ref().map_or(0, SealedRows::memory_bytes)
    }

    /// Makes the bytes of the next object and frees its rows; None after the last one.
    pub fn encode_next(&mut self) -> Option<(PlannedObject, Pieces)> {
        let object = self.objects.get(self.next)?.clone();
        let content = *self.contents.get(self.next)?;
        self.next += 1;
        let bytes = match content {
            Content::Raw => self.raw.take().map(Lines::finish),
            Content::DeadLetters => self.dead_letters.take().map(Lines::finish),
            Content::Rows(number) => self.encode_rows(number),
        };
        if !self.contents[self.next..].iter().any(|content| matches!(content, Content::Rows(_))) {
            self.rows = None;
        }
        bytes.map(|bytes| (object, bytes))
    }

    fn encode_rows(&mut self, number: u32) -> Option<Pieces> {
        let zone = self.rules.processed.as_ref()?;
        let SealedRows { rows, hive, grouped } = self.rows.as_mut()?;
        let grouped = grouped.get_or_insert_with(|| Grouped::of(rows, hive, &zone.sort_by));
        let number = number as usize;
        let (start, end) = (*grouped.starts.get(number)?, *grouped.starts.get(number + 1)?);
        let Grouped { sorter, order, left, .. } = grouped;
        let order = order.get_mut(start..end)?;
        sorter.sort(rows, order);
        let mut encoded = encode::Rows { schema: &self.rules.schema, partition: self.partition, buffered: rows, order, left };
        Some(match zone.format {
            ProcessedFormat::Parquet { compression } => encoded.parquet(compression),
            ProcessedFormat::JsonLines { compression } => encoded.json_lines(compression),
        })
    }
}

fn lines_object(zone: ZoneName, key: String, day: &[(String, String)], rows: u64) -> PlannedObject {
    PlannedObject { zone, key, hive: day.to_vec(), rows, min_event_time_micros: None, max_event_time_micros: None }
}

impl SealedRows {
    fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.hive.memory_bytes() + self.grouped.as_ref().map_or(0, Grouped::memory_bytes)
    }
}

impl Grouped {
    fn of(rows: &Rows, hive: &HivePartitions, sort_by: &[usize]) -> Self {
        let mut starts = Vec::with_capacity(hive.len() + 1);
        let mut start = 0_usize;
        starts.push(0);
        for partition in hive.partitions() {
            start += usize::try_from(partition.rows).unwrap_or(usize::MAX);
            starts.push(start);
        }
        let mut places = starts.clone();
        let mut order = vec![0_u32; rows.len()];
        let mut left = vec![0_u32; rows.len() / super::blocks::BLOCK + 1];
        for (row, number) in (0_u32..).zip(rows.hive.iter()) {
            let place = &mut places[number as usize];
            order[*place] = row;
            *place += 1;
            left[Rows::block_of(row)] += 1;
        }
        Self { sorter: Sorter::new(rows, sort_by), order, starts, left }
    }

    fn memory_bytes(&self) -> usize {
        self.sorter.memory_bytes()
            + (self.order.capacity() + self.left.capacity()) * size_of::<u32>()
            + self.starts.capacity() * size_of::<usize>()
    }
}
