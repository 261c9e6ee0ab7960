//! Reads what a sink has stored, straight from the files: nothing of the product but its column names is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::array::{Array, Int32Array, Int64Array, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use serde_json::value::RawValue;

/// A record's place in Kafka.
pub(crate) type Place = (i32, i64);

/// Everything that stands in the zones.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// Value of the `symbol` column by place; a place twice is an entry of `twice`.
    pub(crate) processed: BTreeMap<Place, Option<String>>,
    /// Lines of the raw zone.
    pub(crate) raw: BTreeMap<Place, Value>,
    /// Lines of the dead-letter zone.
    pub(crate) dead_letters: BTreeMap<Place, Value>,
    /// Places that stand twice in processed and dead letters together, or twice in raw.
    pub(crate) twice: Vec<Place>,
    /// Paths of the data objects, relative to the bucket.
    pub(crate) objects: Vec<String>,
}

impl Stored {
    /// Reads the zones `raw`, `processed` and `dlq` of a bucket's folder.
    pub(crate) fn read(bucket: &Path) -> Self {
        let mut stored = Self::default();
        for path in files(bucket) {
            let name = path.strip_prefix(bucket).unwrap().to_str().unwrap().to_owned();
            if name.starts_with("processed/") {
                stored.add_parquet(&path);
            } else if name.starts_with("raw/") || name.starts_with("dlq/") {
                stored.add_lines(&path, name.starts_with("raw/"));
            } else {
                continue;
            }
            stored.objects.push(name);
        }
        stored
    }

    fn add_parquet(&mut self, path: &Path) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let partitions = batch.column_by_name("_kafka_partition").unwrap().as_any().downcast_ref::<Int32Array>().unwrap().clone();
            let offsets = batch.column_by_name("_kafka_offset").unwrap().as_any().downcast_ref::<Int64Array>().unwrap().clone();
            let symbols = batch.column_by_name("symbol").unwrap().as_any().downcast_ref::<StringArray>().unwrap().clone();
            for row in 0..batch.num_rows() {
                let place = (partitions.value(row), offsets.value(row));
                let symbol = symbols.is_valid(row).then(|| symbols.value(row).to_owned());
                if self.processed.insert(place, symbol).is_some() || self.dead_letters.contains_key(&place) {
                    self.twice.push(place);
                }
            }
        }
    }

    fn add_lines(&mut self, path: &Path, raw: bool) {
        let bytes = std::fs::read(path).unwrap();
        let text = match path.extension().unwrap().to_str().unwrap() {
            "zst" => zstd::decode_all(&bytes[..]).unwrap(),
            "gz" => {
                let mut text = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
                text
            }
            _ => bytes,
        };
        assert_eq!(text.last(), Some(&b'\n'), "{} ends in the middle of a line", path.display());
        for line in text[..text.len() - 1].split(|byte| *byte == b'\n') {
            let value = object(line).unwrap_or_else(|error| panic!("{}: {error}: {}", path.display(), String::from_utf8_lossy(line)));
            let place = (i32::try_from(value["_kafka_partition"].as_i64().unwrap()).unwrap(), value["_kafka_offset"].as_i64().unwrap());
            let (zone, other) = if raw { (&mut self.raw, None) } else { (&mut self.dead_letters, Some(&self.processed)) };
            if zone.insert(place, value).is_some() || other.is_some_and(|other| other.contains_key(&place)) {
                self.twice.push(place);
            }
        }
    }

    /// Returns places in processed and dead letters together.
    pub(crate) fn delivered(&self) -> usize {
        self.processed.len() + self.dead_letters.len()
    }

    /// Asserts that every place of `expected` is stored exactly once, and nothing else.
    pub(crate) fn assert_exactly(&self, expected: &[Place]) {
        assert!(self.twice.is_empty(), "stored twice: {:?}", &self.twice[..self.twice.len().min(10)]);
        let mut delivered: Vec<Place> = self.processed.keys().chain(self.dead_letters.keys()).copied().collect();
        delivered.sort_unstable();
        assert_eq!(delivered.len(), expected.len(), "rows and dead letters");
        assert!(delivered == expected, "other places than expected are stored");
        let raw: Vec<Place> = self.raw.keys().copied().collect();
        assert!(raw == expected, "the raw zone holds {} of {} places", raw.len(), expected.len());
    }
}

/// Reads a line; a number that no float holds is null, since the line is JSON all the same.
fn object(line: &[u8]) -> serde_json::Result<Value> {
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(line)?;
    Ok(fields.into_iter().map(|(name, text)| (name, serde_json::from_str(text.get()).unwrap_or(Value::Null))).collect())
}

/// Returns the files under a folder, without hidden ones, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with('.') {
            continue;
        }
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
