//! From a tick's time in Kafka to its object, and to the answer of a query.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stockpipeline::layout::parse_object_key;
use stockpipeline_program::clock::wall_millis;

use crate::catalogue::{Catalogue, DATABASE};
use crate::document::{Wanted, document};
use crate::figure::{Line, quantile};
use crate::load::{self, Sent};
use crate::process::Running;
use crate::spec::{self, Raw};
use crate::stage::{PATIENCE, Stage};
use crate::system::worker;
use crate::topic::Topic;
use crate::trino::Trino;

/// Partitions of the topic.
const PARTITIONS: i32 = 6;
/// Ticks a second.
const RATE: u64 = 5_000;
/// Longest time from a tick to its object, for 99 of 100.
const LIMIT_SECONDS: f64 = 1.5;
/// How often the bucket is listed.
const LIST: Duration = Duration::from_millis(50);
/// First seconds of a load, in which the sink joins its group: not counted.
const SETTLE: Duration = Duration::from_secs(10);

/// Up to which offset of a partition something was seen, and when.
struct Sighting {
    partition: usize,
    first: i64,
    last: i64,
    at_millis: i64,
}

/// Measures both.
pub(crate) fn measure(stage: &Stage) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![objects(stage)?];
    match (&stage.options.trino, &stage.options.glue) {
        (Some(trino), Some(glue)) => lines.push(queries(stage, trino, glue)?),
        (None, _) | (_, None) => eprintln!("skipped: what Trino sees: TRINO_URL and AWS_ENDPOINT_URL name none"),
    }
    Ok(lines)
}

/// Lists the processed zone all the time: a tick is visible once its object is in the list.
fn objects(stage: &Stage) -> anyhow::Result<Line> {
    let topic = Topic::create(&stage.kafka, "visible", PARTITIONS)?;
    let wanted = Wanted { run: &topic.name, topic: &topic, raw: Raw::Off, records: 1_000_000, interval: "1s" };
    let document = document(stage, &wanted);
    let prefix = format!("{}/", spec::processed(&topic.name));
    let mut known = BTreeSet::new();
    let (sent, sightings) = under_load(stage, &topic, &document, || {
        let keys = stage.bucket.keys(&prefix)?;
        let at_millis = wall_millis();
        let mut sightings = Vec::new();
        for key in keys {
            let (_, partition, first, last) = parse_object_key(&key).with_context(|| format!("{key} has no offsets"))?;
            if known.insert(key) {
                sightings.push(Sighting { partition: usize::try_from(partition)?, first, last, at_millis });
            }
        }
        thread::sleep(LIST);
        Ok(sightings)
    })?;
    let delays = delays(&sent, &sightings)?;
    Ok(line("object", &delays).at_most(LIMIT_SECONDS))
}

/// Asks Trino all the time for the last offset of each partition: a tick is visible once an answer has it.
fn queries(stage: &Stage, trino: &str, glue: &str) -> anyhow::Result<Line> {
    let topic = Topic::create(&stage.kafka, "visible", PARTITIONS)?;
    let table = topic.name.replace('-', "_");
    let wanted = Wanted { run: &topic.name, topic: &topic, raw: Raw::Off, records: 1_000_000, interval: "1s" };
    let mut document = document(stage, &wanted);
    document["spec"]["aws"]["endpoints"]["glue"] = json!(glue);
    document["spec"]["glue"] = json!({ "database": { "name": DATABASE }, "tables": { "processed": table } });
    let (catalogue, trino) = (Catalogue::connect(glue)?, Trino::at(trino)?);
    catalogue.create(&table, &document)?;
    let sql = format!("select _kafka_partition, max(_kafka_offset) from awsdatacatalog.{DATABASE}.{table} group by 1");
    trino.query(&sql).context("failed to query the new table")?;
    let mut seen = vec![-1; usize::try_from(PARTITIONS)?];
    let mut seconds = Vec::new();
    let result = under_load(stage, &topic, &document, || {
        let asked = Instant::now();
        let rows = trino.query(&sql)?;
        seconds.push(asked.elapsed().as_secs_f64());
        let at_millis = wall_millis();
        let mut sightings = Vec::new();
        for row in rows {
            let [partition, last] = row.as_slice() else { anyhow::bail!("the answer has {} columns", row.len()) };
            let (partition, last) = (number(partition)?, number(last)?);
            let partition = usize::try_from(partition)?;
            if last > seen[partition] {
                sightings.push(Sighting { partition, first: seen[partition] + 1, last, at_millis });
                seen[partition] = last;
            }
        }
        Ok(sightings)
    });
    catalogue.delete(&table)?;
    let (sent, sightings) = result?;
    seconds.sort_by(f64::total_cmp);
    Ok(line("answer of Trino", &delays(&sent, &sightings)?).and("s a query, p50", quantile(&seconds, 0.5)))
}

