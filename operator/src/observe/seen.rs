//! What there is of one pipeline right now: its Deployments, its pods, and what their workers say.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use stockpipeline::status::Status;

use super::{Key, Said};
use crate::observe::workers::Target;
use crate::reconcile::controller::Shared;
use crate::reconcile::memory::Remembered;
use crate::resource::identity::{Identity, Role};
use crate::status::findings::{Obstacle, PodFacts, WorkersSeen};

/// For how long what a worker has said holds while it does not answer.
const HOLDS: Duration = Duration::from_mins(1);
/// Workers that have answered are not asked again within this time, whatever happens around them.
const NOT_WITHIN: Duration = Duration::from_secs(2);
/// For how long volumes may be mounted before somebody asks why.
const MOUNTING: Duration = Duration::from_secs(20);
/// Pods whose events are asked for at one look.
const ASKED_PODS: usize = 2;
/// Events of a pod that are read.
const EVENTS: u32 = 20;

/// What there is of one role.
#[derive(Debug, Default)]
pub(crate) struct RoleSeen {
    pub(crate) deployment: Option<Arc<Deployment>>,
    pub(crate) pods: Vec<PodFacts>,
    pub(crate) said: Vec<Status>,
    /// Pods that have not ended, those among them that are being deleted.
    pub(crate) left: u32,
}

/// What there is of one pipeline.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sink: RoleSeen,
    pub(crate) producer: RoleSeen,
}

impl Seen {
    /// Returns what the caches have.
    pub(crate) fn of(shared: &Shared, identity: &Identity, now: Timestamp) -> Self {
        let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
        let pods = shared.caches.pods.all(&key);
        let role = |role: Role| RoleSeen {
            deployment: shared.caches.deployments.get(&key, &identity.role_name(role)),
            pods: pods
                .iter()
                .filter(|pod| is_of(pod, role) && is_made_for(pod, &identity.role_name(role)))
                .filter_map(|pod| PodFacts::of(pod, now))
                .collect(),
            said: Vec::new(),
            left: count(pods.iter().filter(|pod| is_of(pod, role) && !has_ended(pod)).count()),
        };
        Self { sink: role(Role::Sink), producer: role(Role::Producer) }
    }

    /// Looks at the Deployments again, after they were written.
    pub(crate) fn look_again(&mut self, shared: &Shared, identity: &Identity) {
        let key = Key { namespace: identity.namespace.clone(), name: identity.name.clone() };
        let deployment = |role: Role| shared.caches.deployments.get(&key, &identity.role_name(role));
        (self.sink.deployment, self.producer.deployment) = (deployment(Role::Sink), deployment(Role::Producer));
    }

    /// Asks the workers, and the events of pods whose volumes are waited for.
    pub(crate) async fn ask(&mut self, shared: &Shared, identity: &Identity, memory: &mut Remembered, now: Timestamp) {
        let is_due = memory.asked.is_none_or(|asked| age(now, asked) >= NOT_WITHIN);
        let is_unheard = |pod: &PodFacts| pod.is_ready && !memory.said.iter().any(|said| *said.pod == *pod.name);
        let pods: Vec<&PodFacts> = self.sink.pods.iter().chain(&self.producer.pods).filter(|pod| is_due || is_unheard(pod)).collect();
        if !pods.is_empty() {
            let mut targets: Vec<Target> =
                pods.into_iter().filter_map(|pod| Some(Target { pod: pod.name.clone(), address: pod.address? })).collect();
            if !targets.is_empty() {
                memory.asked = Some(now);
                // Those that time did not suffice for come first.
                let turn = memory.turn % targets.len();
                targets.rotate_left(turn);
            }
            let answers = shared.workers.ask(targets).await;
            memory.turn = memory.turn.wrapping_add(answers.len());
            for answer in answers {
                match answer.said {
                    Ok(status) => hear(shared, memory, answer.pod, &status, now),
                    Err(error) => tracing::debug!(pod = answer.pod, error = %error, "failed to read a worker's status"),
                }
            }
        }
        let (sink, producer) = (&self.sink.pods, &self.producer.pods);
        let is_there = |name: &str| sink.iter().chain(producer).any(|pod| pod.name == name);
        memory.said.retain(|said| is_there(&said.pod) && age(now, said.at) < HOLDS);
        for role in [&mut self.sink, &mut self.producer] {
            let said = |pod: &PodFacts| memory.said.iter().find(|said| *said.pod == *pod.name);
            role.said = role.pods.iter().filter_map(said).filter_map(Said::status).collect();
        }
        self.ask_events(shared, identity, now).await;
    }

