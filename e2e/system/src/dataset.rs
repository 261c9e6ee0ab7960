//! Files to replay, and what must be stored of them.
//!
//! The sums are counted here from the file, with whole numbers, and by nothing that the product uses; where the data set brings an oracle of
//! its own, the two must agree.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::stage::repository;

/// Digits after the point with which sums are counted: the noise of a double has up to 15.
const SCALE: usize = 15;

/// What is stored of one key: rows, and the sum of each summed column as a decimal number without trailing zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Rows.
    pub rows: u64,
    /// Sums in the order of [`Dataset::summed`].
    pub sums: Vec<String>,
}

/// A CSV file with its schema and its oracle.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Name.
    pub name: &'static str,
    /// The file, gzipped.
    pub bytes: Vec<u8>,
    /// The schema of a pipeline that replays it.
    pub schema: Value,
    /// Column whose value is the record's key.
    pub key: &'static str,
    /// Column of the event time.
    pub event_time: &'static str,
    /// Columns that are summed.
    pub summed: Vec<&'static str>,
    /// Rows in all.
    pub rows: u64,
    /// What must be stored of each key.
    pub by_key: BTreeMap<String, Sums>,
}

impl Dataset {
    /// Returns the tutorial's 104,224 rows where they are at hand (under `STOCKPIPELINE_DATA` or beside the repository), else the
    /// repository's daily bars.
    ///
    /// # Panics
    /// When a file that is there can't be read, or its oracle differs.
    #[must_use]
    pub fn best() -> Self {
        let folders = [std::env::var_os("STOCKPIPELINE_DATA").map(PathBuf::from), Some(repository().join("../shared/data"))];
        let found = folders.into_iter().flatten().map(|folder| folder.join("index-processed")).find(|folder| folder.is_dir());
        found.map_or_else(Self::daily_bars, |folder| Self::indices(&folder))
    }