fn number(value: &Value) -> anyhow::Result<i64> {
    value.as_i64().with_context(|| format!("{value} is no number"))
}

/// Runs a sink under a steady load, looks all the time, and returns what was sent and what was seen, until all of it was.
fn under_load(
    stage: &Stage,
    topic: &Topic,
    document: &Value,
    mut look: impl FnMut() -> anyhow::Result<Vec<Sighting>>,
) -> anyhow::Result<(Sent, Vec<Sighting>)> {
    let config = stage.write(&format!("{}.json", topic.name), &document.to_string())?;
    let mut running = Running::start(stage, &topic.name, &mut worker(stage, "sink", &config, 0))?;
    let go_on = AtomicBool::new(true);
    let started = Instant::now();
    let length = SETTLE + Duration::from_secs(stage.options.seconds);
    let (sent, sightings) = thread::scope(|scope| {
        let load = scope.spawn(|| {
            load::steady(&stage.kafka, &topic.name, PARTITIONS, RATE, || go_on.load(Ordering::Relaxed) && started.elapsed() < length)
        });
        let watched = watch(&mut running, &load, &mut look);
        go_on.store(false, Ordering::Relaxed);
        let sent = load.join().map_err(|_| anyhow::anyhow!("the load has panicked"))??;
        let mut sightings = watched?;
        let deadline = Instant::now() + PATIENCE;
        let all = i64::try_from(sent.at_millis.iter().map(Vec::len).sum::<usize>())?;
        while sightings.iter().map(|seen| seen.last - seen.first + 1).sum::<i64>() < all {
            sightings.append(&mut look()?);
            ensure!(Instant::now() < deadline, "not everything becomes visible:\n{}", running.last_lines());
        }
        anyhow::Ok((sent, sightings))
    })?;
    running.end()?;
    stage.bucket.empty(&format!("{}/", topic.name))?;
    Ok((sent, sightings))
}

fn watch<T>(
    running: &mut Running,
    load: &thread::ScopedJoinHandle<'_, T>,
    look: &mut impl FnMut() -> anyhow::Result<Vec<Sighting>>,
) -> anyhow::Result<Vec<Sighting>> {
    let mut sightings = Vec::new();
    while !load.is_finished() {
        sightings.append(&mut look()?);
        running.check()?;
    }
    Ok(sightings)
}

/// Returns the seconds from each tick to its first sighting, sorted; those of the first seconds are left out.
fn delays(sent: &Sent, sightings: &[Sighting]) -> anyhow::Result<Vec<f64>> {
    let first = sent.at_millis.iter().flatten().min().copied().context("nothing was sent")?;
    let counted = first + i64::try_from(SETTLE.as_millis())?;
    let mut delays = Vec::new();
    for seen in sightings {
        let (first, last) = (usize::try_from(seen.first)?, usize::try_from(seen.last)?);
        let times = sent.at_millis[seen.partition].get(first..=last).context("something was seen that was not sent")?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a minute")]
        delays.extend(times.iter().filter(|time| **time >= counted).map(|time| (seen.at_millis - time) as f64 / 1e3));
    }
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
fn line(name: &str, delays: &[f64]) -> Line {
    let line = Line::new("visible", name, quantile(delays, 0.99), "s from tick to sight, p99");
    line.and("s p50", quantile(delays, 0.5)).and("s at worst", quantile(delays, 1.0)).and("ticks", delays.len() as f64)
}
