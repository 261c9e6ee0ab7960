//! Partitions whose broker does not answer: what is known of them is of its last answer, and nobody tells that it is old.
//!
//! librdkafka says when all brokers are away, or one refuses a connection, and then goes on trying; its statistics show who answers. A partition is
//! silent only while it is asked for: a broker without anything to do closes its connection. Nor is it silent for as long as its broker has said
//! that it will not answer, because of a quota.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stockpipeline_program::clock::wall_millis;

use super::conductor::Conductor;
use super::partition::{Partition, Phase};
use crate::error::Class;
use crate::source::Observation;
use crate::status::{Failure, Reason};

/// How long a question that a broker did not answer counts; it is asked again every few seconds.
const UNANSWERED_LASTS: Duration = Duration::from_secs(15);
/// Most partitions of a broker that are named.
const NAMED: usize = 20;

/// Since when a partition is asked for in vain.
#[derive(Debug, Clone)]
pub(super) struct Silence {
    since: Instant,
    since_millis: i64,
    /// The broker, where it is known.
    broker: Option<String>,
    /// Whether it has lasted too long for brokers that are started anew and leaders that move.
    pub(super) is_long: bool,
}

/// Until when brokers have said that they will not answer, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Mutes(BTreeMap<i32, Instant>);

impl Mutes {
    /// Notes what brokers have just said.
    fn note(&mut self, throttles: &[(i32, Duration)], now: Instant) {
        self.0.retain(|_, until| *until > now);
        for &(broker, throttle) in throttles {
            let until = self.0.entry(broker).or_insert(now);
            *until = (*until).max(now + throttle);
        }
    }

    fn holds(&self, broker: i32, now: Instant) -> bool {
        self.0.get(&broker).is_some_and(|until| *until > now)
    }
}

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy)]
struct Now {
    instant: Instant,
    millis: i64,
}

/// Returns the silence after an observation in which a partition was asked for in vain.
fn lengthened(before: Option<Silence>, broker: Option<&str>, limit: Duration, now: Now) -> Silence {
    let broker = broker.map(str::to_owned);
    match before {
        // Also where another broker was to answer meanwhile: nothing has come of the partition since then.
        Some(before) => Silence { broker, is_long: now.instant.duration_since(before.since) >= limit, ..before },
        None => Silence { since: now.instant, since_millis: now.millis, broker, is_long: false },
    }
}

impl Conductor {
    /// Notes which partitions are asked for in vain. The limit is that of the group: who is not heard for so long counts as gone.
    pub(super) fn note_silence(&mut self, seen: &Observation) {
        let (limit, now) = (self.context.session_timeout, Now { instant: Instant::now(), millis: wall_millis() });
        self.mutes.note(&seen.throttles, now.instant);
        let silent = seen.silent.iter().filter(|broker| !self.mutes.holds(broker.id, now.instant));
        let silent: BTreeMap<i32, &str> =
            silent.flat_map(|broker| broker.partitions.iter().map(|&id| (id, broker.name.as_str()))).collect();
        // librdkafka asks for nothing while its queue is full.
        let may_begin = !self.budget.is_halted() && !self.held;
        for partition in self.partitions.values_mut() {
            let broker = silent.get(&partition.id).copied();
            let in_vain = match partition.phase {
                Phase::Active => partition.assigned && !partition.paused && (broker.is_some() || partition.leaderless),
                Phase::Looking | Phase::Measuring => {
                    partition.unanswered_at.is_some_and(|at| now.instant.duration_since(at) < UNANSWERED_LASTS)
                }
                Phase::Stopped(_) => false,
            };
            let before = partition.silence.take();
            if in_vain && (before.is_some() || may_begin) {
                partition.silence = Some(lengthened(before, broker, limit, now));
            }
        }
    }
}

/// Returns what is said of the partitions whose brokers have not answered for long; None where there are none.
pub(super) fn failure(topic: &str, limit: Duration, partitions: &BTreeMap<i32, Partition>) -> Option<Failure> {
    let mut brokers: BTreeMap<Option<&str>, Vec<i32>> = BTreeMap::new();
    let mut at_millis = i64::MAX;
    for partition in partitions.values() {
        let Some(silence) = partition.silence.as_ref().filter(|silence| silence.is_long) else { continue };
        at_millis = at_millis.min(silence.since_millis);
        brokers.entry(silence.broker.as_deref()).or_default().push(partition.id);
    }
    if brokers.is_empty() {
        return None;
    }
    let brokers: Vec<String> = brokers.iter().map(|(broker, partitions)| named(*broker, partitions)).collect();
    let message = format!(
        "topic {topic:?}: no answer for more than {} s from {}; nothing of them is taken, and where their logs end is not known. Look at the broker \
         and at the way to it, or let another replica lead; the sink goes on by itself",
        limit.as_secs(),
        brokers.join(", nor from ")
    );
    Some(Failure { class: Class::External, reason: Reason::BrokerUnreachable, message, at_millis })
}

fn named(broker: Option<&str>, partitions: &[i32]) -> String {
    let first: Vec<String> = partitions.iter().take(NAMED).map(ToString::to_string).collect();
    let noun = if partitions.len() == 1 { "partition" } else { "partitions" };
    let more = partitions.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!(" and {more} more")).unwrap_or_default();
    format!("{} of {noun} {}{more}", broker.unwrap_or("a leader"), first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_long_once_it_has_lasted_whoever_was_to_answer() {
        let (start, limit) = (Instant::now(), Duration::from_secs(30));
        let at = |seconds: u64| Now { instant: start + Duration::from_secs(seconds), millis: i64::try_from(seconds * 1_000).unwrap() };
        let mut silence = lengthened(None, Some("broker 2"), limit, at(1));
        silence = lengthened(Some(silence), Some("broker 2"), limit, at(20));
        assert!(!silence.is_long, "a broker that is started anew");
        // The leader has moved.
        silence = lengthened(Some(silence), Some("broker 3"), limit, at(31));
        assert!(silence.is_long);
        assert_eq!((silence.since_millis, silence.broker.as_deref()), (1_000, Some("broker 3")));
    }

    #[test]
    fn a_broker_that_throttles_is_not_silent_before_its_time_is_over() {
        let (start, mut mutes) = (Instant::now(), Mutes::default());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        mutes.note(&[(1, Duration::from_secs(40))], at(0));
        // Later statistics say nothing more of it.
        mutes.note(&[(2, Duration::from_secs(1))], at(10));
        assert!(mutes.holds(1, at(39)) && !mutes.holds(1, at(40)) && !mutes.holds(2, at(11)) && !mutes.holds(3, at(10)));
        mutes.note(&[(1, Duration::from_secs(1))], at(20));
        assert!(mutes.holds(1, at(39)), "a shorter word does not end a longer one");
        mutes.note(&[], at(40));
        assert!(mutes.0.is_empty());
    }

    #[test]
    fn many_partitions_are_counted_and_not_named() {
        let partitions: Vec<i32> = (0..25).collect();
        let text = named(Some("broker 2"), &partitions);
        assert!(text.starts_with("broker 2 of partitions 0, 1, ") && text.ends_with(", 19 and 5 more"), "{text}");
        assert_eq!(named(None, &partitions[..1]), "a leader of partition 0");
        assert!(named(None, &partitions[..20]).ends_with(", 19"));
    }
}
