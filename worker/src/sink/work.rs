//! What other threads and tasks report to the loop.

use std::sync::Arc;

use stockpipeline::plan::Plan;

use super::lookup::{LookupError, Start, Watermarks};
use super::pool::{Encoded, Filled};
use crate::ledger::LedgerError;
use crate::status::TopicReport;

/// Which partition, in which of its lives, some work belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) partition: i32,
    pub(super) generation: u64,
}

/// Work that is done.
pub(super) enum Work {
    /// The place of a partition in the ledger is known.
    Looked(Ticket, Result<Start, LookupError>),
    /// The watermarks of a partition are known, and that the topic is still the same.
    Measured(Ticket, Cause, Result<Watermarks, LookupError>),
    /// A broker has not answered, or refused, the question for a partition's watermarks; it is asked again.
    Unanswered { partition: i32 },
    /// Records are in a buffer.
    Filled(Ticket, Filled),
    /// A sealed range has its bytes.
    Encoded(Ticket, Encoded),
    /// A sealed range is stored, or not ours.
    Delivered(Ticket, Result<Delivery, LedgerError>),
    /// A done mark is stored.
    Marked(Ticket),
    /// The topics were looked after.
    TopicsKept(TopicReport),
    /// Whether the topic is still the one that the ledger belongs to.
    TopicSeen { is_same: bool },
}

/// Why a partition is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The broker does not have the position.
    OutOfRange,
    /// The broker says that the log was cut below the position; or that of another topic of the same name, which is shorter.
    Truncated,
}

/// How a delivery ended.
pub(super) enum Delivery {
    /// All objects are stored; with the boot time in milliseconds before the chain's end was last written or read.
    Stored(Arc<Plan>, u64),
    /// Somebody else had decided the rotation; the ledger has to be looked up again, and their plan to be executed.
    Adopted(Arc<Plan>),
    /// The chain had gone on, and its plans were cleaned up, while this worker slept.
    Overtaken(Arc<Plan>),
    /// The topic was deleted and made again, so nobody knows which one the records are of.
    TopicReplaced,
}
