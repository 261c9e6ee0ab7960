//! What a pipeline claims for itself alone, and which of two pipelines that claim the same keeps it: the older one.

pub(crate) mod registry;

use jiff::Timestamp;
use stockpipeline::Pipeline;

use crate::catalog::decide::account_of;
use crate::resource::identity::Identity;
use crate::settings::canonical;

/// A pipeline among others.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The resource.
    pub identity: &'a Identity,
    /// When it was made.
    pub created: Timestamp,
    /// Whether what it claims is in force: then nobody takes it away, not even an older pipeline that turns to it later.
    pub in_force: bool,
    /// What it claims.
    pub claims: &'a Claims,
}

/// What a pipeline claims for itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    servers: Vec<String>,
    topic: String,
    group: String,
    fills: bool,
    store: Option<String>,
    bucket: String,
    zones: Vec<String>,
    ledger: String,
    /// Endpoint, region and account of the catalogue. The operator's own account has no number here: that a pipeline names it and another
    /// one does not is told by the marks of the tables.
    catalog: (Option<String>, String, Option<String>),
    database: Option<String>,
    /// Tables and views, which share one space of names, each with what it is.
    tables: Vec<(&'static str, String)>,
}

impl Claims {
    /// Returns what a pipeline claims.
    #[must_use]
    pub fn of(pipeline: &Pipeline) -> Self {
        let sink = &pipeline.sink;
        let raw = sink.raw.as_ref().map(|(prefix, _)| prefix.clone());
        let catalog_id = pipeline.operations.glue.as_ref().and_then(|settings| settings.catalog_id.clone());
        let glue = pipeline.glue.as_ref();
        let tables = glue.map(|glue| [Some(&glue.processed_table), glue.raw_table.as_ref(), glue.dead_letters_table.as_ref()]);
        let tables = tables.into_iter().flatten().flatten().map(|name| ("table", name.clone()));
        let views = pipeline.operations.athena.iter().flat_map(|athena| &athena.views).map(|(name, _)| ("view", name.clone()));
        let control_plane = &pipeline.operations.control_plane;
        let account = catalog_id.or_else(|| control_plane.role_arn.as_deref().and_then(account_of).map(str::to_owned));
        Self {
            servers: pipeline.kafka.bootstrap_servers.iter().map(|server| server.to_ascii_lowercase()).collect(),
            topic: pipeline.kafka.topic.name.clone(),
            group: pipeline.kafka.consumer_group.clone(),
            fills: pipeline.producer.is_some(),
            store: pipeline.aws.s3_endpoint.as_deref().map(canonical),
            bucket: sink.bucket.clone(),
            zones: [Some(sink.processed_prefix.clone()), raw, Some(sink.dead_letters.0.clone())].into_iter().flatten().collect(),
            ledger: sink.ledger.prefix.clone(),
            catalog: (control_plane.glue_endpoint.as_deref().map(canonical), pipeline.aws.region.clone(), account),
            database: glue.map(|glue| glue.database.clone()),
            tables: tables.chain(views).collect(),
        }
    }
}

/// Returns what stands in the way of a pipeline: what another one had first, and the name of that one. None where nothing does.
#[must_use]
pub fn conflict<'a>(claimant: Claimant<'_>, others: impl IntoIterator<Item = Claimant<'a>>) -> Option<String> {
    // What is in force comes first. Two that were made within one second are told apart by something that neither can choose.
    let rank = |one: Claimant<'_>| (!one.in_force, one.created, one.identity.uid.clone());
    let ours = rank(claimant);
    let mut first: Option<(Timestamp, String)> = None;
    for other in others {
        if other.identity.uid == claimant.identity.uid || rank(other) >= ours {
            continue;
        }
        let Some(what) = shared(claimant.claims, other.claims) else { continue };
        let Identity { namespace, name, .. } = other.identity;
        let message =
            format!("{what} belongs to pipeline {namespace}/{name}, which had it first; use another one, or delete that pipeline");
        let found = (other.created, message);
        if first.as_ref().is_none_or(|first| found < *first) {
            first = Some(found);
        }
    }
    first.map(|(_, message)| message)
}

/// Returns the first thing that two pipelines both claim.
fn shared(one: &Claims, other: &Claims) -> Option<String> {
    shared_topic(one, other).or_else(|| shared_prefix(one, other)).or_else(|| shared_table(one, other))
}

/// A consumer group reads a topic once. One topic may be read by many groups, but filled by one pipeline only.
fn shared_topic(one: &Claims, other: &Claims) -> Option<String> {
    let topic = &one.topic;
    if *topic != other.topic || !one.servers.iter().any(|server| other.servers.contains(server)) {
        return None;
    }
    if one.group == other.group {
        return Some(format!("topic {topic} with consumer group {}", one.group));
    }
    (one.fills && other.fills).then(|| format!("filling topic {topic}"))
}

/// Zones may not overlap at all; ledgers of several pipelines may share a prefix, since each consumer group has a folder of its own in it.
/// Two of one group have one folder, and deleting the data of one would empty it for both.
fn shared_prefix(one: &Claims, other: &Claims) -> Option<String> {
    if one.bucket != other.bucket || one.store != other.store {
        return None;
    }
    let overlap =
        |prefixes: &[String], others: &[String]| prefixes.iter().find(|prefix| others.iter().any(|other| overlaps(prefix, other))).cloned();
    let ledger = std::slice::from_ref::<String>;
    let found = overlap(&one.zones, &other.zones)
        .or_else(|| overlap(&one.zones, ledger(&other.ledger)))
        .or_else(|| overlap(ledger(&one.ledger), &other.zones));
    if let Some(prefix) = found {
        return Some(format!("prefix {prefix} of bucket {}", one.bucket));
    }
    let folder = |claims: &Claims| format!("{}/{}", claims.ledger, claims.group);
    overlaps(&folder(one), &folder(other)).then(|| format!("ledger {} of bucket {}", folder(one), one.bucket))
}

/// Returns whether one prefix is the other or lies below it.
fn overlaps(one: &str, other: &str) -> bool {
    let below = |prefix: &str, parent: &str| prefix.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below(one, other) || below(other, one)
}

fn shared_table(one: &Claims, other: &Claims) -> Option<String> {
    let database = one.database.as_ref()?;
    if one.database != other.database || one.catalog != other.catalog {
        return None;
    }
    let (kind, name) = one.tables.iter().find(|(_, name)| other.tables.iter().any(|(_, taken)| taken == name))?;
    Some(format!("{kind} {database}.{name}"))
}

#[cfg(test)]
mod tests;
