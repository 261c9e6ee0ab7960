//! The command line. Says what there is to choose, and turns it into values; decides nothing.
//!
//! Everything that `run` is set to comes through here, so that `plan` can read the settings of a running operator from its own arguments.

mod texts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use stockpipeline::launch::HTTP_PORT;

use crate::settings::{Grants, NetworkSettings, Rates, Resources, Settings, Timing};
use texts::{Grant, Quantity, parse_adoption, parse_endpoint, parse_grant, parse_quantity, parse_span};

/// Keeps the workers, Glue tables and Athena objects of `StockPipeline` resources.
#[derive(Debug, Clone, Parser)]
#[command(name = "stockpipeline-operator", version, max_term_width = 120)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How log lines are written.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Keep every pipeline as it is declared, until stopped
    ///
    /// Several processes may run; the one that holds the Lease writes, the others stand by.
    Run(Box<RunArguments>),
    /// Show what applying documents would change: in the cluster, in Glue and Athena, and about the topic. Writes nothing
    ///
    /// Exit code 0: nothing would change; 2: something would; 1: something is in the way.
    Plan(PlanArguments),
    /// Print the definition of the custom resource, for `kubectl apply -f -`
    Crd,
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// What all pipelines share.
    #[command(flatten)]
    pub settings: SettingsArguments,

    /// Address of /livez, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// Name of the Lease, in the operator's namespace, by which one of several processes leads.
    #[arg(long, value_name = "NAME", default_value = "stockpipeline-operator")]
    pub lease_name: String,

    /// Name of this process in the Lease.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "stockpipeline-operator")]
    pub pod_name: String,
}

/// Arguments of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArguments {
    /// A file as for `kubectl apply`; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,

    /// Namespace of documents that name none [default: that of the kubeconfig's context].
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// How the plan is written.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: PlanFormat,

    /// Leave out Glue and Athena, for somebody without credentials for them.
    #[arg(long)]
    pub without_aws: bool,

    /// Field manager that will apply the document, where that is not kubectl.
    #[arg(long, value_name = "NAME", default_value = "kubectl")]
    pub field_manager: String,

    /// Namespace of the operator, by whose arguments the plan is made [default: any].
    #[arg(long, value_name = "NAMESPACE")]
    pub operator_namespace: Option<String>,

    /// Arguments of the operator's `run`, in place of those that the installed one has.
    #[arg(last = true, value_name = "RUN ARGUMENTS")]
    pub operator_arguments: Vec<String>,
}

/// How a plan is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What all pipelines share: see [`Settings`].
#[derive(Debug, Clone, Args)]
pub struct SettingsArguments {
    /// Image of the workers.
    #[arg(long, value_name = "IMAGE", env = "STOCKPIPELINE_WORKER_IMAGE")]
    pub worker_image: String,

    /// When nodes pull that image: Always, IfNotPresent or Never [default: Kubernetes' own rule].
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub worker_image_pull_policy: Option<String>,

    /// Secret for pulling it, in the pipelines' namespaces; may be repeated.
    #[arg(long = "worker-image-pull-secret", value_name = "NAME")]
    pub worker_image_pull_secrets: Vec<String>,

    /// What a producer's pod asks for where its pipeline says nothing, such as cpu=100m; may be repeated, and replaces all defaults.
    #[arg(long = "producer-request", value_name = "NAME=QUANTITY", value_parser = parse_quantity)]
    producer_requests: Vec<Quantity>,

    /// What a producer's pod may use at most where its pipeline says nothing; may be repeated, and replaces all defaults.
    #[arg(long = "producer-limit", value_name = "NAME=QUANTITY", value_parser = parse_quantity)]
    producer_limits: Vec<Quantity>,

    /// What a sink's pod asks for where its pipeline says nothing; may be repeated, and replaces all defaults.
    #[arg(long = "sink-request", value_name = "NAME=QUANTITY", value_parser = parse_quantity)]
    sink_requests: Vec<Quantity>,

    /// What a sink's pod may use at most where its pipeline says nothing; may be repeated, and replaces all defaults.
    #[arg(long = "sink-limit", value_name = "NAME=QUANTITY", value_parser = parse_quantity)]
    sink_limits: Vec<Quantity>,

    /// Greatest size of a producer's folder for downloads, such as 20Gi.
    #[arg(long, value_name = "QUANTITY", default_value = "20Gi")]
    pub scratch_limit: String,

    /// Make no network policies for workers.
    #[arg(long)]
    pub no_network_policies: bool,

    /// Namespace that may read the workers' metrics; may be repeated.
    #[arg(long = "metrics-namespace", value_name = "NAMESPACE")]
    pub metrics_namespaces: Vec<String>,

    /// Further TCP port that workers may reach, such as one that brokers advertise; may be repeated.
    #[arg(long = "worker-egress-port", value_name = "PORT")]
    pub worker_egress_ports: Vec<u16>,

