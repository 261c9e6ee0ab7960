//! What a pipeline claims for itself alone, and which of two pipelines that claim the same keeps it: the older one.

use jiff::Timestamp;
use stockpipeline::Pipeline;

use crate::identity::Identity;

/// A pipeline among others.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The resource.
    pub identity: &'a Identity,
    /// When it was made.
    pub created: Timestamp,
    /// What is in force of it.
    pub pipeline: &'a Pipeline,
}

/// Returns what stands in the way of a pipeline: what an older one has already, and the name of that one. None where nothing does.
#[must_use]
pub fn conflict(claimant: Claimant<'_>, others: &[Claimant<'_>]) -> Option<String> {
    // Two that were made within one second are told apart by something that neither can choose.
    let age = |one: Claimant<'_>| (one.created, one.identity.uid.clone());
    let older = others.iter().filter(|other| other.identity.uid != claimant.identity.uid && age(**other) < age(claimant));
    let mut found: Vec<(Timestamp, String)> = older
        .filter_map(|other| {
            let what = shared(claimant.pipeline, other.pipeline)?;
            let Identity { namespace, name, .. } = other.identity;
            Some((
                other.created,
                format!("{what} belongs to the older pipeline {namespace}/{name}; use another one, or delete that pipeline"),
            ))
        })
        .collect();
    found.sort();
    found.into_iter().next().map(|(_, message)| message)
}

/// Returns the first thing that two pipelines both claim.
fn shared(one: &Pipeline, other: &Pipeline) -> Option<String> {
    shared_topic(one, other).or_else(|| shared_prefix(one, other)).or_else(|| shared_table(one, other))
}

/// A consumer group reads a topic once. One topic may be read by many groups, but filled by one pipeline only.
fn shared_topic(one: &Pipeline, other: &Pipeline) -> Option<String> {
    let topic = &one.kafka.topic.name;
    let same_brokers = one.kafka.bootstrap_servers.iter().any(|server| other.kafka.bootstrap_servers.contains(server));
    if !same_brokers || *topic != other.kafka.topic.name {
        return None;
    }
    if one.kafka.consumer_group == other.kafka.consumer_group {
        return Some(format!("topic {topic} with consumer group {}", one.kafka.consumer_group));
    }
    (one.producer.is_some() && other.producer.is_some()).then(|| format!("filling topic {topic}"))
}

/// Zones may not overlap at all; ledgers of several pipelines may share a prefix, since each consumer group has keys of its own in it.
fn shared_prefix(one: &Pipeline, other: &Pipeline) -> Option<String> {
    if one.aws.s3_endpoint != other.aws.s3_endpoint || one.sink.bucket != other.sink.bucket {
        return None;
    }
    let (ours, theirs) = (zones(one), zones(other));
    let overlap = |prefixes: &[&str], others: &[&str]| {
        prefixes.iter().copied().find(|prefix| others.iter().any(|other| overlaps(prefix, other))).map(str::to_owned)
    };
    let found = overlap(&ours, &theirs)
        .or_else(|| overlap(&ours, &[&other.sink.ledger.prefix]))
        .or_else(|| overlap(&[&one.sink.ledger.prefix], &theirs));
    found.map(|prefix| format!("prefix {prefix} of bucket {}", one.sink.bucket))
}

fn zones(pipeline: &Pipeline) -> Vec<&str> {
    let raw = pipeline.sink.raw.as_ref().map(|(prefix, _)| prefix.as_str());
    [Some(pipeline.sink.processed_prefix.as_str()), raw, Some(pipeline.sink.dead_letters.0.as_str())].into_iter().flatten().collect()
}

/// Returns whether one prefix is the other or lies below it.
fn overlaps(one: &str, other: &str) -> bool {
    let below = |prefix: &str, parent: &str| prefix.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below(one, other) || below(other, one)
}

fn shared_table(one: &Pipeline, other: &Pipeline) -> Option<String> {
    let (ours, theirs) = (one.glue.as_ref()?, other.glue.as_ref()?);
    let catalog = |pipeline: &Pipeline| {
        let settings = pipeline.operations.glue.as_ref().and_then(|settings| settings.catalog_id.clone());
        (pipeline.operations.control_plane.glue_endpoint.clone(), pipeline.aws.region.clone(), settings)
    };
    if catalog(one) != catalog(other) || ours.database != theirs.database {
        return None;
    }
    let names = [Some(&theirs.processed_table), theirs.raw_table.as_ref(), theirs.dead_letters_table.as_ref()];
    let tables = [Some(&ours.processed_table), ours.raw_table.as_ref(), ours.dead_letters_table.as_ref()];
    let table = tables.into_iter().flatten().find(|table| names.contains(&Some(*table)))?;
    Some(format!("table {}.{table}", ours.database))
}

#[cfg(test)]
mod tests;
