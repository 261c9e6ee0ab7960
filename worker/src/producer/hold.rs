//! Holds production back by what is not yet durable, for a broker that drops old records. Pure.

use std::collections::VecDeque;

/// Records between two notes of a partition's bytes.
const NOTE_EVERY: u64 = 256;

/// Most records and bytes of one Kafka partition that may lie in the broker and not yet be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldBack {
    /// Records.
    pub records: u64,
    /// Bytes of keys and values, uncompressed.
    pub bytes: u64,
}

impl HoldBack {
    /// Half of what the embedded broker keeps, and a bit: it keeps 100,000 records or 5 MiB of a partition.
    pub const EMBEDDED: Self = Self { records: 40_000, bytes: 4 << 20 };
}

/// What was sent to one Kafka partition and is not yet durable.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    sent: u64,
    bytes: u64,
    /// Counts of records and the bytes sent up to them, ascending.
    notes: VecDeque<(u64, u64)>,
    /// Bytes of the newest note that is durable.
    durable_bytes: u64,
}

impl Outstanding {
    /// Notes one record.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += 1;
        self.bytes += bytes;
        if self.sent.is_multiple_of(NOTE_EVERY) {
            self.notes.push_back((self.sent, self.bytes));
        }
    }

    /// Returns whether no more may be sent; `durable` is the first offset that is not yet durable, which may lie ahead of what was sent.
    pub(super) fn is_full(&mut self, durable: u64, limit: HoldBack) -> bool {
        if durable >= self.sent {
            self.notes.clear();
            self.durable_bytes = self.bytes;
            return false;
        }
        while let Some((_, bytes)) = self.notes.front().filter(|(records, _)| *records <= durable) {
            self.durable_bytes = *bytes;
            self.notes.pop_front();
        }
        self.sent - durable >= limit.records || self.bytes - self.durable_bytes >= limit.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: HoldBack = HoldBack { records: 1_000, bytes: 100_000 };

    fn sent(records: u64, bytes: u64) -> Outstanding {
        let mut outstanding = Outstanding::default();
        for _ in 0..records {
            outstanding.sent(bytes);
        }
        outstanding
    }

    #[test]
    fn records_or_bytes_that_are_not_durable_hold_back() {
        let cases = [
            (999, 1, 0, false),
            (1_000, 1, 0, true),
            (1_000, 1, 1, false),
            (99, 1_000, 0, false),
            (100, 1_000, 0, true),
            // Durable ahead of what was sent: a restart that produces again what is stored.
            (5_000, 1_000, 5_000, false),
            (5_000, 1_000, 1_000_000, false),
            // Bytes are known to 256 records: 512 of 600 are durable.
            (600, 1_000, 515, false),
            (700, 1_000, 515, true),
        ];
        for (records, bytes, durable, expected) in cases {
            assert_eq!(sent(records, bytes).is_full(durable, LIMIT), expected, "{records} of {bytes} bytes, durable {durable}");
        }
    }

    #[test]
    fn notes_stay_bounded_while_delivery_keeps_up() {
        let mut outstanding = Outstanding::default();
        for record in 0..1_000_000 {
            outstanding.sent(100);
            assert!(!outstanding.is_full(record, LIMIT));
        }
        assert!(outstanding.notes.len() <= 1, "{}", outstanding.notes.len());
    }
}
