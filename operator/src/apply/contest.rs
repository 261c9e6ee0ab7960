//! Two that insist on one field of an object. Each change of a Deployment's template replaces pods, so that it is set right a few times
//! and then left as the other has it, for a while; other children are set right more slowly. Pure, on JSON; the time comes in.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::hash;
use crate::resource::identity::{MANAGER, Role};

/// How often one object may be set right within [`WINDOW`]: people who mend something by hand need less, and a controller that insists
/// has used it up within a second.
const MOST: usize = 6;
/// Time within which that many corrections are made.
const WINDOW: Duration = Duration::from_hours(1);

/// When objects were set right lately, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Corrections(Vec<(u64, Vec<Timestamp>)>);

impl Corrections {
    /// Returns whether an object was set right so often that somebody insists on it.
    pub(super) fn are_many(&self, place: &str, now: Timestamp) -> bool {
        self.within(WINDOW, place, now) >= MOST
    }

    /// Returns whether an object was set right within some time.
    pub(super) fn is_any_within(&self, time: Duration, place: &str, now: Timestamp) -> bool {
        self.within(time, place, now) > 0
    }

    fn within(&self, time: Duration, place: &str, now: Timestamp) -> usize {
        let place = hash::number(place);
        let made = self.0.iter().find(|(known, _)| *known == place).map_or(&[][..], |(_, made)| made);
        made.iter().filter(|made| is_within(time, **made, now)).count()
    }

    /// Notes that an object was set right; of more than [`MOST`] times the last ones count.
    pub(super) fn note(&mut self, place: &str, now: Timestamp) {
        let place = hash::number(place);
        for (_, made) in &mut self.0 {
            made.retain(|made| is_within(WINDOW, *made, now));
        }
        match self.0.iter_mut().find(|(known, _)| *known == place) {
            Some((_, made)) => {
                made.push(now);
                made.drain(..made.len().saturating_sub(MOST));
            }
            None => self.0.push((place, vec![now])),
        }
        self.0.retain(|(_, made)| !made.is_empty());
    }
}

/// A clock that was set back makes nothing recent for longer.
fn is_within(time: Duration, made: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(made)).is_ok_and(|age| age < time)
}

/// An object that others change back whenever it is set right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contest {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Whose pods it is about; None where it is about those of both roles.
    pub(crate) role: Option<Role>,
    /// Fields that are not as declared.
    pub(crate) fields: Vec<String>,
    /// Who owns them, by the names that they give themselves.
    pub(crate) owners: Vec<String>,
    /// Whether it is left as they have it for now.
    pub(crate) is_left: bool,
}

impl Contest {
    /// Says what is contested, by whom, and how it ends.
    pub(crate) fn message(&self) -> String {
        let Self { kind, name, fields, owners, is_left, .. } = self;
        let end = if *is_left { "so it is left for now" } else { "and it is set right on and on, more slowly" };
        let owners = if owners.is_empty() { "somebody else".to_owned() } else { owners.join(", ") };
        format!(
            "{owners} changes {} of {kind} {name} whenever it is set right: {MOST} times within an hour, {end}; stop that, or \
             change the StockPipeline instead",
            fields.join(", ")
        )
    }
}

/// Returns who but the operator owns some fields of an object, or something within them.
pub(super) fn owners(live: &Value, fields: &[String]) -> Vec<String> {
    let mut owners = Vec::new();
    for owner in live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten() {
        let name = owner["manager"].as_str().unwrap_or_default();
        if name == MANAGER || owner["subresource"] == "status" || owners.iter().any(|known| known == name) {
            continue;
        }
        let mut owned = Vec::new();
        leaves(&owner["fieldsV1"], "", &mut owned);
        if owned.iter().any(|path| fields.iter().any(|field| within(path, field) || within(field, path))) {
            owners.push(name.to_owned());
        }
    }
    owners
}