    fn indices(folder: &std::path::Path) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name} can't be read: {error}"));
        let price = |name: &str, from: &str| json!({ "name": name, "type": "Decimal", "precision": 18, "scale": 6, "from": from });
        let schema = json!({
            "eventTimeColumn": "trade_date",
            "columns": [
                { "name": "index_name", "type": "String", "from": "Index", "nullable": false },
                { "name": "trade_date", "type": "Date", "from": "Date", "nullable": false },
                price("open", "Open"), price("high", "High"), price("low", "Low"), price("close", "Close"), price("adj_close", "Adj Close"),
                { "name": "volume", "type": "Decimal", "precision": 18, "scale": 1, "from": "Volume" },
                { "name": "close_usd", "type": "Decimal", "precision": 24, "scale": 15, "from": "CloseUSD" },
            ],
        });
        let summed = vec![("close", "Close"), ("volume", "Volume"), ("close_usd", "CloseUSD")];
        let set = Self::count("index-processed", read("indexProcessed.csv.gz"), schema, ("index_name", "Index"), &summed);
        let oracle: Value = serde_json::from_slice(&read("oracle.json")).expect("the oracle is JSON");
        let theirs: BTreeMap<String, Sums> = oracle["by_index"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, one)| {
                let sums = ["close_sum", "volume", "closeusd_sum"].map(|name| canonical(one[name].as_str().unwrap_or_default()));
                (key.clone(), Sums { rows: one["rows"].as_u64().unwrap_or_default(), sums: sums.to_vec() })
            })
            .collect();
        assert_eq!(set.by_key, theirs, "the file and its oracle differ");
        set
    }

    /// Returns the 12,154 daily bars that the repository brings.
    ///
    /// # Panics
    /// When the file can't be read.
    #[must_use]
    pub fn daily_bars() -> Self {
        let bytes = std::fs::read(repository().join("examples/data/daily-bars.csv.gz")).expect("the repository has its daily bars");
        let price = |name: &str, from: &str| json!({ "name": name, "type": "Decimal", "precision": 18, "scale": 4, "from": from });
        let schema = json!({
            "eventTimeColumn": "trade_date",
            "columns": [
                { "name": "symbol", "type": "String", "from": "Ticker", "nullable": false },
                { "name": "trade_date", "type": "Date", "from": "Date", "nullable": false },
                price("open", "Open"), price("high", "High"), price("low", "Low"), price("close", "Close"),
                { "name": "volume", "type": "Bigint", "from": "Volume" },
                { "name": "adj_close", "type": "Decimal", "precision": 24, "scale": 15, "from": "Adj Close" },
            ],
        });
        let summed = vec![("close", "Close"), ("volume", "Volume"), ("adj_close", "Adj Close")];
        Self::count("daily-bars", bytes, schema, ("symbol", "Ticker"), &summed)
    }

    /// Counts a file; columns are pairs of their names in the table and in the file.
    fn count(name: &'static str, bytes: Vec<u8>, schema: Value, key: (&'static str, &str), summed: &[(&'static str, &str)]) -> Self {
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("the file is gzipped text");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().expect("the file has a header").clone();
        let place = |from: &str| header.iter().position(|field| field == from).unwrap_or_else(|| panic!("{name} has no column {from}"));
        let (key_place, sum_places) = (place(key.1), summed.iter().map(|(_, from)| place(from)).collect::<Vec<_>>());
        let mut counted: BTreeMap<String, (u64, Vec<i128>)> = BTreeMap::new();
        for row in reader.records() {
            let row = row.expect("the file has no broken row");
            let (rows, sums) = counted.entry(row[key_place].to_owned()).or_insert_with(|| (0, vec![0; summed.len()]));
            *rows += 1;
            for (sum, &place) in sums.iter_mut().zip(&sum_places) {
                *sum += scaled(&row[place]);
            }
        }
        let by_key: BTreeMap<String, Sums> = counted
            .into_iter()
            .map(|(key, (rows, sums))| (key, Sums { rows, sums: sums.into_iter().map(|sum| canonical(&unscaled(sum))).collect() }))
            .collect();
        Self {
            name,
            bytes,
            schema,
            key: key.0,
            event_time: "trade_date",
            summed: summed.iter().map(|(name, _)| *name).collect(),
            rows: by_key.values().map(|sums| sums.rows).sum(),
            by_key,
        }
    }

    /// Returns the key under which the file is stored in the bucket.
    #[must_use]
    pub fn object(&self) -> String {
        let hash = Sha256::digest(&self.bytes);
        let start = hash.iter().take(8).fold(0, |start: u64, byte| start << 8 | u64::from(*byte));
        format!("fixtures/{}-{start:016x}.csv.gz", self.name)
    }
}

/// Reads a decimal number as a whole one, shifted by [`SCALE`] digits; nothing is 0.
fn scaled(text: &str) -> i128 {
    if text.is_empty() {
        return 0;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= SCALE, "{text} has more than {SCALE} digits after the point");
    let digits = format!("{whole}{fraction:0<SCALE$}");
    digits.parse().unwrap_or_else(|_| panic!("{text} is no decimal number"))
}

fn unscaled(number: i128) -> String {
    let (sign, digits) = (if number < 0 { "-" } else { "" }, format!("{:0>width$}", number.unsigned_abs(), width = SCALE + 1));
    let (whole, fraction) = digits.split_at(digits.len() - SCALE);
    format!("{sign}{whole}.{fraction}")
}

/// Returns a decimal number without the zeros that say nothing.
#[must_use]
pub fn canonical(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_counted_to_the_last_digit() {
        for (numbers, sum) in [
            (&["0.1", "0.2", "0.000000000000001"][..], "0.300000000000001"),
            (&["94403740000.0", "1"], "94403740001"),
            (&["-1.5", "0.25", ""], "-1.25"),
        ] {
            assert_eq!(canonical(&unscaled(numbers.iter().map(|number| scaled(number)).sum())), sum, "{numbers:?}");
        }
    }

    #[test]
    fn the_repositorys_bars_are_12_154_rows_of_five_stocks() {
        let set = Dataset::daily_bars();
        assert_eq!((set.rows, set.by_key.len()), (12_154, 5));
    }
}
