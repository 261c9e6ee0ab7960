//! All metrics of the operator: names, units and labels, in Prometheus' text format.
//!
//! Labels come from closed sets, so the number of series has a bound whatever users name their pipelines. [`Metrics`] is a handle: clones
//! share the same series.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::status::Phase;

/// Content type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What every name starts with.
const PREFIX: &str = "stockpipeline_operator";
/// Upper bounds of a reconcile's seconds: from one that finds nothing to do to the longest that is allowed.
const RECONCILE_SECONDS: [f64; 11] = [0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0];
/// Upper bounds of the seconds until a worker's `/status` is there; it is given up after two.
const STATUS_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.0];
/// Codes of AWS that mean something to whoever looks at a dashboard; every other one is `other`.
const AWS_CODES: [&str; 27] = [
    "200",
    "timeout",
    "transport",
    "AccessDenied",
    "AccessDeniedException",
    "AlreadyExistsException",
    "ConcurrentModificationException",
    "ConcurrentRunsExceededException",
    "CrawlerRunningException",
    "EntityNotFoundException",
    "ExpiredToken",
    "ExpiredTokenException",
    "GlueEncryptionException",
    "InternalServerException",
    "InternalServiceException",
    "InvalidClientTokenId",
    "InvalidInputException",
    "InvalidRequestException",
    "OperationTimeoutException",
    "RegionDisabledException",
    "ResourceNotFoundException",
    "ResourceNotReadyException",
    "ResourceNumberLimitExceededException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "UnrecognizedClientException",
];
/// Label of a code that is not in [`AWS_CODES`].
const OTHER_CODE: &str = "other";

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is as declared.
    Done,
    /// Work goes on by itself: pods start, AWS is slow, another writer was faster.
    Again,
    /// An outside system failed; it is tried again with backoff.
    Failed,
    /// Something waits for its user.
    User,
    /// Nothing goes on until the spec changes.
    Terminal,
}

/// A service of AWS that the operator talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Databases, tables, partitions, crawlers.
    Glue,
    /// Workgroups, named queries, views.
    Athena,
    /// Roles.
    Sts,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    operation: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

/// All metrics of an operator.
#[derive(Clone)]
pub struct Metrics(Arc<Series>);

struct Series {
    registry: Registry,
    reconciles: Family<OutcomeLabel, Counter>,
    reconcile_seconds: Histogram,
    aws_requests: Family<RequestLabels, Counter>,
    worker_status_seconds: Histogram,
    kubernetes_writes: Family<KindLabel, Counter>,
    drift_corrections: Counter,
    pipelines: Family<PhaseLabel, Gauge>,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut series = Series {
            registry: Registry::with_prefix(PREFIX),
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(RECONCILE_SECONDS),
            aws_requests: Family::default(),
            worker_status_seconds: Histogram::new(STATUS_SECONDS),
            kubernetes_writes: Family::default(),
            drift_corrections: Counter::<u64, AtomicU64>::default(),
            pipelines: Family::default(),
            leader: Gauge::default(),
        };
        series.register();
        let metrics = Self(Arc::new(series));
        for outcome in Outcome::ALL {
            drop(metrics.0.reconciles.get_or_create(&OutcomeLabel { outcome: outcome.label() }));
        }
        metrics.pipelines([]);
        metrics
    }
}

impl Metrics {
    /// Counts one reconcile, and the seconds it took.
    pub fn reconciled(&self, outcome: Outcome, seconds: f64) {
        self.0.reconciles.get_or_create(&OutcomeLabel { outcome: outcome.label() }).inc();
        self.0.reconcile_seconds.observe(seconds);
    }

    /// Counts one attempt of a request: its operation (`GetTable`), a literal of the caller, and its outcome: `200`, the code of AWS' error,
    /// `timeout` or `transport`. A code that is not known here counts as `other`.
    pub fn aws_request(&self, service: Service, operation: &'static str, code: &str) {
        let code = AWS_CODES.into_iter().find(|known| *known == code).unwrap_or(OTHER_CODE);
        self.0.aws_requests.get_or_create(&RequestLabels { service: service.label(), operation, code }).inc();
    }

    /// Notes the seconds until a worker's `/status` was there.
    pub fn worker_status(&self, seconds: f64) {
        self.0.worker_status_seconds.observe(seconds);
    }

