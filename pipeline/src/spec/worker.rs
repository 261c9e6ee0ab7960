//! Spec: the pods of producers and sinks: how many, how big, where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::bounds::{Quantity, SCALE_DOWN, TextMap, TimeSpan, between, free_form, rules, text_map};

/// Pods of the producer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerWorker {
    /// Number of pods, 0 to 1,000; safe at any number. Default: 1.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// What every pod is like.
    #[serde(flatten)]
    pub pods: Pods,
}

/// Pods of the sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SinkWorker {
    /// Number of pods, 0 to 1,000; the target of `kubectl scale`. With mode Fixed at most `kafka.topic.partitions`. Default: 1.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Who decides the number of pods.
    pub scaling: Scaling,
    /// What every pod is like.
    #[serde(flatten)]
    pub pods: Pods,
}

/// What every pod of a worker is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pods {
    /// Service account, for EKS Pod Identity or IRSA. Default: one that the operator makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,
    /// Requests and limits; the memory limit is the worker's budget.
    pub resources: Resources,
    /// Which nodes the pods may use.
    pub placement: Placement,
    /// Seconds between SIGTERM and SIGKILL, 10 to 3,600. Default: 110, below EC2's two-minute spot notice.
    #[schemars(range(min = 10, max = 3600))]
    pub termination_grace_period_seconds: i32,
    /// Disruption budget, kept while there is more than one replica.
    pub pod_disruption_budget: PodDisruptionBudget,
    /// Environment variables, at most 64. Example: `[{name: RUST_LOG, value: info}]`.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvironmentVariable>,
    /// Strategic merge patch of the pod template for what has no field here: labels and annotations under `metadata`, and under
    /// `spec` only dnsConfig, dnsPolicy, enableServiceLinks, hostAliases, imagePullSecrets, preemptionPolicy, runtimeClassName and
    /// schedulerName. Annotations by which a cluster grants roles, devices, networks, mounts or weaker security are refused. At most 16 KiB.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub pod_template_patch: Option<Value>,
}

/// Requests and limits of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What is set aside for the pod: cpu, memory, ephemeral-storage. Default: what the operator is set to.
    #[schemars(extend("maxProperties" = 8))]
    pub requests: BTreeMap<String, Quantity>,
    /// What the pod may use at most: cpu, memory, ephemeral-storage. Default: what the operator is set to.
    #[schemars(extend("maxProperties" = 8))]
    pub limits: BTreeMap<String, Quantity>,
}

/// Which nodes the pods may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// Labels that a node must have. Default: none. Example: `{kubernetes.io/arch: arm64}`.
    #[schemars(schema_with = "text_map")]
    pub node_selector: TextMap,
    /// Taints that the pods bear, at most 16.
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// How the pods spread, at most 8; the pods' own labels are the selector.
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Vec<TopologySpread>,
    /// Kubernetes affinity, checked by the API server when the Deployment is written. At most 16 KiB. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub affinity: Option<Value>,
    /// Spot nodes of Karpenter and EKS: Allow; Prefer: bear their taints and lean towards them; Forbid: keep away. Default: Allow.
    pub spot: Spot,
    /// Priority class. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
}

/// Use of spot nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Spot {
    /// No preference.
    #[default]
    Allow,
    /// Spot nodes first.
    Prefer,
    /// No spot nodes.
    Forbid,
}

/// A taint that the pods bear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Key of the taint. Default: every key, with operator Exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    /// Exists or Equal. Default: Equal.
    pub operator: TolerationOperator,
    /// Value of the taint, for Equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint. Default: every effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a pod stays after a NoExecute taint appears, in seconds, at least 0. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub toleration_seconds: Option<i64>,
}

/// How a taint is matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are equal.
    #[default]
    Equal,
    /// The key exists.
    Exists,
}

/// Effect of a taint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// No new pods if there is another node.
    PreferNoSchedule,
    /// No pods.
    NoExecute,
}

