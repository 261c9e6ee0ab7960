//! Makes and keeps the data topic and the slots topic, or only looks where the pipeline says so.
//!
//! Adds partitions and sets configs; never removes a partition, never deletes unless told to by [`delete`]. What it cannot change it reports.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use stockpipeline::checked::Topic;
use stockpipeline_program::clock::wall_millis;
use tracing::{info, warn};

use crate::kafka::{
    Admin, Clients, ConfigValue, KafkaError, NewTopic, Outcome, Reason, TopicDescription, is_about_permission, is_for_user,
};
use crate::status::{TopicDifference, TopicReport, TopicState};

/// How long one question to the brokers may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const CLEANUP_POLICY: &str = "cleanup.policy";

/// How long a deleted topic may still be seen.
const DELETION_PAUSE: Duration = Duration::from_millis(200);

/// The slots topic beside a data topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotsTopic<'a> {
    /// Name.
    pub name: &'a str,
    /// Slots, one partition each.
    pub slots: u32,
}

/// Returns whether producers and sinks can work with a topic of which this was seen.
#[must_use]
pub fn is_usable(report: &TopicReport) -> bool {
    let is_there = match report.state {
        TopicState::Creating | TopicState::NotFound | TopicState::NotMeasured => false,
        TopicState::InSync
        | TopicState::ConfigDrift
        | TopicState::PartitionMismatch
        | TopicState::Observed
        // Something else than looking at the topic was refused or not answered.
        | TopicState::AuthFailed
        | TopicState::BrokerUnreachable => true,
    };
    is_there && report.partitions.is_some_and(|partitions| partitions > 0)
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Topics that this call deleted.
    pub deleted: Vec<String>,
    /// Topics that were not there.
    pub missing: Vec<String>,
}

/// Makes what is missing of the data topic and its slots topic, and returns how the data topic stands (the slots topic where that is worse).
///
/// Blocks for at most a minute. An unreachable broker or a refused permission is a state of the report: ask again later.
#[must_use]
pub fn ensure(clients: &Clients, topic: &Topic, slots: Option<SlotsTopic<'_>>) -> TopicReport {
    reconcile(clients, topic, slots, Act::Ensure)
}

/// Does what [`ensure`] does, and also adds partitions and sets the configs that differ. For the one sink that keeps the topics.
///
/// Blocks for at most two minutes.
#[must_use]
pub fn keep(clients: &Clients, topic: &Topic, slots: Option<SlotsTopic<'_>>) -> TopicReport {
    reconcile(clients, topic, slots, Act::Keep)
}

/// Deletes the data topic and its slots topic, and waits until they cannot be seen any more; missing ones are fine.
///
/// # Errors
/// [`KafkaError`] when a broker refuses, or does not answer before the deadline.
pub fn delete(clients: &Clients, topic: &Topic, slots: Option<SlotsTopic<'_>>, timeout: Duration) -> Result<Deleted, KafkaError> {
    let deadline = Instant::now() + timeout;
    let admin = clients.admin()?;
    let mut deleted = Deleted::default();
    for name in std::iter::once(topic.name.as_str()).chain(slots.map(|slots| slots.name)) {
        match admin.delete_topic(name, deadline.saturating_duration_since(Instant::now()))? {
            Outcome::Done => {
                wait_until_gone(&admin, name, deadline)?;
                info!(topic = name, "deleted topic");
                deleted.deleted.push(name.to_owned());
            }
            Outcome::Already => deleted.missing.push(name.to_owned()),
        }
    }
    Ok(deleted)
}

fn wait_until_gone(admin: &Admin, name: &str, deadline: Instant) -> Result<(), KafkaError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if admin.describe_topic(name, left.min(REQUEST_TIMEOUT))?.is_none() {
            return Ok(());
        }
        if left.is_zero() {
            let milliseconds = u64::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            return Err(KafkaError::TimedOut { act: "see the end of topic", target: name.to_owned(), milliseconds });
        }
        std::thread::sleep(DELETION_PAUSE);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Ensure,
    Keep,
}

