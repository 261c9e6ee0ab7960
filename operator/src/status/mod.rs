//! From what was found to the conditions and the phase of a pipeline, and whether that is worth a write.
//!
//! Pure but for `publish`: `now` comes in, and what was reported before, since a condition's time moves only when its status changes.
//!
//! | module | what it does |
//! |---|---|
//! | [`findings`] | from what was observed to a reason for each condition |
//! | [`reason`], `meaning` | the closed lists of reasons, and what each one means |
//! | `worth` | whether a status is worth a write |
//! | [`events`] | what is told of what has changed |
//! | `publish` | writes status and events |

pub mod events;
pub mod findings;
mod meaning;
pub(crate) mod publish;
pub mod reason;
#[cfg(test)]
mod tests;
mod worth;

pub use worth::{Worth, worth};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use reason::{Accepted, Availability, CatalogSynced, LagWithinBounds, Meaning, Outlook, Reason, Suspended, TopicReady, Truth};

/// Characters of a message; a longer one helps nobody and would be refused from 32,768 on.
const MAX_MESSAGE: usize = 1_024;
/// Reason of Ready while everything is as declared.
const READY: &str = "Ready";
/// Reason of Ready and Reconciling while the pipeline is being deleted.
const DELETING: &str = "Deleting";
/// What is said of a pipeline that is being deleted.
const REMOVING: &str = "what the deletion policy names is being removed";
/// Reason of Stalled while a deleted pipeline's things cannot be cleaned up.
const CLEANUP_BLOCKED: &str = "CleanupBlocked";

/// A reason and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<R> {
    /// The reason, from its closed list.
    pub reason: R,
    /// What is there, and the way out where something is wrong; for people.
    pub message: String,
}

/// Everything that was found about a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Whether the newest spec is in force.
    pub accepted: Finding<Accepted>,
    /// The topic.
    pub topic: Finding<TopicReady>,
    /// The producers.
    pub producer: Finding<Availability>,
    /// The sinks.
    pub sink: Finding<Availability>,
    /// Glue and Athena.
    pub catalog: Finding<CatalogSynced>,
    /// How much is waiting.
    pub lag: Finding<LagWithinBounds>,
    /// Whether the sinks say that nothing is waiting at all.
    pub is_all_stored: bool,
    /// Whether the user has asked it to stand still.
    pub suspended: Finding<Suspended>,
    /// How far its deletion is; None while nobody deletes it.
    pub deletion: Option<Deletion>,
}

/// How far a deletion is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// At work.
    CleaningUp,
    /// Something cannot be reached or removed: what, and how to go on without.
    Blocked(String),
}

/// One line for people about a pipeline. Programs read the conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being set up.
    Pending,
    /// All is as declared, or on its way there while enough runs.
    Running,
    /// Something is wrong that heals by itself.
    Degraded,
    /// The user asked it to drain, and it does.
    Draining,
    /// It has drained.
    Drained,
    /// The user has stopped it.
    Stopped,
    /// A finite source is stored.
    Completed,
    /// The newest spec is not in force.
    Invalid,
    /// Something is wrong that the user has to change.
    Failed,
    /// Being deleted.
    Deleting,
}

/// A condition before it is compared with what was reported.
struct Verdict {
    condition: &'static str,
    meaning: Meaning,
    message: String,
}

impl Verdict {
    fn of<R: Reason>(condition: &'static str, finding: &Finding<R>) -> Self {
        Self { condition, meaning: finding.reason.meaning(), message: finding.message.clone() }
    }
}

/// Returns the conditions of a pipeline in a fixed order; Reconciling and Stalled are among them only while they hold.
#[must_use]
pub fn conditions(findings: &Findings, generation: i64, reported: &[Condition], now: Timestamp) -> Vec<Condition> {
    let parts = parts(findings);
    let mut verdicts = vec![ready(findings, &parts)];
    let progress = stalled(findings, &parts).or_else(|| reconciling(findings, &parts));
    verdicts.extend(parts);
    verdicts.push(Verdict::of("LagWithinBounds", &findings.lag));
    verdicts.push(Verdict::of("Suspended", &findings.suspended));
    verdicts.extend(progress);
    verdicts.into_iter().map(|verdict| condition(verdict, generation, reported, now)).collect()
}

