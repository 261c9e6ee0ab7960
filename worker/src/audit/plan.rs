//! Proves one plan: its objects exist, name it, and hold the rows that it lists, each offset once.

use std::collections::{BTreeMap, HashSet};
use std::panic;

use bytes::Bytes;
use futures::StreamExt;
use stockpipeline::layout::{Epoch, LedgerKeys, parse_object_key};
use stockpipeline::plan::{Plan, PlannedObject, ZoneName};

use super::offsets::{Offsets, compare};
use super::report::{Difference, DifferenceKind, Zones};
use super::rows::{Format, Rows, read};
use super::{AuditError, hash_of};
use crate::error::line;
use crate::store::{ObjectInfo, Store};

/// Most objects of one plan that are read at once: requests wait for the network, not for a core.
const MAX_OBJECTS_AT_ONCE: usize = 8;

/// Where a plan stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlanPlace {
    /// Epoch.
    pub(super) epoch: Epoch,
    /// Kafka partition.
    pub(super) partition: i32,
    /// First offset.
    pub(super) first: i64,
    /// Key.
    pub(super) key: String,
}

/// What the proof of one plan found.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Last offset; None where the plan is unreadable.
    pub(super) last: Option<i64>,
    /// What is not as the plan says.
    pub(super) differences: Vec<Difference>,
    /// Keys of objects that are not there.
    pub(super) missing: Vec<String>,
    /// Objects that the plan lists.
    pub(super) listed: usize,
    /// What the objects hold.
    pub(super) zones: Zones,
    /// Dead letters by class.
    pub(super) classes: BTreeMap<String, u64>,
    /// Hashes of the objects' keys.
    pub(super) keys: Vec<u64>,
    /// Hashes of the processed zone's Hive partitions.
    pub(super) hive_partitions: Vec<u64>,
    /// Offsets of the range that no zone has a row of.
    pub(super) without_row: u64,
}

impl Proof {
    fn differs(&mut self, kind: DifferenceKind, subject: &str, detail: impl Into<String>) {
        self.differences.push(Difference { kind, subject: subject.to_owned(), detail: detail.into() });
    }
}

/// Reads a plan and everything that it lists; None when clean-up has removed it meanwhile.
///
/// # Errors
/// [`AuditError`] when the store can't be read.
pub(super) async fn prove(store: &Store, place: &PlanPlace) -> Result<Option<Proof>, AuditError> {
    let Some(body) = store.get(&place.key).await.map_err(AuditError::reading(&place.key))? else {
        return Ok(None);
    };
    let mut proof = Proof::default();
    let plan = match parse(&body, place) {
        Ok(plan) => plan,
        Err(reason) => {
            proof.differs(DifferenceKind::Plan, &place.key, reason);
            return Ok(Some(proof));
        }
    };
    proof.last = Some(plan.last);
    proof.listed = plan.objects.len();
    let mut offsets = Offsets { raw: plan.rules.raw.as_ref().map(|_| Vec::new()), rows: plan.rules.processed.as_ref().map(|_| Vec::new()) };
    let mut all_read = true;
    let keys: Vec<String> = plan.objects.iter().map(|object| object.key.clone()).collect();
    let fetches = futures::stream::iter(keys).map(|key| fetch(store, key));
    let mut fetches = std::pin::pin!(fetches.buffered(objects_at_once(plan.objects.len())));
    for object in &plan.objects {
        let found = fetches.next().await.transpose()?.flatten();
        match prove_object(&plan, object, found, &mut proof).await {
            Some(rows) => take_rows(object.zone, rows, &mut offsets, &mut proof),
            None => all_read = false,
        }
    }
    if all_read {
        let comparison = compare(offsets, plan.first, plan.last);
        proof.without_row = comparison.without_row;
        for (kind, detail) in comparison.differences {
            proof.differs(kind, &place.key, detail);
        }
    }
    Ok(Some(proof))
}

fn parse(body: &[u8], place: &PlanPlace) -> Result<Plan, String> {
    let plan = Plan::from_json(body).map_err(|error| line(&error))?;
    if (&plan.epoch, plan.partition, plan.first) != (&place.epoch, place.partition, place.first) {
        let Plan { epoch, partition, first, .. } = plan;
        return Err(format!("is of epoch {}, partition {partition}, offset {first} and stands under another plan's key", epoch.as_str()));
    }
    let mut keys = HashSet::with_capacity(plan.objects.len());
    for object in &plan.objects {
        let range = parse_object_key(&object.key);
        if range != Some((plan.epoch.short().to_owned(), plan.partition, plan.first, plan.last)) {
            return Err(format!("lists {:?}, whose name is of another plan", object.key));
        }
        if !keys.insert(object.key.as_str()) {
            return Err(format!("lists {:?} twice", object.key));
        }
    }
    Ok(plan)
}