    /// Counts one write to Kubernetes by the kind of object (`Deployment`), a literal of the caller.
    pub fn kubernetes_write(&self, kind: &'static str) {
        self.0.kubernetes_writes.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts things that others had changed and that were put right.
    pub fn drift_corrected(&self, count: u64) {
        self.0.drift_corrections.inc_by(count);
    }

    /// Notes how many pipelines are in each phase: one item for each pipeline there is.
    pub fn pipelines(&self, phases: impl IntoIterator<Item = Phase>) {
        let mut counts = Phase::ALL.map(|phase| (phase, 0_i64));
        for phase in phases {
            for (_, count) in counts.iter_mut().filter(|(counted, _)| *counted == phase) {
                *count += 1;
            }
        }
        for (phase, count) in counts {
            self.0.pipelines.get_or_create(&PhaseLabel { phase: phase.label() }).set(count);
        }
    }

    /// Notes whether this process is the one that writes.
    pub fn leader(&self, is_leader: bool) {
        self.0.leader.set(i64::from(is_leader));
    }

    /// Returns the text of all series.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let written = encode(&mut text, &self.0.registry);
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        text
    }
}

impl Series {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("build", "Version of this process", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("reconciles", "Reconciles of a pipeline by how they ended", self.reconciles.clone());
        registry.register_with_unit("reconcile", "Time of one reconcile", Unit::Seconds, self.reconcile_seconds.clone());
        registry.register("aws_requests", "Attempts of AWS requests by service, operation and outcome", self.aws_requests.clone());
        let worker_status = self.worker_status_seconds.clone();
        registry.register_with_unit("worker_status", "Time until a worker's /status was there", Unit::Seconds, worker_status);
        registry.register("kubernetes_writes", "Writes to Kubernetes by kind of object", self.kubernetes_writes.clone());
        registry.register("drift_corrections", "Things that others had changed and that were put right", self.drift_corrections.clone());
        registry.register("pipelines", "Pipelines by phase", self.pipelines.clone());
        registry.register("leader", "1 in the process that writes, 0 in one that stands by", self.leader.clone());
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Done, Self::Again, Self::Failed, Self::User, Self::Terminal];

    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again => "again",
            Self::Failed => "failed",
            Self::User => "user",
            Self::Terminal => "terminal",
        }
    }
}

impl Service {
    fn label(self) -> &'static str {
        match self {
            Self::Glue => "glue",
            Self::Athena => "athena",
            Self::Sts => "sts",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn used() -> Metrics {
        let metrics = Metrics::default();
        metrics.reconciled(Outcome::Done, 0.02);
        metrics.aws_request(Service::Glue, "GetTable", "200");
        metrics.aws_request(Service::Glue, "GetTable", "SomethingOfPipelineSeven");
        metrics.worker_status(0.004);
        metrics.kubernetes_write("Deployment");
        metrics.drift_corrected(2);
        metrics.pipelines([Phase::Running, Phase::Running, Phase::Failed]);
        metrics.leader(true);
        metrics
    }

    #[test]
    fn exactly_the_documented_metrics_are_there() {
        let text = used().render();
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next());
        let expected = [
            "aws_requests",
            "build",
            "drift_corrections",
            "kubernetes_writes",
            "leader",
            "pipelines",
            "reconcile_seconds",
            "reconciles",
            "worker_status_seconds",
        ];
        assert_eq!(names.collect::<BTreeSet<_>>(), expected.iter().map(|name| &*format!("{PREFIX}_{name}").leak()).collect());
    }

    #[test]
    fn what_is_counted_shows_in_the_text() {
        let text = used().render();
        for line in [
            r#"stockpipeline_operator_reconciles_total{outcome="done"} 1"#,
            r#"stockpipeline_operator_reconciles_total{outcome="terminal"} 0"#,
            r#"stockpipeline_operator_reconcile_seconds_bucket{le="0.025"} 1"#,
            r#"stockpipeline_operator_aws_requests_total{service="glue",operation="GetTable",code="200"} 1"#,
            r#"stockpipeline_operator_aws_requests_total{service="glue",operation="GetTable",code="other"} 1"#,
            r#"stockpipeline_operator_worker_status_seconds_bucket{le="0.005"} 1"#,
            r#"stockpipeline_operator_kubernetes_writes_total{kind="Deployment"} 1"#,
            "stockpipeline_operator_drift_corrections_total 2",
            r#"stockpipeline_operator_pipelines{phase="Running"} 2"#,
            r#"stockpipeline_operator_pipelines{phase="Failed"} 1"#,
            r#"stockpipeline_operator_pipelines{phase="Draining"} 0"#,
            "stockpipeline_operator_leader 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_phase_that_no_pipeline_has_any_more_is_zero() {
        let metrics = used();
        metrics.pipelines([Phase::Failed]);
        let text = metrics.render();
        assert!(text.contains("stockpipeline_operator_pipelines{phase=\"Running\"} 0\n"), "{text}");
        assert!(text.contains("stockpipeline_operator_pipelines{phase=\"Failed\"} 1\n"), "{text}");
    }
}