/// Returns what Ready is made of, in the order in which a cause is looked for.
fn parts(findings: &Findings) -> Vec<Verdict> {
    vec![
        Verdict::of("Accepted", &findings.accepted),
        Verdict::of("TopicReady", &findings.topic),
        Verdict::of("ProducerAvailable", &findings.producer),
        Verdict::of("SinkAvailable", &findings.sink),
        Verdict::of("CatalogSynced", &findings.catalog),
    ]
}

/// What is false counts before what is unknown: the topic is unknown because the sinks are broken, not the other way round.
fn ready(findings: &Findings, parts: &[Verdict]) -> Verdict {
    if let Some(deletion) = &findings.deletion {
        let message = match deletion {
            Deletion::CleaningUp => REMOVING.to_owned(),
            Deletion::Blocked(message) => message.clone(),
        };
        let meaning = Meaning { label: DELETING, truth: Truth::False, outlook: Outlook::Progressing };
        return Verdict { condition: "Ready", meaning, message };
    }
    let with = |truth: Truth| parts.iter().find(|part| part.meaning.truth == truth && !is_idle_topic(findings, part));
    match with(Truth::False).or_else(|| with(Truth::Unknown)) {
        Some(cause) => Verdict {
            condition: "Ready",
            meaning: Meaning { label: cause.meaning.label, truth: cause.meaning.truth, outlook: cause.meaning.outlook },
            message: format!("{}: {}", cause.condition, cause.message),
        },
        None => Verdict {
            condition: "Ready",
            meaning: Meaning { label: READY, truth: Truth::True, outlook: Outlook::Settled },
            message: contentment(findings),
        },
    }
}

/// Says what a pipeline that is as declared does.
fn contentment(findings: &Findings) -> String {
    if findings.suspended.reason != Suspended::Running {
        findings.suspended.message.clone()
    } else if is_completed(findings) {
        format!("{}, and all of it is stored", findings.producer.message)
    } else {
        findings.sink.message.clone()
    }
}

/// Returns whether a finite source is stored to its end; a few records that are still waiting are within bounds, but not stored.
fn is_completed(findings: &Findings) -> bool {
    findings.producer.reason == Availability::Completed && findings.is_all_stored
}

/// While no sink should run, none can look at the topic, and nothing depends on it.
fn is_idle_topic(findings: &Findings, part: &Verdict) -> bool {
    part.condition == "TopicReady" && part.meaning.truth == Truth::Unknown && findings.sink.reason == Availability::ScaledToZero
}

/// Returns the conditions of a pipeline of which nothing could be decided: those that were reported, but for what says that.
#[must_use]
pub fn undecided(why: &str, generation: i64, reported: &[Condition], now: Timestamp) -> Vec<Condition> {
    let accepted = Verdict::of("Accepted", &Finding { reason: Accepted::Undecided, message: why.to_owned() });
    let ready = Verdict { condition: "Ready", meaning: accepted.meaning, message: format!("{}: {why}", accepted.condition) };
    // What is false stays so, whatever is unknown.
    let broken = reported.iter().find(|before| before.type_ == "Ready" && before.status == Truth::False.label()).cloned();
    let ready = broken.unwrap_or_else(|| condition(ready, generation, reported, now));
    let others = reported.iter().filter(|before| !["Ready", "Accepted"].contains(&before.type_.as_str())).cloned();
    [ready, condition(accepted, generation, reported, now)].into_iter().chain(others).collect()
}

