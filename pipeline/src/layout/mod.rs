//! Where things lie in the bucket: object keys, Hive partition values and their escaping, ledger keys.

mod escape;
mod hive;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::civil::day_of;
use crate::rules::PartitionField;
use crate::value::{DATE_BYTES, date_text};
use escape::segment;
pub use escape::{escape, unescape};
pub use hive::{HIVE_VALUE_BYTES, hive_value};

/// Hive's name for a null partition value.
pub const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";
/// Bytes that S3 takes in a key.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Bytes of the longest object name: epoch, partition, two offsets and the longest extension with their separators.
const OBJECT_NAME_BYTES: usize = 8 + 2 + 10 + 1 + 20 + 1 + 20 + 1 + 9;

/// One incarnation of a topic: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Epoch(String);

impl Epoch {
    /// Returns the epoch of a text that names the incarnation (cluster id and topic id, or a source's fingerprint).
    #[must_use]
    pub fn of(incarnation: &str) -> Self {
        Self(hex(&Sha256::digest(incarnation.as_bytes())[..8]))
    }

    /// Returns the epoch that a text of 16 lower-case hexadecimal digits is, or None for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 16 && is_hex(text) { Some(Self(text.to_owned())) } else { None }
    }

    /// Returns the 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 8 digits, as they stand in object keys.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Epoch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("an epoch is 16 hexadecimal digits, not {text:?}"))
    }
}

/// Keys of one consumer group's ledger in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerKeys {
    group_prefix: String,
    epoch: Epoch,
}

impl LedgerKeys {
    /// Returns the keys under `<prefix>/<consumer group>/<epoch>/`, the group escaped like a Hive value.
    #[must_use]
    pub fn new(prefix: &str, consumer_group: &str, epoch: &Epoch) -> Self {
        Self { group_prefix: Self::group_prefix(prefix, consumer_group), epoch: epoch.clone() }
    }

    /// Returns the prefix of all epochs of a consumer group, with a slash at its end.
    #[must_use]
    pub fn group_prefix(prefix: &str, consumer_group: &str) -> String {
        format!("{prefix}/{}/", segment(consumer_group))
    }

    /// Returns the prefix of all epochs of the group, with a slash at its end.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group_prefix
    }

    /// Returns the epoch.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Returns the key of the root record.
    #[must_use]
    pub fn root(&self) -> String {
        format!("{}{}/root.json", self.group_prefix, self.epoch.as_str())
    }

    /// Returns the prefix of one partition's plans, with a slash at its end.
    #[must_use]
    pub fn partition(&self, partition: i32) -> String {
        format!("{}{}/p{partition:05}/", self.group_prefix, self.epoch.as_str())
    }

    /// Returns the key of the plan that starts at an offset.
    #[must_use]
    pub fn plan(&self, partition: i32, first: i64) -> String {
        format!("{}{first:020}.plan.json", self.partition(partition))
    }

    /// Returns the key of the mark that the plan which starts at an offset is complete.
    #[must_use]
    pub fn done(&self, partition: i32, first: i64) -> String {
        format!("{}{first:020}.done", self.partition(partition))
    }

    /// Returns the first offset that a plan's key names, or None for any other key.
    #[must_use]
    pub fn parse_plan(key: &str) -> Option<i64> {
        first_of(key, ".plan.json")
    }

    /// Returns the first offset that a done mark's key names, or None for any other key.
    #[must_use]
    pub fn parse_done(key: &str) -> Option<i64> {
        first_of(key, ".done")
    }
}

fn first_of(key: &str, suffix: &str) -> Option<i64> {
    let name = key.rsplit('/').next()?.strip_suffix(suffix)?;
    if name.len() == 20 { digits(name) } else { None }
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The range of one plan, as it stands in object keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range<'a> {
    /// Incarnation of the topic.
    pub epoch: &'a Epoch,
    /// Kafka partition.
    pub partition: i32,
    /// First offset.
    pub first: i64,
    /// Last offset, inclusive.
    pub last: i64,
}

/// Returns the key of a data object: `<prefix>/<hive path>/<epoch, 8>-p<partition>-<first>-<last>.<ext>`.
#[must_use]
pub fn object_key(prefix: &str, hive: &[(String, String)], range: &Range<'_>, extension: &str) -> String {
    use std::fmt::Write;
    let mut key = String::with_capacity(prefix.len() + 96);
    key.push_str(prefix);
    for (name, value) in hive {
        key.push('/');
        key.push_str(name);
        key.push('=');
        key.push_str(&escape(value));
    }
    let Range { epoch, partition, first, last } = range;
    write!(key, "/{}-p{partition:05}-{first:020}-{last:020}.{extension}", epoch.short()).expect("writing to a String cannot fail");
    key
}

/// Returns the range that a data object's key names: short epoch, partition, first and last.
///
/// None for any key that [`object_key`] does not make.
#[must_use]
pub fn parse_object_key(key: &str) -> Option<(String, i32, i64, i64)> {
    let name = key.rsplit('/').next()?;
    let (stem, extension) = name.split_once('.')?;
    let mut parts = stem.split('-');
    let epoch = parts.next()?;
    let partition = parts.next()?.strip_prefix('p')?;
    let (first, last) = (parts.next()?, parts.next()?);
    let well_formed = parts.next().is_none()
        && !extension.is_empty()
        && epoch.len() == 8
        && is_hex(epoch)
        && (partition.len() == 5 || (partition.len() > 5 && !partition.starts_with('0')))
        && first.len() == 20
        && last.len() == 20;
    if !well_formed {
        return None;
    }
    let (first, last) = (digits(first)?, digits(last)?);
    if first > last { None } else { Some((epoch.to_owned(), digits(partition)?, first, last)) }
}

/// Returns the bytes of the longest object key under a prefix with these partition fields.
///
/// Whoever takes the prefix and the fields from a user refuses what is longer than [`MAX_KEY_BYTES`].
#[must_use]
pub fn longest_key(prefix: &str, fields: &[PartitionField]) -> usize {
    let path: usize = fields.iter().map(|field| 1 + field.name.len() + 1 + hive::longest_value(&field.transform)).sum();
    prefix.len() + path + 1 + OBJECT_NAME_BYTES
}

/// Returns the Hive value `dt` of an instant: its day in UTC, `YYYY-MM-DD`.
#[must_use]
pub fn sealed_day(sealed_at_micros: i64) -> String {
    date_text(day_of(sealed_at_micros), &mut [0; DATE_BYTES]).to_owned()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests;
