//! Looks for objects in the zones that no plan lists, and proves by their names those whose plans clean-up has removed.

use std::collections::{BTreeMap, HashSet};

use stockpipeline::checked::Pipeline;
use stockpipeline::layout::{Epoch, LedgerKeys, parse_object_key};
use stockpipeline::plan::Plan;

use super::chain::{Chain, NamedRanges};
use super::report::{Difference, DifferenceKind, Report};
use super::{AuditError, PAGE_KEYS, hash_of};
use crate::store::Store;

/// What the walk over the ledger has found, as the zones are compared with it.
pub(super) struct Known<'a> {
    /// Hashes of the keys that plans list.
    pub(super) planned: &'a HashSet<u64>,
    /// Chains of all epochs.
    pub(super) chains: &'a BTreeMap<(Epoch, i32), Chain>,
}

/// Lists every zone of a pipeline and notes what no plan explains.
///
/// # Errors
/// [`AuditError`] when the store can't be read.
pub(super) async fn compare_zones(store: &Store, pipeline: &Pipeline, known: &Known<'_>, report: &mut Report) -> Result<(), AuditError> {
    let sink = &pipeline.sink;
    let prefixes = sink.raw.iter().map(|(prefix, _)| prefix).chain([&sink.processed_prefix, &sink.dead_letters.0]);
    let mut named = BTreeMap::new();
    for prefix in prefixes {
        let folder = format!("{prefix}/");
        let mut after: Option<String> = None;
        loop {
            let page = store.list(&folder, after.as_deref(), PAGE_KEYS).await.map_err(AuditError::listing(&folder))?;
            for entry in &page {
                if !known.planned.contains(&hash_of(&entry.key)) {
                    explain(store, pipeline, known, &entry.key, &mut named, report).await?;
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE_KEYS => after = Some(last.key.clone()),
                Some(_) | None => break,
            }
        }
    }
    for (place, chain) in known.chains {
        let ranges = named.remove(place).unwrap_or_default();
        for fault in ranges.faults(chain) {
            report.differs(Difference { kind: DifferenceKind::Chain, subject: chain_name(&place.0, place.1), detail: fault });
        }
    }
    Ok(())
}

/// Returns how a chain is named in differences.
pub(super) fn chain_name(epoch: &Epoch, partition: i32) -> String {
    format!("{}/p{partition:05}", epoch.as_str())
}

type Named = BTreeMap<(Epoch, i32), NamedRanges>;

async fn explain(
    store: &Store,
    pipeline: &Pipeline,
    known: &Known<'_>,
    key: &str,
    named: &mut Named,
    report: &mut Report,
) -> Result<(), AuditError> {
    let foreign = |detail: &str| Difference { kind: DifferenceKind::ForeignObject, subject: key.to_owned(), detail: detail.to_owned() };
    let Some((short, partition, first, last)) = parse_object_key(key) else {
        report.differs(foreign("is no object of this pipeline: its name says no offsets"));
        return Ok(());
    };
    let Some((place, chain)) = known.chains.iter().find(|((epoch, of), _)| *of == partition && epoch.short() == short) else {
        report.differs(foreign("no ledger of this consumer group has its epoch and partition"));
        return Ok(());
    };
    if last < chain.kept_from() {
        report.objects_by_name_alone += 1;
        if let Some(fault) = named.entry(place.clone()).or_default().take(first, last) {
            report.differs(foreign(&fault));
        }
        return Ok(());
    }
    // A plan that was sealed after its partition was walked; it stands in the ledger before its objects do.
    let plan_key = LedgerKeys::new(&pipeline.sink.ledger.prefix, &pipeline.kafka.consumer_group, &place.0).plan(partition, first);
    let body = store.get(&plan_key).await.map_err(AuditError::reading(&plan_key))?;
    let listed = body.and_then(|body| Plan::from_json(&body).ok()).is_some_and(|plan| plan.objects.iter().any(|object| object.key == key));
    if !listed {
        report.differs(foreign("no plan lists it"));
    }
    Ok(())
}
