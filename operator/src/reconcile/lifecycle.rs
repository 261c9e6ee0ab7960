//! How many workers there should be right now, and whether the pipeline stands still: what is remembered and observed, put before the
//! pure rules of [`crate::desired::scaler`].

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::events::Event;
use stockpipeline::Pipeline;
use stockpipeline::operations::{DesiredState, Scaling};

use crate::accept::Spec;
use crate::desired::Counts;
use crate::desired::scaler::{self, Drain, Drained, History, Observed};
use crate::observe::Seen;
use crate::reconcile::Look;
use crate::reconcile::memory::{Remembered, after};
use crate::status::events;
use crate::status::findings;
use crate::status::reason::{Reason, Suspended};
use crate::status::{Finding, Phase};

/// Age of what a sink says of the log's end, at most: it asks every second, with room for a broker that is slow to answer.
const MEASURED_WITHIN: Duration = Duration::from_secs(5);

/// What a pipeline's lifecycle amounts to.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// How many workers there should be.
    pub(crate) counts: Counts,
    /// Whether it stands still.
    pub(crate) suspended: Finding<Suspended>,
}

/// Returns what the lifecycle of a pipeline amounts to.
pub(crate) fn decide(look: &Look<'_>, memory: &mut Remembered, seen: &Seen, spec: &Spec) -> Lifecycle {
    let operations = &spec.pipeline.operations;
    let lag = findings::lag(&seen.sink.said, Some(&spec.pipeline)).map(|lag| lag.total);
    let declared = seen.sink.declared();
    let topic = findings::kafka_status(&seen.sink.said, Some(&spec.pipeline), look.now).and_then(|kafka| kafka.partitions);
    let partitions = topic.or(spec.pipeline.kafka.topic.partitions).and_then(|count| u32::try_from(count).ok());
    let replicas = operations.sink_worker.replicas;
    let current = declared.unwrap_or(replicas);
    let history = memory.history.get_or_insert_with(|| History::starting(look.now, current));
    let sinks = scaler::sinks(&operations.scaling, Observed { replicas, current, partitions, lag }, history, look.now);
    let running = Counts { producers: operations.producer_worker.as_ref().map_or(0, |worker| worker.replicas), sinks };
    let drain = drain(look, memory, seen, operations.lifecycle.desired_state, lag);
    let suspended = suspended(operations.lifecycle.desired_state, drain, operations.lifecycle.drain_timeout);
    Lifecycle { counts: scaler::counts(operations.lifecycle, running, drain), suspended }
}

fn drain(look: &Look<'_>, memory: &mut Remembered, seen: &Seen, desired: DesiredState, lag: Option<u64>) -> Drain {
    let before = look.reported().iter().find(|condition| condition.type_ == "Suspended");
    let was = |reason: Suspended| before.filter(|condition| condition.reason == reason.meaning().label);
    if desired == DesiredState::Drained {
        // An operator that has just started goes on with the drain that it finds; one of the future is of a clock that was set back.
        let found = look.known.as_ref().and_then(|status| status.draining_since.as_ref()).map(|since| since.0);
        memory.draining_since.get_or_insert(found.map_or(look.now, |since| since.min(look.now)));
    } else {
        memory.draining_since = None;
    }
    let elapsed = memory.draining_since.map_or(Duration::ZERO, |since| age(look.now, since));
    let ended = desired == DesiredState::Drained && was(Suspended::Drained).is_some();
    let producers = seen.producer.running();
    match (desired, producers) {
        (DesiredState::Drained, 0) => drop(memory.no_producer_since.get_or_insert(look.now)),
        (DesiredState::Drained | DesiredState::Running | DesiredState::Stopped, _) => memory.no_producer_since = None,
    }
    Drain { elapsed, producers, lag: lag.filter(|_| is_measured_since(look, memory)), ended }
}

/// What a sink has measured while a producer still sent says nothing about what came last.
fn is_measured_since(look: &Look<'_>, memory: &Remembered) -> bool {
    let interval = look.shared.context.settings.timing.status_interval;
    let Some(from) = memory.no_producer_since.map(|since| after(since, interval)) else { return false };
    memory.said.iter().filter(|said| said.is_sink).all(|said| said.at >= from)
}

/// Returns whether the sinks have measured what is waiting since the producers were done with a finite source. Until then a lag of zero
/// may be that of a moment before the last records: what they say of the log's end is up to [`MEASURED_WITHIN`] old.
pub(crate) fn is_measured_to_the_end(look: &Look<'_>, memory: &mut Remembered, seen: &Seen, pipeline: &Pipeline) -> bool {
    if !findings::has_completed(&seen.producer.said, pipeline) {
        memory.completed_since = None;
        return false;
    }
    // An operator that has just started goes on with what it finds.
    let was_completed = look.known.as_ref().is_some_and(|status| status.phase.as_deref() == Some(Phase::Completed.label()));
    let since = *memory.completed_since.get_or_insert(if was_completed { Timestamp::UNIX_EPOCH } else { look.now });
    let from = after(since, MEASURED_WITHIN);
    memory.said.iter().filter(|said| said.is_sink).all(|said| said.at >= from)
}

fn suspended(desired: DesiredState, drain: Drain, timeout: Duration) -> Finding<Suspended> {
    let (reason, message) = match desired {
        DesiredState::Running => (Suspended::Running, "the pipeline runs"),
        DesiredState::Stopped => (Suspended::Stopped, "nothing runs, as spec.lifecycle.desiredState asks for"),
        DesiredState::Drained => match drain.outcome(timeout) {
            Drained::NotYet => (Suspended::Draining, "producers are stopped, and sinks write what is left"),
            Drained::Empty => (Suspended::Drained, "everything in the topic is stored, and nothing runs"),
            Drained::TimedOut => (
                Suspended::DrainTimedOut,
                "the time for draining is over; what is left stays in the topic and is stored once the pipeline runs",
            ),
        },
    };
    Finding { reason, message: message.to_owned() }
}

/// Returns the event of a change of the number of sinks that the operator itself has decided.
pub(crate) fn scaled(spec: Option<&Spec>, before: Option<u32>, after: Option<u32>) -> Option<Event> {
    let is_by_lag = spec.is_some_and(|spec| matches!(spec.pipeline.operations.scaling, Scaling::Lag(_)));
    let (before, after) = (before?, after?);
    (is_by_lag && before != after).then(|| events::scaled(before, after))
}

fn age(now: Timestamp, since: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