    /// A pod whose volumes cannot be mounted says nothing about why; only its events do.
    async fn ask_events(&mut self, shared: &Shared, identity: &Identity, now: Timestamp) {
        let api: Api<Event> = Api::namespaced(shared.context.client.clone(), &identity.namespace);
        let pods = self.sink.pods.iter_mut().chain(&mut self.producer.pods);
        let stuck = pods.filter(|pod| pod.mounting_since.is_some_and(|since| age(now, since) >= MOUNTING));
        for pod in stuck.take(ASKED_PODS) {
            let fields = format!("involvedObject.uid={},reason=FailedMount", pod.uid);
            let parameters = ListParams::default().fields(&fields).limit(EVENTS);
            let limit = shared.context.settings.timing.kubernetes_timeout;
            match tokio::time::timeout(limit, api.list(&parameters)).await {
                Ok(Ok(events)) => {
                    let newest = events.items.into_iter().max_by_key(|event| event.last_timestamp.clone().map(|time| time.0));
                    if let Some(message) = newest.and_then(|event| event.message) {
                        pod.mount_failed(&message);
                    }
                }
                Ok(Err(error)) => tracing::debug!(pod = pod.name, error = %error, "failed to read a pod's events"),
                Err(_) => tracing::debug!(pod = pod.name, "failed to read a pod's events in time"),
            }
        }
    }
}

impl RoleSeen {
    /// Returns what findings are made from.
    pub(crate) fn workers<'a>(&'a self, desired: u32, obstacle: Option<&'a Obstacle>) -> WorkersSeen<'a> {
        WorkersSeen { desired, deployment: self.deployment.as_deref(), pods: &self.pods, said: &self.said, obstacle }
    }

    /// Returns how many workers run, or are still to end.
    pub(crate) fn running(&self) -> u32 {
        let status = self.deployment.as_ref().and_then(|deployment| deployment.status.as_ref()?.replicas);
        self.left.max(status.and_then(|count| u32::try_from(count).ok()).unwrap_or(0))
    }

    /// Returns how many there are declared to be by now.
    pub(crate) fn declared(&self) -> Option<u32> {
        let replicas = self.deployment.as_ref()?.spec.as_ref()?.replicas?;
        u32::try_from(replicas).ok()
    }
}

/// Remembers what a worker has said, in place of what it has said before.
fn hear(shared: &Shared, memory: &mut Remembered, pod: String, status: &Status, now: Timestamp) {
    let known = memory.said.iter_mut().find(|known| *known.pod == *pod);
    let said = Said::new(pod, status, now, &shared.words, known.as_deref());
    match known {
        Some(known) => *known = said,
        None => memory.said.push(said),
    }
}

fn is_of(pod: &Pod, role: Role) -> bool {
    pod.labels().get("app.kubernetes.io/component").is_some_and(|component| component == role.command())
}

/// Anybody who may make pods can give one our labels, but its word is not our workers'.
fn is_made_for(pod: &Pod, deployment: &str) -> bool {
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    controller.is_some_and(|owner| {
        let of_deployment = owner.name.strip_prefix(deployment).is_some_and(|rest| rest.starts_with('-'));
        owner.kind == "ReplicaSet" && of_deployment
    })
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn age(now: Timestamp, since: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
