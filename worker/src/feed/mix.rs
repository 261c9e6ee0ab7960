//! Numbers by chance that are a function of their place: nothing is drawn in turn, so any place is as near as the next.

/// Returns a number in which every bit depends on every bit of the input (`SplitMix64`'s last step).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Rounds of the network; four suffice for a permutation that looks like chance, six are cheap.
const ROUNDS: u64 = 6;

/// A permutation of `0..rows` by a seed: a Feistel network over the next power of four, walked until the result is a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shuffle {
    rows: u64,
    half_bits: u32,
    keys: [u64; ROUNDS as usize],
}

impl Shuffle {
    /// Returns the permutation of one pass.
    pub(super) fn new(seed: u64, pass: u64, rows: u64) -> Self {
        let bits = u64::BITS - rows.saturating_sub(1).leading_zeros();
        let base = mix(seed ^ mix(pass));
        let mut keys = [0; ROUNDS as usize];
        for (round, key) in (0..ROUNDS).zip(&mut keys) {
            *key = mix(base ^ round);
        }
        Self { rows, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Returns the row at a position, or None behind the last one.
    pub(super) fn at(&self, position: u64) -> Option<u64> {
        if position >= self.rows {
            return None;
        }
        let mask = (1 << self.half_bits) - 1;
        let mut value = position;
        loop {
            let (mut left, mut right) = (value >> self.half_bits, value & mask);
            for key in self.keys {
                (left, right) = (right, left ^ mix(right ^ key) & mask);
            }
            value = left << self.half_bits | right;
            if value < self.rows {
                return Some(value);
            }
        }
    }
}