    /// Namespace that the operator runs in.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "stockpipeline-system")]
    pub namespace: String,

    /// Namespace whose pipelines are kept; may be repeated [default: all].
    #[arg(long = "watch-namespace", value_name = "NAMESPACE")]
    pub watch_namespaces: Vec<String>,

    /// Name of this cluster in the marks of ownership, for AWS accounts that several clusters share.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub cluster_name: String,

    /// Report what would be done, in statuses, and do nothing.
    #[arg(long)]
    pub read_only: bool,

    /// How many pipelines are worked on at one time.
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub concurrency: u16,

    /// Requests a second to Glue, of each account and region, as long as it does not ask to slow down.
    #[arg(long, value_name = "NUMBER", default_value_t = Rates::default().glue_per_second, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub glue_rate: u32,

    /// Requests a second to Athena, of each account and region, as long as it does not ask to slow down.
    #[arg(long, value_name = "NUMBER", default_value_t = Rates::default().athena_per_second, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub athena_rate: u32,

    /// Port of the workers' /status, where it is not the one that they listen on by default.
    #[arg(long, value_name = "PORT", default_value_t = HTTP_PORT, hide = true)]
    pub worker_port: u16,

    /// Time between two looks for drift, such as 10m, in place of what each pipeline says.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub drift_interval: Option<Duration>,

    /// Time between two looks at the workers' /status.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_span)]
    pub status_interval: Duration,

    /// Time that the clean-up of a deleted pipeline may take before it is reported as blocked.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_span)]
    pub cleanup_deadline: Duration,

    /// Endpoint of Glue or Athena, other than AWS' own, that pipelines may name; may be repeated.
    #[arg(long = "allow-endpoint", value_name = "URL", value_parser = parse_endpoint)]
    pub allowed_endpoints: Vec<String>,

    /// Role that the pipelines of a namespace may name as aws.controlPlaneRoleArn or glue.crawler.roleArn; may be repeated.
    #[arg(long = "allow-role", value_name = "NAMESPACE=ARN", value_parser = parse_grant)]
    allowed_roles: Vec<Grant>,

    /// Database of Glue in which the pipelines of a namespace may take over tables and views that no pipeline has made; may be repeated.
    #[arg(long = "allow-adopt", value_name = "NAMESPACE=DATABASE", value_parser = parse_adoption)]
    allowed_adoptions: Vec<Grant>,
}

impl SettingsArguments {
    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let default = Settings::new(&self.worker_image, &self.namespace);
        let timing = Timing {
            drift_interval: self.drift_interval,
            status_interval: self.status_interval,
            cleanup_deadline: self.cleanup_deadline,
            ..Timing::default()
        };
        let network = NetworkSettings {
            operator_namespace: self.namespace.clone(),
            metrics_namespaces: self.metrics_namespaces.clone(),
            egress_ports: self.worker_egress_ports.clone(),
        };
        Settings {
            image_pull_policy: self.worker_image_pull_policy.clone(),
            image_pull_secrets: self.worker_image_pull_secrets.clone(),
            producer_resources: resources(&self.producer_requests, &self.producer_limits, default.producer_resources),
            sink_resources: resources(&self.sink_requests, &self.sink_limits, default.sink_resources),
            scratch_limit: self.scratch_limit.clone(),
            network: (!self.no_network_policies).then_some(network),
            cluster: self.cluster_name.clone(),
            watch_namespaces: self.watch_namespaces.iter().cloned().collect(),
            read_only: self.read_only,
            concurrency: self.concurrency,
            timing,
            grants: self.grants(),
            rates: Rates { glue_per_second: self.glue_rate, athena_per_second: self.athena_rate },
            worker_port: self.worker_port,
            ..default
        }
    }

    fn grants(&self) -> Grants {
        let mut grants = Grants { endpoints: self.allowed_endpoints.iter().cloned().collect(), ..Grants::default() };
        for (given, granted) in [(&self.allowed_roles, &mut grants.roles), (&self.allowed_adoptions, &mut grants.adoptions)] {
            for Grant { namespace, granted: what } in given {
                granted.entry(namespace.clone()).or_default().insert(what.clone());
            }
        }
        grants
    }
}

/// What is given replaces the whole of what it is about: a default cannot be taken away one by one.
fn resources(requests: &[Quantity], limits: &[Quantity], default: Resources) -> Resources {
    let map = |quantities: &[Quantity]| quantities.iter().map(|Quantity { name, value }| (name.clone(), value.clone())).collect();
    Resources {
        requests: if requests.is_empty() { default.requests } else { map(requests) },
        limits: if limits.is_empty() { default.limits } else { map(limits) },
    }
}

#[cfg(test)]
mod tests;
