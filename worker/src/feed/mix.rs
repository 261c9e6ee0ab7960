//! Numbers by chance that are a function of their place: nothing is drawn in turn, so any place is as near as the next.

/// Returns a number in which every bit depends on every bit of the input (`SplitMix64`'s last step).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Rounds of the network; four suffice for a permutation that looks like chance, six are cheap.
const ROUNDS: usize = 6;

/// A permutation of `0..rows` by a seed: a Feistel network over the next power of four, walked until the result is a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shuffle {
    rows: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Shuffle {
    /// Returns the permutation of one pass.
    pub(super) fn new(seed: u64, pass: u64, rows: u64) -> Self {
        let bits = u64::BITS - rows.saturating_sub(1).leading_zeros();
        let base = mix(seed ^ mix(pass));
        let mut keys = [0; ROUNDS];
        for (round, key) in (0..).zip(&mut keys) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_exactly_once() {
        for rows in [0, 1, 2, 3, 4, 5, 15, 16, 17, 100, 1023, 1024, 1025, 12_154] {
            let shuffle = Shuffle::new(7, 0, rows);
            let mut seen: Vec<u64> = (0..rows).map(|position| shuffle.at(position).unwrap()).collect();
            assert_eq!(shuffle.at(rows), None);
            seen.sort_unstable();
            assert_eq!(seen, (0..rows).collect::<Vec<_>>(), "{rows} rows");
        }
    }

    #[test]
    fn seed_and_pass_decide_about_the_order() {
        let order = |seed, pass| -> Vec<u64> { (0..100).map(|position| Shuffle::new(seed, pass, 100).at(position).unwrap()).collect() };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), (0..100).collect::<Vec<_>>());
    }

    /// A producer goes on from a position: the order of a released version must never change.
    #[test]
    fn order_is_the_one_that_was_released() {
        let order: Vec<u64> = (0..10).map(|position| Shuffle::new(42, 0, 10).at(position).unwrap()).collect();
        assert_eq!(order, [8, 9, 3, 6, 2, 7, 5, 1, 0, 4]);
    }

    #[test]
    fn neighbours_are_spread_over_all_rows() {
        let rows = 10_000;
        let shuffle = Shuffle::new(3, 0, rows);
        let mut tenths = [0u32; 10];
        for position in 0..1000 {
            tenths[usize::try_from(shuffle.at(position).unwrap() * 10 / rows).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
