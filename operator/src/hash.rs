//! Hashes that stand in annotations, table parameters and status: stable, for comparing and nothing else.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Bytes of a short hash: two versions of one thing never meet in 64 bits by chance.
const SHORT: usize = 8;

/// Returns the hash of a text as 16 hexadecimal digits, for what nobody gains anything by forging.
pub(crate) fn short(text: &str) -> String {
    digits(text, SHORT)
}

/// Returns the whole hash of a text as 64 hexadecimal digits, for what counts as checked by its hash alone.
pub(crate) fn full(text: &str) -> String {
    digits(text, usize::MAX)
}

fn digits(text: &str, bytes: usize) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text).iter().take(bytes) {
        write!(digits, "{byte:02x}").expect("a String takes everything that is written to it");
    }
    digits
}

/// Returns the hash of a text as a number, for what never leaves the process.
pub(crate) fn number(text: &str) -> u64 {
    Sha256::digest(text).iter().take(SHORT).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_never_change() {
        assert_eq!(super::short("stockpipeline").len(), 16);
        assert_eq!(super::short(""), "e3b0c44298fc1c14");
        assert_eq!(super::full(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(super::number(""), 0xe3b0_c442_98fc_1c14);
    }
}
