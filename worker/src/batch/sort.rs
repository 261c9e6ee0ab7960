//! The order of a Hive partition's rows: by the sort columns, nulls first, ties by offset.

use std::cmp::Ordering;

use super::rows::{Column, Nulls, Rows};
use super::texts::Texts;

/// The sort columns of a buffer's rows, each text column with the rank of its texts.
pub(crate) struct Sorter {
    columns: Vec<(usize, Vec<u32>)>,
}

impl Sorter {
    /// Ranks the texts of the sort columns.
    pub(crate) fn new(rows: &Rows, by: &[usize]) -> Self {
        let ranked = |index: &usize| {
            let ranks = match rows.columns.get(*index)? {
                Column::Text(_, texts) => ranks(texts),
                Column::Int(_) | Column::Long(_) | Column::Wide(_) | Column::Double(_) | Column::Boolean(_) => Vec::new(),
            };
            Some((*index, ranks))
        };
        Self { columns: by.iter().filter_map(ranked).collect() }
    }

    /// Sorts row numbers, which come in offset order.
    pub(crate) fn sort(&self, rows: &Rows, order: &mut [u32]) {
        let columns: Vec<(&Column, &[u32])> = self.columns.iter().map(|(index, ranks)| (&rows.columns[*index], ranks.as_slice())).collect();
        match columns.as_slice() {
            [] => {}
            [(Column::Text(nulls, texts), ranks)] => sort_by_key(order, |row| rank(nulls, texts, ranks, row)),
            [(Column::Long(time), _)] => sort_by_key(order, |row| time.get(row as usize)),
            [(Column::Int(time), _)] => sort_by_key(order, |row| time.get(row as usize)),
            [(Column::Text(nulls, texts), ranks), (Column::Long(time), _)] => {
                sort_by_key(order, |row| (rank(nulls, texts, ranks, row), time.get(row as usize)));
            }
            [(Column::Text(nulls, texts), ranks), (Column::Int(time), _)] => {
                sort_by_key(order, |row| (rank(nulls, texts, ranks, row), time.get(row as usize)));
            }
            _ => order.sort_by(|left, right| {
                let mut compared = columns.iter().map(|(column, ranks)| compare(column, ranks, *left, *right));
                compared.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
            }),
        }
    }

    /// Returns the bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|(_, ranks)| ranks.capacity() * size_of::<u32>()).sum()
    }
}

/// Sorts by a key that is read once a row; row numbers break ties.
fn sort_by_key<K: Ord + Copy>(order: &mut [u32], key: impl Fn(u32) -> K) {
    if order.is_sorted_by_key(|row| key(*row)) {
        return;
    }
    let mut keyed: Vec<(K, u32)> = order.iter().map(|row| (key(*row), *row)).collect();
    keyed.sort_unstable();
    for (place, (_, row)) in order.iter_mut().zip(keyed) {
        *place = row;
    }
}

/// Returns the rank of each distinct text, from 1; equal texts have equal ranks.
fn ranks(texts: &Texts) -> Vec<u32> {
    let mut sorted: Vec<u32> = (0..u32::try_from(texts.entries()).expect("texts are numbered by u32")).collect();
    sorted.sort_unstable_by(|left, right| texts.bytes(*left).cmp(texts.bytes(*right)));
    let mut ranks = vec![0; sorted.len()];
    let mut rank = 0;
    let mut previous: Option<u32> = None;
    for entry in sorted {
        if previous.is_none_or(|previous| texts.bytes(previous) != texts.bytes(entry)) {
            rank += 1;
        }
        ranks[entry as usize] = rank;
        previous = Some(entry);
    }
    ranks
}

#[inline]
fn rank(nulls: &Nulls, texts: &Texts, ranks: &[u32], row: u32) -> u32 {
    if nulls.contain(row as usize) {
        return 0;
    }
    ranks.get(texts.entry(row as usize) as usize).copied().unwrap_or_default()
}

fn compare(column: &Column, ranks: &[u32], left: u32, right: u32) -> Ordering {
    let (first, second) = (left as usize, right as usize);
    match column {
        Column::Text(nulls, texts) => rank(nulls, texts, ranks, left).cmp(&rank(nulls, texts, ranks, right)),
        Column::Int(cells) => cells.get(first).cmp(&cells.get(second)),
        Column::Long(cells) => cells.get(first).cmp(&cells.get(second)),
        Column::Wide(cells) => cells.get(first).cmp(&cells.get(second)),
        Column::Boolean(cells) => cells.get(first).cmp(&cells.get(second)),
        Column::Double(cells) => match (cells.get(first), cells.get(second)) {
            (Some(first), Some(second)) => first.total_cmp(&second),
            (first, second) => first.is_some().cmp(&second.is_some()),
        },
    }
}