/// What one topic has to be.
struct Wanted<'a> {
    name: &'a str,
    is_managed: bool,
    partitions: Option<i32>,
    replication_factor: Option<i32>,
    config: &'a BTreeMap<String, String>,
    /// Whether more partitions than wanted change the meaning of what is in the topic, as with slots.
    partitions_are_fixed: bool,
}

fn reconcile(clients: &Clients, topic: &Topic, slots: Option<SlotsTopic<'_>>, act: Act) -> TopicReport {
    let data = Wanted {
        name: &topic.name,
        is_managed: topic.managed,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        config: &topic.config,
        partitions_are_fixed: false,
    };
    let admin = match clients.admin() {
        Ok(admin) => admin,
        Err(error) => return failed(&data, None, &error),
    };
    let report = explained(clients, reconcile_one(&admin, &data, act));
    let Some(slots) = slots else { return report };
    let config = slots_config();
    let wanted = Wanted {
        name: slots.name,
        is_managed: topic.managed,
        partitions: Some(i32::try_from(slots.slots).unwrap_or(i32::MAX)),
        replication_factor: topic.replication_factor,
        config: &config,
        partitions_are_fixed: true,
    };
    let of_slots = explained(clients, reconcile_one(&admin, &wanted, act));
    combine(report, &of_slots)
}

/// Says "refused" in place of "no answer" where that is why there was none: librdkafka reports a failed login beside the question.
fn explained(clients: &Clients, report: TopicReport) -> TopicReport {
    match clients.trouble() {
        Some(trouble) if report.state == TopicState::BrokerUnreachable && trouble.reason == Reason::AuthFailed => {
            TopicReport { state: TopicState::AuthFailed, message: trouble.message, ..report }
        }
        Some(_) | None => report,
    }
}