/// Returns how many of a plan's objects are held at once: not more than about an eighth of its bytes.
fn objects_at_once(listed: usize) -> usize {
    (listed / 8).clamp(1, MAX_OBJECTS_AT_ONCE)
}

/// Returns an object that a plan lists; None where it is missing.
async fn fetch(store: &Store, key: String) -> Result<Option<(ObjectInfo, Bytes)>, AuditError> {
    store.get_with_info(&key).await.map_err(AuditError::reading(&key))
}

/// Returns the rows of one object, or None where it is missing or unreadable.
async fn prove_object(plan: &Plan, object: &PlannedObject, found: Option<(ObjectInfo, Bytes)>, proof: &mut Proof) -> Option<Rows> {
    let key = object.key.as_str();
    proof.keys.push(hash_of(key));
    let Some((info, body)) = found else {
        proof.missing.push(key.to_owned());
        return None;
    };
    if !plan.claims(&info.metadata) {
        proof.differs(
            DifferenceKind::ObjectMark,
            key,
            format!("was not written by the plan that lists it: its metadata is {:?}", info.metadata),
        );
    }
    let Some(format) = Format::of(object.zone, &plan.rules) else {
        proof.differs(DifferenceKind::Plan, key, format!("its plan lists it in the {} zone and has no such zone", object.zone.label()));
        return None;
    };
    let counts = proof.zones.of(object.zone);
    counts.objects += 1;
    counts.bytes += body.len() as u64;
    match read_aside(format, body, plan.partition, object.rows).await {
        Ok(rows) => {
            counts.rows += rows.count();
            if rows.count() != object.rows {
                proof.differs(DifferenceKind::RowCount, key, format!("holds {} rows, its plan lists {}", rows.count(), object.rows));
            }
            if rows.of_other_partitions > 0 {
                let detail = format!("{} rows name another kafka partition than {}", rows.of_other_partitions, plan.partition);
                proof.differs(DifferenceKind::ForeignRow, key, detail);
            }
            if object.zone == ZoneName::Processed {
                proof.hive_partitions.push(hash_of(key.rsplit_once('/').map_or("", |(folder, _)| folder)));
            }
            Some(rows)
        }
        Err((kind, detail)) => {
            proof.differs(kind, key, detail);
            None
        }
    }
}

/// Reads rows on a thread for blocking work: decompression would hold the runtime up.
async fn read_aside(format: Format, body: Bytes, partition: i32, listed: u64) -> Result<Rows, (DifferenceKind, String)> {
    let reading = tokio::task::spawn_blocking(move || read(format, body, partition, listed));
    match reading.await {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(error)) => Err((error.kind(), error.to_string())),
        Err(failed) => panic::resume_unwind(failed.into_panic()),
    }
}

fn take_rows(zone: ZoneName, rows: Rows, offsets: &mut Offsets, proof: &mut Proof) {
    let list = match zone {
        ZoneName::Raw => offsets.raw.as_mut(),
        ZoneName::Processed | ZoneName::DeadLetters => offsets.rows.as_mut(),
    };
    if let Some(list) = list {
        list.extend_from_slice(&rows.offsets);
    }
    for (class, count) in rows.classes {
        *proof.classes.entry(class).or_default() += count;
    }
}

/// Returns the place of a key of the ledger: a plan, or the mark that one is done.
pub(super) fn parse_key(group_prefix: &str, key: &str) -> Option<(PlanPlace, EntryKind)> {
    let mut parts = key.strip_prefix(group_prefix)?.split('/');
    let epoch = Epoch::parse(parts.next()?)?;
    let partition = parts.next()?.strip_prefix('p')?.parse().ok()?;
    parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    let (first, kind) = match (LedgerKeys::parse_plan(key), LedgerKeys::parse_done(key)) {
        (Some(first), _) => (first, EntryKind::Plan),
        (None, Some(first)) => (first, EntryKind::Done),
        (None, None) => return None,
    };
    Some((PlanPlace { epoch, partition, first, key: key.to_owned() }, kind))
}

/// What a key of the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A plan.
    Plan,
    /// The mark that a plan is done.
    Done,
}