/// Finds the paths of what an owner lists, written as differences are.
fn leaves(owned: &Value, path: &str, found: &mut Vec<String>) {
    let before = found.len();
    for (step, below) in owned.as_object().into_iter().flatten() {
        let next = match step.split_once(':') {
            Some(("f", name)) if path.is_empty() => name.to_owned(),
            Some(("f", name)) => format!("{path}.{name}"),
            Some(("k", keys)) => match serde_json::from_str::<Map<String, Value>>(keys).ok().and_then(|keys| keys.into_iter().next()) {
                Some((_, key)) => format!("{path}[{}]", key.as_str().map_or_else(|| key.to_string(), str::to_owned)),
                None => continue,
            },
            _ => continue,
        };
        leaves(below, &next, found);
    }
    if found.len() == before && !path.is_empty() {
        found.push(path.to_owned());
    }
}

fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
    }

    #[test]
    fn an_object_is_set_right_a_few_times_an_hour_and_others_do_not_count() {
        let mut corrections = Corrections::default();
        for minute in 0..MOST {
            assert!(!corrections.are_many("Deployment/a", at(0)), "{minute}");
            corrections.note("Deployment/a", at(i64::try_from(minute).unwrap()));
        }
        assert!(corrections.are_many("Deployment/a", at(59)) && !corrections.are_many("Deployment/b", at(59)));
        assert!(!corrections.are_many("Deployment/a", at(60)), "the first one is an hour ago");
        corrections.note("Deployment/a", at(60));
        assert!(corrections.are_many("Deployment/a", at(60)), "one more an hour later is no new start");
        corrections.note("Deployment/b", at(1_000));
        assert_eq!(corrections.0.len(), 1, "what is long ago is forgotten");
        assert!(!corrections.is_any_within(WINDOW, "Deployment/b", at(-1_000_000)), "a clock that was set back holds nothing up");
    }

    #[test]
    fn what_is_set_right_on_and_on_pauses_between_and_is_counted_within_bounds() {
        let mut corrections = Corrections::default();
        let pause = Duration::from_mins(1);
        for minute in 0..1_000 {
            assert!(!corrections.is_any_within(pause, "ConfigMap/a", at(minute)), "{minute}");
            corrections.note("ConfigMap/a", at(minute));
            assert!(corrections.is_any_within(pause, "ConfigMap/a", at(minute)), "{minute}");
        }
        assert!(corrections.are_many("ConfigMap/a", at(1_000)));
        assert_eq!(corrections.0[0].1.len(), MOST);
    }

    #[test]
    fn who_owns_a_field_is_named_and_nobody_else() {
        let fields = |owned: Value| json!({ "f:spec": owned });
        let sink = json!({ "k:{\"name\":\"sink\"}": { ".": {}, "f:image": {}, "f:name": {} } });
        let template = |containers: Value| json!({ "f:template": { "f:spec": { "f:containers": containers } } });
        let live = json!({ "metadata": { "managedFields": [
            { "manager": MANAGER, "fieldsV1": fields(json!({ "f:replicas": {} })) },
            { "manager": "autoscaler", "subresource": "scale", "fieldsV1": fields(json!({ "f:replicas": {} })) },
            { "manager": "image-updater", "fieldsV1": fields(template(sink)) },
            { "manager": "kube-controller-manager", "subresource": "status", "fieldsV1": { "f:status": { "f:replicas": {} } } },
            { "manager": "people", "fieldsV1": { "f:metadata": { "f:annotations": { "f:example.com/ticket": {} } } } },
        ] } });
        let check = |field: &str| owners(&live, &[field.to_owned()]);
        assert_eq!(check("spec.replicas"), ["autoscaler"]);
        assert_eq!(check("spec.template.spec.containers[sink].image"), ["image-updater"]);
        assert_eq!(check("spec.template.spec.containers[sink]"), ["image-updater"], "of a whole item");
        assert_eq!(check("metadata.annotations.example.com/ticket"), ["people"]);
        assert!(check("spec.template.spec.containers[sink].args").is_empty() && check("spec.paused").is_empty());
    }
}
