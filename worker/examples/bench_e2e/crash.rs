//! SIGKILLs in the middle of a drain: what is there twice afterwards, and what is not there at all.

use std::time::Duration;

use crate::drain::{Topics, systems};
use crate::figure::Line;
use crate::group::Group;
use crate::process::Running;
use crate::seen::{self, Stored};
use crate::stage::Stage;
use crate::system::{System, Work};

/// Kills of a drain, evenly over its ticks.
const KILLS: u64 = 3;
/// Objects of a partition: many, so that a kill meets some half done.
const OBJECTS: u64 = 10;

/// From what is committed to the kill: in the middle of what comes next.
const INTO_THE_NEXT: Duration = Duration::from_millis(700);

/// Kills each system, starts it again each time, and counts.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub(crate) fn measure(stage: &Stage) -> anyhow::Result<Vec<Line>> {
    let systems = systems(stage);
    let topics = Topics::fill(stage)?;
    let mut lines = Vec::new();
    for system in systems {
        let run = format!("crash-{}-{}", system.name(), std::process::id());
        let mut work = topics.work(stage, system, run.clone());
        work.records = (work.records / OBJECTS).max(1);
        work.warm = None;
        kill_and_go_on(stage, system, &work)?;
        let mut worst = Stored::default();
        for zone in system.zones(&run) {
            let stored = seen::count(&stage.bucket, &zone, work.messages)?;
            worst.objects += stored.objects;
            worst.duplicates = worst.duplicates.max(stored.duplicates);
            worst.missing = worst.missing.max(stored.missing);
        }
        stage.bucket.empty(&format!("{run}/"))?;
        let line = Line::new("crash", system.name(), worst.duplicates as f64, "duplicates");
        let line = line.and("missing", worst.missing as f64).and("of as many messages", work.messages as f64);
        lines.push(line.and("kills", KILLS as f64).and("objects", worst.objects as f64));
    }
    Ok(lines)
}

fn kill_and_go_on(stage: &Stage, system: System, work: &Work<'_>) -> anyhow::Result<()> {
    let group = Group::of(&stage.kafka, &system.group(&work.run), work.topic)?;
    for kill in 1..=KILLS {
        let mut running = system.start(stage, work)?;
        let until = work.messages * kill / (KILLS + 1);
        if system == System::Tutorial {
            wait_for_objects(until / kill, &mut running)?;
        } else {
            group.wait(until, &mut running)?;
        }
        std::thread::sleep(INTO_THE_NEXT);
        running.kill()?;
    }
    let mut running = system.start(stage, work)?;
    if system == System::Tutorial {
        wait_for_objects(u64::MAX, &mut running)?;
    } else {
        group.wait(work.messages, &mut running)?;
    }
    running.end()
}

/// Waits until the tutorial's consumer has said that it has written as many objects, or that nothing more comes.
pub(crate) fn wait_for_objects(objects: u64, running: &mut Running) -> anyhow::Result<()> {
    loop {
        let line = running.line()?;
        if line == "done" || line.parse::<u64>()? >= objects {
            return Ok(());
        }
    }
}
