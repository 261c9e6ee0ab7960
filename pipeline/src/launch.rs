//! How a worker is started, where it answers and how it ends: what the operator writes into a Deployment and the worker keeps.

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
