//! Why a local run has ended early.

use std::io;
use std::path::PathBuf;

use crate::audit::AuditError;
use crate::embedded::broker::BrokerError;
use crate::error::Class;
use crate::feed::FeedError;
use crate::kafka::KafkaError;
use crate::producer::ProducerError;
use crate::sink::SinkError;

/// Why a local run has ended early. What was durable by then stays, and the next run goes on from it.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nothing to feed.
    #[error("a local run feeds its topic itself, and a source of type ExternalTopic has no rows; use CsvReplay or Synthetic")]
    NoRows,
    /// The folder can't be used.
    #[error("failed to serve {folder:?} as the bucket; choose a writable --output on which no other run is at work")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds objects that no ledger of this pipeline explains.
    #[error(
        "{folder:?} holds objects that this pipeline has not written, or its ledger was deleted; choose another --output, or remove that folder"
    )]
    OthersData {
        /// The folder.
        folder: PathBuf,
        /// What the sink found.
        source: Box<SinkError>,
    },
    /// No broker.
    #[error("failed to run the embedded broker")]
    Broker(#[source] BrokerError),
    /// The source can't be read.
    #[error("failed to open the source")]
    Feed(#[source] FeedError),
    /// Kafka's client refused.
    #[error("failed to set up kafka's clients")]
    Kafka(#[source] KafkaError),
    /// A thread can't be started.
    #[error("failed to run a thread")]
    Thread(#[source] io::Error),
    /// The producer ended.
    #[error("the producer ended")]
    Producer(#[source] ProducerError),
    /// The sink ended.
    #[error("the sink ended")]
    Sink(#[source] Box<SinkError>),
    /// A partition can't go on.
    #[error("the sink can't go on: {reason}: {message}")]
    Stopped {
        /// Label of the reason.
        reason: &'static str,
        /// What was found and what to do.
        message: String,
        /// Who can do something about it.
        class: Class,
    },
    /// The audit can't read what was written.
    #[error("failed to audit what was written")]
    Audit(#[source] AuditError),
}

impl LocalError {
    /// Returns who can do something about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NoRows | Self::Folder { .. } | Self::OthersData { .. } => Class::User,
            Self::Broker(_) | Self::Thread(_) => Class::External,
            Self::Feed(error) => error.class(),
            Self::Kafka(error) => error.class(),
            Self::Producer(error) => error.class(),
            Self::Sink(error) => error.class(),
            Self::Stopped { class, .. } => *class,
            Self::Audit(error) => error.class(),
        }
    }
}
