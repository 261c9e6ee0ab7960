//! The figures of partitions, as metrics and status show them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Context;
use super::partition::{Partition, Phase};
use crate::metrics::MemoryClass;
use crate::status::{PartitionState, PartitionStatus};

/// Sets the gauges of what partitions hold and wait for.
pub(super) fn gauges(context: &Context, partitions: &BTreeMap<i32, Partition>, now_millis: i64, fetched_bytes: usize) {
    let metrics = &context.metrics;
    let (mut buffered, mut sealed, mut uploading) = (0, 0, 0);
    for partition in partitions.values() {
        buffered += partition.buffer_bytes() + partition.waiting_bytes();
        match &partition.flight {
            Some(flight) if flight.encoded => uploading += flight.bytes,
            Some(flight) => sealed += flight.bytes,
            None => {}
        }
        match partition.lag() {
            Some(lag) => metrics.set_lag_records(partition.id, u64::try_from(lag).unwrap_or(0)),
            None => metrics.forget_partition(partition.id),
        }
    }
    for (class, bytes) in [
        (MemoryClass::Fetched, fetched_bytes),
        (MemoryClass::Buffered, buffered),
        (MemoryClass::Sealed, sealed),
        (MemoryClass::Uploading, uploading),
    ] {
        metrics.set_memory_bytes(class, bytes as u64);
    }
    let oldest = partitions.values().filter_map(Partition::oldest_millis).min();
    let lag = oldest.map_or(Duration::ZERO, |oldest| Duration::from_millis(u64::try_from(now_millis - oldest).unwrap_or(0)));
    metrics.set_lag_seconds(lag.as_secs_f64());
    metrics.set_paused_partitions(partitions.values().filter(|partition| partition.paused).count());
}

/// Returns a partition's line of the status.
pub(super) fn of_partition(partition: &Partition) -> PartitionStatus {
    let state = match partition.phase {
        Phase::Looking | Phase::Measuring => PartitionState::Resuming,
        Phase::Stopped(_) => PartitionState::Stopped,
        Phase::Active if partition.blocked_at.is_some() => PartitionState::Stopped,
        Phase::Active if partition.leaving.is_some() => PartitionState::Releasing,
        Phase::Active if partition.replay.is_some() => PartitionState::Replaying,
        Phase::Active if partition.flight.is_some() => PartitionState::Writing,
        Phase::Active => PartitionState::Buffering,
    };
    PartitionStatus {
        partition: partition.id,
        durable: partition.durable,
        end: partition.log_end,
        lag: partition.lag(),
        state,
        paused: partition.paused,
    }
}
