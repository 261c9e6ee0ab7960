//! Slots that were accepted: from which row on they are fed. A broker that does not answer is asked again later; nothing is guessed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::super::failure::Failure;
use super::super::report::Report;
use super::super::{Delivery, ProducerError};
use super::{RETRY_PAUSE, Session};
use crate::kafka::{KafkaError, is_about_permission};
use crate::slots::progress::{Found, Search, SearchError};

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

impl Session<'_> {
    /// Looks up where accepted slots stand.
    pub(super) fn take_over(&mut self, report: &mut Report) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.commit(report)?;
        let slots: Vec<u32> = self.pending.iter().copied().collect();
        let standings = self.standings(&slots).and_then(|standings| {
            let is_missing = standings.iter().any(|standing| standing.row().is_none()) && self.is_progress_missing()?;
            Ok((standings, is_missing))
        });
        let (standings, is_missing) = match standings {
            Ok(found) => found,
            Err(SearchError::Cancelled { .. }) => return Ok(()),
            Err(SearchError::Kafka { source, .. }) => {
                self.retry_later(report, &source);
                return Ok(());
            }
        };
        if is_missing {
            return Err(Failure::Final(ProducerError::ProgressMissing {
                topic: self.context.topic.name.clone(),
                slots_topic: self.context.settings.slots_topic.clone(),
                uri: self.identity.record.uri.clone(),
            }));
        }
        for standing in standings {
            let row = standing.row();
            if let (None, Some(expected)) = (standing.offset, standing.found.other_content) {
                return Err(Failure::Final(ProducerError::SourceChanged {
                    uri: self.identity.record.uri.clone(),
                    topic: self.context.topic.name.clone(),
                    expected,
                    found: self.identity.record.fingerprint.clone(),
                }));
            }
            self.positions.take(standing.slot, row.unwrap_or(0));
        }
        self.pending.clear();
        info!(?slots, start = self.positions.start(), "feeds slots");
        report.succeeded(self.context);
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

    /// Returns whether the topic has rows of the source, although no slot has ever had any progress: it was deleted, or has expired.
    /// Rows and their progress are committed together, so one is never seen without the other. The rows are looked at first: another
    /// replica may commit the first ones meanwhile.
    fn is_progress_missing(&self) -> Result<bool, SearchError> {
        // Without transactions rows may stand in the topic before their progress does; they come again then, as is promised.
        if self.context.delivery != Delivery::Transactional {
            return Ok(false);
        }
        Report::beat(self.context);
        let has_rows = self.reader.has_rows(&self.search(), &self.context.topic.name, self.partitions, &self.context.shutdown);
        match has_rows {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(SearchError::Kafka { topic, source }) if source.code().is_some_and(is_about_permission) => {
                warn!(topic, error = %source, "cannot look whether the topic has rows already; allow READ on it");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let all: Vec<u32> = (0..self.context.settings.slots).collect();
        let standings = self.standings(&all)?;
        Ok(!standings.iter().any(|standing| standing.row().is_some() || standing.found.has_records))
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
