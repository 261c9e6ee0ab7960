//! When the catalogue is looked at: at once for a new wish, at each drift interval else, and later and later while it fails.

use jiff::Timestamp;

use crate::accept::{Spec, identity};
use crate::catalog::{CatalogReport, CatalogState, Mode, WantedCatalogue};
use crate::hash;
use crate::memory::{CatalogLook, Remembered, after};
use crate::reconcile::Look;
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

/// Returns what is known of the catalogue, after a look at it where one is due.
pub(crate) async fn catalogue(look: &Look<'_>, memory: &mut Remembered, spec: &Spec) -> CatalogReport {
    let Some(wanted) = wanted(look, spec) else { return CatalogReport::not_required() };
    let Some(catalogue) = &look.shared.context.catalogue else {
        return CatalogReport {
            finding: Finding { reason: CatalogSynced::AccessDenied, message: "this operator has no access to AWS".to_owned() },
            ..CatalogReport::not_required()
        };
    };
    let wanted_hash = wanted_hash(look, spec);
    if let Some(known) = memory.catalogue.as_ref().filter(|known| !is_due(known, look, &wanted_hash)) {
        // What was written is told once.
        return CatalogReport { corrections: 0, changes: Vec::new(), ..known.report.clone() };
    }
    let mode = if look.is_read_only { Mode::DryRun } else { Mode::Apply };
    let report = Box::pin(catalogue.sync(&wanted, &state(look, memory), mode)).await;
    let failures = match (report.retry, &memory.catalogue) {
        (None, _) => 0,
        (Some(_), Some(known)) if known.annotations == look.wish.annotations && known.wanted_hash == wanted_hash => {
            known.failures.saturating_add(1)
        }
        (Some(_), _) => 1,
    };
    let wait = report.retry.map(|retry| retry.delay(failures, memory.chance(failures)));
    let next = after(look.now, wait.unwrap_or_else(|| drift_interval(look, memory, spec)));
    let annotations = look.wish.annotations.clone();
    memory.catalogue = Some(Box::new(CatalogLook { annotations, wanted_hash, next, failures, report: report.clone() }));
    report
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
fn drift_interval(look: &Look<'_>, memory: &Remembered, spec: &Spec) -> std::time::Duration {
    let declared = look.shared.context.settings.drift_interval(spec.pipeline.operations.drift_interval);
    let salt = u32::try_from(Timestamp::as_second(look.now).rem_euclid(i64::from(u32::MAX))).unwrap_or(0);
    declared.mul_f64(1.0 - 0.2 * memory.chance(salt))
}
