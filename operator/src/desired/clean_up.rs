//! The Jobs that remove what a deletion policy names: the worker's image with the sink's mounts, account and place, one command each.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stockpipeline::check::FieldError;
use stockpipeline::launch::CONFIG_PATH;

use super::{Children, Wanted, document, pod};
use crate::resource::identity::{Identity, Role};

/// Pods that a Job tries before it has failed.
const RETRIES: i32 = 2;
/// Seconds that a Job may take: large buckets are listed and emptied a thousand objects at a time.
const DEADLINE_SECONDS: i64 = 3_600;
/// Seconds after which an ended Job is removed, should nobody else do it.
const KEPT_SECONDS: i32 = 3_600;

/// What a Job removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanUp {
    /// The topic and the slots topic.
    Topic,
    /// All objects of the zones, and the ledger.
    Data,
}

impl CleanUp {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Topic, Self::Data];

    /// Returns the name of the worker's command.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Data => "data",
        }
    }
}

/// Returns the name of a Job.
#[must_use]
pub fn clean_up_name(identity: &Identity, what: CleanUp) -> String {
    format!("{}-delete-{}", identity.name, what.command())
}

impl CleanUp {
    /// Returns the Job.
    ///
    /// # Errors
    /// A [`FieldError`] for a free-form field that Kubernetes does not take.
    pub fn job(self, wanted: &Wanted<'_>) -> Result<Job, FieldError> {
        let &Wanted { identity, pipeline, settings, .. } = wanted;
        let worker = &pipeline.operations.sink_worker;
        let rendered = document::for_workers(wanted.document);
        let config_hash = document::config_hash(&rendered, Role::Sink);
        let sink = pod::Template { identity, pipeline, settings, role: Role::Sink, worker, config_hash: &config_hash }.build()?;
        let mut metadata = identity.metadata(clean_up_name(identity, self), None);
        component(&mut metadata);
        yields(&mut metadata);
        Ok(Job {
            metadata,
            spec: Some(JobSpec {
                active_deadline_seconds: Some(DEADLINE_SECONDS),
                backoff_limit: Some(RETRIES),
                ttl_seconds_after_finished: Some(KEPT_SECONDS),
                template: self.template(sink),
                ..JobSpec::default()
            }),
            status: None,
        })
    }

    fn template(self, mut template: PodTemplateSpec) -> PodTemplateSpec {
        if let Some(metadata) = template.metadata.as_mut() {
            // No Deployment, budget or scale takes this pod for a sink; the network policy is about every pod of the pipeline.
            component(metadata);
            metadata.annotations = None;
        }
        if let Some(pod) = template.spec.as_mut() {
            pod.restart_policy = Some("Never".to_owned());
            pod.topology_spread_constraints = None;
            for container in pod.containers.iter_mut().filter(|container| container.name == Role::Sink.command()) {
                self.command().clone_into(&mut container.name);
                container.args = Some([self.command(), CONFIG_PATH, "--delete"].map(str::to_owned).to_vec());
                (container.liveness_probe, container.readiness_probe, container.ports) = (None, None, None);
            }
        }
        template
    }
}

impl Children {
    /// Returns what Jobs need beside themselves: the document, the account and the network policy. A deletion that removes the children
    /// first must not take them away.
    #[must_use]
    pub fn for_clean_up(self) -> (ConfigMap, Option<ServiceAccount>, Option<NetworkPolicy>) {
        let Self { mut config, mut service_account, mut network_policy, .. } = self;
        yields(&mut config.metadata);
        if let Some(account) = service_account.as_mut() {
            yields(&mut account.metadata);
        }
        if let Some(policy) = network_policy.as_mut() {
            yields(&mut policy.metadata);
        }
        (config, service_account, network_policy)
    }
}

fn component(metadata: &mut ObjectMeta) {
    metadata.labels.get_or_insert_default().insert("app.kubernetes.io/component".to_owned(), "clean-up".to_owned());
}

/// The garbage collector removes in the foreground only what blocks its owner.
fn yields(metadata: &mut ObjectMeta) {
    for owner in metadata.owner_references.iter_mut().flatten() {
        owner.block_owner_deletion = Some(false);
    }
}
