//! The pods, who decides their number, and when they run.

use serde_json::{Map, Value};

use super::cron::Cron;
use super::findings::Findings;
use super::shape::keyed;
use super::{suggest, time, unsigned};
use crate::operations::{self as checked, LagScaling, Scaling, Worker};
use crate::spec::PipelineSpec;
use crate::spec::bounds::{DRAIN_TIMEOUT, Quantity, SCALE_DOWN};
use crate::spec::lifecycle::{self, Retention};
use crate::spec::worker::{self as spec, Pods, ScalingMode};

const SCALING: &str = "spec.sink.worker.scaling";
/// Bytes of JSON that a free-form field may have.
const MAX_FREE_FORM: usize = 16_384;
/// Resources that a worker can ask for.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Members of a patch's `metadata`.
const PATCH_METADATA: [&str; 2] = ["labels", "annotations"];
/// Members of a patch's `spec`: nothing among them can weaken the pod's security, its mounts or its image.
const PATCH_SPEC: [&str; 8] = [
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "imagePullSecrets",
    "preemptionPolicy",
    "runtimeClassName",
    "schedulerName",
];

/// Starts of variables that load code into the worker, or lead its requests and their credentials around the checked endpoints.
const REFUSED_VARIABLES: [&str; 5] = ["LD_", "GLIBC_", "AWS_", "SSL_", "OPENSSL_"];
/// End of those that put a proxy before every endpoint.
const PROXY_VARIABLE: &str = "_PROXY";
/// Starts of annotations by which runtimes, networks and clouds give a pod what its spec may not ask for: weaker security, roles, devices,
/// networks, mounts, images.
const REFUSED_ANNOTATIONS: [&str; 22] = [
    "cdi.k8s.io/",
    "cni.projectcalico.org/",
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "dev.gvisor.",
    "devices.nri.io/",
    "eks.amazonaws.com/",
    "iam.amazonaws.com/",
    "iam.cloud.google.com/",
    "inject.istio.io/",
    "io.containerd.",
    "io.katacontainers.",
    "io.kubernetes.cri-o.",
    "io.kubernetes.cri.",
    "k8s.ovn.org/",
    "k8s.v1.cni.cncf.io/",
    "mounts.nri.io/",
    "ovn.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "sidecar.istio.io/proxyimage",
    "sidecar.istio.io/uservolume",
    "v1.multus-cni.io/",
];

/// Checks the pods of one role.
pub(crate) fn check(path: &str, replicas: i32, pods: &Pods, findings: &mut Findings) -> Worker {
    let placement = &pods.placement;
    if let Some(patch) = &pods.pod_template_patch {
        check_patch(&format!("{path}.podTemplatePatch"), patch, findings);
    }
    if let Some(affinity) = &placement.affinity {
        check_size(&format!("{path}.placement.affinity"), affinity, findings);
    }
    for (index, variable) in pods.env.iter().enumerate() {
        check_variable(&format!("{path}.env[{index}].name"), &variable.name, findings);
    }
    for (index, toleration) in placement.tolerations.iter().enumerate() {
        check_toleration(&format!("{path}.placement.tolerations[{index}]"), toleration, findings);
    }
    Worker {
        replicas: unsigned(replicas),
        service_account: pods.service_account_name.clone(),
        requests: quantities(&format!("{path}.resources.requests"), &pods.resources.requests, findings),
        limits: quantities(&format!("{path}.resources.limits"), &pods.resources.limits, findings),
        placement: checked::Placement {
            node_selector: placement.node_selector.clone(),
            tolerations: placement.tolerations.iter().map(to_json).collect(),
            topology_spread_constraints: placement.topology_spread_constraints.iter().map(to_json).collect(),
            affinity: placement.affinity.clone().filter(|affinity| affinity.as_object().is_some_and(|members| !members.is_empty())),
            spot: match placement.spot {
                spec::Spot::Allow => checked::Spot::Allow,
                spec::Spot::Prefer => checked::Spot::Prefer,
                spec::Spot::Forbid => checked::Spot::Forbid,
            },
            priority_class: placement.priority_class_name.clone(),
        },
        grace_seconds: unsigned(pods.termination_grace_period_seconds),
        max_unavailable: unsigned(pods.pod_disruption_budget.max_unavailable),
        environment: pods.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
        pod_template_patch: pods.pod_template_patch.clone().filter(|patch| patch.as_object().is_some_and(|members| !members.is_empty())),
    }
}

fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("plain structs with text keys are always JSON")
}

fn quantities(
    path: &str,
    quantities: &std::collections::BTreeMap<String, Quantity>,
    findings: &mut Findings,
) -> std::collections::BTreeMap<String, String> {
    for name in quantities.keys().filter(|name| !RESOURCES.contains(&name.as_str())) {
        findings.broken(&keyed(path, name), "is no resource that a worker uses", &suggest::remedy(name, RESOURCES));
    }
    quantities.iter().map(|(name, quantity)| (name.clone(), quantity.0.clone())).collect()
}

fn check_toleration(path: &str, toleration: &spec::Toleration, findings: &mut Findings) {
    let exists = toleration.operator == spec::TolerationOperator::Exists;
    if exists && toleration.value.as_ref().is_some_and(|value| !value.is_empty()) {
        findings.broken(&format!("{path}.value"), "is set although operator is Exists", "remove it, or set operator: Equal");
    }
    if !exists && toleration.key.as_ref().is_none_or(String::is_empty) {
        findings.broken(&format!("{path}.key"), "is required when operator is Equal", "add it, or set operator: Exists");
    }
}

fn check_size(path: &str, value: &Value, findings: &mut Findings) {
    let bytes = value.to_string().len();
    if bytes > MAX_FREE_FORM {
        findings.broken(path, &format!("has {bytes} bytes of JSON"), &format!("use at most {MAX_FREE_FORM}"));
    }
}

fn check_patch(path: &str, template: &Value, findings: &mut Findings) {
    check_size(path, template, findings);
    let none = Map::new();
    for (name, part) in template.as_object().unwrap_or(&none) {
        let allowed: &[&str] = match name.as_str() {
            "metadata" => &PATCH_METADATA,
            "spec" => &PATCH_SPEC,
            _ => {
                findings.broken(&keyed(path, name), "may not be patched", "patch metadata and spec only");
                continue;
            }
        };
        let Some(members) = part.as_object() else {
            findings.broken(&keyed(path, name), "is not an object", "indent its fields under its name");
            continue;
        };
        for member in members.keys().filter(|member| !allowed.contains(&member.as_str())) {
            let remedy = format!("only {} may be patched; for the rest use the fields of the worker", allowed.join(", "));
            findings.broken(&keyed(&keyed(path, name), member), "may not be patched", &remedy);
        }
    }
    check_labels(&format!("{path}.metadata.labels"), template, findings);
    check_annotations(&format!("{path}.metadata.annotations"), template, findings);
}

/// Programs read proxies in either case.
fn check_variable(path: &str, name: &str, findings: &mut Findings) {
    let upper = name.to_ascii_uppercase();
    if upper.ends_with(PROXY_VARIABLE) || REFUSED_VARIABLES.iter().any(|start| upper.starts_with(start)) {
        let reason = "is a variable that loads code, or leads requests and their credentials elsewhere";
        findings.wrong(path, name, reason, "use the fields of kafka and aws, or another name");
    }
}

fn check_annotations(path: &str, template: &Value, findings: &mut Findings) {
    let annotations = template.get("metadata").and_then(|metadata| metadata.get("annotations")).and_then(Value::as_object);
    for name in annotations.into_iter().flat_map(Map::keys) {
        let lower = name.to_ascii_lowercase();
        if REFUSED_ANNOTATIONS.iter().any(|start| lower.starts_with(start)) {
            let reason = "is an annotation that gives a pod what its spec may not ask for";
            findings.broken(&keyed(path, name), reason, "remove it; what all pods of a namespace get is its administrator's to set");
        }
    }
}

/// The operator finds its pods by these labels.
fn check_labels(path: &str, template: &Value, findings: &mut Findings) {
    let labels = template.get("metadata").and_then(|metadata| metadata.get("labels")).and_then(Value::as_object);
    for name in labels.into_iter().flat_map(Map::keys) {
        if name.starts_with("app.kubernetes.io/") || name.starts_with("stockpipeline.dev/") {
            findings.broken(&keyed(path, name), "is a label of the operator's own", "use another prefix");
        }
    }
}

