//! `local` as a user runs it: the built binary over the demo, run twice, killed and stopped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command_line::{example, worker};

mod days;
mod real_data;
mod source;

/// Rows of the demo's file.
const DEMO_ROWS: u64 = 12_154;

fn local(document: &Path, output: &Path, failpoints: &str) -> Output {
    worker().arg("local").arg(document).arg("--output").arg(output).env("STOCKPIPELINE_FAILPOINT", failpoints).output().unwrap()
}

/// Returns the audit's report of what lies in an output folder; it has to be clean.
fn clean_audit(document: &Path, output: &Path) -> Value {
    let audit = worker().arg("audit").arg(document).arg("--output").arg(output).args(["--complete", "-o", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(audit.status.code(), Some(0), "{report:#}");
    report
}

fn rows(report: &Value, zone: &str) -> u64 {
    report["zones"][zone]["rows"].as_u64().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
}

/// Returns the rows of all Parquet files under a folder.
fn batches(folder: &Path) -> Vec<RecordBatch> {
    let mut found = Vec::new();
    files(folder, "parquet", &mut found);
    let readers = found.iter().map(|path| {
        let file = std::fs::File::open(path).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap()
    });
    readers.flatten().map(Result::unwrap).collect()
}

/// Returns rows, sum of volumes and sum of close prices (in ten-thousandths) by symbol, from the Parquet files.
fn sums_of_files(folder: &Path) -> BTreeMap<String, (u64, i64, i128)> {
    let mut sums = BTreeMap::<String, (u64, i64, i128)>::new();
    for batch in batches(folder) {
        let symbols = batch.column_by_name("symbol").unwrap().as_string::<i32>().clone();
        let closes = batch.column_by_name("close").unwrap().as_primitive::<Decimal128Type>().clone();
        let volumes = batch.column_by_name("volume").unwrap().as_primitive::<Int64Type>().clone();
        for row in 0..batch.num_rows() {
            let sum = sums.entry(symbols.value(row).to_owned()).or_default();
            *sum = (sum.0 + 1, sum.1 + volumes.value(row), sum.2 + closes.value(row));
        }
    }
    sums
}

/// Returns the same from the CSV file, by text alone.
fn sums_of_source() -> BTreeMap<String, (u64, i64, i128)> {
    let mut text = String::new();
    let file = std::fs::File::open(example("data/daily-bars.csv.gz")).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut sums = BTreeMap::<String, (u64, i64, i128)>::new();
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let (whole, fraction) = fields[5].split_once('.').unwrap_or((fields[5], ""));
        let close: i128 = format!("{whole}{fraction:0<4}").parse().unwrap();
        let sum = sums.entry(fields[0].to_owned()).or_default();
        *sum = (sum.0 + 1, sum.1 + fields[6].parse::<i64>().unwrap(), sum.2 + close);
    }
    sums
}

#[test]
fn the_demo_stores_every_row_once_and_a_second_run_adds_nothing() {
    let output = tempfile::tempdir().unwrap();
    let demo = example("demo.yaml");
    let first = local(&demo, output.path(), "");
    let text = said(&first);
    assert_eq!(first.status.code(), Some(0), "{text}");
    for part in ["daily-bars: all stored", "rows read                  12,154", "audit: clean", "CREATE EXTERNAL TABLE", "duckdb -c"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let report = clean_audit(&demo, output.path());
    assert_eq!((rows(&report, "raw"), rows(&report, "processed"), rows(&report, "deadLetters")), (DEMO_ROWS, DEMO_ROWS, 0));
    assert_eq!(sums_of_files(&output.path().join("stockpipeline-demo/processed/daily-bars")), sums_of_source());

    let second = local(&demo, output.path(), "");
    assert!(said(&second).contains("this one added 0"), "{}", said(&second));
    assert_eq!(clean_audit(&demo, output.path()), report);
}

#[test]
fn a_run_that_is_killed_goes_on_and_ends_with_the_same_rows() {
    let demo = example("demo.yaml");
    for failpoint in ["before-plan:1:kill", "plan-stored:2:kill", "object-stored:7:kill", "all-objects-stored:1:kill", "commit-sent:2:kill"]
    {
        let output = tempfile::tempdir().unwrap();
        let killed = local(&demo, output.path(), failpoint);
        assert_eq!(killed.status.code(), None, "{failpoint} did not kill: {}", said(&killed));
        let again = local(&demo, output.path(), "");
        assert_eq!(again.status.code(), Some(0), "{failpoint}: {}", said(&again));
        let report = clean_audit(&demo, output.path());
        assert_eq!((rows(&report, "raw"), rows(&report, "processed")), (DEMO_ROWS, DEMO_ROWS), "{failpoint}");
    }
}

#[test]
fn rows_that_fit_no_table_are_dead_letters_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let document = write_document(folder.path(), "type: CsvReplay, csvReplay: { uri: ticks.csv }");
    std::fs::write(
        folder.path().join("ticks.csv"),
        "symbol,ts,price\nA,2024-01-01T00:00:00Z,1.5\nB,2024-01-01T00:00:00Z,abc\nC,never,1\nD,2024\n",
    )
    .unwrap();
    let run = local(&document, &folder.path().join("out"), "");
    let text = said(&run);
    assert_eq!(run.status.code(), Some(0), "{text}");
    let report = clean_audit(&document, &folder.path().join("out"));
    assert_eq!((rows(&report, "processed"), rows(&report, "deadLetters")), (1, 3), "{text}");
    let classes: u64 = report["deadLetterClasses"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(classes, 3, "{report:#}");
}

#[test]
fn an_endless_run_stores_what_it_has_when_it_is_asked_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let document = write_document(folder.path(), "type: Synthetic, synthetic: { symbols: [A, B], rowsPerSecond: 2000 }");
    let output = folder.path().join("out");
    let mut child =
        worker().arg("local").arg(&document).arg("--output").arg(&output).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Rows are stored every second; the first plan shows that the run is under way.
    wait_for(&mut child, || {
        let mut plans = Vec::new();
        let ledger = output.join("bucket/_stockpipeline");
        if ledger.is_dir() {
            files(&ledger, "json", &mut plans);
        }
        plans.iter().any(|plan| plan.to_string_lossy().ends_with(".plan.json"))
    });
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = child.wait_with_output().unwrap();
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(0), "{text}");
    assert!(text.contains("stopped before the source's end") && text.contains("audit: clean"), "{text}");
    assert!(rows(&clean_audit(&document, &output), "processed") > 0);
}

