//! `local`: the whole pipeline in this process, and a summary at its end.

use stockpipeline::check::UnknownFields;
use stockpipeline::launch::Exit;

use super::connect;
use super::documents::{folder_of, load};
use super::worker::{encoders, memory_bytes};
use super::{CommandError, LocalArguments, Surroundings};
use crate::local::{self, Local};

/// Runs a pipeline and prints what it did; a difference that the audit finds gives [`Exit::User`].
///
/// # Errors
/// [`CommandError`] when the document can't be used or the run ended early.
pub(super) async fn run(arguments: LocalArguments, surroundings: Surroundings<'_>) -> Result<Exit, CommandError> {
    let pipeline = load(&arguments.file, UnknownFields::Error)?;
    let local = Local {
        source_client: connect::source(&pipeline, &arguments.shared.secrets_dir).await?,
        pipeline,
        folder: folder_of(&arguments.file),
        output: arguments.output,
        scratch_dir: arguments.shared.scratch_dir.unwrap_or_else(std::env::temp_dir),
        memory_bytes: memory_bytes(arguments.memory),
        encoders: encoders(),
        screen: surroundings.screen,
        shutdown: surroundings.shutdown,
        failpoints: surroundings.failpoints,
    };
    let summary = Box::pin(local::run(local)).await.map_err(|error| CommandError::Local(Box::new(error)))?;
    write!(surroundings.out, "{summary}").map_err(CommandError::Output)?;
    Ok(if summary.report.is_clean() { Exit::Done } else { Exit::User })
}
