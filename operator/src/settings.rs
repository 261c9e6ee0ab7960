//! What the operator itself is set to, as far as the children of pipelines depend on it.

use std::collections::BTreeMap;

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
        }
    }
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
