//! `topic --delete` and `data --delete`: what clean-up jobs run when a pipeline is removed.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use stockpipeline::check::UnknownFields;
use stockpipeline::checked::Pipeline;
use stockpipeline::launch::Exit;
use stockpipeline::layout::{LedgerKeys, parse_object_key};
use stockpipeline::plan::{Plan, Root};

use super::connect::{StoreOptions, kafka, store};
use super::documents::load;
use super::{CommandError, DeleteArguments, Ended};
use crate::audit::thousands;
use crate::error::line;
use crate::store::Store;
use crate::topic::{self, SlotsTopic};

/// Entries of an epoch among which a plan is looked for; done marks stand beside plans, and a probe may.
const LOOKED_AT: usize = 100;
/// Epochs that are named among those that are left.
const NAMED: usize = 3;
/// How long the brokers may take to tell which cluster they are.
const CLUSTER_LIMIT: Duration = Duration::from_secs(20);
/// How long the brokers may take to delete two topics.
const TOPICS_LIMIT: Duration = Duration::from_mins(1);

/// Deletes the data topic and the slots topic; missing ones are fine.
///
/// # Errors
/// [`CommandError`] when the document can't be used or a broker refuses.
pub(super) async fn topic(arguments: &DeleteArguments, out: &mut (dyn Write + Send)) -> Result<Exit, CommandError> {
    let pipeline = load(&arguments.file, UnknownFields::Warn)?;
    let clients = kafka(&pipeline, &arguments.shared.secrets_dir, &pipeline.name, None)?;
    let deleting = tokio::task::spawn_blocking(move || {
        let slots = pipeline.producer.as_ref().map(|producer| SlotsTopic { name: &producer.slots_topic, slots: producer.slots });
        topic::delete(&clients, &pipeline.kafka.topic, slots, TOPICS_LIMIT)
    });
    let deleted = match deleting.await {
        Ok(deleted) => deleted.map_err(|source| CommandError::Kafka { act: "delete the topics", source })?,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    };
    for name in &deleted.deleted {
        writeln!(out, "topic {name}: deleted").map_err(CommandError::Output)?;
    }
    for name in &deleted.missing {
        writeln!(out, "topic {name}: was not there").map_err(CommandError::Output)?;
    }
    Ok(Exit::Done)
}

/// Deletes the objects of the pipeline's zones and its ledger, and returns what is left. The ledger goes last: while data is left, it says whose
/// it is. Epochs of the ledger that are another pipeline's, or another cluster's, stay with their objects: one of the same consumer group may
/// share the bucket, on brokers of its own.
///
/// # Errors
/// [`CommandError`] when the document can't be used or the bucket refuses; what is deleted by then stays deleted.
pub(super) async fn data(arguments: &DeleteArguments, out: &mut (dyn Write + Send)) -> Result<Ended, CommandError> {
    let pipeline = load(&arguments.file, UnknownFields::Warn)?;
    let store = store(&pipeline, &arguments.shared.secrets_dir, StoreOptions::patient()).await?;
    let cluster = cluster_of(&pipeline, arguments).await?;
    let sink = &pipeline.sink;
    let zones = sink.raw.iter().map(|(prefix, _)| prefix).chain([&sink.processed_prefix, &sink.dead_letters.0]);
    let mut prefixes: Vec<_> = zones.map(|prefix| format!("{prefix}/")).collect();
    let ledger = LedgerKeys::group_prefix(&sink.ledger.prefix, &pipeline.kafka.consumer_group);
    let mut left: Vec<(String, String)> = Vec::new();
    let epochs = epochs_of(&store, &ledger).await?;
    // Where nobody tells which of several clusters is this pipeline's, all of them may be another's.
    let are_several = cluster.is_none() && clusters_in(&epochs, &pipeline.kafka.topic.name).len() > 1;
    for (epoch, root) in epochs {
        let reason = if are_several {
            Some("it is of one of several Kafka clusters, and the brokers do not tell which is this pipeline's".to_owned())
        } else {
            why_left(&store, &pipeline, (&epoch, root), cluster.as_deref()).await?
        };
        if let Some(reason) = reason {
            writeln!(out, "s3://{}/{epoch}: left, {reason}", sink.bucket).map_err(CommandError::Output)?;
            left.push((epoch, reason));
        }
    }
    prefixes.push(ledger.clone());
    for prefix in prefixes {
        let mut pages = store.list_all(&prefix);
        let (mut count, mut kept) = (0, 0);
        while let Some(page) = pages.next().await.map_err(|source| CommandError::Store { act: "list what is to be deleted", source })? {
            let found = page.len() as u64;
            let keys: Vec<_> =
                page.into_iter().map(|entry| entry.key).filter(|key| !left.iter().any(|(epoch, _)| is_of(epoch, key))).collect();
            count += keys.len() as u64;
            kept += found - keys.len() as u64;
            store.delete(&keys).await.map_err(|source| CommandError::Store { act: "delete objects", source })?;
        }
        let (deleted, kept) = (thousands(count), thousands(kept));
        writeln!(out, "s3://{}/{prefix}: {deleted} objects deleted, {kept} left", sink.bucket).map_err(CommandError::Output)?;
    }
    Ok(Ended { exit: Exit::Done, message: told(&left, &ledger) })
}

