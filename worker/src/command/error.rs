//! Why a command has not done what it was asked for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::audit::AuditError;
use crate::error::Class;
use crate::feed::FeedError;
use crate::kafka::KafkaError;
use crate::local::LocalError;
use crate::producer::ProducerError;
use crate::sink::SinkError;
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
    /// The wall clock was set back.
    #[error(
        "the wall clock was set back by {} s, and whatever waits for a moment on it would wait for as long again: the worker starts anew; look at \
         how the node's clock is kept",
        by.as_secs()
    )]
    ClockSetBack {
        /// By how much.
        by: Duration,
    },
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
    /// A folder that no local run has made.
    #[error("{folder:?} is not there; give the --output of a local run of this document")]
    NothingThere {
        /// The folder.
        folder: PathBuf,
    },
    /// The audit couldn't read.
    #[error("failed to audit")]
    Audit(#[source] AuditError),
    /// A producer without rows.
    #[error("the pipeline has no producer: others fill its topic; remove the command, or add spec.producer and a source with rows")]
    NoProducer,
    /// The source can't be opened.
    #[error("failed to open the source")]
    Feed(#[source] FeedError),
    /// The producer can't go on.
    #[error("the producer ended")]
    Producer(#[source] ProducerError),
    /// The sink can't go on.
    #[error("the sink ended")]
    Sink(#[source] Box<SinkError>),
    /// A local run ended early.
    #[error(transparent)]
    Local(Box<LocalError>),
}

impl CommandError {
    /// Returns who can do something about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Document { .. }
            | Self::Listen { .. }
            | Self::Secret { .. }
            | Self::Folder { .. }
            | Self::NothingThere { .. }
            | Self::NoProducer => Class::User,
            Self::Output(_) | Self::Store { .. } | Self::ClockSetBack { .. } => Class::External,
            Self::Kafka { source, .. } => source.class(),
            Self::Audit(error) => error.class(),
            Self::Feed(error) => error.class(),
            Self::Producer(error) => error.class(),
            Self::Sink(error) => error.class(),
            Self::Local(error) => error.class(),
        }
    }
}
