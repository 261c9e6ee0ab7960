//! The closed lists of reasons that conditions give, and what each one means: whether the condition holds and who can change it.
//!
//! Each list is one exhaustive match, so that a new reason cannot be shown without saying what it means.

use stockpipeline::status::Reason as WorkerReason;
/// How the topic compares with what the pipeline asks for, as the sinks report it.
pub use stockpipeline::status::TopicState as TopicReady;

use super::meaning::of;
pub use super::meaning::{Meaning, Outlook, Reason, Truth};

/// Why a spec is in force or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// The newest spec is in force.
    Valid,
    /// The check has found errors; the spec accepted last stays in force.
    InvalidSpec,
    /// An older pipeline has the table, the topic with this group, or the prefix.
    ResourceConflict,
    /// A field that must not change has changed.
    UnsupportedChange,
    /// A Secret that the pipeline names is not there.
    SecretNotFound,
    /// The operator's settings do not grant the role to the namespace.
    RoleNotAllowed,
    /// The API server does not answer what has to be known or written before anything can be in force.
    Undecided,
    /// The spec passes, and the API server does not take the `ControllerRevision` without which it is not in force.
    NotRecorded,
}

impl Accepted {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Valid,
        Self::InvalidSpec,
        Self::ResourceConflict,
        Self::UnsupportedChange,
        Self::SecretNotFound,
        Self::RoleNotAllowed,
        Self::Undecided,
        Self::NotRecorded,
    ];
}

impl Reason for Accepted {
    fn meaning(self) -> Meaning {
        match self {
            Self::Valid => of("Valid", Truth::True, Outlook::Settled),
            Self::InvalidSpec => of("InvalidSpec", Truth::False, Outlook::Stalled),
            Self::ResourceConflict => of("ResourceConflict", Truth::False, Outlook::Stalled),
            Self::UnsupportedChange => of("UnsupportedChange", Truth::False, Outlook::Stalled),
            Self::SecretNotFound => of("SecretNotFound", Truth::False, Outlook::Waiting),
            Self::RoleNotAllowed => of("RoleNotAllowed", Truth::False, Outlook::Stalled),
            Self::Undecided => of("Undecided", Truth::Unknown, Outlook::Waiting),
            Self::NotRecorded => of("NotRecorded", Truth::False, Outlook::Waiting),
        }
    }
}

impl Reason for TopicReady {
    fn meaning(self) -> Meaning {
        match self {
            Self::InSync => of("InSync", Truth::True, Outlook::Settled),
            Self::Creating => of("Creating", Truth::False, Outlook::Progressing),
            Self::ConfigDrift => of("ConfigDrift", Truth::False, Outlook::Waiting),
            Self::PartitionMismatch => of("PartitionMismatch", Truth::False, Outlook::Stalled),
            Self::NotFound => of("NotFound", Truth::False, Outlook::Waiting),
            Self::AuthFailed => of("AuthFailed", Truth::False, Outlook::Waiting),
            Self::BrokerUnreachable => of("BrokerUnreachable", Truth::False, Outlook::Waiting),
            Self::Observed => of("Observed", Truth::True, Outlook::Settled),
            Self::NotMeasured => of("NotMeasured", Truth::Unknown, Outlook::Progressing),
        }
    }
}

