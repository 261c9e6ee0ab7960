//! The ledger in S3: who has decided which rotation of a Kafka partition, and how far it got.
//!
//! The only truth about delivery. Every write is conditional: the first one decides, everybody else reads.
//! Calls wait out an ailing store (see [`crate::store`]); what they return as an error is final.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use stockpipeline::layout::LedgerKeys;
use stockpipeline::plan::{PLAN_VERSION, Plan, PlanError, Root};

use crate::pieces::Pieces;
use crate::store::{Listed, Put, Store, StoreError};

/// Entries of one page of a listing.
const PAGE: usize = 1000;
/// Content type of plans.
const JSON: &str = "application/json";

/// The ledger of one consumer group and one epoch of a topic.
#[derive(Clone)]
pub struct Ledger {
    store: Store,
    keys: LedgerKeys,
}

/// A ledger that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store refused for good.
    #[error("failed to use the ledger")]
    Store(#[source] StoreError),
    /// A stored plan or root cannot be read.
    #[error("failed to read {key:?}; it was written by a newer version, or changed by hand")]
    Unreadable {
        /// Key.
        key: String,
        /// What is wrong with it.
        source: PlanError,
    },
    /// A plan is listed but gone when it is read.
    #[error("the plan {key:?} vanished while it was read; is something else deleting from the ledger?")]
    Vanished {
        /// Key.
        key: String,
    },
    /// An object of a plan's key was not written by that plan.
    #[error(
        "the object {key:?} is not the one that the plan of partition {partition}, offsets {first} to {last} wrote; move it away or restore the ledger"
    )]
    PathCollision {
        /// Key of the object.
        key: String,
        /// Kafka partition of the plan.
        partition: i32,
        /// First offset of the plan.
        first: i64,
        /// Last offset of the plan.
        last: i64,
    },
}

/// Outcome of storing a plan.
#[derive(Debug)]
pub enum Decision {
    /// Our plan stands (stored now, or by an earlier attempt whose reply was lost).
    Ours,
    /// Somebody had decided before us.
    Theirs(Box<Plan>),
}

/// The end of a partition's chain.
#[derive(Debug)]
pub enum Tail {
    /// No plan yet.
    Empty,
    /// All objects of the last plan are stored; `marked` says whether its done mark is, too.
    Finished {
        /// The last plan.
        plan: Box<Plan>,
        /// Whether its done mark is stored.
        marked: bool,
    },
    /// The last plan still lacks objects, or nobody knows.
    Unfinished(Box<Plan>),
}

/// What a committed group offset says about the ledger: the plan that ended there, and how far the log is known to be empty behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Epoch that the plan belongs to.
    pub epoch: String,
    /// First offset of the plan.
    pub first: i64,
    /// The committed offset: `last` + 1 of the plan.
    pub next: i64,
    /// Offset up to which nothing but control records stood behind the plan; `next` where nobody has looked.
    pub end: i64,
}

impl Hint {
    /// Returns the note that goes with the committed offset of a completed plan.
    #[must_use]
    pub fn note(plan: &Plan, end: i64) -> String {
        format!("stockpipeline/1 {} {} {end}", plan.epoch.as_str(), plan.first)
    }

    /// Returns what a committed offset and its note say, or None when the note is not ours.
    #[must_use]
    pub fn read(offset: i64, note: &str) -> Option<Self> {
        let mut parts = note.strip_prefix("stockpipeline/1 ")?.split(' ');
        let (epoch, first) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let end = parts.next().and_then(|end| end.parse().ok()).unwrap_or(offset);
        Some(Self { epoch, first, next: offset, end })
    }
}

impl Ledger {
    /// Returns the ledger of these keys in a store.
    #[must_use]
    pub fn new(store: Store, keys: LedgerKeys) -> Self {
        Self { store, keys }
    }

    /// Returns the keys.
    #[must_use]
    pub fn keys(&self) -> &LedgerKeys {
        &self.keys
    }

    /// Returns the root record, or None before there is one.
    pub async fn root(&self) -> Result<Option<Root>, LedgerError> {
        let key = self.keys.root();
        match self.store.get(&key).await.map_err(LedgerError::Store)? {
            Some(bytes) => Root::from_json(&bytes).map(Some).map_err(|source| LedgerError::Unreadable { key, source }),
            None => Ok(None),
        }
    }

