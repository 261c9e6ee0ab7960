//! A process that is measured: its CPU seconds and its peak memory, as the kernel counts them, and how it is ended.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::stage::Stage;

/// Of the times in `/proc`: Linux's ABI, the same on all machines.
const TICKS_A_SECOND: f64 = 100.0;
/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_mins(1);
/// Lines of a log that an error shows.
const LAST_LINES: usize = 15;

/// A running process; killed when dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    output: Option<BufReader<ChildStdout>>,
}

/// What a process has used since a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Wall-clock seconds.
    pub(crate) seconds: f64,
    /// Seconds of CPU, user and system.
    pub(crate) cpu_seconds: f64,
    /// Largest resident set in its whole life.
    pub(crate) peak_bytes: u64,
}

/// A moment from which a process is measured.
pub(crate) struct Meter {
    started: Instant,
    cpu_seconds: f64,
}

impl Running {
    /// Starts a program; its standard error goes to a log of its own, and its output is read by [`Running::line`].
    pub(crate) fn start(stage: &Stage, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let log = stage.folder().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).spawn().with_context(|| format!("failed to start {name}"))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { name: name.to_owned(), child, log, output })
    }

    /// Returns the next line of its output.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let output = self.output.as_mut().context("the output is closed")?;
        ensure!(output.read_line(&mut line)? > 0, "{} has ended:\n{}", self.name, self.last_lines());
        Ok(line.trim_end().to_owned())
    }

    /// Starts measuring.
    pub(crate) fn meter(&self) -> anyhow::Result<Meter> {
        Ok(Meter { started: Instant::now(), cpu_seconds: self.cpu_seconds()? })
    }

    /// Returns what it has used since.
    pub(crate) fn used(&self, since: &Meter) -> anyhow::Result<Used> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the process has no memory")?;
        let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse()?;
        Ok(Used {
            seconds: since.started.elapsed().as_secs_f64(),
            cpu_seconds: self.cpu_seconds()? - since.cpu_seconds,
            peak_bytes: kibibytes << 10,
        })
    }

    /// Fails where it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended with {status}:\n{}", self.name, self.last_lines()),
            None => Ok(()),
        }
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end; returns at once.
    pub(crate) fn ask_to_end(&self) -> anyhow::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?).context("the process has no number")?;
        Ok(kill_process(id, Signal::TERM)?)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        self.ask_to_end()?;
        let deadline = Instant::now() + GRACE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{} does not end:\n{}", self.name, self.last_lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns the end of its log.
    pub(crate) fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("the process has no state")?;
        let times: Vec<f64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(times.iter().sum::<f64>() / TICKS_A_SECOND)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
