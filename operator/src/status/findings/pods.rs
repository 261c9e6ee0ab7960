//! What a pod says of its worker: whether it is ready, and why it is not.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod};
use kube::ResourceExt;
use stockpipeline::launch::Exit;
use stockpipeline::status::Reason as WorkerReason;

use crate::status::reason::Availability;

/// For how long the end of a container counts while its successor is not ready.
const RECENT_SECONDS: i64 = 600;
/// Characters of a message of a pod.
const MAX_MESSAGE: usize = 400;

/// What a pod says of its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Address, once it has one and while it is not being deleted.
    pub address: Option<std::net::IpAddr>,
    /// Whether its worker is ready.
    pub is_ready: bool,
    /// Since when its volumes are waited for, where it waits for nothing else.
    pub mounting_since: Option<Timestamp>,
    /// What keeps it from being ready.
    pub trouble: Option<Trouble>,
}

/// What keeps a pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A Secret is missing.
    SecretMissing(String),
    /// A reason of the workers' condition.
    Worker(Availability, String),
}

impl PodFacts {
    /// Returns the facts of a pod; None for one that has ended or is being deleted, which says nothing about what there should be.
    #[must_use]
    pub fn of(pod: &Pod, now: Timestamp) -> Option<Self> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        if pod.metadata.deletion_timestamp.is_some() || phase == "Succeeded" {
            return None;
        }
        let holds = |name: &str, value: &str| {
            let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
            conditions.iter().find(|condition| condition.type_ == name && condition.status == value).cloned()
        };
        let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let is_ready = holds("Ready", "True").is_some();
        let unscheduled = holds("PodScheduled", "False").filter(|condition| condition.reason.as_deref() == Some("Unschedulable"));
        let trouble = match unscheduled {
            _ if is_ready => None,
            Some(condition) => Some(Trouble::Worker(Availability::Unschedulable, condition.message.unwrap_or_default())),
            None if phase == "Failed" => {
                let reason = status.and_then(|status| status.reason.clone()).unwrap_or_else(|| "failed".to_owned());
                let message = status.and_then(|status| status.message.clone()).unwrap_or_default();
                Some(Trouble::Worker(Availability::CrashLoop, format!("{reason}: {message}")))
            }
            None => containers.iter().find_map(|container| trouble_of(container, now)),
        };
        let is_creating = |container: &ContainerStatus| waiting(container).is_some_and(|reason| reason == "ContainerCreating");
        let mounts = trouble.is_none() && !containers.is_empty() && containers.iter().all(is_creating);
        Some(Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            address: status.and_then(|status| status.pod_ip.as_deref()).and_then(|address| address.parse().ok()),
            is_ready,
            mounting_since: pod.metadata.creation_timestamp.as_ref().map(|time| time.0).filter(|_| mounts),
            trouble: trouble.map(Trouble::shortened),
        })
    }

    /// Takes what the kubelet said of the pod's volumes.
    pub fn mount_failed(&mut self, message: &str) {
        let message = format!("a volume cannot be mounted: {message}");
        self.trouble = Some(if names_a_secret(&message) {
            Trouble::SecretMissing(message).shortened()
        } else {
            Trouble::Worker(Availability::InvalidConfiguration, message).shortened()
        });
    }
}

impl Trouble {
    fn shortened(self) -> Self {
        let shorten = |text: String| text.chars().take(MAX_MESSAGE).collect::<String>();
        match self {
            Self::SecretMissing(message) => Self::SecretMissing(shorten(message)),
            Self::Worker(reason, message) => Self::Worker(reason, shorten(message)),
        }
    }
}

fn waiting(container: &ContainerStatus) -> Option<&str> {
    container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn trouble_of(container: &ContainerStatus, now: Timestamp) -> Option<Trouble> {
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    match container.state.as_ref() {
        Some(ContainerState { waiting: Some(waiting), .. }) => trouble_while_waiting(waiting, ended),
        Some(ContainerState { terminated: Some(terminated), .. }) => Some(crash(terminated)),
        Some(ContainerState { .. }) | None => ended.filter(|ended| !container.ready && is_recent(ended, now)).map(crash),
    }
}

fn is_recent(ended: &ContainerStateTerminated, now: Timestamp) -> bool {
    ended.exit_code != i32::from(Exit::Done.code())
        && ended.finished_at.as_ref().is_some_and(|time| now.as_second() - time.0.as_second() < RECENT_SECONDS)
}

fn trouble_while_waiting(waiting: &ContainerStateWaiting, ended: Option<&ContainerStateTerminated>) -> Option<Trouble> {
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.clone().unwrap_or_else(|| reason.to_owned());
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" | "RegistryUnavailable" => {
            Some(Trouble::Worker(Availability::ImagePull, message))
        }
        "CreateContainerConfigError" if names_a_secret(&message) => Some(Trouble::SecretMissing(message)),
        "CreateContainerConfigError" | "CreateContainerError" => Some(Trouble::Worker(Availability::InvalidConfiguration, message)),
        "CrashLoopBackOff" => Some(ended.map_or(Trouble::Worker(Availability::CrashLoop, message), crash)),
        "ContainerCreating" | "PodInitializing" | "" => None,
        other => Some(Trouble::Worker(Availability::CrashLoop, format!("{other}: {message}"))),
    }
}

fn names_a_secret(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("secret") && (message.contains("not found") || message.contains("non-existent") || message.contains("couldn't find"))
}

/// A worker that ends for good says why on one line that starts with the reason.
fn crash(terminated: &ContainerStateTerminated) -> Trouble {
    let message = terminated.message.as_deref().unwrap_or_default().trim();
    let line = message.lines().next().unwrap_or_default();
    let own = line.split_once(':').and_then(|(label, _)| WorkerReason::from_label(label)).and_then(Availability::of_failure);
    if let Some(reason) = own {
        return Trouble::Worker(reason, line.to_owned());
    }
    let text = if terminated.reason.as_deref() == Some("OOMKilled") {
        "the worker was killed since it took more memory than its limit; raise the limit".to_owned()
    } else if message.is_empty() {
        format!("the worker ended with exit code {}", terminated.exit_code)
    } else {
        format!("the worker ended with exit code {}: {message}", terminated.exit_code)
    };
    Trouble::Worker(Availability::CrashLoop, text)
}
