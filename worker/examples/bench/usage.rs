//! CPU time of this process and of its threads, and its peak memory.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string, write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use stockpipeline_program::clock::cpu_seconds;
use stockpipeline_worker::memory::peak_bytes;

use crate::figure::Measurement;

/// The start of a measurement.
pub(crate) struct Meter {
    started: Instant,
    cpu_seconds: f64,
    thread_seconds: BTreeMap<String, f64>,
}

impl Meter {
    /// Starts the clocks, and the peak at what is resident now.
    pub(crate) fn start() -> anyhow::Result<Self> {
        // Where the kernel has no such file, the peak includes what was before.
        if let Err(error) = write("/proc/self/clear_refs", "5") {
            eprintln!("the peak of memory includes the preparation: {error}");
        }
        Ok(Self { started: Instant::now(), cpu_seconds: cpu_seconds(), thread_seconds: thread_seconds()? })
    }

    /// Stops the clocks. Threads that have ended count in the process's CPU time only.
    pub(crate) fn stop(self, messages: u64) -> anyhow::Result<Measurement> {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - self.cpu_seconds;
        let mut threads = thread_seconds()?;
        for (name, before) in self.thread_seconds {
            let seconds = threads.entry(name).or_default();
            *seconds = (*seconds - before).max(0.0);
        }
        let peak_bytes = peak_bytes(Path::new("/")).context("failed to read the peak of memory")?;
        Ok(Measurement { messages, seconds, cpu_seconds: cpu, thread_seconds: threads, peak_bytes })
    }
}

/// Returns CPU seconds by the name of the threads, without their numbers.
fn thread_seconds() -> anyhow::Result<BTreeMap<String, f64>> {
    let mut seconds = BTreeMap::new();
    for task in read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end between the listing and the reading.
        let (Ok(name), Ok(times)) = (read_to_string(task.join("comm")), read_to_string(task.join("schedstat"))) else { continue };
        let nanoseconds: f64 = times.split(' ').next().unwrap_or_default().parse().context("failed to read a thread's CPU time")?;
        let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '/');
        *seconds.entry(name.to_owned()).or_default() += nanoseconds / 1e9;
    }
    Ok(seconds)
}
