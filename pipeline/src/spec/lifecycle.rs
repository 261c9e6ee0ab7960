//! Spec: running, draining, deleting, looking again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{DRAIN_TIMEOUT, DRIFT_INTERVAL, TimeSpan, between};

/// Whether the pipeline runs, drains or stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// Running; Drained: producers go to 0 and sinks stay until nothing is left to write; Stopped: all workers go to 0.
    /// Never changes `replicas`. Default: Running.
    pub desired_state: DesiredState,
    /// How long a drain may last before the sinks are stopped anyway; what they have not written stays in Kafka. 1s to 24h.
    /// Default: 10m.
    #[schemars(extend("x-kubernetes-validations" = between(DRAIN_TIMEOUT)))]
    pub drain_timeout: TimeSpan,
    /// Raise it for one rolling restart of all workers without any other change. Default: 0.
    #[schemars(range(min = 0))]
    pub restart_nonce: i64,
}

/// Whether the pipeline runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// Producers and sinks run.
    #[default]
    Running,
    /// Producers are stopped; sinks stay until the lag is 0.
    Drained,
    /// Nothing runs.
    Stopped,
}

/// What happens to outside things when the resource is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeletionPolicy {
    /// The topic and the slots topic. Default: Retain.
    pub topic: Retention,
    /// The Glue tables that this pipeline made. Default: Retain.
    pub tables: Retention,
    /// The Glue database, if this pipeline made it and it is empty. Default: Retain.
    pub database: Retention,
    /// The Athena queries and views that this pipeline made. Default: Retain.
    pub named_queries: Retention,
    /// All objects of the zones and the ledger, but for those of another Kafka cluster or topic, which are named in an event. Delete also
    /// needs the annotation `stockpipeline.dev/allow-data-deletion: "true"`. Default: Retain.
    pub data: Retention,
}

/// What happens to one kind of thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// How often the operator looks for drift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reconcile {
    /// Time between two looks at Glue, Athena and the topic, with jitter. 1m to 24h. Default: 10m.
    #[schemars(extend("x-kubernetes-validations" = between(DRIFT_INTERVAL)))]
    pub drift_interval: TimeSpan,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { desired_state: DesiredState::Running, drain_timeout: TimeSpan::of("10m"), restart_nonce: 0 }
    }
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { drift_interval: TimeSpan::of("10m") }
    }
}