/// Returns the configs of a slots topic: the last record of each replay is what counts, so it is compacted, in small segments.
fn slots_config() -> BTreeMap<String, String> {
    let configs =
        [(CLEANUP_POLICY, "compact"), ("segment.ms", "3600000"), ("segment.bytes", "16777216"), ("min.cleanable.dirty.ratio", "0.2")];
    configs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns why a slots topic is not to be used, or None: a record of progress that the broker deletes by its age is a replay that begins anew.
///
/// # Errors
/// [`KafkaError`]; where the right to look is missing, None is the answer.
pub fn slots_misfit(admin: &Admin, name: &str) -> Result<Option<String>, KafkaError> {
    let configs = match admin.describe_configs(name, REQUEST_TIMEOUT) {
        Ok(configs) => configs,
        Err(error) if error.code().is_some_and(is_about_permission) => {
            warn!(topic = name, error = %error, "cannot look whether the slots topic is compacted; allow DescribeConfigs on it");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let policy = configs.iter().find(|config| config.name == CLEANUP_POLICY);
    Ok(policy.and_then(|policy| forgets(&policy.value)))
}

fn forgets(policy: &str) -> Option<String> {
    let deletes = policy.split(',').any(|policy| policy.trim() == "delete");
    deletes.then(|| {
        format!(
            "the slots topic has cleanup.policy={policy}, so the records of how far rows were produced expire; set cleanup.policy=compact"
        )
    })
}

/// Returns the data topic's report, or its numbers with the slots topic's trouble where only that has one.
fn combine(data: TopicReport, slots: &TopicReport) -> TopicReport {
    let is_fine = |report: &TopicReport| matches!(report.state, TopicState::InSync | TopicState::Observed);
    if !is_fine(&data) || is_fine(slots) {
        return data;
    }
    TopicReport { state: slots.state, message: format!("slots topic {}: {}", slots.name, slots.message), ..data }
}

fn reconcile_one(admin: &Admin, wanted: &Wanted<'_>, act: Act) -> TopicReport {
    match find_or_create(admin, wanted) {
        Ok(Some(found)) => maintain(admin, wanted, found, act),
        Ok(None) => {
            let state = if wanted.is_managed { TopicState::Creating } else { TopicState::NotFound };
            report_of(wanted, None, Vec::new(), (state, absence(wanted)))
        }
        Err(error) => failed(wanted, None, &error),
    }
}

/// Adds partitions and sets configs where that is wanted, and says how the topic stands then.
fn maintain(admin: &Admin, wanted: &Wanted<'_>, mut found: TopicDescription, act: Act) -> TopicReport {
    let may_change = act == Act::Keep && wanted.is_managed;
    if may_change && let Err(error) = add_partitions(admin, wanted, &mut found) {
        return failed(wanted, Some(&found), &error);
    }
    let configs = match admin.describe_configs(wanted.name, REQUEST_TIMEOUT) {
        Ok(configs) => configs,
        // A client may produce without the right to look at configs; that is no reason to stop.
        Err(error) if error.code().is_some_and(is_about_permission) => {
            let state = if wanted.is_managed { TopicState::ConfigDrift } else { TopicState::Observed };
            return report_of(wanted, Some(&found), Vec::new(), (state, format!("{error}; allow DescribeConfigs on the topic")));
        }
        Err(error) => return failed(wanted, Some(&found), &error),
    };
    let mut differ = differences(wanted.config, &configs);
    let mut refused = String::new();
    if may_change && !differ.is_empty() {
        match set_configs(admin, wanted.name, &differ) {
            Ok(()) => differ.clear(),
            Err(error) if error.code().is_some_and(is_for_user) => refused = error.to_string(),
            Err(error) => return failed(wanted, Some(&found), &error),
        }
    }
    let verdict = judge(wanted, &found, &differ, &refused);
    report_of(wanted, Some(&found), differ, verdict)
}

/// Returns the topic as it is; None while it is not there or not to be seen yet.
fn find_or_create(admin: &Admin, wanted: &Wanted<'_>) -> Result<Option<TopicDescription>, KafkaError> {
    let found = admin.describe_topic(wanted.name, REQUEST_TIMEOUT)?;
    let (None, true, Some(partitions)) = (&found, wanted.is_managed, wanted.partitions) else { return Ok(found) };
    let topic = NewTopic { name: wanted.name, partitions, replication_factor: wanted.replication_factor, config: wanted.config };
    // "Exists" is success: another worker was faster.
    if admin.create_topic(&topic, REQUEST_TIMEOUT)? == Outcome::Done {
        info!(topic = wanted.name, partitions, "made topic");
    }
    admin.describe_topic(wanted.name, REQUEST_TIMEOUT)
}

fn absence(wanted: &Wanted<'_>) -> String {
    if wanted.is_managed {
        "the topic is made but not to be seen yet".to_owned()
    } else {
        "there is no such topic; make it, or set spec.kafka.topic.management to Managed".to_owned()
    }
}

fn add_partitions(admin: &Admin, wanted: &Wanted<'_>, found: &mut TopicDescription) -> Result<(), KafkaError> {
    let (false, Some(partitions)) = (wanted.partitions_are_fixed, wanted.partitions) else { return Ok(()) };
    if found.partitions >= partitions {
        return Ok(());
    }
    admin.create_partitions(wanted.name, partitions, REQUEST_TIMEOUT)?;
    info!(topic = wanted.name, before = found.partitions, partitions, "added partitions");
    found.partitions = partitions;
    Ok(())
}

fn set_configs(admin: &Admin, name: &str, differ: &[TopicDifference]) -> Result<(), KafkaError> {
    let configs: Vec<(&str, &str)> = differ.iter().map(|difference| (difference.name.as_str(), difference.desired.as_str())).collect();
    admin.set_configs(name, &configs, REQUEST_TIMEOUT)?;
    info!(topic = name, configs = ?configs, "set configs");
    Ok(())
}

fn differences(wanted: &BTreeMap<String, String>, actual: &[ConfigValue]) -> Vec<TopicDifference> {
    let mut differ = Vec::new();
    for (name, value) in wanted {
        let actual = actual.iter().find(|config| config.name == *name).map_or("", |config| config.value.as_str());
        if actual != value {
            differ.push(TopicDifference { name: name.clone(), desired: value.clone(), actual: actual.to_owned() });
        }
    }
    differ
}

fn judge(wanted: &Wanted<'_>, found: &TopicDescription, differ: &[TopicDifference], refused: &str) -> (TopicState, String) {
    if !wanted.is_managed && !wanted.partitions_are_fixed {
        return (TopicState::Observed, String::new());
    }
    if let Some(message) = mismatch(wanted, found) {
        return (TopicState::PartitionMismatch, message);
    }
    if !wanted.is_managed {
        let policy = differ.iter().find(|difference| difference.name == CLEANUP_POLICY);
        return match policy.and_then(|policy| forgets(&policy.actual)) {
            Some(message) => (TopicState::ConfigDrift, message),
            None => (TopicState::Observed, String::new()),
        };
    }
    if differ.is_empty() {
        return (TopicState::InSync, String::new());
    }
    let names: Vec<&str> = differ.iter().map(|difference| difference.name.as_str()).collect();
    let way_out = if refused.is_empty() { "the sink that keeps the topic will set them".to_owned() } else { refused.to_owned() };
    (TopicState::ConfigDrift, format!("configs differ: {}; {way_out}", names.join(", ")))
}

fn mismatch(wanted: &Wanted<'_>, found: &TopicDescription) -> Option<String> {
    let actual = found.partitions;
    if let Some(partitions) = wanted.partitions {
        if wanted.partitions_are_fixed && actual != partitions {
            return Some(format!(
                "the topic has {actual} partitions in place of one for each of {partitions} slots; \
                 set spec.producer.slotsTopic to a topic of {partitions} partitions"
            ));
        }
        if actual > partitions {
            return Some(format!(
                "the topic has {actual} partitions in place of {partitions} and partitions cannot be removed; set spec.kafka.topic.partitions to {actual}"
            ));
        }
        if actual < partitions {
            return Some(format!(
                "the topic has {actual} partitions in place of {partitions}; the sink that keeps the topic will add them"
            ));
        }
    }
    match wanted.replication_factor {
        Some(factor) if factor != found.replication_factor => Some(format!(
            "the topic has {} replicas in place of {factor}; reassign them with Kafka's own tools, or correct spec.kafka.topic.replicationFactor",
            found.replication_factor
        )),
        Some(_) | None => None,
    }
}

fn report_of(
    wanted: &Wanted<'_>,
    found: Option<&TopicDescription>,
    mut differences: Vec<TopicDifference>,
    (state, message): (TopicState, String),
) -> TopicReport {
    if let Some(found) = found {
        let numbers = [
            ("partitions", wanted.partitions, found.partitions),
            ("replicationFactor", wanted.replication_factor, found.replication_factor),
        ];
        for (name, desired, actual) in numbers {
            if let Some(desired) = desired.filter(|desired| *desired != actual) {
                differences.push(TopicDifference { name: name.to_owned(), desired: desired.to_string(), actual: actual.to_string() });
            }
        }
    }
    TopicReport {
        name: wanted.name.to_owned(),
        id: found.and_then(|found| found.topic_id.clone()),
        partitions: found.and_then(|found| u32::try_from(found.partitions).ok()),
        replication_factor: found.and_then(|found| u32::try_from(found.replication_factor).ok()),
        state,
        differences,
        message,
        checked_millis: wall_millis(),
    }
}

fn failed(wanted: &Wanted<'_>, found: Option<&TopicDescription>, error: &KafkaError) -> TopicReport {
    let state = match error {
        // A topic that was just made is told to the brokers one after the other, and one that does not know it yet has answered.
        KafkaError::Refused { code: RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic, .. }
            if wanted.is_managed =>
        {
            return report_of(wanted, found, Vec::new(), (TopicState::Creating, absence(wanted)));
        }
        KafkaError::Secret { .. } => TopicState::AuthFailed,
        KafkaError::Refused { code, .. } if is_about_permission(*code) => TopicState::AuthFailed,
        KafkaError::Refused { code, .. } if is_for_user(*code) => TopicState::NotFound,
        KafkaError::Setting { .. } | KafkaError::Refused { .. } | KafkaError::TimedOut { .. } | KafkaError::Client { .. } => {
            TopicState::BrokerUnreachable
        }
    };
    report_of(wanted, found, Vec::new(), (state, error.to_string()))
}

#[cfg(test)]
mod tests;
