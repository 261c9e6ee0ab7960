//! Why a command has not done what it was asked for.

use std::io;
use std::path::PathBuf;

use crate::audit::AuditError;
use crate::error::Class;
use crate::kafka::KafkaError;
use crate::local::LocalError;
use crate::store::StoreError;

/// Why a command has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A document is wrong; every error is a line.
    #[error("{file} can't be used:\n{}", errors.join("\n"))]
    Document {
        /// The file.
        file: PathBuf,
        /// What is wrong, one sentence each.
        errors: Vec<String>,
    },
    /// Results could not be written.
    #[error("failed to write the results")]
    Output(#[source] io::Error),
    /// The HTTP port could not be taken.
    #[error("failed to listen on port {port}; another process has it, or choose another with --http-port")]
    Listen {
        /// Port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// A mounted secret can't be read.
    #[error("failed to read {file:?}; mount the secret that spec.aws.credentials names, or name its folder with --secrets-dir")]
    Secret {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Kafka refused.
    #[error("failed to {act}")]
    Kafka {
        /// What was being done.
        act: &'static str,
        /// Why.
        source: KafkaError,
    },
    /// The bucket refused.
    #[error("failed to {act}")]
    Store {
        /// What was being done.
        act: &'static str,
        /// Why.
        source: StoreError,
    },
    /// A folder that should hold the files of a local run.
    #[error("failed to serve {folder:?}; is it the --output of a local run, and no other run at work on it?")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The audit couldn't read.
    #[error("failed to audit")]
    Audit(#[source] AuditError),
    /// A local run ended early.
    #[error(transparent)]
    Local(LocalError),
}
