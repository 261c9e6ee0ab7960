//! Rows of real files, on disk and over the network.

mod dialects;
mod download;
mod orders;
mod packed;
pub(crate) mod real_data;

use std::path::Path;

use stockpipeline::checked::{CsvReplay, Location, Order, Pace, Source};
use stockpipeline::schema::{Column, ColumnType, Rounding, Schema, TimeReading, Zone};
use stockpipeline_worker::feed::{Feed, FeedError, Limits, Opening, Places, Row};
use tempfile::TempDir;

fn column(name: &str, from: &str, column_type: ColumnType, nullable: bool) -> Column {
    Column { name: name.to_owned(), from: from.to_owned(), column_type, nullable, comment: None }
}

fn decimal() -> ColumnType {
    ColumnType::Decimal { precision: 18, scale: 6, rounding: Rounding::HalfEven }
}

fn iso() -> ColumnType {
    ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } }
}

/// Symbol, day, price and volume, as the columns `Index`, `Date`, `Close` and `Volume` of a file.
fn schema() -> Schema {
    Schema {
        columns: vec![
            column("symbol", "Index", ColumnType::String, false),
            column("ts", "Date", iso(), false),
            column("close", "Close", decimal(), true),
            column("volume", "Volume", ColumnType::Double, true),
        ],
        event_time: 1,
        max_future_seconds: 86_400,
    }
}

fn replay(location: Location) -> CsvReplay {
    CsvReplay {
        location,
        header: None,
        delimiter: b',',
        null_values: vec![String::new(), "null".to_owned()],
        order: Order::File,
        pace: Pace::Unlimited,
        repeat: false,
        seed: 1,
    }
}

fn places(folder: &Path) -> Places {
    Places {
        base_dir: folder.to_owned(),
        config_maps_dir: folder.join("maps"),
        scratch_dir: folder.to_owned(),
        s3: None,
        limits: Limits::default(),
    }
}

async fn open(settings: &CsvReplay, schema: &Schema, places: &Places) -> Result<Feed, FeedError> {
    open_within(settings, schema, places, 1 << 30).await
}

async fn open_within(settings: &CsvReplay, schema: &Schema, places: &Places, memory_bytes: u64) -> Result<Feed, FeedError> {
    let opening = Opening { schema, key_column: 0, places, memory_bytes };
    Feed::open(&Source::CsvReplay(settings.clone()), &opening).await
}

/// A file in a folder of its own.
struct Scene {
    folder: TempDir,
    settings: CsvReplay,
    schema: Schema,
}

impl Scene {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data.csv"), content).unwrap();
        Self { folder, settings: replay(Location::Path("data.csv".to_owned())), schema: schema() }
    }

    async fn open(&self) -> Result<Feed, FeedError> {
        open(&self.settings, &self.schema, &places(self.folder.path())).await
    }

    async fn rows(&self) -> Vec<Row> {
        rest(&mut self.open().await.unwrap())
    }

    /// Returns what is said when the file cannot be opened.
    async fn refusal(&self) -> String {
        self.open().await.unwrap_err().to_string()
    }
}

fn rest(feed: &mut Feed) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = Row::default();
    while feed.next(&mut row).unwrap() {
        rows.push(row.clone());
    }
    rows
}

fn take(feed: &mut Feed, count: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for _ in 0..count {
        let mut row = Row::default();
        assert!(feed.next(&mut row).unwrap());
        rows.push(row);
    }
    rows
}

fn value(row: &Row) -> &str {
    std::str::from_utf8(&row.value).unwrap()
}

fn key(row: &Row) -> &str {
    std::str::from_utf8(&row.key).unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
