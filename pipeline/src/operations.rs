//! The checked parts of a pipeline that say how it is run and catalogued; the data path needs none of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// How a pipeline is run and catalogued.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operations {
    /// Whether it runs.
    pub lifecycle: Lifecycle,
    /// What the operator needs of AWS beside [`crate::checked::Aws`].
    pub control_plane: ControlPlane,
    /// Whether columns may change other than by being added.
    pub unrestricted_evolution: bool,
    /// Pods of the producer; None for a topic that others fill.
    pub producer_worker: Option<Worker>,
    /// Pods of the sink.
    pub sink_worker: Worker,
    /// Who decides the number of sinks.
    pub scaling: Scaling,
    /// How the Glue tables are kept; set exactly when the pipeline has a catalogue.
    pub glue: Option<GlueSettings>,
    /// Athena objects.
    pub athena: Option<Athena>,
    /// What happens to outside things when the resource is deleted.
    pub deletion: DeletionPolicy,
    /// Time between two looks for drift.
    pub drift_interval: Duration,
}

/// Whether a pipeline runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Whether it runs.
    pub desired_state: DesiredState,
    /// How long a drain may last.
    pub drain_timeout: Duration,
    /// A change rolls the workers once.
    pub restart_nonce: u64,
}

/// Whether a pipeline runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DesiredState {
    /// Producers and sinks run.
    #[default]
    Running,
    /// Producers are stopped; sinks stay until nothing is left to write.
    Drained,
    /// Nothing runs.
    Stopped,
}

/// What the operator needs of AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// Endpoint of Glue; AWS's own without it.
    pub glue_endpoint: Option<String>,
    /// Endpoint of Athena; AWS's own without it.
    pub athena_endpoint: Option<String>,
    /// Role that the operator takes; its own without it.
    pub role_arn: Option<String>,
    /// Tags of what the operator makes.
    pub tags: BTreeMap<String, String>,
}

/// Pods of one role.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Worker {
    /// Number of pods.
    pub replicas: u32,
    /// Service account; the operator makes one without it.
    pub service_account: Option<String>,
    /// Requested quantities by resource name.
    pub requests: BTreeMap<String, String>,
    /// Greatest quantities by resource name.
    pub limits: BTreeMap<String, String>,
    /// Which nodes the pods may use.
    pub placement: Placement,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: u32,
    /// Pods that may be evicted at once.
    pub max_unavailable: u32,
    /// Environment variables in order.
    pub environment: Vec<(String, String)>,
    /// Allow-listed patch of the pod template.
    pub pod_template_patch: Option<Value>,
}

/// Which nodes the pods may use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placement {
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods bear: Kubernetes' own JSON form.
    pub tolerations: Vec<Value>,
    /// How the pods spread, without a selector: Kubernetes' own JSON form.
    pub topology_spread_constraints: Vec<Value>,
    /// Affinity: Kubernetes' own JSON form.
    pub affinity: Option<Value>,
    /// Use of spot nodes.
    pub spot: Spot,
    /// Priority class; the cluster's default without it.
    pub priority_class: Option<String>,
}

/// Use of spot nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Spot {
    /// No preference.
    #[default]
    Allow,
    /// Spot nodes first.
    Prefer,
    /// No spot nodes.
    Forbid,
}

/// Who decides the number of sinks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scaling {
    /// The spec.
    #[default]
    Fixed,
    /// An autoscaler or a human, through the scale subresource.
    External,
    /// The operator, by lag.
    Lag(LagScaling),
}

/// Scaling by lag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LagScaling {
    /// Least number of pods, at least 1.
    pub min_replicas: u32,
    /// Greatest number of pods.
    pub max_replicas: u32,
    /// Records not yet written that one pod is worth, at least 1.
    pub target_lag_per_replica: u64,
    /// How long the lag must have been lower before pods go.
    pub scale_down_stabilization: Duration,
    /// Times with a greater least number of pods.
    pub windows: Vec<Window>,
}

/// A time with a greater least number of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Name.
    pub name: String,
    /// Zone of `start` and `end`.
    pub time_zone: crate::schema::Zone,
    /// When it starts.
    pub start: crate::check::cron::Cron,
    /// When it ends.
    pub end: crate::check::cron::Cron,
    /// Least number of pods within it.
    pub min_replicas: u32,
}

/// How the Glue tables are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlueSettings {
    /// Catalogue (account); that of the credentials without it.
    pub catalog_id: Option<String>,
    /// Whether the database is made if it is missing.
    pub create_database: bool,
    /// How partitions become known.
    pub partitions: PartitionMode,
    /// Partition indexes of the processed table.
    pub indexes: Vec<Vec<String>>,
    /// Whether drift is corrected, or only reported.
    pub correct_drift: bool,
    /// What happens to a table that is not this pipeline's.
    pub adoption: AdoptionPolicy,
    /// The crawler, where it is enabled.
    pub crawler: Option<Crawler>,
}

/// How partitions become known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionMode {
    /// The sink registers each one.
    Registered,
    /// Athena computes them, from this day on where a date is among them (`YYYY-MM-DD`).
    Projection {
        /// First day.
        start: Option<String>,
    },
}

/// What happens to a table that exists and is not this pipeline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionPolicy {
    /// The operator refuses.
    FailIfExists,
    /// The operator takes it over.
    Adopt,
    /// The operator never writes it.
    Observe,
}

/// A crawler that audits the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crawler {
    /// Role that it runs as.
    pub role_arn: String,
    /// When it runs; on demand without it.
    pub schedule: Option<String>,
}

/// Athena objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Athena {
    /// Workgroup.
    pub workgroup: String,
    /// Whether the workgroup is made if it is missing.
    pub create_workgroup: bool,
    /// Where query results go.
    pub output_location: Option<String>,
    /// Bytes that one query may scan.
    pub bytes_scanned_cutoff: Option<u64>,
    /// Saved queries.
    pub named_queries: Vec<NamedQuery>,
    /// Views: name and select statement.
    pub views: Vec<(String, String)>,
}

/// A saved query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedQuery {
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// The query.
    pub sql: String,
}

/// Which outside things are deleted with the resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one independent answer for each kind of thing")]
pub struct DeletionPolicy {
    /// The topic and the slots topic.
    pub topic: bool,
    /// The tables that the pipeline made.
    pub tables: bool,
    /// The database, if the pipeline made it and it is empty.
    pub database: bool,
    /// The Athena queries and views.
    pub named_queries: bool,
    /// All objects.
    pub data: bool,
}
