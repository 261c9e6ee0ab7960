//! `audit`: the proof from what is stored, in the bucket or in a folder of a local run.

use std::io::Write;

use stockpipeline::check::UnknownFields;
use stockpipeline::checked::Pipeline;
use stockpipeline::launch::Exit;

use super::connect::{StoreOptions, store};
use super::documents::load;
use super::{AuditArguments, CommandError, ReportFormat};
use crate::audit::{self, Report, Tail};
use crate::local;
use crate::store::Store;

/// Audits a pipeline and says what was found; differences give [`Exit::User`].
///
/// # Errors
/// [`CommandError`] when the document, the folder or the bucket can't be used.
pub(super) async fn run(arguments: &AuditArguments, out: &mut (dyn Write + Send)) -> Result<Exit, CommandError> {
    let pipeline = load(&arguments.file, UnknownFields::Error)?;
    let tail = if arguments.complete { Tail::MustBeComplete } else { Tail::MayBeInProgress };
    let report = match &arguments.output {
        Some(output) => {
            let folder = local::bucket_folder(&pipeline, output);
            if !folder.is_dir() {
                return Err(CommandError::NothingThere { folder });
            }
            let served = local::serve_bucket(&pipeline, &folder).await;
            let (bucket, stored) = served.map_err(|source| CommandError::Folder { folder, source })?;
            let report = prove(&stored, &pipeline, tail).await;
            bucket.shutdown().await;
            report?
        }
        None => prove(&store(&pipeline, &arguments.shared.secrets_dir, StoreOptions::patient()).await?, &pipeline, tail).await?,
    };
    match arguments.format {
        ReportFormat::Table => writeln!(out, "{report}"),
        ReportFormat::Json => {
            let text = serde_json::to_string_pretty(&report).expect("a report has only text keys and no failing parts");
            writeln!(out, "{text}")
        }
    }
    .map_err(CommandError::Output)?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::User })
}

async fn prove(store: &Store, pipeline: &Pipeline, tail: Tail) -> Result<Report, CommandError> {
    audit::run(store, pipeline, tail).await.map_err(CommandError::Audit)
}