#[test]
fn a_folder_with_another_pipelines_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let document = write_document(folder.path(), "type: Synthetic, synthetic: { symbols: [A], rows: 10 }");
    let output = folder.path().join("out");
    assert_eq!(local(&document, &output, "").status.code(), Some(0));
    let renamed = std::fs::read_to_string(&document).unwrap().replace("name: ticks }\nspec", "name: other }\nspec");
    std::fs::write(&document, renamed).unwrap();
    let refused = local(&document, &output, "");
    let text = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("holds objects that this pipeline has not written") && text.contains("--output"), "{text}");
}

#[test]
fn two_runs_on_one_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let document = write_document(folder.path(), "type: Synthetic, synthetic: { symbols: [A], rowsPerSecond: 10 }");
    let output = folder.path().join("out");
    let mut child =
        worker().arg("local").arg(&document).arg("--output").arg(&output).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&mut child, || output.join("bucket").is_dir());
    let refused = local(&document, &output, "");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("no other run is at work"), "{}", said(&refused));
}

/// Writes a small document over a source.
fn write_document(folder: &Path, source: &str) -> PathBuf {
    let text = format!(
        "
apiVersion: stockpipeline.dev/v1alpha1
kind: StockPipeline
metadata: {{ name: ticks }}
spec:
  source: {{ {source} }}
  schema:
    eventTimeColumn: ts
    columns:
      - {{ name: symbol, type: String }}
      - {{ name: ts, type: Timestamp }}
      - {{ name: price, type: Double }}
  kafka: {{ bootstrapServers: [\"kafka:9092\"], topic: {{ name: ticks, partitions: 2 }} }}
  producer: {{ keyColumn: symbol }}
  sink:
    bucket: {{ name: bucket }}
    processed: {{ prefix: processed, partitionBy: [{{ name: dt, transform: day, column: ts }}] }}
    rotation: {{ maxInterval: 1s }}
"
    );
    let file = folder.join("ticks.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

/// Waits until a condition holds; the child must not end before.
fn wait_for(child: &mut Child, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        if let Some(status) = child.try_wait().unwrap() {
            let stderr =
                child.stderr.take().map(|stderr| BufReader::new(stderr).lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
            panic!("the run ended with {status} before its time: {stderr:?}");
        }
        assert!(Instant::now() < deadline, "nothing happened within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}
