//! Replays of decades partitioned by day: every rotation touches more Hive partitions than it has memory for open files.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use super::{batches, files, said};
use crate::command_line::{example, worker};

/// Days from 1965 to 2005, one row each for every symbol.
const DAYS: usize = 14_657;
const SYMBOLS: [&str; 3] = ["000001.SS", "BRK.B", "^GSPC"];
/// The demo's rows, and the days on which there was trade.
const DEMO_ROWS: usize = 12_154;
const DEMO_DAYS: usize = 3_270;

#[test]
fn decades_in_event_time_order_end_in_a_partition_a_day() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bars.csv"), blocks_of_symbols()).unwrap();
    let document = folder.path().join("decades.yaml");
    std::fs::write(&document, DECADES).unwrap();
    let output = folder.path().join("out");
    let run = run_in_little_memory(&document, &output);
    check(&run, &output.join("bucket/processed"), (DAYS * SYMBOLS.len(), DAYS));
}

#[test]
fn blocks_of_symbols_in_file_order_end_in_a_partition_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(example("demo.yaml")).unwrap();
    let source = example("data/daily-bars.csv.gz").canonicalize().unwrap();
    let changes = [
        ("uri: data/daily-bars.csv.gz", format!("uri: {}", source.display())),
        ("{ name: year, transform: year,", "{ name: dt, transform: day,".to_owned()),
        ("partitions: 4", "partitions: 1".to_owned()),
    ];
    let text = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the demo");
        text.replace(from, to)
    });
    let document = folder.path().join("bars.yaml");
    std::fs::write(&document, text).unwrap();
    let output = folder.path().join("out");
    let run = run_in_little_memory(&document, &output);
    check(&run, &output.join("stockpipeline-demo/processed/daily-bars"), (DEMO_ROWS, DEMO_DAYS));
}

fn run_in_little_memory(document: &Path, output: &Path) -> Output {
    worker().arg("local").arg(document).arg("--output").arg(output).args(["--memory", "128Mi"]).output().unwrap()
}

/// Checks what a run says of its own audit, and what lies in its folder.
fn check(run: &Output, processed: &Path, (rows, days): (usize, usize)) {
    let text = said(run);
    assert_eq!(run.status.code(), Some(0), "{text}");
    assert!(text.contains("all stored") && text.contains("audit: clean"), "{text}");
    let mut found = Vec::new();
    files(processed, "parquet", &mut found);
    let folders: BTreeSet<_> = found.iter().map(|file| file.parent().unwrap()).collect();
    assert_eq!(folders.len(), days, "{text}");
    let first = batches(folders.first().unwrap());
    assert!(first.iter().all(|batch| batch.num_rows() > 0) && !first.is_empty());
    // Rows of all zones and days are counted by the audit, from the files.
    for name in ["rows read", "rows raw", "rows processed"] {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        assert_eq!(line.trim().replace(',', "").parse(), Ok(rows), "{name}: {text}");
    }
}

/// Returns a file in blocks of symbols, each in date order: its order is not that of time.
fn blocks_of_symbols() -> String {
    let mut text = String::from("Symbol,Date,Close\n");
    for symbol in SYMBOLS {
        let mut date = "1965-01-05".parse::<jiff::civil::Date>().unwrap();
        for day in 0..DAYS {
            writeln!(text, "{symbol},{date},{}.{:02}", 100 + day % 977, day % 100).unwrap();
            date = date.tomorrow().unwrap();
        }
    }
    text
}

const DECADES: &str = "
apiVersion: stockpipeline.dev/v1alpha1
kind: StockPipeline
metadata: { name: decades }
spec:
  source: { type: CsvReplay, csvReplay: { uri: bars.csv, order: EventTime } }
  schema:
    eventTimeColumn: trade_date
    columns:
      - { name: symbol, type: String, from: Symbol }
      - { name: trade_date, type: Date, from: Date }
      - { name: close, type: Decimal, precision: 18, scale: 2, from: Close }
  kafka: { bootstrapServers: [\"kafka:9092\"], topic: { name: decades, partitions: 1 } }
  producer: { keyColumn: symbol }
  sink:
    bucket: { name: bucket }
    raw: { prefix: raw }
    processed: { prefix: processed, partitionBy: [{ name: dt, transform: day, column: trade_date }] }
";
