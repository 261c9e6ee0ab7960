//! `check`: what is wrong with documents, one error a line.

use std::io::Write;
use std::path::PathBuf;

use stockpipeline::launch::Exit;

use super::CommandError;
use super::documents::{Verdict, judge};

/// Checks files and says of each document what is wrong, or that it is fine.
///
/// # Errors
/// [`CommandError::Output`]; what is wrong with a document is said, and [`Exit::User`] returned.
pub(super) fn run(files: &[PathBuf], out: &mut dyn Write) -> Result<Exit, CommandError> {
    let mut exit = Exit::Done;
    for file in files {
        let shown = file.display();
        for verdict in judge(file) {
            match verdict {
                Verdict::Fine { pipeline, warnings } => {
                    for warning in warnings {
                        writeln!(out, "{shown}: {}: warning: {warning}", pipeline.name).map_err(CommandError::Output)?;
                    }
                    let (name, columns) = (&pipeline.name, pipeline.schema.columns.len());
                    let (topic, bucket) = (&pipeline.kafka.topic.name, &pipeline.sink.bucket);
                    writeln!(out, "{shown}: ok ({name}, {columns} columns, topic {topic}, bucket {bucket})")
                        .map_err(CommandError::Output)?;
                }
                Verdict::Wrong { name, errors } => {
                    exit = Exit::User;
                    let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
                    for error in errors {
                        writeln!(out, "{shown}: {name}{error}").map_err(CommandError::Output)?;
                    }
                }
            }
        }
    }
    Ok(exit)
}
