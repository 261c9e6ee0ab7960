//! The spec that was accepted last, as far as it can be read: what runs, and what binds whoever follows it.

use super::change::{self, Bounds, Kept};
use super::revisions::{self, Contents};
use super::{Refusal, Spec, check};
use crate::resource::identity::Identity;
use crate::settings::Settings;
use crate::status::reason::Accepted;
use stockpipeline::Pipeline;

/// The spec that was accepted last.
#[derive(Debug)]
pub(crate) struct Last {
    /// The spec; None where it no longer passes the check.
    pub(crate) spec: Option<Spec>,
    /// Name of its revision.
    revision: String,
    /// What binds the next one; None where that cannot be read either.
    bounds: Option<Bounds>,
    kept: Kept,
}

impl Last {
    /// Returns what a revision says. It may say nothing that can be read.
    pub(crate) fn read(settings: &Settings, identity: &Identity, accepted: &revisions::Accepted, contents: Option<&Contents>) -> Self {
        let kept = contents.map(|contents| contents.kept.clone()).unwrap_or_default();
        let checked = contents.and_then(|contents| check(settings, identity, contents.spec.clone(), accepted.generation).ok());
        let spec = checked.map(|spec| Spec { kept: kept.clone(), ..spec });
        // What this operator reads comes first: another version may have spelled it otherwise.
        let read = spec.as_ref().map(|spec| Bounds::of(&spec.pipeline));
        let bounds = read.or_else(|| contents.and_then(|contents| contents.bounds.clone()));
        Self { spec, revision: accepted.name.clone(), bounds, kept }
    }

    /// Checks that a pipeline changes nothing that it must not.
    pub(crate) fn lets(&self, next: &Pipeline) -> Result<(), Refusal> {
        let Some(bounds) = &self.bounds else {
            let message = format!(
                "what must not change of the spec accepted last cannot be read from ControllerRevision {}; delete that one to have this spec \
                 compared with none, or with the one before",
                self.revision
            );
            return Err(Refusal { reason: Accepted::UnsupportedChange, message });
        };
        let errors = change::forbidden(bounds, &self.kept, next);
        if errors.is_empty() { Ok(()) } else { Err(Refusal::of(Accepted::UnsupportedChange, &errors)) }
    }

    /// Returns what is kept once a pipeline follows.
    pub(crate) fn kept_after(&self, next: &Pipeline) -> Kept {
        self.bounds.as_ref().map_or_else(|| self.kept.clone(), |bounds| change::kept(bounds, &self.kept, next))
    }
}
