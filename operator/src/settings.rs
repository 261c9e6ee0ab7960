//! What the operator itself is set to: one value that everything else takes. Arguments and environment are read in
//! `arguments` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stockpipeline::launch::HTTP_PORT;

/// Settings of the operator that all pipelines share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of the workers, whose entry point is `stockpipeline-worker`.
    pub image: String,
    /// When nodes pull it; Kubernetes' own rule without it.
    pub image_pull_policy: Option<String>,
    /// Secrets for pulling it, in the pipelines' namespaces.
    pub image_pull_secrets: Vec<String>,
    /// What producers get where a pipeline says nothing.
    pub producer_resources: Resources,
    /// What sinks get where a pipeline says nothing.
    pub sink_resources: Resources,
    /// Greatest size of a producer's folder for downloads, as a quantity.
    pub scratch_limit: String,
    /// Network policies of the workers; None makes none.
    pub network: Option<NetworkSettings>,
    /// Name of this cluster in the marks of ownership, for accounts that several clusters share; may be empty.
    pub cluster: String,
    /// Namespaces whose pipelines are kept; all when empty.
    pub watch_namespaces: BTreeSet<String>,
    /// Whether nothing is written but statuses: drift and plans are reported, not acted on.
    pub read_only: bool,
    /// How many pipelines are worked on at one time.
    pub concurrency: u16,
    /// Times and intervals.
    pub timing: Timing,
    /// What pipelines may make the operator talk to, act as, or take over.
    pub grants: Grants,
    /// How fast AWS is called.
    pub rates: Rates,
    /// Port of the workers' `/status`.
    pub worker_port: u16,
}

/// How many requests a second each service gets at most, of each account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Glue. Its limits differ by operation and account; most allow more.
    pub glue_per_second: u32,
    /// Athena: the limit of the slowest of its operations.
    pub athena_per_second: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { glue_per_second: 100, athena_per_second: 20 }
    }
}

/// Times and intervals of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time between two looks for drift, in place of each pipeline's `reconcile.driftInterval`; None leaves it to them.
    pub drift_interval: Option<Duration>,
    /// Time between two looks at the workers' `/status`.
    pub status_interval: Duration,
    /// How long one worker's answer may take.
    pub worker_timeout: Duration,
    /// How long one Kubernetes request may take.
    pub kubernetes_timeout: Duration,
    /// How long all namespaces together wait for one that cannot be listed, before the others are worked on without it.
    pub listing_timeout: Duration,
    /// How long one pipeline may be worked on at a stretch.
    pub reconcile_timeout: Duration,
    /// How long the clean-up of a deleted pipeline may take before it is reported as blocked.
    pub cleanup_deadline: Duration,
}

/// What pipelines may make the operator talk to, act as, or take over. All lists are exact: nothing is allowed by a pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Endpoints of AWS services that the operator signs requests to, such as `http://moto.aws.svc:5000`.
    pub endpoints: BTreeSet<String>,
    /// Roles by the namespace whose pipelines may name them as `aws.controlPlaneRoleArn` or `glue.crawler.roleArn`.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Databases of Glue by the namespace whose pipelines may take over tables and views in them that no pipeline has made.
    pub adoptions: BTreeMap<String, BTreeSet<String>>,
}

/// Requests and limits by resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// What is set aside.
    pub requests: BTreeMap<String, String>,
    /// What may be used at most.
    pub limits: BTreeMap<String, String>,
}

/// Who may talk to workers, and what they may reach beyond what a pipeline names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Namespace of the operator's pods.
    pub operator_namespace: String,
    /// Namespaces that may read metrics.
    pub metrics_namespaces: Vec<String>,
    /// Further TCP ports that workers may reach, such as those that brokers advertise.
    pub egress_ports: Vec<u16>,
}

impl Settings {
    /// Returns the settings with an image and everything else as it is by default, for an operator in `namespace`.
    #[must_use]
    pub fn new(image: &str, namespace: &str) -> Self {
        Self {
            image: image.to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            producer_resources: Resources::of("100m", "128Mi", "256Mi"),
            sink_resources: Resources::of("250m", "512Mi", "1Gi"),
            scratch_limit: "20Gi".to_owned(),
            network: Some(NetworkSettings { operator_namespace: namespace.to_owned(), ..NetworkSettings::default() }),
            cluster: String::new(),
            watch_namespaces: BTreeSet::new(),
            read_only: false,
            concurrency: 32,
            timing: Timing::default(),
            grants: Grants::default(),
            rates: Rates::default(),
            worker_port: HTTP_PORT,
        }
    }