/// Whether the workers of a role do their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// As many are ready as there have to be.
    MinimumReplicasAvailable,
    /// They are ready and have committed lately.
    Committing,
    /// Pods are being made or replaced, and too few are ready.
    RollingOut,
    /// Enough are ready, and some are not yet as declared.
    Updating,
    /// A container ends again and again.
    CrashLoop,
    /// No node takes a pod.
    Unschedulable,
    /// The image cannot be pulled.
    ImagePull,
    /// Records arrive and none has become durable for too long.
    NoRecentCommit,
    /// The source cannot be read.
    SourceUnreachable,
    /// The source is not the one that production began with.
    SourceChanged,
    /// Rows of the source are in the topic, and nothing says how far they were produced.
    ProgressMissing,
    /// The source, or one record, is larger than the memory allows.
    RecordBudgetExceeded,
    /// More dead letters than the pipeline allows; the sinks pause.
    DeadLetterRateExceeded,
    /// Kafka dropped offsets before they were stored; stays until it is acknowledged.
    DataLoss,
    /// The ledger was deleted, or the consumer group renamed.
    LedgerMissing,
    /// The log is shorter than what is stored already.
    TopicTruncated,
    /// What a broker has at an offset cannot be read; its partition waits there, the others go on.
    RecordsUnreadable,
    /// A plan does not agree with what its offsets give.
    PlanMismatch,
    /// An object of somebody else has a planned key.
    PathCollision,
    /// The store does not honour conditional writes.
    ConditionalWritesUnsupported,
    /// A plan was written by a newer version of the worker.
    PlanVersionUnknown,
    /// Credentials or policy forbid what the workers do.
    AccessDenied,
    /// There is no such bucket.
    NoSuchBucket,
    /// The encryption key cannot be used.
    KeyUnusable,
    /// The store does not answer, or not as S3 does.
    StorageUnavailable,
    /// No broker answers the workers.
    BrokerUnreachable,
    /// Kafka refuses the workers' credentials.
    AuthFailed,
    /// There is no such topic, and nobody makes it.
    TopicNotFound,
    /// The workers, or Kubernetes, cannot use their configuration.
    InvalidConfiguration,
    /// The workers fail for a reason of their own.
    WorkerFailed,
    /// Kubernetes refuses to make the pods: a quota, a limit, a policy.
    PodsRejected,
    /// The API server, or somebody else's object, refuses what the operator declares.
    ApplyFailed,
    /// There should be none.
    ScaledToZero,
    /// A finite source has been produced to its end.
    Completed,
    /// The pipeline has no such role.
    NotRequired,
}

impl Availability {
    /// Every reason.
    pub const ALL: [Self; 35] = [
        Self::MinimumReplicasAvailable,
        Self::Committing,
        Self::RollingOut,
        Self::Updating,
        Self::CrashLoop,
        Self::Unschedulable,
        Self::ImagePull,
        Self::NoRecentCommit,
        Self::SourceUnreachable,
        Self::SourceChanged,
        Self::ProgressMissing,
        Self::RecordBudgetExceeded,
        Self::DeadLetterRateExceeded,
        Self::DataLoss,
        Self::LedgerMissing,
        Self::TopicTruncated,
        Self::RecordsUnreadable,
        Self::PlanMismatch,
        Self::PathCollision,
        Self::ConditionalWritesUnsupported,
        Self::PlanVersionUnknown,
        Self::AccessDenied,
        Self::NoSuchBucket,
        Self::KeyUnusable,
        Self::StorageUnavailable,
        Self::BrokerUnreachable,
        Self::AuthFailed,
        Self::TopicNotFound,
        Self::InvalidConfiguration,
        Self::WorkerFailed,
        Self::PodsRejected,
        Self::ApplyFailed,
        Self::ScaledToZero,
        Self::Completed,
        Self::NotRequired,
    ];

    /// Returns the reason that a worker's own failure stands for; None for what is part of working, such as a full buffer.
    #[must_use]
    pub fn of_failure(reason: WorkerReason) -> Option<Self> {
        Some(match reason {
            WorkerReason::DataLoss => Self::DataLoss,
            WorkerReason::LedgerMissing => Self::LedgerMissing,
            WorkerReason::TopicTruncated => Self::TopicTruncated,
            WorkerReason::RecordsUnreadable => Self::RecordsUnreadable,
            WorkerReason::PlanMismatch => Self::PlanMismatch,
            WorkerReason::PathCollision => Self::PathCollision,
            WorkerReason::ConditionalWritesUnsupported => Self::ConditionalWritesUnsupported,
            WorkerReason::PlanVersionUnknown => Self::PlanVersionUnknown,
            WorkerReason::SourceChanged => Self::SourceChanged,
            WorkerReason::ProgressMissing => Self::ProgressMissing,
            WorkerReason::SourceUnreachable => Self::SourceUnreachable,
            WorkerReason::RecordBudgetExceeded => Self::RecordBudgetExceeded,
            WorkerReason::DeadLetterRateExceeded => Self::DeadLetterRateExceeded,
            WorkerReason::AccessDenied => Self::AccessDenied,
            WorkerReason::NoSuchBucket => Self::NoSuchBucket,
            WorkerReason::KeyUnusable => Self::KeyUnusable,
            WorkerReason::Throttled
            | WorkerReason::Unavailable
            | WorkerReason::Timeout
            | WorkerReason::ClockSkewed
            | WorkerReason::Redirected
            | WorkerReason::NotS3 => Self::StorageUnavailable,
            WorkerReason::Stale | WorkerReason::BrokerUnreachable => Self::BrokerUnreachable,
            WorkerReason::AuthFailed => Self::AuthFailed,
            WorkerReason::TopicNotFound => Self::TopicNotFound,
            WorkerReason::InvalidConfiguration => Self::InvalidConfiguration,
            WorkerReason::Fenced | WorkerReason::Bug => Self::WorkerFailed,
            WorkerReason::MemoryPressure => return None,
        })
    }
}

