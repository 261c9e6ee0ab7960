//! A sink that leaves, and one that dies: how long its partitions and those of the other stand still.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use stockpipeline_worker::status::Status;

use crate::document::{Wanted, document};
use crate::figure::Line;
use crate::group::Group;
use crate::load;
use crate::process::Running;
use crate::spec::Raw;
use crate::stage::Stage;
use crate::system::{SESSION_SECONDS, worker};
use crate::topic::Topic;

/// Partitions of the topic.
const PARTITIONS: i32 = 12;
/// Ticks a second.
const RATE: u64 = 5_000;
/// Records of an object: a commit of each partition about each quarter of a second, so that a gap shows.
const RECORDS: u64 = 100;
/// Longest time in which unaffected partitions may stand still.
const GAP_SECONDS: f64 = 1.0;
/// What a takeover may take beyond the session.
const BEYOND_SESSION_SECONDS: f64 = 2.0;
/// How often the group is asked.
const ASK: Duration = Duration::from_millis(10);
/// A steady state, before something happens.
const STEADY: Duration = Duration::from_secs(10);
/// How long is watched for what follows.
const AFTER: Duration = Duration::from_secs(25);
/// Commits that were on their way when the process died.
const ON_THE_WAY: Duration = Duration::from_millis(300);

/// When each partition was seen to have committed more.
struct Watched {
    commits: Vec<Vec<Instant>>,
}

/// The sink that goes on, and the port that says which partitions it has.
struct Staying {
    running: Running,
    port: u16,
}

impl Staying {
    fn partitions(&self) -> anyhow::Result<BTreeSet<usize>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://127.0.0.1:{}/status", self.port);
        let text = runtime.block_on(async { client.get(url).send().await?.text().await })?;
        let status: Status = serde_json::from_str(&text).context("failed to read the sink's status")?;
        let partitions = status.sink.map(|sink| sink.partitions).unwrap_or_default();
        partitions.iter().map(|partition| Ok(usize::try_from(partition.partition)?)).collect()
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// What happens to one of two sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is asked to end.
    Leaves,
    /// It is killed.
    Dies,
}

/// Measures both, each as often as asked for, and prints the median.
pub(crate) fn measure(stage: &Stage) -> anyhow::Result<Vec<Line>> {
    let mut gaps = Vec::new();
    let (mut usual, mut taken_over) = (Vec::new(), Vec::new());
    for _ in 0..stage.options.runs {
        let (gap, before) = leaves(stage)?;
        gaps.push(gap);
        usual.push(before);
        taken_over.push(dies(stage)?);
    }
    let session = Duration::from_secs(SESSION_SECONDS).as_secs_f64();
    for list in [&mut gaps, &mut usual, &mut taken_over] {
        list.sort_by(f64::total_cmp);
    }
    let median = |list: &[f64]| crate::figure::quantile(list, 0.5);
    let longest = |list: &[f64]| crate::figure::quantile(list, 1.0);
    Ok(vec![
        Line::new("takeover", "a sink leaves", median(&gaps), "s without a commit of an unaffected partition")
            .at_most(GAP_SECONDS)
            .and("s at worst", longest(&gaps))
            .and("s in the ten seconds before", median(&usual)),
        Line::new("takeover", "SIGKILL", median(&taken_over), "s to the first commit of a partition of the dead")
            .at_most(session + BEYOND_SESSION_SECONDS)
            .and("s at worst", longest(&taken_over))
            .and("s of session", session),
    ])
}

/// Returns the longest pause of a partition that stays where it is, while the other sink leaves and before that.
fn leaves(stage: &Stage) -> anyhow::Result<(f64, f64)> {
    let (watched, staying, ended) = watch(stage, Ending::Leaves)?;
    let mut during: f64 = 0.0;
    let mut before: f64 = 0.0;
    for &partition in &staying {
        for pair in watched.commits[partition].windows(2) {
            let pause = (pair[1] - pair[0]).as_secs_f64();
            if pair[1] < ended { before = before.max(pause) } else { during = during.max(pause) }
        }
    }
    Ok((during, before))
}

