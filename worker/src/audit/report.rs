//! What an audit found: counts, chain ends and differences, as a table and as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;
use stockpipeline::plan::ZoneName;

/// Differences that a report keeps word for word; the others are only counted.
pub const MAX_DIFFERENCES: usize = 20;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the plans' objects of each zone hold.
    pub zones: Zones,
    /// Hive partitions of the processed zone that hold rows.
    pub hive_partitions: u64,
    /// Dead letters by class.
    pub dead_letter_classes: BTreeMap<String, u64>,
    /// Chains, one a Kafka partition of each epoch.
    pub chains: Vec<ChainEnd>,
    /// Offsets inside the plans that no zone holds a row of: control records, aborted or compacted records.
    pub offsets_without_row: u64,
    /// Tails that are not finished, one line each.
    pub in_progress: Vec<String>,
    /// Objects of plans that clean-up has removed; proven by their names alone.
    pub objects_by_name_alone: u64,
    /// The first [`MAX_DIFFERENCES`] differences.
    pub differences: Vec<Difference>,
    /// Differences in all.
    pub difference_count: u64,
}

/// What the plans' objects of each zone hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Zones {
    /// Raw zone.
    pub raw: ZoneCounts,
    /// Processed zone.
    pub processed: ZoneCounts,
    /// Dead letters.
    pub dead_letters: ZoneCounts,
}

/// What the objects of one zone hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneCounts {
    /// Objects.
    pub objects: u64,
    /// Rows, as read from the objects.
    pub rows: u64,
    /// Bytes of the objects as they are stored.
    pub bytes: u64,
}

/// Where the chain of one Kafka partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainEnd {
    /// Epoch.
    pub epoch: String,
    /// Kafka partition.
    pub partition: i32,
    /// First offset of the chain, from the root record.
    pub start: i64,
    /// First offset of the oldest plan that is kept.
    pub kept_from: i64,
    /// Offset after the last plan's.
    pub next: i64,
    /// Plans that are kept.
    pub plans: u64,
}

/// One thing that is not as the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Which promise does not hold.
    pub kind: DifferenceKind,
    /// Key or chain that it is about.
    pub subject: String,
    /// What is wrong.
    pub detail: String,
}

/// Which promise does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DifferenceKind {
    /// The first record of a ledger is missing or unreadable.
    Root,
    /// A plan is unreadable or stands under another plan's key.
    Plan,
    /// Two plans of a chain leave offsets out, or both claim some.
    Chain,
    /// A plan is not finished though it should be.
    Unfinished,
    /// An object that a finished plan lists is missing.
    MissingObject,
    /// An object names another plan than the one that lists it.
    ObjectMark,
    /// An object can't be read as what its zone holds.
    UnreadableObject,
    /// An object holds another number of rows than its plan lists.
    RowCount,
    /// A row does not belong to the plan: another partition, or an offset outside the range.
    ForeignRow,
    /// An offset has more than one row.
    Repeated,
    /// An offset stands in raw and neither in processed nor in the dead letters, or the other way round.
    ZonesDisagree,
    /// An object that no plan lists lies in a zone.
    ForeignObject,
}

impl DifferenceKind {
    fn label(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Plan => "plan",
            Self::Chain => "chain",
            Self::Unfinished => "unfinished",
            Self::MissingObject => "missing object",
            Self::ObjectMark => "object mark",
            Self::UnreadableObject => "unreadable object",
            Self::RowCount => "row count",
            Self::ForeignRow => "foreign row",
            Self::Repeated => "repeated",
            Self::ZonesDisagree => "zones disagree",
            Self::ForeignObject => "foreign object",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}: {}", self.kind.label(), self.subject, self.detail)
    }
}

impl Zones {
    /// Returns the counts of one zone.
    pub fn of(&mut self, zone: ZoneName) -> &mut ZoneCounts {
        match zone {
            ZoneName::Raw => &mut self.raw,
            ZoneName::Processed => &mut self.processed,
            ZoneName::DeadLetters => &mut self.dead_letters,
        }
    }
}

impl Report {
    /// Returns whether everything is as the ledger says.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.difference_count == 0
    }

    /// Notes a difference.
    pub fn differs(&mut self, difference: Difference) {
        self.difference_count += 1;
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(difference);
        }
    }
}

/// Shows the counts, the chains and the differences, one a line.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Zones { raw, processed, dead_letters } = &self.zones;
        writeln!(formatter, "{:<14} {:>9} {:>13} {:>15}", "zone", "objects", "rows", "bytes")?;
        for (name, zone) in [("raw", raw), ("processed", processed), ("dead letters", dead_letters)] {
            writeln!(formatter, "{name:<14} {:>9} {:>13} {:>15}", thousands(zone.objects), thousands(zone.rows), thousands(zone.bytes))?;
        }
        writeln!(formatter, "\n{:<18} {:>9} {:>13} {:>13} {:>13} {:>7}", "epoch", "partition", "start", "kept from", "next", "plans")?;
        for chain in &self.chains {
            let ChainEnd { epoch, partition, start, kept_from, next, plans } = chain;
            writeln!(formatter, "{epoch:<18} {partition:>9} {start:>13} {kept_from:>13} {next:>13} {plans:>7}")?;
        }
        if self.offsets_without_row > 0 {
            writeln!(
                formatter,
                "\n{} offsets have no row in any zone (control, aborted or compacted records)",
                thousands(self.offsets_without_row)
            )?;
        }
        if self.objects_by_name_alone > 0 {
            writeln!(
                formatter,
                "\n{} objects are older than their plans and proven by their names alone",
                thousands(self.objects_by_name_alone)
            )?;
        }
        for line in &self.in_progress {
            writeln!(formatter, "in progress: {line}")?;
        }
        formatter.write_char('\n')?;
        for difference in &self.differences {
            writeln!(formatter, "{difference}")?;
        }
        let more = self.difference_count - self.differences.len() as u64;
        if more > 0 {
            writeln!(formatter, "and {} more", thousands(more))?;
        }
        match self.difference_count {
            0 if self.chains.is_empty() => write!(formatter, "audit: clean, nothing is stored yet"),
            0 => write!(formatter, "audit: clean"),
            1 => write!(formatter, "audit: 1 difference"),
            count => write!(formatter, "audit: {} differences", thousands(count)),
        }
    }
}

/// Returns a number with a comma after every third digit.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_154, "12,154"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn only_the_first_differences_are_kept_and_all_are_counted() {
        let mut report = Report::default();
        for index in 0..25 {
            let subject = format!("key {index}");
            report.differs(Difference { kind: DifferenceKind::ForeignObject, subject, detail: "no plan lists it".to_owned() });
        }
        assert!(!report.is_clean());
        let text = report.to_string();
        assert!(text.contains("foreign object: key 19: no plan lists it\nand 5 more\naudit: 25 differences"), "{text}");
        assert!(!text.contains("key 20"));
    }

    #[test]
    fn a_clean_report_says_so_in_its_last_line() {
        assert!(Report::default().to_string().ends_with("audit: clean, nothing is stored yet"));
        let chain = ChainEnd { epoch: "e".into(), partition: 0, start: 0, kept_from: 0, next: 5, plans: 1 };
        let report = Report { chains: vec![chain], ..Report::default() };
        assert!(report.to_string().ends_with("audit: clean"));
    }
}
