//! Events for people who look with `kubectl describe`: one when something goes wrong and one when it is well again, none while nothing
//! changes. That all came as declared is in the status alone: a thousand new pipelines are a thousand events that nobody reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::apply;
use crate::catalog::decide;

/// Characters of an event's note that the API server takes.
const MAX_NOTE: usize = 1_000;
/// Events about single objects at one look.
const MOST: usize = 5;

/// Returns the events of what has changed between two lists of conditions.
#[must_use]
pub fn of_transitions(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let mut events = Vec::new();
    for condition in after {
        let old = before.iter().find(|old| old.type_ == condition.type_);
        let is_new = old.is_none_or(|old| old.status != condition.status || old.reason != condition.reason);
        let type_ = match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "True") if before.iter().any(is_trouble) => EventType::Normal,
            ("Suspended", "True") => EventType::Normal,
            _ if is_trouble(condition) => EventType::Warning,
            _ => continue,
        };
        if is_new {
            events.push(event(type_, &condition.reason, &condition.type_, &condition.message));
        }
    }
    events
}

/// What is on its way is none.
fn is_trouble(condition: &Condition) -> bool {
    match (condition.type_.as_str(), condition.status.as_str()) {
        ("Accepted" | "TopicReady" | "ProducerAvailable" | "SinkAvailable" | "CatalogSynced", "False") => {
            !matches!(condition.reason.as_str(), "RollingOut" | "Creating")
        }
        ("Stalled", "True") => condition.reason == "CleanupBlocked",
        _ => false,
    }
}

/// Returns the events of what others had changed and was set right, in the cluster and in the catalogue.
#[must_use]
pub fn of_corrections(objects: &[apply::Change], catalogue: &[decide::ObjectChange]) -> Vec<Event> {
    let objects = objects.iter().filter(|change| change.act == apply::Act::Correct).map(|change| {
        let fields = if change.fields.is_empty() { "it was gone".to_owned() } else { change.fields.join(", ") };
        event(EventType::Warning, "DriftCorrected", "Reconcile", &format!("{} {}: {fields}", change.kind, change.name))
    });
    let catalogue = catalogue.iter().filter(|change| change.act == decide::Act::Correct).map(|change| {
        let fields: Vec<String> = change.fields.iter().take(MOST).map(ToString::to_string).collect();
        event(EventType::Warning, "DriftCorrected", "Catalogue", &format!("{}: {}", change.object, fields.join("; ")))
    });
    objects.chain(catalogue).take(MOST).collect()
}

/// Returns an event about a change of the number of sinks by the operator itself.
#[must_use]
pub fn scaled(before: u32, after: u32) -> Event {
    event(EventType::Normal, "Scaled", "Scale", &format!("sinks: {before} -> {after}, by lag"))
}

/// Returns an event about the end of a clean-up.
#[must_use]
pub fn cleaned_up(note: &str) -> Event {
    event(EventType::Normal, "CleanedUp", "Delete", note)
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(MAX_NOTE).collect()),
        action: action.to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: "why".to_owned(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    fn told(before: &[Condition], after: &[Condition]) -> Vec<String> {
        of_transitions(before, after).into_iter().map(|event| format!("{:?} {}", event.type_, event.reason)).collect()
    }

    #[test]
    fn only_transitions_are_events() {
        let (ready, broken) = (condition("Ready", "True", "Ready"), condition("SinkAvailable", "False", "CrashLoop"));
        assert!(told(&[], std::slice::from_ref(&ready)).is_empty(), "that all came as declared is no news");
        assert!(told(std::slice::from_ref(&ready), std::slice::from_ref(&ready)).is_empty());
        assert_eq!(told(std::slice::from_ref(&broken), std::slice::from_ref(&ready)), ["Normal Ready"]);
        assert_eq!(told(&[ready], std::slice::from_ref(&broken)), ["Warning CrashLoop"]);
        let other = condition("SinkAvailable", "False", "ImagePull");
        assert_eq!(told(&[broken], &[other]), ["Warning ImagePull"]);
        assert!(told(&[], &[condition("SinkAvailable", "False", "RollingOut")]).is_empty());
        assert!(told(&[], &[condition("TopicReady", "Unknown", "NotMeasured")]).is_empty());
    }
}
