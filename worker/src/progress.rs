//! How far production and delivery have come, shared by producer, sink and whoever watches them in one process.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Progress of one process over all Kafka partitions of a topic.
#[derive(Debug)]
pub struct Progress {
    /// Per Kafka partition.
    pub partitions: Vec<PartitionProgress>,
    /// Rows read from the source.
    pub rows_read: AtomicU64,
    /// Rows of the source in all, once they are known; 0 before.
    pub rows_total: AtomicU64,
    /// Bytes of the source's file that have been read in this pass; tells how far a file is whose rows are not known.
    pub bytes_read: AtomicU64,
    /// Bytes of the source's file; 0 without one.
    pub bytes_total: AtomicU64,
    /// Whether a finite source has been produced and acknowledged to its end.
    pub produced_all: AtomicBool,
}

/// Progress of one Kafka partition.
#[derive(Debug, Default)]
pub struct PartitionProgress {
    /// Records acknowledged by the broker since this process started (the next offset, on an embedded broker).
    pub produced: AtomicI64,
    /// First offset that is not yet durable in S3.
    pub durable: AtomicI64,
}

impl Progress {
    /// Returns progress over a number of partitions, all at zero.
    #[must_use]
    pub fn new(partitions: usize) -> Self {
        Self {
            partitions: (0..partitions).map(|_| PartitionProgress::default()).collect(),
            rows_read: AtomicU64::new(0),
            rows_total: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            produced_all: AtomicBool::new(false),
        }
    }

    /// Returns whether everything that was produced is durable, once a finite source has ended.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.produced_all.load(Ordering::Acquire)
            && self.partitions.iter().all(|p| p.durable.load(Ordering::Acquire) >= p.produced.load(Ordering::Acquire))
    }
}
