//! Why a worker fails, pauses or stops: the closed list that `/status`, probes and conditions share.

use serde::{Deserialize, Serialize};

use crate::launch::Exit;

/// Who can do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The user: input, configuration, permissions.
    User,
    /// An outside system; it may heal.
    External,
    /// A bug in this program.
    Bug,
}

impl Class {
    /// Returns the label used in metrics and in `/status`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::External => "external",
            Self::Bug => "bug",
        }
    }

    /// Returns how a process ends on an error of this class.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::User => Exit::User,
            Self::External => Exit::External,
            Self::Bug => Exit::Bug,
        }
    }
}

/// A failure, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Who can do something about it.
    pub class: Class,
    /// What it is, from a closed list.
    pub reason: Reason,
    /// What failed and what to do, scrubbed of secrets.
    pub message: String,
    /// When it happened, or began, milliseconds since 1970.
    pub at_millis: i64,
}

/// Every reason that a worker gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Offsets that no plan has written are gone from Kafka.
    DataLoss,
    /// The ledger was deleted, or the consumer group renamed.
    LedgerMissing,
    /// The log is shorter than what is already stored.
    TopicTruncated,
    /// What a broker has at an offset cannot be read: it is damaged, or of a kind that this version does not know.
    RecordsUnreadable,
    /// A plan does not agree with what its offsets give.
    PlanMismatch,
    /// An object of another plan, or of somebody else, has a planned key.
    PathCollision,
    /// The store does not honour `If-None-Match`.
    ConditionalWritesUnsupported,
    /// A plan was written by a newer version of this program.
    PlanVersionUnknown,
    /// The source is not the one that production began with.
    SourceChanged,
    /// Rows of the source are in the topic, and nothing says how far they were produced.
    ProgressMissing,
    /// The source can't be read.
    SourceUnreachable,
    /// A source, or one record, is larger than the memory allows.
    RecordBudgetExceeded,
    /// More dead letters than the pipeline allows.
    DeadLetterRateExceeded,
    /// The memory budget is used up.
    MemoryPressure,
    /// Credentials or policy forbid the act.
    AccessDenied,
    /// There is no such bucket.
    NoSuchBucket,
    /// The encryption key can't be used.
    KeyUnusable,
    /// The store asks to slow down.
    Throttled,
    /// The store answers with server errors, or not at all.
    Unavailable,
    /// The store does not answer in time.
    Timeout,
    /// This machine's clock is too far off for signed requests.
    ClockSkewed,
    /// The bucket lives in another region or behind another endpoint.
    Redirected,
    /// Something that is not S3 answers.
    NotS3,
    /// This worker has not heard from Kafka for too long to write.
    Stale,
    /// No broker answers.
    BrokerUnreachable,
    /// Kafka refuses the credentials.
    AuthFailed,
    /// Another member has taken this one's place.
    Fenced,
    /// There is no such topic.
    TopicNotFound,
    /// The configuration is wrong.
    InvalidConfiguration,
    /// A bug in this program.
    Bug,
}

impl Failure {
    /// Returns the failure on one line, for probes and the termination message.
    #[must_use]
    pub fn line(&self) -> String {
        let message: String = self.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{}: {message}", self.reason.label())
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 30] = [
        Self::DataLoss,
        Self::LedgerMissing,
        Self::TopicTruncated,
        Self::RecordsUnreadable,
        Self::PlanMismatch,
        Self::PathCollision,
        Self::ConditionalWritesUnsupported,
        Self::PlanVersionUnknown,
        Self::SourceChanged,
        Self::ProgressMissing,
        Self::SourceUnreachable,
        Self::RecordBudgetExceeded,
        Self::DeadLetterRateExceeded,
        Self::MemoryPressure,
        Self::AccessDenied,
        Self::NoSuchBucket,
        Self::KeyUnusable,
        Self::Throttled,
        Self::Unavailable,
        Self::Timeout,
        Self::ClockSkewed,
        Self::Redirected,
        Self::NotS3,
        Self::Stale,
        Self::BrokerUnreachable,
        Self::AuthFailed,
        Self::Fenced,
        Self::TopicNotFound,
        Self::InvalidConfiguration,
        Self::Bug,
    ];

    /// Returns the label used in `/status`, logs and conditions.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::DataLoss => "DataLoss",
            Self::LedgerMissing => "LedgerMissing",
            Self::TopicTruncated => "TopicTruncated",
            Self::RecordsUnreadable => "RecordsUnreadable",
            Self::PlanMismatch => "PlanMismatch",
            Self::PathCollision => "PathCollision",
            Self::ConditionalWritesUnsupported => "ConditionalWritesUnsupported",
            Self::PlanVersionUnknown => "PlanVersionUnknown",
            Self::SourceChanged => "SourceChanged",
            Self::ProgressMissing => "ProgressMissing",
            Self::SourceUnreachable => "SourceUnreachable",
            Self::RecordBudgetExceeded => "RecordBudgetExceeded",
            Self::DeadLetterRateExceeded => "DeadLetterRateExceeded",
            Self::MemoryPressure => "MemoryPressure",
            Self::AccessDenied => "AccessDenied",
            Self::NoSuchBucket => "NoSuchBucket",
            Self::KeyUnusable => "KeyUnusable",
            Self::Throttled => "Throttled",
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Timeout",
            Self::ClockSkewed => "ClockSkewed",
            Self::Redirected => "Redirected",
            Self::NotS3 => "NotS3",
            Self::Stale => "Stale",
            Self::BrokerUnreachable => "BrokerUnreachable",
            Self::AuthFailed => "AuthFailed",
            Self::Fenced => "Fenced",
            Self::TopicNotFound => "TopicNotFound",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::Bug => "Bug",
        }
    }

    /// Returns the reason of a label, such as the store's.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }
}
