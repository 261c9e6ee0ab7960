//! The pod template of a role: one container of the worker's image, under the restricted Pod Security Standard.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use stockpipeline::Pipeline;
use stockpipeline::check::FieldError;
use stockpipeline::document::GROUP;
use stockpipeline::launch::{CONFIG_PATH, HTTP_PORT, LIVEZ_PATH, READYZ_PATH, TERMINATION_MESSAGE_PATH, ZONE_VARIABLE};
use stockpipeline::operations::Worker;

use super::{kubernetes, mounts, placement};
use crate::resource::identity::{Identity, Role};
use crate::settings::{Resources, Settings};

/// User and group of the worker in the image: those of distroless' `nonroot`.
const USER: i64 = 65_532;
/// Name of the port of the worker's endpoints.
const PORT_NAME: &str = "http";
/// Label of a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// What a pod template is made from.
pub(super) struct Template<'a> {
    /// The resource.
    pub(super) identity: &'a Identity,
    /// The checked pipeline.
    pub(super) pipeline: &'a Pipeline,
    /// The operator's settings.
    pub(super) settings: &'a Settings,
    /// Which worker.
    pub(super) role: Role,
    /// How its pods are.
    pub(super) worker: &'a Worker,
    /// Hash of what it reads.
    pub(super) config_hash: &'a str,
}