    /// Stores the root record if there is none, and returns the one that stands.
    pub async fn put_root(&self, root: Root) -> Result<Root, LedgerError> {
        let key = self.keys.root();
        match self.put(&key, Bytes::from(root.to_json())).await? {
            Put::Stored => Ok(root),
            Put::Exists => self.root().await?.ok_or(LedgerError::Vanished { key }),
        }
    }

    /// Returns whether any epoch of the consumer group has left something in the ledger.
    pub async fn group_is_known(&self) -> Result<bool, LedgerError> {
        Ok(!self.store.list(self.keys.group(), None, 1).await.map_err(LedgerError::Store)?.is_empty())
    }

    /// Stores a plan if nobody has decided this rotation yet.
    pub async fn decide(&self, plan: &Plan) -> Result<Decision, LedgerError> {
        let key = self.keys.plan(plan.partition, plan.first);
        match self.put(&key, Bytes::from(plan.to_json())).await? {
            Put::Stored => Ok(Decision::Ours),
            Put::Exists => {
                let stored = self.plan(plan.partition, plan.first).await?.ok_or(LedgerError::Vanished { key })?;
                Ok(if stored == *plan { Decision::Ours } else { Decision::Theirs(Box::new(stored)) })
            }
        }
    }

    /// Returns the plan that starts at an offset, or None when there is none.
    pub async fn plan(&self, partition: i32, first: i64) -> Result<Option<Plan>, LedgerError> {
        let key = self.keys.plan(partition, first);
        match self.store.get(&key).await.map_err(LedgerError::Store)? {
            Some(bytes) => Plan::from_json(&bytes).map(Some).map_err(|source| LedgerError::Unreadable { key, source }),
            None => Ok(None),
        }
    }

    /// Returns whether the ledger holds anything of the partition behind the plan that starts at `first`.
    pub async fn is_overtaken(&self, partition: i32, first: i64) -> Result<bool, LedgerError> {
        let after = self.keys.plan(partition, first);
        let later = self.store.list(&self.keys.partition(partition), Some(&after), 1).await.map_err(LedgerError::Store)?;
        Ok(!later.is_empty())
    }

    /// Deletes a plan that this worker has stored behind a chain that is gone.
    pub async fn withdraw(&self, plan: &Plan) -> Result<(), LedgerError> {
        self.store.delete(&[self.keys.plan(plan.partition, plan.first)]).await.map_err(LedgerError::Store)
    }

    /// Marks a plan as complete, so that the next owner need not look at its objects. `end` is the offset up to which nothing but
    /// control records stood behind it.
    pub async fn mark_done(&self, plan: &Plan, end: i64) -> Result<(), LedgerError> {
        self.put(&self.keys.done(plan.partition, plan.first), Bytes::from(end.to_string())).await.map(drop)
    }

    /// Returns the end that stands in the done mark of a plan; None where there is no mark, or one of a version that wrote none.
    pub async fn done_end(&self, plan: &Plan) -> Result<Option<i64>, LedgerError> {
        let body = self.store.get(&self.keys.done(plan.partition, plan.first)).await.map_err(LedgerError::Store)?;
        Ok(body.and_then(|body| std::str::from_utf8(&body).ok()?.parse().ok()).filter(|end| *end > plan.last))
    }

    /// Returns the end of a partition's chain. A usable hint costs two requests, without one the ledger is paged through.
    pub async fn tail(&self, partition: i32, hint: Option<&Hint>) -> Result<Tail, LedgerError> {
        let hinted = self.hinted(partition, hint).await?;
        let after = hinted.as_ref().map(|plan| self.keys.plan(partition, plan.first));
        let (last, done) = self.last_entries(partition, after).await?;
        match (last, hinted) {
            (Some(first), _) => {
                let plan =
                    self.plan(partition, first).await?.ok_or_else(|| LedgerError::Vanished { key: self.keys.plan(partition, first) })?;
                let marked = done == Some(first);
                let finished = marked || self.is_finished(&plan).await?;
                Ok(if finished { Tail::Finished { plan: Box::new(plan), marked } } else { Tail::Unfinished(Box::new(plan)) })
            }
            (None, Some(plan)) => Ok(Tail::Finished { plan: Box::new(plan), marked: false }),
            (None, None) => Ok(Tail::Empty),
        }
    }

