//! A source that cannot be read, and who can do something about it.

use std::io;

use crate::error::Class;

/// A source that cannot be read. `name` is the file as the user wrote it, without the query of an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The source has no rows of its own.
    #[error("a source of type ExternalTopic has no rows to produce; remove the producer")]
    NotProduced,
    /// The file cannot be opened or read.
    #[error("failed to read {name:?}")]
    Read {
        /// The file.
        name: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// No file can be written in the folder for downloads.
    #[error("failed to write a download to {folder:?}; mount a writable folder with room for the file")]
    Scratch {
        /// The folder.
        folder: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The address, or the server for good, does not give the file.
    #[error("failed to fetch {name:?}: {problem}")]
    Refused {
        /// The file.
        name: String,
        /// What the server said.
        problem: String,
    },
    /// The server did not give the whole file in time.
    #[error("gave up on fetching {name:?} after {seconds} s and {bytes} bytes: {problem}")]
    GaveUp {
        /// The file.
        name: String,
        /// Time of all attempts.
        seconds: u64,
        /// Bytes that had arrived.
        bytes: u64,
        /// The last failure.
        problem: String,
    },
    /// The file is larger than a download may be.
    #[error("{name:?} is larger than the {limit} bytes that a download may have; split it or mount it")]
    DownloadTooLarge {
        /// The file.
        name: String,
        /// Most bytes.
        limit: u64,
    },
    /// The file is of no form that can be read.
    #[error("cannot read {name:?}: {problem}")]
    Unsupported {
        /// The file.
        name: String,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// The stored file breaks off or is damaged. Every whole row before that was given.
    #[error("{name:?} is damaged or cut off at byte {stored_offset}, within the row at byte {text_offset} of its text; replace the file")]
    Damaged {
        /// The file.
        name: String,
        /// Bytes of the stored file that could be used.
        stored_offset: u64,
        /// Where the first row that could not be read starts in the unpacked text.
        text_offset: u64,
        /// What the decoder said.
        #[source]
        error: io::Error,
    },
    /// The file does not start with usable column names.
    #[error("the header of {name:?} is unusable: {problem}")]
    Header {
        /// The file.
        name: String,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// The file does not fit into memory, which its order needs.
    #[error(
        "order {order} needs {name:?} in memory: more than {bytes} bytes, with {budget} bytes allowed; raise the memory limit or use order File"
    )]
    MemoryBudget {
        /// The file.
        name: String,
        /// `EventTime` or `Random`.
        order: &'static str,
        /// Bytes that were not enough.
        bytes: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The file changed while it was being read.
    #[error("{name:?} changed while it was being read; restart to replay the new file")]
    Changed {
        /// The file.
        name: String,
    },
}

impl FeedError {
    /// Returns who can do something about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NotProduced => Class::Bug,
            Self::GaveUp { .. } | Self::Scratch { .. } => Class::External,
            Self::Read { .. }
            | Self::Refused { .. }
            | Self::DownloadTooLarge { .. }
            | Self::Unsupported { .. }
            | Self::Damaged { .. }
            | Self::Header { .. }
            | Self::MemoryBudget { .. }
            | Self::Changed { .. } => Class::User,
        }
    }
}
