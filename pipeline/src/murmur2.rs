//! The 32-bit murmur2 hash that Kafka's Java client partitions by.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// Returns the hash of a key as Kafka's `Utils.murmur2` computes it.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    // The Java client's length is an int, so it wraps as well.
    #[expect(clippy::cast_possible_truncation, reason = "the length wraps in the original")]
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut value = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        value ^= value >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ value.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        for (position, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * position);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// Returns the partition or bucket of a key among `count` (at least 1): the hash without its sign bit, modulo `count`.
#[must_use]
pub fn bucket(key: &[u8], count: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `UtilsTest.testMurmur2` in Kafka's own sources.
    #[test]
    fn hashes_are_those_of_the_java_client() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key).cast_signed(), expected, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn buckets_are_below_their_count() {
        assert_eq!(bucket(b"abc", 12), 479_470_107 % 12);
        assert_eq!(bucket(b"21", 12), ((-973_932_308_i32).cast_unsigned() & 0x7fff_ffff) % 12);
        assert_eq!(bucket(b"", 1), 0);
        assert_eq!(bucket(b"", 0), 0);
    }
}