    async fn hinted(&self, partition: i32, hint: Option<&Hint>) -> Result<Option<Plan>, LedgerError> {
        let Some(hint) = hint.filter(|hint| hint.epoch == self.keys.epoch().as_str()) else { return Ok(None) };
        let plan = self.plan(partition, hint.first).await?;
        Ok(plan.filter(|plan| plan.last + 1 == hint.next))
    }

    /// Returns the largest `first` of the plans and of the done marks behind a key.
    async fn last_entries(&self, partition: i32, mut after: Option<String>) -> Result<(Option<i64>, Option<i64>), LedgerError> {
        let prefix = self.keys.partition(partition);
        let (mut plan, mut done) = (None, None);
        loop {
            let page = self.store.list(&prefix, after.as_deref(), PAGE).await.map_err(LedgerError::Store)?;
            for Listed { key, .. } in &page {
                plan = LedgerKeys::parse_plan(key).or(plan);
                done = LedgerKeys::parse_done(key).or(done);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok((plan, done)),
            }
        }
    }

    /// Returns whether every object of a plan is stored.
    pub async fn is_finished(&self, plan: &Plan) -> Result<bool, LedgerError> {
        for object in &plan.objects {
            if !self.object_is_stored(plan, &object.key).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether an object of a plan is stored.
    ///
    /// # Errors
    /// [`LedgerError::PathCollision`] when another object has its key.
    pub async fn object_is_stored(&self, plan: &Plan, key: &str) -> Result<bool, LedgerError> {
        match self.store.head(key).await.map_err(LedgerError::Store)? {
            None => Ok(false),
            Some(info) if plan.claims(&info.metadata) => Ok(true),
            Some(_) => {
                Err(LedgerError::PathCollision { key: key.to_owned(), partition: plan.partition, first: plan.first, last: plan.last })
            }
        }
    }

    /// Stores an object of a plan, or finds that it is stored.
    ///
    /// # Errors
    /// [`LedgerError::PathCollision`] when another object has its key.
    pub async fn put_object(&self, plan: &Plan, key: &str, body: Pieces, content_type: &str) -> Result<(), LedgerError> {
        let mark = plan.object_metadata();
        loop {
            let put = self.store.put_if_absent(key, body.clone(), content_type, &mark).await.map_err(LedgerError::Store)?;
            if put == Put::Stored || self.object_is_stored(plan, key).await? {
                return Ok(());
            }
            // It was there and is gone: somebody deletes under us. The next attempt stores it, or finds it again.
            tracing::warn!(key, "an object vanished between two looks at it");
        }
    }

    /// Deletes plans that are older than `retain` and not among the last `retain_plans` of the partition; returns how many.
    pub async fn clean_up(&self, partition: i32, now_millis: i64, retain: Duration, retain_plans: usize) -> Result<usize, LedgerError> {
        let limit_millis = now_millis.saturating_sub(i64::try_from(retain.as_millis()).unwrap_or(i64::MAX));
        let prefix = self.keys.partition(partition);
        let mut kept: BTreeMap<i64, i64> = BTreeMap::new();
        let (mut after, mut deleted): (Option<String>, usize) = (None, 0);
        loop {
            let page = self.store.list(&prefix, after.as_deref(), PAGE).await.map_err(LedgerError::Store)?;
            for Listed { key, modified_millis, .. } in &page {
                if let Some(first) = LedgerKeys::parse_plan(key) {
                    kept.insert(first, *modified_millis);
                }
            }
            // Oldest first, so that a kill in between leaves a chain without holes.
            let mut expired = Vec::new();
            while kept.len() > retain_plans && kept.first_key_value().is_some_and(|(_, modified)| *modified < limit_millis) {
                let (first, _) = kept.pop_first().expect("the map has a first entry");
                expired.extend([self.keys.done(partition, first), self.keys.plan(partition, first)]);
                deleted += 1;
            }
            if !expired.is_empty() {
                self.store.delete(&expired).await.map_err(LedgerError::Store)?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(deleted),
            }
        }
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<Put, LedgerError> {
        self.store.put_if_absent(key, body, JSON, &BTreeMap::new()).await.map_err(LedgerError::Store)
    }
}

/// Returns whether a plan's rules are known to this version of the decoder.
#[must_use]
pub fn is_executable(plan: &Plan) -> bool {
    plan.version <= PLAN_VERSION && plan.rules.decoder <= stockpipeline::rules::DECODER_VERSION
}