impl Reason for Availability {
    fn meaning(self) -> Meaning {
        match self {
            Self::MinimumReplicasAvailable => of("MinimumReplicasAvailable", Truth::True, Outlook::Settled),
            Self::Committing => of("Committing", Truth::True, Outlook::Settled),
            Self::RollingOut => of("RollingOut", Truth::False, Outlook::Progressing),
            Self::Updating => of("Updating", Truth::True, Outlook::Progressing),
            Self::CrashLoop => of("CrashLoop", Truth::False, Outlook::Waiting),
            Self::Unschedulable => of("Unschedulable", Truth::False, Outlook::Waiting),
            Self::ImagePull => of("ImagePull", Truth::False, Outlook::Waiting),
            Self::NoRecentCommit => of("NoRecentCommit", Truth::False, Outlook::Waiting),
            Self::SourceUnreachable => of("SourceUnreachable", Truth::False, Outlook::Waiting),
            Self::SourceChanged => of("SourceChanged", Truth::False, Outlook::Stalled),
            Self::ProgressMissing => of("ProgressMissing", Truth::False, Outlook::Stalled),
            Self::RecordBudgetExceeded => of("RecordBudgetExceeded", Truth::False, Outlook::Stalled),
            Self::DeadLetterRateExceeded => of("DeadLetterRateExceeded", Truth::False, Outlook::Stalled),
            Self::DataLoss => of("DataLoss", Truth::False, Outlook::Stalled),
            Self::LedgerMissing => of("LedgerMissing", Truth::False, Outlook::Stalled),
            Self::TopicTruncated => of("TopicTruncated", Truth::False, Outlook::Stalled),
            Self::RecordsUnreadable => of("RecordsUnreadable", Truth::False, Outlook::Waiting),
            Self::PlanMismatch => of("PlanMismatch", Truth::False, Outlook::Stalled),
            Self::PathCollision => of("PathCollision", Truth::False, Outlook::Stalled),
            Self::ConditionalWritesUnsupported => of("ConditionalWritesUnsupported", Truth::False, Outlook::Stalled),
            Self::PlanVersionUnknown => of("PlanVersionUnknown", Truth::False, Outlook::Stalled),
            Self::AccessDenied => of("AccessDenied", Truth::False, Outlook::Waiting),
            Self::NoSuchBucket => of("NoSuchBucket", Truth::False, Outlook::Waiting),
            Self::KeyUnusable => of("KeyUnusable", Truth::False, Outlook::Waiting),
            Self::StorageUnavailable => of("StorageUnavailable", Truth::False, Outlook::Waiting),
            Self::BrokerUnreachable => of("BrokerUnreachable", Truth::False, Outlook::Waiting),
            Self::AuthFailed => of("AuthFailed", Truth::False, Outlook::Waiting),
            Self::TopicNotFound => of("TopicNotFound", Truth::False, Outlook::Waiting),
            Self::InvalidConfiguration => of("InvalidConfiguration", Truth::False, Outlook::Waiting),
            Self::WorkerFailed => of("WorkerFailed", Truth::False, Outlook::Waiting),
            Self::PodsRejected => of("PodsRejected", Truth::False, Outlook::Waiting),
            Self::ApplyFailed => of("ApplyFailed", Truth::False, Outlook::Waiting),
            Self::ScaledToZero => of("ScaledToZero", Truth::True, Outlook::Settled),
            Self::Completed => of("Completed", Truth::True, Outlook::Settled),
            Self::NotRequired => of("NotRequired", Truth::True, Outlook::Settled),
        }
    }
}

