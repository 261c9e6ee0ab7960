//! The drain: all ticks of a topic to S3, as fast as it goes, one system after the other.

use anyhow::ensure;

use crate::crash::wait_for_objects;
use crate::figure::Line;
use crate::group::Group;
use crate::load;
use crate::process::Used;
use crate::seen;
use crate::stage::Stage;
use crate::system::{System, Work};
use crate::topic::Topic;

/// Partitions of the topic.
const PARTITIONS: i32 = 10;
/// Objects of a partition, where a system makes objects of so many ticks.
const OBJECTS: u64 = 2;
/// Ticks that a Java machine gets warm with.
const WARM: u64 = 200_000;

/// The topics that are drained.
pub(crate) struct Topics {
    /// The ticks.
    pub(crate) ticks: Topic,
    /// The first of them, for what takes a second for some hundred.
    pub(crate) few: Topic,
    /// Others, to get warm with.
    pub(crate) warm: Topic,
    /// Number of ticks in `ticks`.
    pub(crate) messages: u64,
}

/// One run of a system.
struct Run {
    messages: u64,
    used: Used,
    objects: u64,
}

impl Topics {
    /// Makes and fills the topics.
    pub(crate) fn fill(stage: &Stage) -> anyhow::Result<Self> {
        let share = u64::from(PARTITIONS.unsigned_abs()) * OBJECTS;
        let messages = stage.options.messages / share * share;
        let ticks = Topic::create(&stage.kafka, "ticks", PARTITIONS)?;
        let bytes = load::fill(&stage.kafka, &ticks.name, PARTITIONS, messages)?;
        eprintln!("{messages} ticks of {bytes} bytes in {PARTITIONS} partitions");
        let few = Topic::create(&stage.kafka, "few", PARTITIONS)?;
        load::fill(&stage.kafka, &few.name, PARTITIONS, stage.options.tutorial_messages)?;
        let warm = Topic::create(&stage.kafka, "warm", PARTITIONS)?;
        load::fill(&stage.kafka, &warm.name, PARTITIONS, WARM.min(messages))?;
        Ok(Self { ticks, few, warm, messages })
    }

    /// Returns what a system is given to do.
    pub(crate) fn work(&self, stage: &Stage, system: System, run: String) -> Work<'_> {
        let messages = self.messages(stage, system);
        let topic = if system == System::Tutorial { &self.few } else { &self.ticks };
        let records = self.messages / u64::from(PARTITIONS.unsigned_abs()) / OBJECTS;
        Work { run, topic, records, warm: Some(&self.warm), messages }
    }

    /// Returns how many ticks a system has to take.
    pub(crate) fn messages(&self, stage: &Stage, system: System) -> u64 {
        if system == System::Tutorial { stage.options.tutorial_messages } else { self.messages }
    }
}

/// Returns the systems that can be measured, and says which can't.
pub(crate) fn systems(stage: &Stage) -> Vec<System> {
    let here = |system: &System| match system.missing(stage) {
        Some(reason) => {
            eprintln!("skipped: {}: {reason}", system.name());
            false
        }
        None => true,
    };
    System::ALL.into_iter().filter(here).collect()
}

/// Measures each system in turn, several times.
pub(crate) fn measure(stage: &Stage) -> anyhow::Result<Vec<Line>> {
    let systems = systems(stage);
    let topics = Topics::fill(stage)?;
    let mut best: Vec<(System, Run)> = Vec::new();
    for number in 0..stage.options.runs {
        for &system in &systems {
            let run = drain(stage, &topics, system, number)?;
            eprintln!(
                "  run {}: {:<13} {:.2} s, {:.2} CPU s, peak {} MiB, {} objects",
                number + 1,
                system.name(),
                run.used.seconds,
                run.used.cpu_seconds,
                run.used.peak_bytes >> 20,
                run.objects
            );
            match best.iter_mut().find(|(of, _)| *of == system) {
                Some((_, best)) if best.used.seconds <= run.used.seconds => {}
                Some((_, best)) => *best = run,
                None => best.push((system, run)),
            }
        }
    }
    Ok(best.iter().map(|(system, run)| line(*system, run, &best)).collect())
}

fn drain(stage: &Stage, topics: &Topics, system: System, number: u32) -> anyhow::Result<Run> {
    let run = format!("drain-{}-{number}-{}", system.name(), std::process::id());
    let (messages, work) = (topics.messages(stage, system), topics.work(stage, system, run.clone()));
    let mut running = system.start(stage, &work)?;
    let mut meter = running.meter()?;
    if system == System::Tutorial {
        // From its first object to its last, as it says itself.
        wait_for_objects(1, &mut running)?;
        meter = running.meter()?;
        wait_for_objects(u64::MAX, &mut running)?;
    } else {
        Group::of(&stage.kafka, &system.group(&run), work.topic)?.wait(messages, &mut running)?;
    }
    let used = running.used(&meter)?;
    running.end()?;
    let mut objects = 0;
    for zone in system.zones(&run) {
        let stored = seen::count(&stage.bucket, &zone, messages)?;
        ensure!(stored.missing == 0, "{} lacks {} ticks of {messages}", system.name(), stored.missing);
        ensure!(stored.duplicates == 0, "{} has {} ticks twice", system.name(), stored.duplicates);
        objects += stored.objects;
    }
    stage.bucket.empty(&format!("{run}/"))?;
    Ok(Run { messages, used, objects })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
impl Run {
    fn speed(&self) -> f64 {
        self.messages as f64 / self.used.seconds
    }

    fn per_cpu_second(&self) -> f64 {
        self.messages as f64 / self.used.cpu_seconds
    }
}

/// Returns what a system should reach: messages a second, and messages per second of its own CPU time.
fn goals(system: System) -> (Option<f64>, Option<f64>) {
    match system {
        System::Raw => (Some(1e6), Some(1.4e6)),
        System::Parquet => (Some(500e3), Some(600e3)),
        System::Both => (Some(350e3), None),
        System::RawZstd | System::ConnectRaw | System::ConnectJson | System::Tutorial => (None, None),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
fn line(system: System, run: &Run, all: &[(System, Run)]) -> Line {
    let (goal, goal_per_cpu_second) = goals(system);
    let mut line = Line::new("drain", system.name(), run.speed(), "messages/s").at_least(goal);
    for (peer, of_peer) in all.iter().filter(|(peer, _)| peer.is_peer() && !system.is_peer()) {
        line = line.beside(peer.name(), run.speed() / of_peer.speed());
    }
    line = line.and("messages per CPU second", run.per_cpu_second());
    if let Some(goal) = goal_per_cpu_second {
        line = line.and("of its goal", run.per_cpu_second() / goal);
    }
    for (peer, of_peer) in all.iter().filter(|(peer, _)| peer.is_peer() && !system.is_peer()) {
        line = line.and(format!("x that of {}", peer.name()), run.per_cpu_second() / of_peer.per_cpu_second());
    }
    line.and("MiB at the peak", (run.used.peak_bytes >> 20) as f64).and("objects", run.objects as f64)
}
