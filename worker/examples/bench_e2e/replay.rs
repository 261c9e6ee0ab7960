//! The replay: a CSV file into Kafka, idempotent and transactional, in turn.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::document::{Wanted, document};
use crate::figure::Line;
use crate::load::Ticks;
use crate::process::{Running, Used};
use crate::spec::Raw;
use crate::stage::{PATIENCE, Stage};
use crate::system::worker;
use crate::tick::CSV_HEADER;
use crate::topic::Topic;

/// Partitions of the topic.
const PARTITIONS: i32 = 12;
/// CSV file of all rows.
const CSV_FILE: &str = "ticks.csv";
/// Rows a second that it should reach.
const GOAL: f64 = 800e3;
/// How often the topic's end is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Without growth for so long, a topic whose rows are all there has ended.
const QUIET: Duration = Duration::from_secs(3);

/// How rows are produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Idempotent,
    Transactional,
}

/// Measures both in turn, several times.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub(crate) fn measure(stage: &Stage) -> anyhow::Result<Vec<Line>> {
    let rows = stage.options.messages;
    write_csv(&stage.folder().join(CSV_FILE), rows)?;
    let mut best: [Option<Used>; 2] = [None, None];
    for number in 0..stage.options.runs {
        for (delivery, best) in [Delivery::Idempotent, Delivery::Transactional].into_iter().zip(&mut best) {
            let used = replay(stage, delivery, rows)?;
            eprintln!(
                "  run {}: {delivery:?}: {:.2} s, {:.2} CPU s, peak {} MiB",
                number + 1,
                used.seconds,
                used.cpu_seconds,
                used.peak_bytes >> 20
            );
            if best.as_ref().is_none_or(|best| used.seconds < best.seconds) {
                *best = Some(used);
            }
        }
    }
    let [Some(idempotent), Some(transactional)] = best else { anyhow::bail!("nothing was measured") };
    let line = |name: &str, used: Used| {
        let line = Line::new("replay", name, rows as f64 / used.seconds, "rows/s").at_least(Some(GOAL));
        line.and("rows per CPU second", rows as f64 / used.cpu_seconds).and("MiB at the peak", (used.peak_bytes >> 20) as f64)
    };
    let slower = idempotent.seconds / transactional.seconds;
    Ok(vec![line("idempotent", idempotent), line("transactional", transactional).beside("idempotent", slower)])
}

fn write_csv(path: &Path, rows: u64) -> anyhow::Result<()> {
    let ticks = Ticks::new();
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{CSV_HEADER}")?;
    for number in 0..rows {
        writeln!(file, "{}", ticks.csv(number))?;
    }
    Ok(file.flush()?)
}

/// Measures from the start of the process until the topic has grown for the last time.
fn replay(stage: &Stage, delivery: Delivery, rows: u64) -> anyhow::Result<Used> {
    let topic = Topic::create(&stage.kafka, "replay", PARTITIONS)?;
    let wanted = Wanted { run: &topic.name, topic: &topic, raw: Raw::Off, records: 1_000_000, interval: "60s" };
    let mut document = document(stage, &wanted);
    document["spec"]["source"] = json!({ "type": "CsvReplay", "csvReplay": { "uri": CSV_FILE } });
    document["spec"]["producer"] = json!({ "keyColumn": "index" });
    let config = stage.write(&format!("{}.json", topic.name), &document.to_string())?;
    let mut command = worker(stage, "producer", &config, 0);
    if delivery == Delivery::Idempotent {
        // A topic without an id of its own is fed without transactions.
        command.args(["--epoch", "0000000000000001"]);
    }
    let mut running = Running::start(stage, &topic.name, &mut command)?;
    let meter = running.meter()?;
    let deadline = Instant::now() + PATIENCE;
    let (mut records, mut used) = (0, running.used(&meter)?);
    let mut grown = Instant::now();
    while records < rows || grown.elapsed() < QUIET {
        std::thread::sleep(LOOK);
        let seen = topic.ends()?.iter().sum::<i64>().unsigned_abs();
        if seen > records {
            (records, used, grown) = (seen, running.used(&meter)?, Instant::now());
        }
        running.check()?;
        ensure!(Instant::now() < deadline, "only {records} of {rows} rows are in Kafka:\n{}", running.last_lines());
    }
    // Transactions have records of their own.
    ensure!(delivery == Delivery::Transactional || records == rows, "{records} records for {rows} rows");
    running.end()?;
    Ok(used)
}
