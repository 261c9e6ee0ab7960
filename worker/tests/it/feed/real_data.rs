//! Data sets as they are in the world, where they are at hand: under `STOCKPIPELINE_DATA` or beside the repository.

use std::path::PathBuf;

use stockpipeline::checked::{Location, Order};
use stockpipeline::schema::{ColumnType, EpochUnit, Schema, TimeReading};

use super::{column, decimal, iso, open, places, replay, rest, schema, value};

/// Returns the path of a data set, or says that its test is skipped.
pub(crate) fn data(path: &str) -> Option<PathBuf> {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [
        std::env::var_os("STOCKPIPELINE_DATA").map(PathBuf::from),
        Some(repository.join("../shared/data")),
        Some(repository.join("../../shared/data")),
    ];
    let found = folders.into_iter().flatten().map(|folder| folder.join(path)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: {path} is neither under STOCKPIPELINE_DATA nor in ../shared/data");
    }
    found
}

fn location(path: PathBuf) -> Location {
    Location::Path(path.into_os_string().into_string().unwrap())
}

#[tokio::test]
async fn the_indices_have_104_224_rows() {
    let Some(path) = data("index-processed/indexProcessed.csv.gz") else { return };
    let folder = tempfile::tempdir().unwrap();
    for order in [Order::File, Order::EventTime, Order::Random] {
        let mut settings = replay(location(path.clone()));
        settings.order = order;
        let mut feed = open(&settings, &schema(), &places(folder.path())).await.unwrap();
        let mut rows = rest(&mut feed);
        assert_eq!((rows.len(), feed.counts().malformed), (104_224, [0; 5]));
        if order == Order::EventTime {
            assert!(rows.is_sorted_by_key(|row| row.event_time_micros));
        }
        rows.sort_by_key(|row| row.line);
        assert_eq!(value(&rows[0]).matches(':').count(), 9);
        assert!(value(&rows[0]).starts_with(r#"{"Index":"HSI","Date":"1986-12-31","Open":"2568.300049""#), "{}", value(&rows[0]));
        assert!(value(&rows[0]).contains(r#""Close":2568.300049"#), "{}", value(&rows[0]));
    }
}

#[tokio::test]
async fn the_trades_of_a_day_have_250_601_rows() {
    let Some(path) = data("us-equity-ticks/spy-20131007-trade.zip") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut settings = replay(location(path));
    settings.header = Some(["ms", "price", "size", "exchange", "condition", "suspicious"].map(str::to_owned).to_vec());
    let columns = vec![
        column("exchange", "exchange", ColumnType::String, false),
        column("ts", "ms", ColumnType::Timestamp { reading: TimeReading::Epoch { unit: EpochUnit::Milliseconds } }, false),
        column("price", "price", decimal(), false),
    ];
    let schema = Schema { columns, event_time: 1, max_future_seconds: 0 };
    let mut feed = open(&settings, &schema, &places(folder.path())).await.unwrap();
    let rows = rest(&mut feed);
    assert_eq!((rows.len(), feed.counts().malformed), (250_601, [0; 5]));
    assert!(value(&rows[0]).starts_with(r#"{"ms":"#));
}

#[tokio::test]
async fn the_daily_bars_have_12_154_rows() {
    let bundled = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/data/daily-bars.csv.gz");
    let Some(path) = bundled.exists().then_some(bundled).or_else(|| data("daily-bars/bokeh_stocks.csv.gz")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let columns = vec![
        column("symbol", "Ticker", ColumnType::String, false),
        column("ts", "Date", iso(), false),
        column("close", "Close", decimal(), false),
    ];
    let schema = Schema { columns, event_time: 1, max_future_seconds: 0 };
    let mut feed = open(&replay(location(path)), &schema, &places(folder.path())).await.unwrap();
    let rows = rest(&mut feed);
    assert_eq!((rows.len(), feed.counts().malformed), (12_154, [0; 5]));
}

#[tokio::test]
async fn dirt_of_the_world_loses_no_line() {
    for (file, key, delimiter, lines, empty) in [
        ("crlf_ddmmyyyy_trailing-empty-rows.csv", "Index", b',', 81, 33),
        ("crlf_mojibake-bom_no-final-newline.csv", "Index", b',', 70, 0),
        ("indexInfo_bom.csv", "Index", b',', 15, 0),
        ("lf_truncated-mid-row.csv", "Index", b',', 21, 0),
        ("ticker-column-caret-symbols.csv", "Ticker", b',', 60, 0),
        ("tsv_crlf_ddmmyyyy_null-literals.csv", "Index", b'\t', 100, 0),
    ] {
        let Some(path) = data(&format!("csv-dialects/{file}")) else { return };
        let folder = tempfile::tempdir().unwrap();
        let mut settings = replay(location(path));
        settings.delimiter = delimiter;
        let columns = vec![column("symbol", key, ColumnType::String, false), column("ts", "Date", iso(), true)];
        let schema = Schema { columns, event_time: 1, max_future_seconds: 0 };
        let mut feed = open(&settings, &schema, &places(folder.path())).await.unwrap();
        let rows = rest(&mut feed);
        let counts = feed.counts();
        assert_eq!(rows.len() as u64 + counts.blank_lines + 1, lines, "{file}");
        assert_eq!(counts.malformed, [empty, 0, 0, 0, 0], "{file}");
    }
}
