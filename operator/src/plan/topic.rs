//! What would change about the topic, as far as a running sink has looked at it: pure.

use serde::Serialize;
use stockpipeline::checked::Topic;
use stockpipeline::status::{TopicReport, TopicState};

use super::difference::FieldChange;

/// What would change about the topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicPlan {
    /// Name.
    pub name: String,
    /// What would change.
    pub fields: Vec<FieldChange>,
    /// What else there is to say; empty where nothing is.
    pub note: String,
}

/// Returns what would change. `in_force` is the topic that the operator accepted last: what a sink reports no difference to is as that says.
pub(super) fn compare(wanted: &Topic, in_force: Option<&Topic>, report: Option<&TopicReport>) -> TopicPlan {
    let plan = |fields, note: &str| TopicPlan { name: wanted.name.clone(), fields, note: note.to_owned() };
    if !wanted.managed {
        return plan(Vec::new(), "workers only look at it");
    }
    let Some(report) = report.filter(|report| report.name == wanted.name) else {
        return plan(Vec::new(), "no running sink reports it; the first worker makes it if it is missing");
    };
    match report.state {
        TopicState::NotFound | TopicState::Creating => return plan(Vec::new(), "it is not there yet; the first worker makes it"),
        TopicState::AuthFailed | TopicState::BrokerUnreachable | TopicState::NotMeasured => {
            return plan(Vec::new(), "the sinks cannot look at it at present");
        }
        TopicState::InSync | TopicState::ConfigDrift | TopicState::PartitionMismatch | TopicState::Observed => {}
    }
    let mut fields = Vec::new();
    let mut note = String::new();
    if let (Some(wanted), Some(found)) = (wanted.partitions, report.partitions.and_then(|count| i32::try_from(count).ok())) {
        if wanted > found {
            fields.push(FieldChange { path: "partitions".to_owned(), before: Some(found.into()), after: Some(wanted.into()) });
        } else if wanted < found {
            note = format!("it has {found} partitions, which Kafka cannot take back");
        }
    }
    for (name, value) in &wanted.config {
        let differs = report.differences.iter().find(|difference| difference.name == *name).map(|difference| difference.actual.as_str());
        let found = differs.or_else(|| in_force.and_then(|topic| topic.config.get(name)).map(String::as_str));
        if found != Some(value) {
            fields.push(FieldChange { path: format!("config.{name}"), before: found.map(Into::into), after: Some(value.clone().into()) });
        }
    }
    TopicPlan { note, ..plan(fields, "") }
}

#[cfg(test)]
mod tests {
    use stockpipeline::status::TopicDifference;

    use super::*;

    fn topic(managed: bool, partitions: i32, retention: &str) -> Topic {
        let config = [("retention.ms".to_owned(), retention.to_owned())].into();
        Topic { name: "ticks".to_owned(), managed, partitions: Some(partitions), replication_factor: None, config }
    }

    fn report(state: TopicState, partitions: u32, retention: Option<&str>) -> TopicReport {
        let differs =
            |actual: &str| TopicDifference { name: "retention.ms".to_owned(), desired: "1".to_owned(), actual: actual.to_owned() };
        TopicReport {
            name: "ticks".to_owned(),
            id: None,
            partitions: Some(partitions),
            replication_factor: None,
            state,
            differences: retention.map(differs).into_iter().collect(),
            message: String::new(),
            checked_millis: 0,
        }
    }

    fn check(wanted: &Topic, report: Option<&TopicReport>) -> Vec<String> {
        let plan = compare(wanted, Some(&topic(true, 3, "1")), report);
        plan.fields.iter().map(|field| format!("{} {:?} {:?}", field.path, field.before, field.after)).collect()
    }

    #[test]
    fn only_what_a_sink_has_seen_is_compared() {
        let seen = |retention| report(TopicState::InSync, 3, retention);
        let grown = ["partitions Some(Number(3)) Some(Number(6))".to_owned()];
        assert_eq!(check(&topic(true, 3, "1"), Some(&seen(None))), Vec::<String>::new());
        assert_eq!(check(&topic(true, 6, "1"), Some(&seen(None))), grown);
        assert_eq!(check(&topic(true, 2, "1"), Some(&seen(None))), Vec::<String>::new());
        assert_eq!(check(&topic(true, 3, "2"), Some(&seen(None))), ["config.retention.ms Some(String(\"1\")) Some(String(\"2\"))"]);
        assert_eq!(check(&topic(true, 3, "1"), Some(&seen(Some("9")))), ["config.retention.ms Some(String(\"9\")) Some(String(\"1\"))"]);
        for unknown in [None, Some(report(TopicState::BrokerUnreachable, 3, None)), Some(report(TopicState::NotFound, 0, None))] {
            assert_eq!(check(&topic(true, 6, "2"), unknown.as_ref()), Vec::<String>::new(), "{unknown:?}");
        }
        assert_eq!(check(&topic(false, 6, "2"), Some(&seen(None))), Vec::<String>::new(), "a topic that is only looked at");
    }
}
