//! Hashes that stand in annotations, table parameters and status: short, stable, for comparing and nothing else.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Bytes of a hash that are kept: two versions of one thing never meet in 64 bits.
const BYTES: usize = 8;

/// Returns the hash of a text as 16 hexadecimal digits.
pub(crate) fn short(text: &str) -> String {
    let mut digits = String::with_capacity(2 * BYTES);
    for byte in Sha256::digest(text).iter().take(BYTES) {
        write!(digits, "{byte:02x}").expect("a String takes everything that is written to it");
    }
    digits
}

/// Returns the hash of a text as a number, for what never leaves the process.
pub(crate) fn number(text: &str) -> u64 {
    Sha256::digest(text).iter().take(BYTES).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_never_change() {
        assert_eq!(super::short("stockpipeline").len(), 16);
        assert_eq!(super::short(""), "e3b0c44298fc1c14");
        assert_eq!(super::number(""), 0xe3b0_c442_98fc_1c14);
    }
}
