//! The figures, what they should reach, and their lines.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A figure of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Figure {
    /// Taking messages from Kafka and doing nothing with them: the ceiling of every sink.
    Consume,
    /// The raw zone alone, as plain JSON lines.
    Raw,
    /// The raw zone alone, compressed as it is by default.
    RawZstd,
    /// The processed zone alone: every value parsed and typed, Parquet with zstd.
    Processed,
    /// The raw zone (zstd) and the processed zone in one pass.
    Both,
    /// A CSV file to Kafka: idempotent, acknowledged by all replicas.
    Produce,
}

/// What a figure should reach.
struct Target {
    /// Messages a second that it must not fall below on two cores.
    floor: Option<f64>,
    /// Messages a second on two cores, broker and S3 server included.
    goal: Option<f64>,
    /// Messages per second of the process's own CPU time.
    goal_per_cpu_second: Option<f64>,
}

/// One run of one figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Messages that went all the way.
    pub(crate) messages: u64,
    /// Wall-clock seconds.
    pub(crate) seconds: f64,
    /// CPU seconds of the measured process.
    pub(crate) cpu_seconds: f64,
    /// CPU seconds by kind of thread.
    pub(crate) thread_seconds: BTreeMap<String, f64>,
    /// Largest resident set of the measured process.
    pub(crate) peak_bytes: u64,
}

impl Figure {
    /// Returns the name on the command line and in the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Raw => "raw",
            Self::RawZstd => "raw-zstd",
            Self::Processed => "processed",
            Self::Both => "both",
            Self::Produce => "produce",
        }
    }

    fn target(self) -> Target {
        match self {
            Self::Consume | Self::RawZstd => Target { floor: None, goal: None, goal_per_cpu_second: None },
            Self::Raw => Target { floor: Some(500e3), goal: Some(1e6), goal_per_cpu_second: Some(1.4e6) },
            Self::Processed => Target { floor: Some(250e3), goal: Some(500e3), goal_per_cpu_second: Some(600e3) },
            Self::Both => Target { floor: Some(180e3), goal: Some(350e3), goal_per_cpu_second: None },
            Self::Produce => Target { floor: Some(400e3), goal: Some(800e3), goal_per_cpu_second: None },
        }
    }

    /// Returns the line of a run: speed, its ratio to floor and goal, CPU and its ratio, memory, and where the CPU went.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
    pub(crate) fn line(self, run: &Measurement) -> String {
        let target = self.target();
        let (messages, speed) = (run.messages as f64, run.messages as f64 / run.seconds);
        let per_million = 1e6 / messages;
        let mut parts = vec![format!("{:<10} {:>9} messages/s", self.name(), thousands(speed))];
        for (name, wanted) in [("floor", target.floor), ("goal", target.goal)] {
            parts.extend(wanted.map(|wanted| format!("= {:.2} x {name} {}", speed / wanted, thousands(wanted))));
        }
        parts.push(format!("| {:.2} CPU s a million", run.cpu_seconds * per_million));
        parts.extend(target.goal_per_cpu_second.map(|wanted| format!("= {:.2} x goal", messages / run.cpu_seconds / wanted)));
        parts.push(format!("| peak {} MiB |", run.peak_bytes >> 20));
        let mut threads: Vec<_> = run.thread_seconds.iter().collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        parts.extend(threads.into_iter().take(5).map(|(name, seconds)| format!("{name} {:.2}", seconds * per_million)));
        parts.join(" ")
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Returns a number with its thousands apart.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number below 2^63")]
fn thousands(number: f64) -> String {
    let digits = (number as u64).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
