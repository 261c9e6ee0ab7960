//! When the catalogue is looked at: at once for a new wish, at each drift interval else, and later and later while it fails.

use std::time::Duration;

use jiff::Timestamp;

use crate::accept::{self, Spec, identity};
use crate::catalog::decide::{CatalogReport, CatalogState, Mode, WantedCatalogue};
use crate::error::Retry;
use crate::hash;
use crate::reconcile::Look;
use crate::reconcile::memory::{CatalogLook, Remembered, after};
use crate::resource::crd::report::AthenaStatus;
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

/// Time between two looks at what is left of a catalogue, where nobody may take it away.
const LEFT_INTERVAL: Duration = Duration::from_mins(10);

/// Returns what is known of the catalogue, after a look at it where one is due.
pub(crate) async fn catalogue(look: &Look<'_>, memory: &mut Remembered, spec: &Spec) -> CatalogReport {
    let Some(wanted) = wanted(look, spec) else { return leave(look, memory).await };
    let Some(catalogue) = &look.shared.context.catalogue else {
        let finding = no_access();
        return CatalogReport { columns_wait: Some(finding.message.clone()), finding, ..CatalogReport::not_required() };
    };
    let wanted_hash = wanted_hash(look, spec);
    if let Some(known) = memory.catalogue.as_ref().filter(|known| !is_due(known, look, &wanted_hash)) {
        return known.report.clone();
    }
    let mode = if look.is_read_only { Mode::DryRun } else { Mode::Apply };
    let report = Box::pin(catalogue.sync(&wanted, &state(look, memory), mode)).await;
    let interval = drift_interval(look, memory, spec.pipeline.operations.drift_interval);
    remember(look, memory, wanted_hash, interval, report)
}

/// Takes away what the operator has made besides the tables, once the spec has no catalogue any more: as the spec that had one says.
async fn leave(look: &Look<'_>, memory: &mut Remembered) -> CatalogReport {
    let seen = state(look, memory);
    if seen.is_empty() {
        memory.catalogue = None;
        return CatalogReport { athena: Some(AthenaStatus::default()), ..CatalogReport::not_required() };
    }
    let wanted_hash = hash::short("nothing");
    if let Some(known) = memory.catalogue.as_ref().filter(|known| !is_due(known, look, &wanted_hash)) {
        return known.report.clone();
    }
    let last = accept::accepted_specs(look.shared, look.object, memory).await;
    let last = last.map(|specs| specs.into_iter().find(|spec| spec.pipeline.glue.is_some()));
    let report = match (last, &look.shared.context.catalogue) {
        (Err(error), _) => {
            CatalogReport::left(&seen, Finding { reason: CatalogSynced::Unavailable, message: error.to_string() }, error.retry())
        }
        (Ok(_), None) => CatalogReport::left(&seen, no_access(), Retry::User),
        // Nobody can do more about it here, so that it is no reason for the pipeline to be unready.
        (Ok(None), Some(_)) => {
            let message = "no accepted spec says any more where that is: remove it by hand, or set spec.glue again".to_owned();
            CatalogReport::left(&seen, Finding { reason: CatalogSynced::NotRequired, message }, Retry::User)
        }
        (Ok(Some(last)), Some(catalogue)) => {
            let mode = if look.is_read_only { Mode::DryRun } else { Mode::Apply };
            match wanted(look, &last) {
                Some(wanted) => Box::pin(catalogue.leave(wanted, &seen, mode)).await,
                None => CatalogReport::not_required(),
            }
        }
    };
    let interval = drift_interval(look, memory, LEFT_INTERVAL);
    remember(look, memory, wanted_hash, interval, report)
}

fn no_access() -> Finding<CatalogSynced> {
    Finding { reason: CatalogSynced::AccessDenied, message: "this operator has no access to AWS".to_owned() }
}

/// Notes a report, and when the next one is due.
fn remember(look: &Look<'_>, memory: &mut Remembered, wanted_hash: String, interval: Duration, report: CatalogReport) -> CatalogReport {
    let known = memory.catalogue.as_ref();
    let known = known.filter(|known| known.annotations == look.wish.annotations && known.wanted_hash == wanted_hash);
    let failures = failures(known.map_or(0, |known| known.failures), &report);
    let wait = report.retry.map(|retry| retry.delay(failures, memory.chance(failures)));
    let next = after(look.now, wait.unwrap_or(interval));
    let annotations = look.wish.annotations.clone();
    // What was written is told once.
    let known = CatalogReport { corrections: 0, changes: Vec::new(), ..report.clone() };
    memory.catalogue = Some(Box::new(CatalogLook { annotations, wanted_hash, next, failures, report: known }));
    report
}

/// Returns the failures in a row, this look's included. Long work that gets further starts anew, so that it does not wait longer and longer.
fn failures(before: u32, report: &CatalogReport) -> u32 {
    match report.retry {
        None => 0,
        Some(_) if report.got_further => 1,
        Some(_) => before.saturating_add(1),
    }
}

/// Returns what is remembered of the catalogue. What the last look says of Athena is nowhere else until a status has it.
pub(crate) fn state(look: &Look<'_>, memory: &Remembered) -> CatalogState {
    let latest = memory.catalogue.as_ref().and_then(|known| known.report.athena.clone());
    let mut status = look.known.clone();
    if latest.is_some() {
        status.get_or_insert_default().athena = latest;
    }
    CatalogState::of(status.as_ref())
}

/// Returns what a pipeline wants of the catalogue.
pub(crate) fn wanted(look: &Look<'_>, spec: &Spec) -> Option<WantedCatalogue> {
    WantedCatalogue::of(&identity(look.object), &spec.pipeline, spec.generation, &look.shared.context.settings.cluster)
}

/// A change of what has nothing to do with the catalogue, such as a number of pods, is no reason to look at it.
fn wanted_hash(look: &Look<'_>, spec: &Spec) -> String {
    let wanted = WantedCatalogue::of(&identity(look.object), &spec.pipeline, 0, &look.shared.context.settings.cluster);
    hash::short(&format!("{wanted:?}"))
}

fn is_due(known: &CatalogLook, look: &Look<'_>, wanted_hash: &str) -> bool {
    known.annotations != look.wish.annotations || known.wanted_hash != wanted_hash || known.next <= look.now
}

/// Up to a fifth less each time, so that pipelines that were made together part.
fn drift_interval(look: &Look<'_>, memory: &Remembered, declared: Duration) -> Duration {
    let declared = look.shared.context.settings.drift_interval(declared);
    let salt = u32::try_from(Timestamp::as_second(look.now).rem_euclid(i64::from(u32::MAX))).unwrap_or(0);
    declared.mul_f64(1.0 - 0.2 * memory.chance(salt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_gets_further_at_each_look_is_no_failure_and_what_stands_is() {
        let after = |retry: Option<Retry>, got_further: bool| {
            let report = CatalogReport { retry, got_further, ..CatalogReport::not_required() };
            (0..20).fold(0, |before, _| failures(before, &report))
        };
        assert_eq!(after(Some(Retry::Fast), true), 1);
        assert_eq!(after(Some(Retry::Backoff), true), 1);
        assert_eq!(after(Some(Retry::Backoff), false), 20);
        assert_eq!(after(None, false), 0);
    }
}
