//! Slots that were accepted: from which row on they are fed. A broker that does not answer is asked again later; nothing is guessed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::super::failure::Failure;
use super::super::report::Report;
use super::super::{Delivery, ProducerError, transaction};
use super::{Batch, RETRY_PAUSE, Session};
use crate::kafka::{KafkaError, is_about_permission};
use crate::slots::ProgressRecord;
use crate::slots::progress::{Found, Search, SearchError, begun_key};

/// Longest look-up of where slots stand; a dead producer's transaction is aborted well within it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(25);

/// What the group and the slots topic say of one slot.
struct Standing {
    slot: u32,
    /// Row of the group's offset.
    offset: Option<u64>,
    found: Found,
}

impl Standing {
    /// Returns the first row to feed; None where nothing says that any was.
    fn row(&self) -> Option<u64> {
        self.offset.max(self.found.row)
    }
}

/// What the past of a replay means for slots that are taken over.
enum Past {
    /// Every slot goes on where it stands.
    Known(Vec<Standing>),
    /// The replay has no past: its first row comes first. What all slots say.
    New(Vec<Standing>),
    /// Rows were produced, and a slot does not say how far.
    Lost,
}

impl Session<'_> {
    /// Looks up where accepted slots stand.
    pub(super) fn take_over(&mut self, report: &mut Report) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.commit(report)?;
        let slots: Vec<u32> = self.pending.iter().copied().collect();
        let (standings, is_new) = match self.past(&slots) {
            Ok(Past::Known(standings)) => (standings, false),
            Ok(Past::New(all)) => (all, true),
            Ok(Past::Lost) => {
                return Err(Failure::Final(ProducerError::ProgressMissing {
                    topic: self.context.topic.name.clone(),
                    slots_topic: self.context.settings.slots_topic.clone(),
                    uri: self.identity.record.uri.clone(),
                }));
            }
            Err(SearchError::Cancelled { .. }) => return Ok(()),
            Err(SearchError::Kafka { source, .. }) => {
                self.retry_later(report, &source);
                return Ok(());
            }
        };
        self.check_content(&standings)?;
        if is_new {
            self.begin_replay()?;
        }
        for standing in standings.iter().filter(|standing| self.pending.contains(&standing.slot)) {
            self.positions.take(standing.slot, standing.row().unwrap_or(0));
        }
        self.pending.clear();
        info!(?slots, start = self.positions.start(), "feeds slots");
        report.succeeded(self.context);
        Ok(())
    }

    /// Returns an error where the source had another content when it was produced.
    fn check_content(&self, standings: &[Standing]) -> Result<(), Failure> {
        let changed =
            standings.iter().filter(|standing| standing.offset.is_none()).find_map(|standing| standing.found.other_content.clone());
        match changed {
            None => Ok(()),
            Some(expected) => Err(Failure::Final(ProducerError::SourceChanged {
                uri: self.identity.record.uri.clone(),
                topic: self.context.topic.name.clone(),
                expected,
                found: self.identity.record.fingerprint.clone(),
            })),
        }
    }

    /// Tells a replay that begins from one whose progress was deleted, or has expired, in all slots or in some.
    ///
    /// A transactional replay's beginning is noted in all slots at once, before its first row; so from then on every slot says something.
    fn past(&self, slots: &[u32]) -> Result<Past, SearchError> {
        let standings = self.standings(slots)?;
        let is_known = |standings: &[Standing]| standings.iter().all(|standing| standing.row().is_some());
        // Without transactions rows may stand in the topic before their progress does; they come again then, as is promised.
        if self.context.delivery != Delivery::Transactional || is_known(&standings) {
            return Ok(Past::Known(standings));
        }
        // Looked at before all slots are: another replica may begin meanwhile.
        let has_rows = self.has_rows()?;
        let all = self.standings(&(0..self.context.settings.slots).collect::<Vec<u32>>())?;
        if !self.positions.is_empty() || all.iter().any(|standing| standing.row().is_some()) {
            // Slots are looked at one after the other; what was seen in one of them is in the others by now, if it ever was.
            let standings = self.standings(slots)?;
            return Ok(if is_known(&standings) { Past::Known(standings) } else { Past::Lost });
        }
        let knows_source = all.iter().any(|standing| standing.found.knows_source);
        Ok(if has_rows && !knows_source { Past::Lost } else { Past::New(all) })
    }

    /// Notes in every slot, others' too, that the replay has begun. Several replicas may do so.
    fn begin_replay(&mut self) -> Result<(), Failure> {
        Report::beat(self.context);
        transaction::begin(&self.sender)?;
        self.batch = Some(Batch { has_begun: true, ..Batch::open(self.partitions) });
        let record = ProgressRecord { row: 0, ..self.identity.record.clone() };
        let value = serde_json::to_vec(&record).map_err(|error| Failure::Final(ProducerError::Progress(error)))?;
        let key = begun_key(&record.replay);
        for slot in 0..self.context.settings.slots {
            self.queue_progress(slot, &key, &value)?;
        }
        transaction::deliver(&self.sender, self.deadline())?;
        Report::beat(self.context);
        transaction::commit(&self.sender, &self.context.failpoints)?;
        self.batch = None;
        Ok(())
    }

    fn standings(&self, slots: &[u32]) -> Result<Vec<Standing>, SearchError> {
        Report::beat(self.context);
        let failed = |source| SearchError::Kafka { topic: self.context.settings.slots_topic.clone(), source };
        let committed = self.group.committed(slots, LOOKUP_TIMEOUT).map_err(failed)?;
        Report::beat(self.context);
        let mut found: BTreeMap<u32, Found> = self.reader.find(&self.search(), slots, &self.context.shutdown)?;
        let standing = |(slot, offset)| Standing { slot, offset, found: found.remove(&slot).unwrap_or_default() };
        Ok(committed.into_iter().map(standing).collect())
    }

    /// Returns whether the topic has rows of the source; false, with a warning, where it may not be read.
    fn has_rows(&self) -> Result<bool, SearchError> {
        Report::beat(self.context);
        let has_rows = self.reader.has_rows(&self.search(), &self.context.topic.name, self.partitions, &self.context.shutdown);
        match has_rows {
            Err(SearchError::Kafka { topic, source }) if source.code().is_some_and(is_about_permission) => {
                warn!(topic, error = %source, "cannot look whether the topic has rows already; allow READ on it");
                Ok(false)
            }
            result => result,
        }
    }

    fn search(&self) -> Search<'_> {
        Search {
            topic: &self.context.settings.slots_topic,
            group: &self.identity.group,
            wanted: &self.identity.record,
            timeout: LOOKUP_TIMEOUT,
        }
    }

    fn retry_later(&mut self, report: &mut Report, error: &KafkaError) {
        warn!(error = %error, "cannot look up where slots stand; trying again");
        report.failed(self.context, error.code().is_some_and(is_about_permission), &error.to_string());
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
    }
}