/// Returns the seconds from the kill to the first commit of a partition of the dead.
fn dies(stage: &Stage) -> anyhow::Result<f64> {
    let (watched, staying, ended) = watch(stage, Ending::Dies)?;
    let orphans = (0..watched.commits.len()).filter(|partition| !staying.contains(partition));
    let first = orphans.filter_map(|partition| watched.commits[partition].iter().find(|at| **at > ended + ON_THE_WAY)).min();
    Ok((*first.context("no partition of the dead was taken over")? - ended).as_secs_f64())
}

/// Runs two sinks under a steady load, ends one, and returns all commits, the partitions of the other, and the moment.
fn watch(stage: &Stage, ending: Ending) -> anyhow::Result<(Watched, BTreeSet<usize>, Instant)> {
    let topic = Topic::create(&stage.kafka, "takeover", PARTITIONS)?;
    let run = topic.name.clone();
    let wanted = Wanted { run: &run, topic: &topic, raw: Raw::Off, records: RECORDS, interval: "2s" };
    let config = stage.write(&format!("{run}.json"), &document(stage, &wanted).to_string())?;
    let port = free_port()?;
    let start = |name: &str, port| {
        Running::start(stage, &format!("{run}-{name}"), worker(stage, "sink", &config, port).args(["--worker-name", name]))
    };
    let (leaving, staying) = (start("leaving", 0)?, Staying { running: start("staying", port)?, port });
    let group = Group::of(&stage.kafka, &run, &topic)?;
    let go_on = AtomicBool::new(true);
    let result = thread::scope(|scope| {
        let load = scope.spawn(|| load::steady(&stage.kafka, &topic.name, PARTITIONS, RATE, || go_on.load(Ordering::Relaxed)));
        let watched = end_one(&group, leaving, staying, ending);
        go_on.store(false, Ordering::Relaxed);
        load.join().map_err(|_| anyhow::anyhow!("the load has panicked"))??;
        watched
    });
    stage.bucket.empty(&format!("{run}/"))?;
    result
}

fn end_one(group: &Group, leaving: Running, mut staying: Staying, ending: Ending) -> anyhow::Result<(Watched, BTreeSet<usize>, Instant)> {
    let mut watched = Watched { commits: vec![Vec::new(); usize::try_from(PARTITIONS)?] };
    let mut committed = group.committed().unwrap_or_default();
    committed.resize(watched.commits.len(), 0);
    let mut look = |watched: &mut Watched, until: Instant| -> anyhow::Result<()> {
        while Instant::now() < until {
            // A coordinator that is being looked for is asked again.
            if let Ok(now) = group.committed() {
                let at = Instant::now();
                for (partition, (before, now)) in committed.iter_mut().zip(&now).enumerate() {
                    if now > before {
                        watched.commits[partition].push(at);
                        *before = *now;
                    }
                }
            }
            thread::sleep(ASK);
        }
        Ok(())
    };
    let deadline = Instant::now() + crate::stage::PATIENCE;
    let owned = loop {
        look(&mut watched, Instant::now() + STEADY)?;
        let owned = staying.partitions()?;
        if !owned.is_empty() && owned.len() < watched.commits.len() && watched.commits.iter().all(|commits| !commits.is_empty()) {
            break owned;
        }
        ensure!(Instant::now() < deadline, "the two sinks do not share the partitions:\n{}", staying.running.last_lines());
    };
    watched.commits.iter_mut().for_each(Vec::clear);
    look(&mut watched, Instant::now() + STEADY)?;
    let ended = Instant::now();
    let left = match ending {
        Ending::Leaves => {
            leaving.ask_to_end()?;
            Some(leaving)
        }
        Ending::Dies => {
            leaving.kill()?;
            None
        }
    };
    look(&mut watched, ended + AFTER)?;
    staying.running.check()?;
    if let Some(left) = left {
        left.end()?;
    }
    staying.running.end()?;
    Ok((watched, owned, ended))
}
