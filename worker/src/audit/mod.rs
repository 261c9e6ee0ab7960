//! Proves delivery from what is stored: every offset of every chain once, and nothing else in the zones.
//!
//! Reads plans, objects and listings through [`Store`] only, never Kafka; changes nothing. Memory: a few plans' objects and
//! offsets, and 16 bytes for every object and plan.

mod chain;
mod offsets;
mod plan;
mod report;
mod rows;
mod zones;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic;

use futures::StreamExt;
use stockpipeline::checked::Pipeline;
use stockpipeline::layout::{Epoch, LedgerKeys};
use stockpipeline::plan::{Root, ZoneName};

pub use self::report::{ChainEnd, Difference, DifferenceKind, MAX_DIFFERENCES, Report, ZoneCounts, Zones, thousands};

use self::chain::Chain;
use self::plan::{EntryKind, PlanPlace, Proof, parse_key, prove};
use self::zones::{Known, chain_name, compare_zones};
use crate::error::{Class, line};
use crate::store::{Store, StoreError};

/// Keys of one page of a listing.
const PAGE_KEYS: usize = 1000;
/// Plans that are proven at once; each holds a few objects and its plan's offsets in memory.
const PLANS_AT_ONCE: usize = 4;

/// What the last plan of a chain may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// A sink may be writing it: missing objects are reported as in progress.
    MayBeInProgress,
    /// Nothing is writing: missing objects are a difference.
    MustBeComplete,
}

/// A store that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A listing failed.
    #[error("failed to list {prefix:?}")]
    List {
        /// Prefix.
        prefix: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// An object couldn't be read.
    #[error("failed to read {key:?}")]
    Read {
        /// Key.
        key: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl AuditError {
    fn listing(prefix: &str) -> impl FnOnce(StoreError) -> Self {
        let prefix = prefix.to_owned();
        move |source| Self::List { prefix, source }
    }

    fn reading(key: &str) -> impl FnOnce(StoreError) -> Self {
        let key = key.to_owned();
        move |source| Self::Read { key, source }
    }

    /// Returns who can do something about the error.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::List { .. } | Self::Read { .. } => Class::External,
        }
    }
}

/// Proves the delivery of a pipeline's consumer group, in every epoch of its ledger.
///
/// # Errors
/// [`AuditError`] when the store can't be read; differences are in the report.
pub async fn run(store: &Store, pipeline: &Pipeline, tail: Tail) -> Result<Report, AuditError> {
    let mut walk = Walk {
        store,
        pipeline,
        tail,
        report: Report::default(),
        planned: HashSet::new(),
        hive_partitions: HashSet::new(),
        chains: BTreeMap::new(),
        unfinished: BTreeMap::new(),
        marks_without_plan: Vec::new(),
        epochs: BTreeSet::new(),
    };
    walk.ledger().await?;
    walk.finish_tails();
    walk.finish_marks();
    let known = Known { planned: &walk.planned, chains: &walk.chains };
    compare_zones(store, pipeline, &known, &mut walk.report).await?;
    let mut report = walk.report;
    report.hive_partitions = walk.hive_partitions.len() as u64;
    report.chains = walk.chains.iter().map(|((epoch, partition), chain)| chain.end(epoch.as_str(), *partition)).collect();
    Ok(report)
}

/// The walk over a consumer group's ledger, in key order.
struct Walk<'a> {
    store: &'a Store,
    pipeline: &'a Pipeline,
    tail: Tail,
    report: Report,
    planned: HashSet<u64>,
    hive_partitions: HashSet<u64>,
    chains: BTreeMap<(Epoch, i32), Chain>,
    /// The newest plan of each chain, while objects of it are missing.
    unfinished: BTreeMap<(Epoch, i32), (PlanPlace, Proof)>,
    /// Done marks that no plan followed; few, since marks are only made when a partition is given back or idle.
    marks_without_plan: Vec<PlanPlace>,
    epochs: BTreeSet<Epoch>,
}