/// How the pods spread over nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpread {
    /// How uneven the spread may be, at least 1.
    #[schemars(range(min = 1, max = 1000))]
    pub max_skew: i32,
    /// Node label whose values are the domains. Example: `topology.kubernetes.io/zone`.
    #[schemars(length(min = 1, max = 316))]
    pub topology_key: String,
    /// What happens to a pod that would spread worse.
    pub when_unsatisfiable: WhenUnsatisfiable,
}

/// What happens to a pod that would spread worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// It waits.
    DoNotSchedule,
    /// It runs anyway.
    ScheduleAnyway,
}

/// Disruption budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudget {
    /// Pods that may be evicted at once, 1 to 1,000. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: i32,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!self.name.matches('(?i)^(LD_|GLIBC_|AWS_|SSL_|OPENSSL_)|_PROXY$')",
        "names that load code, or lead requests and their credentials elsewhere (LD_*, GLIBC_*, AWS_*, SSL_*, OPENSSL_*, *_PROXY), are not allowed",
    ),
])))]
pub struct EnvironmentVariable {
    /// Name; none of LD_*, GLIBC_*, AWS_*, SSL_*, OPENSSL_* and *_PROXY, which load code or lead requests and their credentials elsewhere.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Value; not for secrets. Default: the empty text.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// Who decides the number of pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas"),
    ("self.windows.all(w, w.minReplicas <= self.maxReplicas)", "a window's minReplicas must not exceed maxReplicas"),
])))]
pub struct Scaling {
    /// Fixed: `replicas`; External: `replicas`, which an HPA, KEDA or kubectl changes; Lag: the operator, by the records not yet
    /// written, without changing the spec. Default: Fixed.
    pub mode: ScalingMode,
    /// Least number of pods for Lag, 1 to 1,000. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Greatest number of pods for Lag, 1 to 1,000; never more than partitions are used. Default: 6.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Records not yet written that one pod is worth, for Lag, at least 1. Default: 10000.
    #[schemars(range(min = 1))]
    pub target_lag_per_replica: i64,
    /// How long the lag must have been lower before pods go. 0s to 24h. Default: 10m.
    #[schemars(extend("x-kubernetes-validations" = between(SCALE_DOWN)))]
    pub scale_down_stabilization: TimeSpan,
    /// Times with a greater least number of pods, at most 16, such as market hours.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub windows: Vec<Window>,
}

/// Who decides the number of pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    /// The spec.
    #[default]
    Fixed,
    /// The operator, by lag.
    Lag,
    /// An autoscaler or a human, through the scale subresource.
    External,
}

/// A time with a greater least number of pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// IANA zone of `start` and `end`. Default: UTC. Example: `America/New_York`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub timezone: String,
    /// When it starts: cron's five fields. Example: `25 9 * * 1-5`.
    #[schemars(length(min = 9, max = 128))]
    pub start: String,
    /// When it ends: cron's five fields. Example: `5 16 * * 1-5`.
    #[schemars(length(min = 9, max = 128))]
    pub end: String,
    /// Least number of pods within it, 1 to 1,000.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
}

impl Default for ProducerWorker {
    fn default() -> Self {
        Self { replicas: 1, pods: Pods::default() }
    }
}

impl Default for SinkWorker {
    fn default() -> Self {
        Self { replicas: 1, scaling: Scaling::default(), pods: Pods::default() }
    }
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            service_account_name: None,
            resources: Resources::default(),
            placement: Placement::default(),
            termination_grace_period_seconds: 110,
            pod_disruption_budget: PodDisruptionBudget::default(),
            env: Vec::new(),
            pod_template_patch: None,
        }
    }
}

impl Default for PodDisruptionBudget {
    fn default() -> Self {
        Self { max_unavailable: 1 }
    }
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            mode: ScalingMode::Fixed,
            min_replicas: 1,
            max_replicas: 6,
            target_lag_per_replica: 10_000,
            scale_down_stabilization: TimeSpan::of("10m"),
            windows: Vec::new(),
        }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}
