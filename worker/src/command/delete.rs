//! `topic --delete` and `data --delete`: what clean-up jobs run when a pipeline is removed.

use std::io::Write;
use std::time::Duration;

use stockpipeline::check::UnknownFields;
use stockpipeline::checked::Pipeline;
use stockpipeline::launch::Exit;
use stockpipeline::layout::LedgerKeys;
use stockpipeline::plan::{Plan, Root};

use super::connect::{StoreOptions, kafka, store};
use super::documents::load;
use super::{CommandError, DeleteArguments};
use crate::audit::thousands;
use crate::error::line;
use crate::store::Store;
use crate::topic::{self, SlotsTopic};

/// Entries of an epoch among which a plan is looked for; done marks stand beside plans, and a probe may.
const LOOKED_AT: usize = 100;
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

/// Deletes the objects of the pipeline's zones and its ledger. The ledger goes last: while data is left, it says whose it is.
/// Epochs of the ledger that are another pipeline's stay: one of the same consumer group may share the bucket, on brokers of its own.
///
/// # Errors
/// [`CommandError`] when the document can't be used or the bucket refuses; what is deleted by then stays deleted.
pub(super) async fn data(arguments: &DeleteArguments, out: &mut (dyn Write + Send)) -> Result<Exit, CommandError> {
    let pipeline = load(&arguments.file, UnknownFields::Warn)?;
    let store = store(&pipeline, &arguments.shared.secrets_dir, StoreOptions::patient()).await?;
    let sink = &pipeline.sink;
    let zones = sink.raw.iter().map(|(prefix, _)| prefix).chain([&sink.processed_prefix, &sink.dead_letters.0]);
    let mut prefixes: Vec<_> = zones.map(|prefix| format!("{prefix}/")).collect();
    let ledger = LedgerKeys::group_prefix(&sink.ledger.prefix, &pipeline.kafka.consumer_group);
    let mut left = Vec::new();
    for epoch in store.prefixes(&ledger, "/").await.map_err(|source| CommandError::Store { act: "list the ledger's epochs", source })? {
        if let Some(owner) = owner_of(&store, &pipeline, &epoch).await? {
            writeln!(out, "s3://{}/{epoch}: left, it belongs to {owner}", sink.bucket).map_err(CommandError::Output)?;
            left.push(epoch);
        }
    }
    prefixes.push(ledger);
    for prefix in prefixes {
        let mut pages = store.list_all(&prefix);
        let mut count = 0;
        while let Some(page) = pages.next().await.map_err(|source| CommandError::Store { act: "list what is to be deleted", source })? {
            let keys: Vec<_> =
                page.into_iter().map(|entry| entry.key).filter(|key| !left.iter().any(|epoch| key.starts_with(epoch))).collect();
            count += keys.len() as u64;
            store.delete(&keys).await.map_err(|source| CommandError::Store { act: "delete objects", source })?;
        }
        writeln!(out, "s3://{}/{prefix}: {} objects deleted", sink.bucket, thousands(count)).map_err(CommandError::Output)?;
    }
    Ok(Exit::Done)
}

/// Returns whose an epoch of the ledger is, where it is not this pipeline's: its root names the topic, its plans the zones that they fill.
async fn owner_of(store: &Store, pipeline: &Pipeline, epoch: &str) -> Result<Option<String>, CommandError> {
    let failed = |source| CommandError::Store { act: "read the ledger", source };
    if let Some(root) = store.get(&format!("{epoch}root.json")).await.map_err(failed)? {
        match Root::from_json(&root) {
            Ok(root) if root.topic != pipeline.kafka.topic.name => return Ok(Some(format!("topic {:?}", root.topic))),
            Ok(_) => {}
            Err(error) => return Ok(Some(format!("another version: {}", line(&error)))),
        }
    }
    let listed = store.list(&format!("{epoch}p"), None, LOOKED_AT).await.map_err(failed)?;
    let Some(key) = listed.iter().map(|entry| entry.key.as_str()).find(|key| LedgerKeys::parse_plan(key).is_some()) else {
        return Ok(None);
    };
    let plan = store.get(key).await.map_err(failed)?.map(|plan| Plan::from_json(&plan));
    Ok(match plan {
        None => None,
        Some(Err(error)) => Some(format!("another version: {}", line(&error))),
        Some(Ok(plan)) if fills_zones_of(&plan, pipeline) => None,
        Some(Ok(plan)) => Some(format!("a pipeline with the dead letters under {:?}", plan.rules.dead_letters.prefix)),
    })
}

fn fills_zones_of(plan: &Plan, pipeline: &Pipeline) -> bool {
    let (rules, sink) = (&plan.rules, &pipeline.sink);
    let raw = rules.raw.as_ref().zip(sink.raw.as_ref()).is_some_and(|(zone, (prefix, _))| zone.prefix == *prefix);
    let processed = rules.processed.as_ref().is_some_and(|zone| zone.prefix == sink.processed_prefix);
    raw || processed || rules.dead_letters.prefix == sink.dead_letters.0
}
