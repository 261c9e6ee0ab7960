//! From what a look at the catalogue met, thing by thing, to the one condition and the next try.

use super::{Act, CatalogReport, Mode, ObjectChange, Refusal};
use crate::catalog::aws::{Failure, FailureKind, NotGranted};
use crate::error::Retry;
use crate::status::Finding;
use crate::status::reason::CatalogSynced;

/// Changes that a message lists.
const LISTED: usize = 3;

/// Collects what a look at the catalogue meets.
#[derive(Debug)]
pub struct Verdict {
    mode: Mode,
    findings: Vec<Finding<CatalogSynced>>,
    /// What holds nothing up.
    asides: Vec<Finding<CatalogSynced>>,
    got_further: bool,
    retries: Vec<Retry>,
    changes: Vec<ObjectChange>,
}

impl Verdict {
    /// Returns a verdict that has met nothing yet.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        let (findings, asides, retries, changes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { mode, findings, asides, got_further: false, retries, changes }
    }

    /// Returns whether anything may be written.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.mode == Mode::Apply
    }

    /// Notes a change: made, or only reported.
    pub fn change(&mut self, change: ObjectChange) {
        self.changes.push(change);
    }

    /// Notes that something waits.
    pub fn waits(&mut self, finding: Finding<CatalogSynced>, retry: Retry) {
        self.findings.push(finding);
        self.retries.push(retry);
    }

    /// Notes something that is worth telling and another try, and for which nothing else has to wait.
    pub fn tells(&mut self, finding: Finding<CatalogSynced>, retry: Retry) {
        self.asides.push(finding);
        self.retries.push(retry);
    }

    /// Notes that long work has got further, whatever has ended it for this time.
    pub fn got_further(&mut self) {
        self.got_further = true;
    }

    /// Notes that something is left until the user has decided.
    pub fn refused(&mut self, refusal: Refusal) {
        self.waits(Finding { reason: refusal.reason, message: refusal.message }, Retry::Terminal);
    }

    /// Notes that AWS did not serve a call about `object`.
    pub fn failed(&mut self, object: &str, failure: &Failure) {
        let (reason, retry, remedy) = meaning(failure);
        let Failure { operation, code, message, .. } = failure;
        let message = format!("{object}: {operation} was not served: {code}: {message}{remedy}");
        self.waits(Finding { reason, message }, retry);
    }

    /// Notes that the operator's settings grant something not.
    pub fn not_granted(&mut self, refusal: &NotGranted) {
        self.waits(Finding { reason: CatalogSynced::AccessDenied, message: refusal.to_string() }, Retry::User);
    }

    /// Returns what has gone wrong so far, that others have to wait for: the worst of it.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        worst(self.findings.iter()).map(|finding| finding.message.as_str())
    }

    /// Returns how much has gone wrong so far.
    #[must_use]
    pub fn troubles(&self) -> usize {
        self.findings.len() + self.asides.len()
    }

    /// Returns the report; `summary` is what is in order if all is.
    #[must_use]
    pub fn report(self, summary: &str) -> CatalogReport {
        let corrections = self.changes.iter().filter(|change| change.act == Act::Correct).count();
        let corrections = if self.mode == Mode::Apply { i64::try_from(corrections).unwrap_or(i64::MAX) } else { 0 };
        let mut report = CatalogReport::empty(CatalogSynced::InSync, summary);
        report.finding = self.finding(summary);
        report.corrections = corrections;
        report.retry = self.retries.into_iter().min();
        report.got_further = self.got_further;
        report.changes = self.changes;
        report
    }

    fn finding(&self, summary: &str) -> Finding<CatalogSynced> {
        if let Some(worst) = worst(self.findings.iter().chain(&self.asides)) {
            let others = self.troubles() - 1;
            let rest = if others == 0 { String::new() } else { format!(" (and {others} more)") };
            return Finding { reason: worst.reason, message: format!("{}{rest}", worst.message) };
        }
        let of = |acts: &[Act]| self.changes.iter().filter(|change| acts.contains(&change.act)).collect::<Vec<_>>();
        let writes = of(&[Act::Create, Act::Update, Act::Correct, Act::Delete]);
        let reported = of(&[Act::Report]);
        if self.mode == Mode::DryRun && !writes.is_empty() {
            return Finding { reason: CatalogSynced::DriftReported, message: format!("nothing is written: would {}", list(&writes)) };
        }
        if !reported.is_empty() {
            return Finding { reason: CatalogSynced::DriftReported, message: list(&reported) };
        }
        let corrected = of(&[Act::Correct]);
        if !corrected.is_empty() {
            return Finding { reason: CatalogSynced::DriftCorrected, message: list(&corrected) };
        }
        Finding { reason: CatalogSynced::InSync, message: summary.to_owned() }
    }
}

/// What a failure means for the condition, when it is worth another try, and the way out.
fn meaning(failure: &Failure) -> (CatalogSynced, Retry, String) {
    match failure.kind {
        FailureKind::AccessDenied => (
            CatalogSynced::AccessDenied,
            Retry::User,
            format!("; allow {} for the operator's role, or for spec.aws.controlPlaneRoleArn where it is set", failure.operation),
        ),
        FailureKind::Limit => {
            (CatalogSynced::AccessDenied, Retry::User, "; ask AWS for a higher quota, or delete what is not needed".to_owned())
        }
        FailureKind::Throttled => (CatalogSynced::Throttled, Retry::Backoff, "; it goes on by itself".to_owned()),
        FailureKind::Concurrent | FailureKind::AlreadyExists => {
            (CatalogSynced::ConcurrentModification, Retry::Fast, "; it is looked at again".to_owned())
        }
        FailureKind::NotFound => (CatalogSynced::NotFound, Retry::Fast, "; it is looked at again".to_owned()),
        FailureKind::Unavailable => (CatalogSynced::Unavailable, Retry::Backoff, "; it goes on by itself".to_owned()),
        FailureKind::Invalid => (CatalogSynced::InvalidInput, Retry::Terminal, "; correct the spec".to_owned()),
    }
}

fn worst<'a>(findings: impl Iterator<Item = &'a Finding<CatalogSynced>>) -> Option<&'a Finding<CatalogSynced>> {
    findings.min_by_key(|finding| rank(finding.reason))
}

/// What the user has to change comes before what passes by itself.
fn rank(reason: CatalogSynced) -> u8 {
    match reason {
        CatalogSynced::AlreadyExists => 0,
        CatalogSynced::UnrestrictedChange => 1,
        CatalogSynced::InvalidInput => 2,
        CatalogSynced::QueryDefinitionFailed => 3,
        CatalogSynced::AccessDenied => 4,
        CatalogSynced::NotFound => 5,
        CatalogSynced::ConcurrentModification => 6,
        CatalogSynced::Throttled => 7,
        CatalogSynced::Unavailable => 8,
        CatalogSynced::Creating => 9,
        CatalogSynced::DriftReported => 10,
        CatalogSynced::DriftCorrected => 11,
        CatalogSynced::InSync => 12,
        CatalogSynced::NotRequired => 13,
    }
}

/// Returns the first changes in words.
fn list(changes: &[&ObjectChange]) -> String {
    let mut words: Vec<String> = changes.iter().take(LISTED).map(ToString::to_string).collect();
    if changes.len() > LISTED {
        words.push(format!("{} more", changes.len() - LISTED));
    }
    words.join("; ")
}
