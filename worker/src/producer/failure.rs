//! Why a turn of the producer's loop, or its whole session, is left.

use rdkafka::error::RDKafkaErrorCode;

use super::ProducerError;
use crate::kafka::{KafkaError, Remedy, TransactionError};

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    Completed,
    Stopped,
    /// Only a new producer and a new membership go on.
    Renew(TransactionError),
    /// The topic is another one, or has other partitions.
    Moved,
}

/// Why a turn of the loop was left.
pub(super) enum Failure {
    /// The open batch is not to be committed; its rows are produced again.
    Abort(TransactionError),
    /// See [`Ended::Renew`].
    Renew(TransactionError),
    /// See [`Ended::Moved`]. The open batch is not to be committed.
    Moved,
    /// What no waiting heals.
    Final(ProducerError),
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error.remedy {
            Remedy::Renew => Self::Renew(error),
            Remedy::Retry | Remedy::Abort => Self::Abort(error),
        }
    }
}

/// Returns the failure of a member that the group goes on without.
pub(super) fn lost() -> TransactionError {
    let message = "the membership is lost or its generation is over".to_owned();
    TransactionError { act: "go on under the membership", code: RDKafkaErrorCode::IllegalGeneration, message, remedy: Remedy::Abort }
}

/// Returns the failure of a batch that was sent to a topic as it is no more.
pub(super) fn moved() -> TransactionError {
    let message = "the topic was made again, or has other partitions".to_owned();
    TransactionError { act: "commit to the topic", code: RDKafkaErrorCode::UnknownTopicOrPartition, message, remedy: Remedy::Abort }
}

/// Returns the failure after which only a new membership goes on.
pub(super) fn renew(act: &'static str, error: &KafkaError) -> Failure {
    let code = error.code().unwrap_or(RDKafkaErrorCode::Unknown);
    Failure::Renew(TransactionError { act, code, message: error.to_string(), remedy: Remedy::Renew })
}

/// Returns the failure that an abort has ended with.
pub(super) fn renewal(ended: Ended) -> Failure {
    match ended {
        Ended::Renew(error) => Failure::Renew(error),
        Ended::Completed | Ended::Stopped | Ended::Moved => Failure::Renew(lost()),
    }
}