fn stalled(findings: &Findings, parts: &[Verdict]) -> Option<Verdict> {
    let (label, message) = match &findings.deletion {
        Some(Deletion::Blocked(message)) => (CLEANUP_BLOCKED, message.clone()),
        Some(Deletion::CleaningUp) => return None,
        None => {
            let cause = parts.iter().find(|part| part.meaning.outlook == Outlook::Stalled)?;
            (cause.meaning.label, format!("{}: {}", cause.condition, cause.message))
        }
    };
    Some(Verdict { condition: "Stalled", meaning: Meaning { label, truth: Truth::True, outlook: Outlook::Stalled }, message })
}

fn reconciling(findings: &Findings, parts: &[Verdict]) -> Option<Verdict> {
    let (label, message) = if findings.deletion.is_some() {
        (DELETING, REMOVING.to_owned())
    } else if findings.suspended.reason == Suspended::Draining {
        ("Draining", findings.suspended.message.clone())
    } else {
        let cause = parts.iter().find(|part| part.meaning.outlook == Outlook::Progressing && !is_idle_topic(findings, part))?;
        (cause.meaning.label, format!("{}: {}", cause.condition, cause.message))
    };
    Some(Verdict { condition: "Reconciling", meaning: Meaning { label, truth: Truth::True, outlook: Outlook::Progressing }, message })
}

fn condition(verdict: Verdict, generation: i64, reported: &[Condition], now: Timestamp) -> Condition {
    let status = verdict.meaning.truth.label();
    let before = reported.iter().find(|before| before.type_ == verdict.condition && before.status == status);
    // Kubernetes keeps whole seconds; what is written must read back equal.
    let moved = || Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    Condition {
        type_: verdict.condition.to_owned(),
        status: status.to_owned(),
        reason: verdict.meaning.label.to_owned(),
        message: shorten(verdict.message),
        observed_generation: Some(generation),
        last_transition_time: before.map_or_else(moved, |before| before.last_transition_time.clone()),
    }
}

fn shorten(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message,
    }
}

/// Returns the phase that the findings amount to.
#[must_use]
pub fn phase(findings: &Findings) -> Phase {
    if findings.deletion.is_some() {
        return Phase::Deleting;
    }
    let parts = parts(findings);
    let any = |outlook: Outlook| parts.iter().any(|part| part.meaning.outlook == outlook && !is_idle_topic(findings, part));
    match findings.accepted.reason {
        Accepted::Valid | Accepted::SecretNotFound | Accepted::NotRecorded | Accepted::Undecided => {}
        Accepted::InvalidSpec | Accepted::ResourceConflict | Accepted::UnsupportedChange | Accepted::RoleNotAllowed => {
            return Phase::Invalid;
        }
    }
    if any(Outlook::Stalled) {
        return Phase::Failed;
    }
    match findings.suspended.reason {
        Suspended::Running => {}
        Suspended::Draining => return Phase::Draining,
        Suspended::Drained | Suspended::DrainTimedOut => return Phase::Drained,
        Suspended::Stopped => return Phase::Stopped,
    }
    let is_too_little = |part: &&Verdict| part.meaning.truth != Truth::True && !is_idle_topic(findings, part);
    if any(Outlook::Waiting) {
        Phase::Degraded
    } else if parts.iter().filter(is_too_little).any(|part| part.meaning.outlook == Outlook::Progressing) {
        Phase::Pending
    } else if is_completed(findings) {
        Phase::Completed
    } else {
        Phase::Running
    }
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Running,
        Self::Degraded,
        Self::Draining,
        Self::Drained,
        Self::Stopped,
        Self::Completed,
        Self::Invalid,
        Self::Failed,
        Self::Deleting,
    ];

    /// Returns the phase's name in the status.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Degraded => "Degraded",
            Self::Draining => "Draining",
            Self::Drained => "Drained",
            Self::Stopped => "Stopped",
            Self::Completed => "Completed",
            Self::Invalid => "Invalid",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
        }
    }
}
