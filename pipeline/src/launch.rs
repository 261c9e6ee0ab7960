//! How a worker is started, where it answers and how it ends: what the operator writes into a Deployment and the worker keeps.

use std::time::Duration;

/// Port of the worker's HTTP endpoints.
pub const HTTP_PORT: u16 = 8080;
/// Path that answers 200 while the worker's loop moves.
pub const LIVEZ_PATH: &str = "/livez";
/// Path that answers 200 while the worker can do its work.
pub const READYZ_PATH: &str = "/readyz";
/// Path of the worker's status as JSON.
pub const STATUS_PATH: &str = "/status";
/// Path of the metrics in Prometheus' text format.
pub const METRICS_PATH: &str = "/metrics";
/// Where the operator mounts the pipeline's document.
pub const CONFIG_PATH: &str = "/etc/stockpipeline/pipeline.yaml";
/// Folder in which the operator mounts one folder a Secret, named like it.
pub const SECRETS_DIR: &str = "/etc/stockpipeline/secrets";
/// Environment variable with the availability zone of a worker's node; empty where nobody knows it.
pub const ZONE_VARIABLE: &str = "STOCKPIPELINE_ZONE";
/// Where a fatal reason is written for the kubelet.
pub const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";
/// Default grace period of a worker in seconds, below EC2's two-minute spot notice.
pub const GRACE_SECONDS: u32 = 110;

/// Time by which a wall clock is set at least: less is how one is kept in step.
const CLOCK_IS_SET: Duration = Duration::from_secs(30);

/// Whether the wall clock was set back. Whatever waits for a moment on it would wait for as long again, librdkafka's threads and credentials
/// among it, so a process ends then and starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    ahead_millis: i64,
}

impl WallClock {
    /// Returns a clock that is ahead of the time since boot by so much.
    #[must_use]
    pub fn new(ahead_millis: i64) -> Self {
        Self { ahead_millis }
    }

    /// Notes by how much it is ahead now, and returns by how much it was set back since the last note; None where it was not.
    pub fn set_back(&mut self, ahead_millis: i64) -> Option<Duration> {
        let before = std::mem::replace(&mut self.ahead_millis, ahead_millis);
        let by = u64::try_from(before.saturating_sub(ahead_millis)).map(Duration::from_millis).ok()?;
        (by >= CLOCK_IS_SET).then_some(by)
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The user's input or configuration is wrong.
    User,
    /// Wrong arguments.
    Usage,
    /// An outside system refused for good.
    External,
    /// A bug in this program.
    Bug,
}

impl Exit {
    /// Returns the exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::User => 1,
            Self::External => 3,
            Self::Usage => 64,
            Self::Bug => 70,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_and_one_that_is_kept_in_step_or_set_ahead_is_not() {
        let mut clock = WallClock::new(1_000_000_000);
        for ahead_millis in [999_990_000, 999_970_001, 1_003_600_000, 1_003_600_000] {
            assert_eq!(clock.set_back(ahead_millis), None, "{ahead_millis}");
        }
        assert_eq!(clock.set_back(1_000_000_000), Some(Duration::from_hours(1)));
        assert_eq!(clock.set_back(1_000_000_000), None, "once");
        assert_eq!(clock.set_back(999_970_000), Some(Duration::from_secs(30)));
    }
}