impl Template<'_> {
    /// Returns the pod template.
    ///
    /// # Errors
    /// A [`FieldError`] for a free-form field that Kubernetes does not take.
    pub(super) fn build(&self) -> Result<PodTemplateSpec, FieldError> {
        let field = format!("spec.{}.worker", self.role.command());
        let metadata = ObjectMeta {
            labels: Some(self.identity.selector_labels(Some(self.role))),
            annotations: Some(self.annotations()),
            ..ObjectMeta::default()
        };
        let template = PodTemplateSpec { metadata: Some(metadata), spec: Some(self.pod(&format!("{field}.placement"))?) };
        match &self.worker.pod_template_patch {
            Some(patch) => apply_patch(&format!("{field}.podTemplatePatch"), patch, &template),
            None => Ok(template),
        }
    }

    /// A change of either rolls the pods once.
    fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (format!("{GROUP}/config-hash"), self.config_hash.to_owned()),
            (format!("{GROUP}/restart-nonce"), self.pipeline.operations.lifecycle.restart_nonce.to_string()),
        ])
    }

    fn pod(&self, path: &str) -> Result<PodSpec, FieldError> {
        let placement = &self.worker.placement;
        let pull_secrets = self.settings.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
        let service_account = self.worker.service_account.clone().unwrap_or_else(|| self.identity.workers_name());
        Ok(PodSpec {
            affinity: placement::affinity(path, placement)?,
            automount_service_account_token: Some(false),
            containers: vec![self.container()],
            // Variables of other services in the namespace are none of the worker's.
            enable_service_links: Some(false),
            image_pull_secrets: some(pull_secrets.collect()),
            node_selector: Some(placement.node_selector.clone()).filter(|labels| !labels.is_empty()),
            priority_class_name: placement.priority_class.clone(),
            security_context: Some(pod_security()),
            service_account_name: Some(service_account),
            termination_grace_period_seconds: Some(self.worker.grace_seconds.into()),
            tolerations: some(placement::tolerations(path, placement)?),
            topology_spread_constraints: some(placement::spread(path, placement, self.identity, self.role)?),
            volumes: Some(mounts::volumes(self.identity, self.pipeline, self.settings, self.role)),
            ..PodSpec::default()
        })
    }

    fn container(&self) -> Container {
        let environment = self.worker.environment.iter().map(|(name, value)| variable(name, value));
        let defaults = match self.role {
            Role::Producer => &self.settings.producer_resources,
            Role::Sink => &self.settings.sink_resources,
        };
        Container {
            name: self.role.command().to_owned(),
            image: Some(self.settings.image.clone()),
            image_pull_policy: self.settings.image_pull_policy.clone(),
            args: Some(
                [self.role.command(), "--config", CONFIG_PATH, "--log-format", "json", "--zone-from-ec2"].map(str::to_owned).to_vec(),
            ),
            env: some(zone(self.worker).into_iter().chain(environment).collect()),
            ports: Some(vec![ContainerPort {
                name: Some(PORT_NAME.to_owned()),
                container_port: HTTP_PORT.into(),
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            // A worker answers within a second unless its node is starved; a loop that stands still is given a minute by the worker.
            liveness_probe: Some(probe(LIVEZ_PATH, 10, 3)),
            // Two misses in 10 seconds: a worker that can't do its work has to show within a minute.
            readiness_probe: Some(probe(READYZ_PATH, 5, 2)),
            resources: Some(resources(self.worker, defaults)),
            security_context: Some(container_security()),
            termination_message_path: Some(TERMINATION_MESSAGE_PATH.to_owned()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(mounts::mounts(self.role)),
            ..Container::default()
        }
    }
}

/// The defaults hold for a resource that the pipeline does not mention at all: half of a pair could contradict the other half.
fn resources(worker: &Worker, defaults: &Resources) -> ResourceRequirements {
    let mentioned = |name: &String| worker.requests.contains_key(name) || worker.limits.contains_key(name);
    let complete = |given: &BTreeMap<String, String>, defaults: &BTreeMap<String, String>| {
        let missing = defaults.iter().filter(|(name, _)| !mentioned(name));
        let quantities: BTreeMap<String, Quantity> =
            given.iter().chain(missing).map(|(name, quantity)| (name.clone(), Quantity(quantity.clone()))).collect();
        Some(quantities).filter(|quantities| !quantities.is_empty())
    };
    ResourceRequirements {
        requests: complete(&worker.requests, &defaults.requests),
        limits: complete(&worker.limits, &defaults.limits),
        claims: None,
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        // Mounted files belong to this group.
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The zone of the pod's node, where the cluster copies its label to pods; empty elsewhere. What the user says comes first.
fn zone(worker: &Worker) -> Option<EnvVar> {
    if worker.environment.iter().any(|(name, _)| name == ZONE_VARIABLE) {
        return None;
    }
    let field_path = format!("metadata.labels['{ZONE_LABEL}']");
    let source =
        EnvVarSource { field_ref: Some(ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path }), ..EnvVarSource::default() };
    Some(EnvVar { name: ZONE_VARIABLE.to_owned(), value: None, value_from: Some(source) })
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// Merges a patch into a template. The check lets only members through that weaken nothing; the operator's own labels and annotations
/// stay as they are.
fn apply_patch(field: &str, patch: &Value, template: &PodTemplateSpec) -> Result<PodTemplateSpec, FieldError> {
    let _: PodTemplateSpec = kubernetes::read(field, &with_containers(patch))?;
    let mut merged = serde_json::to_value(template).expect("Kubernetes' types have text keys only, so they are always JSON");
    for part in ["labels", "annotations"] {
        for (name, value) in patch["metadata"][part].as_object().into_iter().flatten() {
            if merged["metadata"][part][name].is_null() {
                merged["metadata"][part][name] = value.clone();
            }
        }
    }
    for (name, value) in patch["spec"].as_object().into_iter().flatten() {
        match (name.as_str(), &mut merged["spec"][name], value) {
            // A list with a merge key of its own: the operator's secrets stay.
            ("imagePullSecrets", Value::Array(present), Value::Array(added)) => present.extend(added.iter().cloned()),
            (_, present, _) => *present = value.clone(),
        }
    }
    kubernetes::read(field, &merged)
}

/// Kubernetes' type cannot be read without containers, which a patch never has.
fn with_containers(patch: &Value) -> Value {
    let mut whole = patch.clone();
    if whole["spec"].is_object() {
        whole["spec"]["containers"] = Value::Array(Vec::new());
    }
    whole
}