/// Returns the id of the pipeline's cluster; None where its brokers do not answer: data is deleted also when they are gone.
async fn cluster_of(pipeline: &Pipeline, arguments: &DeleteArguments) -> Result<Option<String>, CommandError> {
    let clients = kafka(pipeline, &arguments.shared.secrets_dir, &pipeline.name, None)?;
    let asking = tokio::task::spawn_blocking(move || clients.admin().map(|admin| admin.cluster_id(CLUSTER_LIMIT)));
    match asking.await {
        Ok(asked) => asked.map_err(|source| CommandError::Kafka { act: "ask for the cluster's id", source }),
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// The root of an epoch, where it has one, and why it cannot be read.
type FoundRoot = Option<Result<Root, String>>;

/// Returns the epochs of a ledger with their roots.
async fn epochs_of(store: &Store, ledger: &str) -> Result<Vec<(String, FoundRoot)>, CommandError> {
    let prefixes = store.prefixes(ledger, "/").await.map_err(|source| CommandError::Store { act: "list the ledger's epochs", source })?;
    let mut epochs = Vec::with_capacity(prefixes.len());
    for epoch in prefixes {
        let root =
            store.get(&format!("{epoch}root.json")).await.map_err(|source| CommandError::Store { act: "read the ledger", source })?;
        epochs.push((epoch, root.map(|root| Root::from_json(&root).map_err(|error| line(&error)))));
    }
    Ok(epochs)
}

/// Returns the clusters that epochs of a topic are of; None stands for one without a name.
fn clusters_in<'a>(epochs: &'a [(String, FoundRoot)], topic: &str) -> BTreeSet<Option<&'a str>> {
    let roots = epochs.iter().filter_map(|(_, root)| root.as_ref()?.as_ref().ok());
    roots.filter(|root| root.topic == topic).map(|root| root.cluster_id.as_deref()).collect()
}

/// Returns whether a key is of an epoch: of its ledger, or an object that its name says is.
fn is_of(epoch: &str, key: &str) -> bool {
    let name = epoch.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    key.starts_with(epoch) || parse_object_key(key).is_some_and(|(short, ..)| name.starts_with(&short))
}

/// Returns what was left, in words; None where nothing was.
fn told(left: &[(String, String)], ledger: &str) -> Option<String> {
    if left.is_empty() {
        return None;
    }
    let named = left.iter().take(NAMED).map(|(epoch, reason)| format!("{}: {reason}", epoch.strip_prefix(ledger).unwrap_or(epoch)));
    let more = left.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Some(format!(
        "{} epochs of the ledger {ledger} are left with their objects: {}{more}",
        left.len(),
        named.collect::<Vec<_>>().join("; ")
    ))
}

/// Returns why an epoch of the ledger is left; None where it is this pipeline's. Its root names the cluster and the topic, its plans the zones
/// that they fill. Where brokers do not tell their cluster, only plans that fill this pipeline's zones make an epoch its own.
async fn why_left(
    store: &Store,
    pipeline: &Pipeline,
    (epoch, root): (&str, FoundRoot),
    cluster: Option<&str>,
) -> Result<Option<String>, CommandError> {
    let failed = |source| CommandError::Store { act: "read the ledger", source };
    let mut is_of_cluster = false;
    match root {
        None => {}
        Some(Err(error)) => return Ok(Some(format!("it belongs to another version: {error}"))),
        Some(Ok(root)) if root.topic != pipeline.kafka.topic.name => return Ok(Some(format!("it belongs to topic {:?}", root.topic))),
        Some(Ok(root)) => match (&root.cluster_id, cluster) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                return Ok(Some(format!("it belongs to Kafka cluster {theirs:?}, and the brokers are {ours:?}")));
            }
            (Some(_), Some(_)) => is_of_cluster = true,
            (None, _) | (_, None) => {}
        },
    }
    let listed = store.list(&format!("{epoch}p"), None, LOOKED_AT).await.map_err(failed)?;
    let key = listed.iter().map(|entry| entry.key.as_str()).find(|key| LedgerKeys::parse_plan(key).is_some());
    let plan = match key {
        Some(key) => store.get(key).await.map_err(failed)?.map(|plan| Plan::from_json(&plan)),
        None => None,
    };
    Ok(match plan {
        None if is_of_cluster => None,
        None => Some("it has no plan, and nothing tells that its cluster is this pipeline's".to_owned()),
        Some(Err(error)) => Some(format!("it belongs to another version: {}", line(&error))),
        Some(Ok(plan)) if fills_zones_of(&plan, pipeline) => None,
        Some(Ok(plan)) => Some(format!("it belongs to a pipeline with the dead letters under {:?}", plan.rules.dead_letters.prefix)),
    })
}

fn fills_zones_of(plan: &Plan, pipeline: &Pipeline) -> bool {
    let (rules, sink) = (&plan.rules, &pipeline.sink);
    let raw = rules.raw.as_ref().zip(sink.raw.as_ref()).is_some_and(|(zone, (prefix, _))| zone.prefix == *prefix);
    let processed = rules.processed.as_ref().is_some_and(|zone| zone.prefix == sink.processed_prefix);
    raw || processed || rules.dead_letters.prefix == sink.dead_letters.0
}