impl Walk<'_> {
    async fn ledger(&mut self) -> Result<(), AuditError> {
        let group = LedgerKeys::group_prefix(&self.pipeline.sink.ledger.prefix, &self.pipeline.kafka.consumer_group);
        let mut after: Option<String> = None;
        // Its plan follows a done mark in key order.
        let mut done: Option<PlanPlace> = None;
        loop {
            let page = self.store.list(&group, after.as_deref(), PAGE_KEYS).await.map_err(AuditError::listing(&group))?;
            let mut plans = Vec::with_capacity(page.len());
            for entry in &page {
                self.note_epoch(&group, &entry.key).await?;
                match parse_key(&group, &entry.key) {
                    Some((place, EntryKind::Done)) => self.replace_done(&mut done, Some(place)),
                    Some((place, EntryKind::Plan)) => {
                        let is_done = done.as_ref().is_some_and(|mark| same_plan(mark, &place));
                        if is_done {
                            done = None;
                        } else {
                            self.replace_done(&mut done, None);
                        }
                        plans.push((place, is_done));
                    }
                    None => {}
                }
            }
            self.prove_all(plans).await?;
            match page.last() {
                Some(last) if page.len() == PAGE_KEYS => after = Some(last.key.clone()),
                Some(_) | None => break,
            }
        }
        self.replace_done(&mut done, None);
        Ok(())
    }

    /// Reads the root record of an epoch that is met for the first time: its chains start where that says.
    async fn note_epoch(&mut self, group: &str, key: &str) -> Result<(), AuditError> {
        let name = key.strip_prefix(group).and_then(|rest| rest.split('/').next());
        let Some(epoch) = name.and_then(Epoch::parse) else { return Ok(()) };
        if !self.epochs.insert(epoch.clone()) {
            return Ok(());
        }
        let key = LedgerKeys::new(&self.pipeline.sink.ledger.prefix, &self.pipeline.kafka.consumer_group, &epoch).root();
        let body = self.store.get(&key).await.map_err(AuditError::reading(&key))?;
        let root = match body.map(|body| Root::from_json(&body)) {
            Some(Ok(root)) => root,
            Some(Err(error)) => {
                self.root_differs(key, line(&error));
                return Ok(());
            }
            None => {
                self.root_differs(key, "is missing: no chain of the epoch can be proven from its start".to_owned());
                return Ok(());
            }
        };
        for (partition, start) in root.starts {
            self.chains.insert((epoch.clone(), partition), Chain::new(start));
        }
        Ok(())
    }

    fn root_differs(&mut self, subject: String, detail: String) {
        self.report.differs(Difference { kind: DifferenceKind::Root, subject, detail });
    }

    /// Puts a done mark aside until its plan comes; the one that was held has none.
    fn replace_done(&mut self, held: &mut Option<PlanPlace>, next: Option<PlanPlace>) {
        self.marks_without_plan.extend(std::mem::replace(held, next));
    }

    async fn prove_all(&mut self, plans: Vec<(PlanPlace, bool)>) -> Result<(), AuditError> {
        let proofs = futures::stream::iter(plans).map(|(place, done)| {
            let store = self.store.clone();
            // On tasks of their own: many small objects cost more processor time than waiting. They only read, so one that
            // outlives the error of another does no harm.
            tokio::spawn(async move {
                let proof = prove(&store, &place).await?;
                Ok::<_, AuditError>((place, done, proof))
            })
        });
        let mut proofs = std::pin::pin!(proofs.buffered(PLANS_AT_ONCE));
        while let Some(proven) = proofs.next().await {
            let (place, done, proof) = proven.unwrap_or_else(|failed| panic::resume_unwind(failed.into_panic()))?;
            if let Some(proof) = proof {
                self.take(place, done, proof).await?;
            } else if let Some(chain) = self.chains.get_mut(&(place.epoch.clone(), place.partition)) {
                chain.lose_one();
            }
        }
        Ok(())
    }

    /// Adds the proof of the next plan of a chain.
    async fn take(&mut self, place: PlanPlace, done: bool, mut proof: Proof) -> Result<(), AuditError> {
        let chain_key = (place.epoch.clone(), place.partition);
        if let Some((before, proof)) = self.unfinished.remove(&chain_key) {
            self.recheck(&before, proof).await?;
        }
        if let Some(last) = proof.last {
            let chain = self.chains.entry(chain_key.clone()).or_insert_with(|| Chain::new(0));
            if let Some(detail) = chain.take(place.first, last) {
                let subject = chain_name(&place.epoch, place.partition);
                self.report.differs(Difference { kind: DifferenceKind::Chain, subject, detail });
            }
        }
        self.planned.extend(proof.keys.drain(..));
        self.hive_partitions.extend(proof.hive_partitions.drain(..));
        self.report.offsets_without_row += proof.without_row;
        for zone in [ZoneName::Raw, ZoneName::Processed, ZoneName::DeadLetters] {
            let (sum, counts) = (self.report.zones.of(zone), *proof.zones.of(zone));
            sum.objects += counts.objects;
            sum.rows += counts.rows;
            sum.bytes += counts.bytes;
        }
        for (class, count) in std::mem::take(&mut proof.classes) {
            *self.report.dead_letter_classes.entry(class).or_default() += count;
        }
        for difference in proof.differences.drain(..) {
            self.report.differs(difference);
        }
        if done {
            self.missing(&proof.missing);
        } else if !proof.missing.is_empty() {
            self.unfinished.insert(chain_key, (place, proof));
        }
        Ok(())
    }

    /// Looks again at a plan that has a successor by now: it was finished before that one was stored.
    async fn recheck(&mut self, place: &PlanPlace, proof: Proof) -> Result<(), AuditError> {
        let mut missing = Vec::new();
        for key in proof.missing {
            if self.store.head(&key).await.map_err(AuditError::reading(&key))?.is_none() {
                missing.push(key);
            }
        }
        if missing.is_empty() {
            self.report.in_progress.push(format!("{} was finished while it was read; its rows are not counted", place.key));
        }
        self.missing(&missing);
        Ok(())
    }

    fn missing(&mut self, keys: &[String]) {
        for key in keys {
            let detail = "is missing though its plan is finished".to_owned();
            self.report.differs(Difference { kind: DifferenceKind::MissingObject, subject: key.clone(), detail });
        }
    }

    fn finish_tails(&mut self) {
        for (place, proof) in std::mem::take(&mut self.unfinished).into_values() {
            let detail = format!("{} of its {} objects are not there yet", proof.missing.len(), proof.listed);
            match self.tail {
                Tail::MayBeInProgress => self.report.in_progress.push(format!("{}: {detail}", place.key)),
                Tail::MustBeComplete => {
                    self.report.differs(Difference { kind: DifferenceKind::Unfinished, subject: place.key, detail });
                }
            }
        }
    }

    /// A done mark without its plan is a difference, unless clean-up has passed there.
    fn finish_marks(&mut self) {
        for mark in std::mem::take(&mut self.marks_without_plan) {
            let kept_from = self.chains.get(&(mark.epoch.clone(), mark.partition)).map_or(i64::MIN, Chain::kept_from);
            if mark.first >= kept_from {
                let detail = "marks a plan as done that is not there".to_owned();
                self.report.differs(Difference { kind: DifferenceKind::Plan, subject: mark.key, detail });
            }
        }
    }
}

/// A key's place is compared without the key itself.
fn same_plan(mark: &PlanPlace, plan: &PlanPlace) -> bool {
    (&mark.epoch, mark.partition, mark.first) == (&plan.epoch, plan.partition, plan.first)
}

/// Returns a 64-bit hash of a key: what is kept of each object.
fn hash_of(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
