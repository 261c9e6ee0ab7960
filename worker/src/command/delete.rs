//! `topic --delete` and `data --delete`: what clean-up jobs run when a pipeline is removed.

use std::io::Write;
use std::time::Duration;

use stockpipeline::check::UnknownFields;
use stockpipeline::launch::Exit;
use stockpipeline::layout::LedgerKeys;

use super::connect::{StoreOptions, kafka, store};
use super::documents::load;
use super::{CommandError, DeleteArguments};
use crate::audit::thousands;
use crate::topic::{self, SlotsTopic};

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
///
/// # Errors
/// [`CommandError`] when the document can't be used or the bucket refuses; what is deleted by then stays deleted.
pub(super) async fn data(arguments: &DeleteArguments, out: &mut (dyn Write + Send)) -> Result<Exit, CommandError> {
    let pipeline = load(&arguments.file, UnknownFields::Warn)?;
    let store = store(&pipeline, &arguments.shared.secrets_dir, StoreOptions::patient()).await?;
    let sink = &pipeline.sink;
    let zones = sink.raw.iter().map(|(prefix, _)| prefix).chain([&sink.processed_prefix, &sink.dead_letters.0]);
    let mut prefixes: Vec<_> = zones.map(|prefix| format!("{prefix}/")).collect();
    prefixes.push(LedgerKeys::group_prefix(&sink.ledger.prefix, &pipeline.kafka.consumer_group));
    for prefix in prefixes {
        let mut pages = store.list_all(&prefix);
        let mut count = 0;
        while let Some(page) = pages.next().await.map_err(|source| CommandError::Store { act: "list what is to be deleted", source })? {
            let keys: Vec<_> = page.into_iter().map(|entry| entry.key).collect();
            count += keys.len() as u64;
            store.delete(&keys).await.map_err(|source| CommandError::Store { act: "delete objects", source })?;
        }
        writeln!(out, "s3://{}/{prefix}: {} objects deleted", sink.bucket, thousands(count)).map_err(CommandError::Output)?;
    }
    Ok(Exit::Done)
}