    /// Returns whether the pipelines of a namespace are this operator's.
    #[must_use]
    pub fn watches(&self, namespace: &str) -> bool {
        self.watch_namespaces.is_empty() || self.watch_namespaces.contains(namespace)
    }

    /// Returns the time between two looks for drift of a pipeline that asks for `declared`.
    #[must_use]
    pub fn drift_interval(&self, declared: Duration) -> Duration {
        self.timing.drift_interval.unwrap_or(declared)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            drift_interval: None,
            status_interval: Duration::from_secs(15),
            worker_timeout: Duration::from_secs(2),
            kubernetes_timeout: Duration::from_secs(15),
            listing_timeout: Duration::from_mins(1),
            reconcile_timeout: Duration::from_mins(1),
            cleanup_deadline: Duration::from_mins(10),
        }
    }
}

impl Grants {
    /// Returns whether requests may be signed to an endpoint. A slash at the end and the case of scheme and host do not count.
    #[must_use]
    pub fn endpoint(&self, url: &str) -> bool {
        self.endpoints.iter().any(|granted| canonical(granted) == canonical(url))
    }

    /// Returns whether the pipelines of a namespace may name a role.
    #[must_use]
    pub fn role(&self, namespace: &str, arn: &str) -> bool {
        self.roles.get(namespace).is_some_and(|granted| granted.contains(arn))
    }

    /// Returns whether the pipelines of a namespace may take over what no pipeline has made in a database.
    #[must_use]
    pub fn adoption(&self, namespace: &str, database: &str) -> bool {
        self.adoptions.get(namespace).is_some_and(|granted| granted.contains(database))
    }
}

/// Returns an endpoint as it is compared. Endpoints have no path, so the whole of one is scheme, host and port.
pub(crate) fn canonical(url: &str) -> String {
    url.trim_end_matches('/').to_ascii_lowercase()
}

impl Resources {
    /// CPU has no limit: a throttled worker misses its heartbeats, and shares are weighed by requests anyway.
    fn of(cpu: &str, memory: &str, memory_limit: &str) -> Self {
        let quantity = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            requests: BTreeMap::from([quantity("cpu", cpu), quantity("memory", memory)]),
            limits: BTreeMap::from([quantity("memory", memory_limit)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_granted_endpoints_are_signed_to() {
        let grants = Grants { endpoints: BTreeSet::from(["http://moto.aws.svc:5000".to_owned()]), ..Grants::default() };
        for (url, granted) in [
            ("http://moto.aws.svc:5000", true),
            ("HTTP://Moto.aws.svc:5000/", true),
            ("https://moto.aws.svc:5000", false),
            ("http://moto.aws.svc", false),
            ("http://moto.aws.svc:50000", false),
            ("http://moto.aws.svc:5000.evil.example", false),
            ("http://user@moto.aws.svc:5000", false),
            ("", false),
        ] {
            assert_eq!(grants.endpoint(url), granted, "{url}");
        }
        assert!(!Grants::default().endpoint("https://glue.eu-west-1.amazonaws.com"));
    }

    #[test]
    fn a_role_is_granted_to_one_namespace() {
        let role = "arn:aws:iam::123456789012:role/quotes".to_owned();
        let grants = Grants { roles: BTreeMap::from([("quotes".to_owned(), BTreeSet::from([role.clone()]))]), ..Grants::default() };
        assert!(grants.role("quotes", &role));
        assert!(!grants.role("other", &role));
        assert!(!grants.role("quotes", &role.to_uppercase()), "role names count case");
    }

    #[test]
    fn no_list_of_namespaces_means_all() {
        let mut settings = Settings::new("image", "operator");
        assert!(settings.watches("anything"));
        settings.watch_namespaces.insert("quotes".to_owned());
        assert!(settings.watches("quotes"));
        assert!(!settings.watches("anything"));
    }
}
