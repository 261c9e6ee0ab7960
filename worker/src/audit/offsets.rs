//! Compares the offsets of a plan's zones with each other and with the plan's range. Pure.
//!
//! Holds 8 bytes a row of one plan; a plan is one rotation, so that is bounded by `rotation.maxRecords`.

use super::report::DifferenceKind;

/// The offsets of one plan's rows by zone.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// Offsets of the raw zone; None where the plan has no raw zone.
    pub(super) raw: Option<Vec<i64>>,
    /// Offsets of the processed zone and the dead letters together; None where the plan has no processed zone.
    pub(super) rows: Option<Vec<i64>>,
}

/// What the offsets of a plan show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Differences: the promise that does not hold, and how.
    pub(super) differences: Vec<(DifferenceKind, String)>,
    /// Offsets of the range that have no row in any zone.
    pub(super) without_row: u64,
}

/// Compares the offsets of a plan whose range is `first..=last`.
pub(super) fn compare(mut offsets: Offsets, first: i64, last: i64) -> Comparison {
    let mut comparison = Comparison::default();
    for (zone, list) in [("raw", &mut offsets.raw), ("processed and dlq together", &mut offsets.rows)] {
        if let Some(list) = list {
            list.sort_unstable();
            repeated(list, zone, &mut comparison);
            outside(list, zone, (first, last), &mut comparison);
            list.dedup();
        }
    }
    if let (Some(raw), Some(rows)) = (&offsets.raw, &offsets.rows) {
        only_in_one(raw, rows, "in raw but neither in processed nor in dlq", &mut comparison);
        only_in_one(rows, raw, "in processed or dlq but not in raw", &mut comparison);
    }
    let held = offsets.rows.or(offsets.raw).unwrap_or_default();
    let inside = held.iter().filter(|offset| (first..=last).contains(offset)).count() as u64;
    comparison.without_row = u64::try_from(last - first).unwrap_or(0).saturating_add(1).saturating_sub(inside);
    comparison
}

fn repeated(sorted: &[i64], zone: &str, comparison: &mut Comparison) {
    let mut repeats = sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    if let Some(example) = repeats.next() {
        let count = 1 + repeats.count();
        comparison.differences.push((DifferenceKind::Repeated, format!("{count} rows too many in {zone}, such as of offset {example}")));
    }
}

fn outside(sorted: &[i64], zone: &str, (first, last): (i64, i64), comparison: &mut Comparison) {
    let mut strangers = sorted.iter().filter(|offset| !(first..=last).contains(*offset));
    if let Some(example) = strangers.next() {
        let count = 1 + strangers.count();
        let detail = format!("{count} rows of {zone} lie outside {first} to {last}, such as offset {example}");
        comparison.differences.push((DifferenceKind::ForeignRow, detail));
    }
}

fn only_in_one(these: &[i64], others: &[i64], what: &str, comparison: &mut Comparison) {
    let mut missing = these.iter().filter(|offset| others.binary_search(offset).is_err());
    if let Some(example) = missing.next() {
        let count = 1 + missing.count();
        comparison.differences.push((DifferenceKind::ZonesDisagree, format!("{count} offsets {what}, such as {example}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: Option<&[i64]>, rows: Option<&[i64]>, expected: &[(DifferenceKind, &str)], without_row: u64) {
        let offsets = Offsets { raw: raw.map(<[i64]>::to_vec), rows: rows.map(<[i64]>::to_vec) };
        let found = compare(offsets, 10, 14);
        let differences: Vec<_> = found.differences.iter().map(|(kind, detail)| (*kind, detail.as_str())).collect();
        assert_eq!(differences, expected);
        assert_eq!(found.without_row, without_row);
    }

    #[test]
    fn each_offset_once_in_both_is_clean_in_any_order() {
        check(Some(&[14, 10, 11, 13, 12]), Some(&[12, 11, 10, 14, 13]), &[], 0);
    }

    #[test]
    fn offsets_that_no_zone_has_are_counted_and_no_difference() {
        check(Some(&[10, 14]), Some(&[10, 14]), &[], 3);
        check(None, Some(&[10]), &[], 4);
        check(Some(&[10, 11]), None, &[], 3);
    }

    #[test]
    fn an_offset_with_two_rows_is_found() {
        let twice = [(DifferenceKind::Repeated, "2 rows too many in processed and dlq together, such as of offset 11")];
        check(Some(&[10, 11, 12]), Some(&[10, 11, 11, 11, 12]), &twice, 2);
    }

    #[test]
    fn a_row_outside_the_range_is_found() {
        check(
            None,
            Some(&[9, 10, 15]),
            &[(DifferenceKind::ForeignRow, "2 rows of processed and dlq together lie outside 10 to 14, such as offset 9")],
            4,
        );
    }

    #[test]
    fn an_offset_that_only_one_side_has_is_found() {
        check(
            Some(&[10, 11]),
            Some(&[10]),
            &[(DifferenceKind::ZonesDisagree, "1 offsets in raw but neither in processed nor in dlq, such as 11")],
            4,
        );
        check(
            Some(&[10]),
            Some(&[10, 12]),
            &[(DifferenceKind::ZonesDisagree, "1 offsets in processed or dlq but not in raw, such as 12")],
            3,
        );
    }
}
