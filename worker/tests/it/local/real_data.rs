//! Whole runs over data sets as they are in the world, against figures that were computed from the files themselves.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, TimestampMicrosecondType};
use serde_json::Value;

use super::{batches, clean_audit, files, local, rows, said};
use crate::command_line::example;
use crate::feed::real_data::data;

/// Rows of the indices' file.
const INDEX_ROWS: u64 = 104_224;
/// Trades of the file, and how many of them are like no earlier one.
const TRADES: usize = 250_601;
const DIFFERENT_TRADES: usize = 202_721;

/// Rows, and sums of volumes, close prices and close prices in dollars, in the columns' scales.
type Sums = BTreeMap<String, [i128; 4]>;

#[test]
fn the_indices_end_with_the_sums_of_their_file() {
    let Some(source) = data("index-processed/indexProcessed.csv.gz") else { return };
    let Some(oracle) = data("index-processed/oracle.json") else { return };
    let oracle: Value = serde_json::from_slice(&std::fs::read(oracle).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let document = document_over(&source, "index-processed.yaml", "indexProcessed.csv.gz", folder.path());
    let output = folder.path().join("out");
    let run = local(&document, &output, "");
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));

    let report = clean_audit(&document, &output);
    assert_eq!((rows(&report, "raw"), rows(&report, "processed"), rows(&report, "deadLetters")), (INDEX_ROWS, INDEX_ROWS, 0));
    let processed = output.join("stockpipeline-demo/processed/index-processed");
    assert_eq!(sums_of_files(&processed), sums_of_oracle(&oracle));
    assert_eq!(rows_by_year(&processed), rows_by_year_of_oracle(&oracle));
    assert_eq!(raw_lines(&output.join("stockpipeline-demo/raw/index-processed")), INDEX_ROWS);
}

#[test]
fn trades_that_are_equal_to_the_last_byte_are_all_stored() {
    let Some(source) = data("us-equity-ticks/spy-20131007-trade.zip") else { return };
    let folder = tempfile::tempdir().unwrap();
    let document = document_over(&source, "spy-ticks.yaml", "spy-20131007-trade.zip", folder.path());
    let output = folder.path().join("out");
    let run = local(&document, &output, "");
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));

    let report = clean_audit(&document, &output);
    let expected = TRADES as u64;
    assert_eq!((rows(&report, "raw"), rows(&report, "processed"), rows(&report, "deadLetters")), (expected, expected, 0));
    let mut trades = HashMap::<_, usize>::new();
    for batch in batches(&output.join("stockpipeline-demo/processed/spy-ticks")) {
        count_trades(&batch, &mut trades);
    }
    assert_eq!((trades.values().sum::<usize>(), trades.len()), (TRADES, DIFFERENT_TRADES));
}

/// Writes an example's document over a data set of this machine.
fn document_over(source: &Path, name: &str, placeholder: &str, folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(example(name)).unwrap();
    let uri = format!("uri: {placeholder}");
    assert!(text.contains(&uri), "{name} has no {uri:?}");
    let source = source.canonicalize().unwrap();
    let file = folder.join(name);
    std::fs::write(&file, text.replace(&uri, &format!("uri: {}", source.display()))).unwrap();
    file
}

fn sums_of_files(folder: &Path) -> Sums {
    let mut sums = Sums::new();
    for batch in batches(folder) {
        let names = batch.column_by_name("index_name").unwrap().as_string::<i32>().clone();
        let values =
            ["volume", "close", "close_usd"].map(|name| batch.column_by_name(name).unwrap().as_primitive::<Decimal128Type>().clone());
        for row in 0..batch.num_rows() {
            let sum = sums.entry(names.value(row).to_owned()).or_default();
            sum[0] += 1;
            for (column, values) in values.iter().enumerate() {
                assert!(values.is_valid(row), "a value is missing in {}", names.value(row));
                sum[column + 1] += values.value(row);
            }
        }
    }
    sums
}

fn sums_of_oracle(oracle: &Value) -> Sums {
    let sums = oracle["by_index"].as_object().unwrap().iter().map(|(name, index)| {
        let sum = |field: &str, scale| unscaled(index[field].as_str().unwrap(), scale);
        (name.clone(), [i128::from(index["rows"].as_u64().unwrap()), sum("volume", 1), sum("close_sum", 6), sum("closeusd_sum", 15)])
    });
    sums.collect()
}

/// Returns a decimal's digits at a scale, which must hold all of them.
fn unscaled(text: &str, scale: usize) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= scale, "{text} has more than {scale} digits after the point");
    format!("{whole}{fraction:0<scale$}").parse().unwrap()
}

/// Returns the rows of each Hive partition.
fn rows_by_year(folder: &Path) -> BTreeMap<String, u64> {
    let years = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let year = path.file_name().unwrap().to_str().unwrap().strip_prefix("year=").unwrap().to_owned();
        (year, batches(&path).iter().map(|batch| batch.num_rows() as u64).sum())
    });
    years.collect()
}

fn rows_by_year_of_oracle(oracle: &Value) -> BTreeMap<String, u64> {
    let years: BTreeMap<_, _> =
        oracle["rows_by_year"].as_object().unwrap().iter().map(|(year, rows)| (year.clone(), rows.as_u64().unwrap())).collect();
    assert_eq!(years.len(), 57);
    years
}

fn raw_lines(folder: &Path) -> u64 {
    let mut found = Vec::new();
    files(folder, "zst", &mut found);
    let lines = found.iter().map(|path| {
        let text = BufReader::new(zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap());
        text.split(b'\n').map(Result::unwrap).filter(|line| !line.is_empty()).count() as u64
    });
    lines.sum()
}

/// Time, price, size, exchange, condition, mark.
type Trade = (i64, i32, i32, String, String, i32);

fn count_trades(batch: &RecordBatch, trades: &mut HashMap<Trade, usize>) {
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    let times = column("ts").as_primitive::<TimestampMicrosecondType>().clone();
    let [prices, sizes, marks] = ["price", "size", "suspicious"].map(|name| column(name).as_primitive::<Int32Type>().clone());
    let [exchanges, conditions] = ["exchange", "condition"].map(|name| column(name).as_string::<i32>().clone());
    assert_eq!(prices.null_count() + sizes.null_count() + marks.null_count(), 0);
    for row in 0..batch.num_rows() {
        let (exchange, condition) = (exchanges.value(row).to_owned(), conditions.value(row).to_owned());
        let trade = (times.value(row), prices.value(row), sizes.value(row), exchange, condition, marks.value(row));
        *trades.entry(trade).or_default() += 1;
    }
}