/// Checks who decides the number of sinks.
pub(crate) fn scaling(spec: &PipelineSpec, partitions: Option<i32>, findings: &mut Findings) -> Scaling {
    let worker = &spec.sink.worker;
    let scaling = &worker.scaling;
    if scaling.min_replicas > scaling.max_replicas {
        let reason = format!("is above maxReplicas, {}", scaling.max_replicas);
        findings.wrong(&format!("{SCALING}.minReplicas"), scaling.min_replicas, &reason, "lower it, or raise maxReplicas");
    }
    let stabilization = time::span(findings, &format!("{SCALING}.scaleDownStabilization"), &scaling.scale_down_stabilization, SCALE_DOWN);
    let windows =
        scaling.windows.iter().enumerate().map(|(index, window)| check_window(index, window, scaling.max_replicas, findings)).collect();
    match scaling.mode {
        ScalingMode::Fixed => {
            check_fixed(worker.replicas, partitions, findings);
            Scaling::Fixed
        }
        ScalingMode::External => Scaling::External,
        ScalingMode::Lag => Scaling::Lag(LagScaling {
            min_replicas: unsigned(scaling.min_replicas),
            max_replicas: unsigned(scaling.max_replicas),
            target_lag_per_replica: unsigned(scaling.target_lag_per_replica),
            scale_down_stabilization: stabilization,
            windows,
        }),
    }
}

fn check_fixed(replicas: i32, partitions: Option<i32>, findings: &mut Findings) {
    if let Some(partitions) = partitions.filter(|partitions| replicas > *partitions) {
        let reason = format!("is more than the topic's {partitions} partitions, so that some pods would idle");
        findings.wrong("spec.sink.worker.replicas", replicas, &reason, "lower it, or raise kafka.topic.partitions");
    }
}

fn check_window(index: usize, window: &spec::Window, most: i32, findings: &mut Findings) -> checked::Window {
    let path = format!("{SCALING}.windows[{index}]");
    if window.min_replicas > most {
        findings.wrong(
            &format!("{path}.minReplicas"),
            window.min_replicas,
            &format!("is above maxReplicas, {most}"),
            "lower it, or raise maxReplicas",
        );
    }
    checked::Window {
        name: window.name.clone(),
        time_zone: time::zone(findings, &format!("{path}.timezone"), &window.timezone),
        start: cron(&format!("{path}.start"), &window.start, findings),
        end: cron(&format!("{path}.end"), &window.end, findings),
        min_replicas: unsigned(window.min_replicas),
    }
}

fn cron(path: &str, text: &str, findings: &mut Findings) -> Cron {
    Cron::parse(text).unwrap_or_else(|reason| {
        findings.wrong(path, text, &reason, "write minute, hour, day, month and weekday, such as \"25 9 * * 1-5\"");
        Cron::never()
    })
}

/// Checks when the pipeline runs.
pub(crate) fn lifecycle(lifecycle: &lifecycle::Lifecycle, findings: &mut Findings) -> checked::Lifecycle {
    checked::Lifecycle {
        desired_state: match lifecycle.desired_state {
            lifecycle::DesiredState::Running => checked::DesiredState::Running,
            lifecycle::DesiredState::Drained => checked::DesiredState::Drained,
            lifecycle::DesiredState::Stopped => checked::DesiredState::Stopped,
        },
        drain_timeout: time::span(findings, "spec.lifecycle.drainTimeout", &lifecycle.drain_timeout, DRAIN_TIMEOUT),
        restart_nonce: unsigned(lifecycle.restart_nonce),
    }
}

/// Converts what happens on deletion; nothing in it can be wrong.
pub(crate) fn deletion(policy: lifecycle::DeletionPolicy) -> checked::DeletionPolicy {
    let deletes = |retention: Retention| retention == Retention::Delete;
    checked::DeletionPolicy {
        topic: deletes(policy.topic),
        tables: deletes(policy.tables),
        database: deletes(policy.database),
        named_queries: deletes(policy.named_queries),
        data: deletes(policy.data),
    }
}