/// Whether the catalogue says what the pipeline declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogSynced {
    /// As declared.
    InSync,
    /// Being made.
    Creating,
    /// Others had changed it; it was set right.
    DriftCorrected,
    /// It differs and is not to be changed.
    DriftReported,
    /// Credentials or policy forbid the act.
    AccessDenied,
    /// AWS asks to slow down.
    Throttled,
    /// A table of another owner is in the way.
    AlreadyExists,
    /// Others write it at the same time.
    ConcurrentModification,
    /// Columns would go or change their type.
    UnrestrictedChange,
    /// A query or view is not what Athena takes.
    QueryDefinitionFailed,
    /// A database or workgroup is missing and not to be made.
    NotFound,
    /// AWS fails or does not answer.
    Unavailable,
    /// AWS will never take it as it is.
    InvalidInput,
    /// The pipeline has no catalogue.
    NotRequired,
}

impl Reason for CatalogSynced {
    fn meaning(self) -> Meaning {
        match self {
            Self::InSync => of("InSync", Truth::True, Outlook::Settled),
            Self::Creating => of("Creating", Truth::False, Outlook::Progressing),
            Self::DriftCorrected => of("DriftCorrected", Truth::True, Outlook::Settled),
            Self::DriftReported => of("DriftReported", Truth::False, Outlook::Waiting),
            Self::AccessDenied => of("AccessDenied", Truth::False, Outlook::Waiting),
            Self::Throttled => of("Throttled", Truth::False, Outlook::Waiting),
            Self::AlreadyExists => of("AlreadyExists", Truth::False, Outlook::Stalled),
            Self::ConcurrentModification => of("ConcurrentModification", Truth::False, Outlook::Waiting),
            Self::UnrestrictedChange => of("UnrestrictedChange", Truth::False, Outlook::Stalled),
            Self::QueryDefinitionFailed => of("QueryDefinitionFailed", Truth::False, Outlook::Stalled),
            Self::NotFound => of("NotFound", Truth::False, Outlook::Waiting),
            Self::Unavailable => of("Unavailable", Truth::False, Outlook::Waiting),
            Self::InvalidInput => of("InvalidInput", Truth::False, Outlook::Stalled),
            Self::NotRequired => of("NotRequired", Truth::True, Outlook::Settled),
        }
    }
}

/// Whether the sinks keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LagWithinBounds {
    /// No more is waiting than the sinks are worth.
    WithinTarget,
    /// More is waiting.
    LagAboveTarget,
    /// More is waiting, and there are as many sinks as there may be.
    AtMaxReplicas,
    /// No sink has measured it.
    NotMeasured,
}

impl Reason for LagWithinBounds {
    fn meaning(self) -> Meaning {
        match self {
            Self::WithinTarget => of("WithinTarget", Truth::True, Outlook::Settled),
            Self::LagAboveTarget => of("LagAboveTarget", Truth::False, Outlook::Waiting),
            Self::AtMaxReplicas => of("AtMaxReplicas", Truth::False, Outlook::Waiting),
            Self::NotMeasured => of("NotMeasured", Truth::Unknown, Outlook::Waiting),
        }
    }
}

/// Whether the user has asked the pipeline to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    /// It runs.
    Running,
    /// Producers are stopped, and sinks write what is left.
    Draining,
    /// Nothing is left to write, and nothing runs.
    Drained,
    /// The time for draining is over: what is left stays in Kafka.
    DrainTimedOut,
    /// Nothing runs.
    Stopped,
}

impl Reason for Suspended {
    fn meaning(self) -> Meaning {
        match self {
            Self::Running => of("Running", Truth::False, Outlook::Settled),
            Self::Draining => of("Draining", Truth::True, Outlook::Progressing),
            Self::Drained => of("Drained", Truth::True, Outlook::Settled),
            Self::DrainTimedOut => of("DrainTimedOut", Truth::True, Outlook::Settled),
            Self::Stopped => of("Stopped", Truth::True, Outlook::Settled),
        }
    }
}

impl Truth {
    /// Returns the condition's status.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
