//! What librdkafka's statistics say, as far as the sink looks at it. Pure.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::statistics::{Broker, Statistics};

use super::message::OVERHEAD_BYTES;

/// How long a broker may leave a request without a byte of an answer before it counts as one that does not answer. Nothing that is asked of the
/// leader of a partition waits for longer than half a second.
const ANSWER_LIMIT_MICROS: i64 = 5_000_000;

/// librdkafka's statistics, as far as the sink shows them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Per Kafka partition: the end of the log that a reader of committed records may see.
    pub log_ends: Vec<(i32, i64)>,
    /// Kafka partitions that are assigned and have no leader at present: nobody tells the end of their logs.
    pub leaderless: Vec<i32>,
    /// Brokers that do not answer at present, and what they lead. That says nothing of partitions that nobody asks them for.
    pub silent: Vec<SilentBroker>,
    /// Messages fetched and not yet taken.
    pub fetched_messages: i64,
    /// Bytes of memory of the messages that are fetched and not yet taken, about.
    pub fetched_bytes: u64,
    /// Largest recent throttle time of a broker.
    pub throttle: Duration,
    /// How long brokers have just said, each by its number, that they will not answer requests for records, because of a quota.
    pub throttles: Vec<(i32, Duration)>,
    /// The partitions that are being fetched.
    pub fetching: Vec<Fetching>,
}

/// A broker that is not connected, or leaves requests without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentBroker {
    /// Its number.
    pub id: i32,
    /// Its number and address.
    pub name: String,
    /// Kafka partitions that are fetched from it, or that it leads.
    pub partitions: Vec<i32>,
}

/// How far fetching of a partition has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetching {
    /// Kafka partition.
    pub partition: i32,
    /// The broker that it is fetched from.
    pub broker: i32,
    /// Offset that is asked for next.
    pub position: i64,
    /// How many answers of its broker, for whichever partition, have ended in the middle of a batch.
    pub partial_answers: u64,
    /// How many requests for records its broker has been sent. Each begins with another partition of those that are fetched from it.
    pub requests: u64,
    /// How many partitions are fetched from its broker.
    pub sharers: u64,
}

impl Observation {
    /// Returns what statistics say of a topic.
    #[must_use]
    pub fn of(statistics: &Statistics, topic: &str) -> Self {
        let throttle = statistics.brokers.values().map(throttle_of).max().unwrap_or_default();
        let mut seen = Self { throttle, ..Self::default() };
        // The group's coordinator has a connection of its own, which carries no records.
        let brokers: HashMap<i32, &Broker> =
            statistics.brokers.values().filter(|broker| broker.source != "logical").map(|broker| (broker.nodeid, broker)).collect();
        seen.throttles = brokers.iter().map(|(&id, broker)| (id, throttle_of(broker))).filter(|(_, time)| !time.is_zero()).collect();
        let mut silent: HashMap<i32, Vec<i32>> = HashMap::new();
        let mut sharers: HashMap<i32, u64> = HashMap::new();
        for partition in statistics.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values()) {
            // Each partition's queue is forwarded to the one of ours, and tells that one's length.
            seen.fetched_messages = seen.fetched_messages.max(partition.fetchq_cnt);
            seen.fetched_bytes = seen.fetched_bytes.max(i64::try_from(partition.fetchq_size).map_or(0, i64::unsigned_abs));
            if partition.desired && partition.leader < 0 {
                seen.leaderless.push(partition.partition);
            }
            if partition.ls_offset >= 0 {
                seen.log_ends.push((partition.partition, partition.ls_offset));
            }
            let asked = if partition.broker >= 0 { partition.broker } else { partition.leader };
            let broker = brokers.get(&asked);
            if asked >= 0 && !broker.is_some_and(|broker| answers(broker)) {
                silent.entry(asked).or_default().push(partition.partition);
            }
            if let Some(broker) = broker.filter(|_| partition.fetch_state == "active" && partition.next_offset >= 0) {
                *sharers.entry(asked).or_default() += 1;
                seen.fetching.push(Fetching {
                    partition: partition.partition,
                    broker: asked,
                    position: partition.next_offset,
                    partial_answers: broker.rxpartial,
                    requests: broker.req.get("Fetch").map_or(0, |requests| requests.unsigned_abs()),
                    sharers: 0,
                });
            }
        }
        for fetching in &mut seen.fetching {
            fetching.sharers = sharers.get(&fetching.broker).copied().unwrap_or(1);
        }
        seen.silent =
            silent.into_iter().map(|(id, partitions)| SilentBroker { id, name: name(id, brokers.get(&id)), partitions }).collect();
        seen.fetched_bytes += u64::try_from(seen.fetched_messages).unwrap_or(0) * OVERHEAD_BYTES as u64;
        seen
    }
}

/// Returns whether a broker is connected, and leaves no request without an answer for long: a connection that is cut without a word looks like any
/// other for a minute.
fn answers(broker: &Broker) -> bool {
    broker.state == "UP" && !(broker.waitresp_cnt > 0 && broker.rxidle > ANSWER_LIMIT_MICROS)
}

fn throttle_of(broker: &Broker) -> Duration {
    broker.throttle.as_ref().and_then(|window| u64::try_from(window.max).ok()).map(Duration::from_millis).unwrap_or_default()
}

fn name(id: i32, broker: Option<&&Broker>) -> String {
    match broker {
        Some(broker) => format!("broker {id} ({})", broker.nodename),
        None => format!("broker {id}"),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Partition, Topic, Window};

    use super::*;

    const TOPIC: &str = "ticks";

    fn broker(nodeid: i32, edit: impl FnOnce(&mut Broker)) -> Broker {
        let mut broker = Broker { nodeid, nodename: format!("host-{nodeid}:9092"), state: "UP".to_owned(), ..Broker::default() };
        edit(&mut broker);
        broker
    }

    /// A partition that is fetched from its leader.
    fn led_by(leader: i32, partition: i32) -> Partition {
        let fetch_state = "active".to_owned();
        Partition { partition, broker: leader, leader, desired: true, fetch_state, next_offset: 7, ls_offset: 9, ..Partition::default() }
    }

    fn observe(brokers: Vec<Broker>, partitions: Vec<Partition>) -> Observation {
        let topic = Topic { partitions: partitions.into_iter().map(|p| (p.partition, p)).collect(), ..Topic::default() };
        let brokers = brokers.into_iter().enumerate().map(|(index, broker)| (index.to_string(), broker)).collect();
        let topics = HashMap::from([(TOPIC.to_owned(), topic)]);
        Observation::of(&Statistics { brokers, topics, ..Statistics::default() }, TOPIC)
    }

    fn silent(broker_2: impl FnOnce(&mut Broker)) -> Vec<SilentBroker> {
        observe(vec![broker(1, |_| {}), broker(2, broker_2)], vec![led_by(1, 0), led_by(2, 1)]).silent
    }

    #[test]
    fn a_broker_that_is_not_connected_or_leaves_requests_without_an_answer_is_silent() {
        let expected = vec![SilentBroker { id: 2, name: "broker 2 (host-2:9092)".to_owned(), partitions: vec![1] }];
        for state in ["INIT", "DOWN", "TRY_CONNECT", "CONNECT"] {
            assert_eq!(silent(|broker| broker.state = state.to_owned()), expected);
        }
        assert_eq!(silent(|broker| (broker.waitresp_cnt, broker.rxidle) = (1, 6_000_000)), expected);
        assert_eq!(silent(|broker| (broker.waitresp_cnt, broker.rxidle) = (1, 400_000)), [], "it is about to answer");
        assert_eq!(silent(|broker| (broker.waitresp_cnt, broker.rxidle) = (0, 600_000_000)), [], "nobody asks it");
    }

    #[test]
    fn a_leader_that_the_client_does_not_know_is_silent() {
        let seen = observe(vec![broker(1, |_| {})], vec![led_by(3, 0)]);
        assert_eq!(seen.silent, [SilentBroker { id: 3, name: "broker 3".to_owned(), partitions: vec![0] }]);
        assert_eq!(observe(vec![broker(1, |_| {})], vec![led_by(-1, 0)]).leaderless, [0]);
    }

    #[test]
    fn a_broker_that_throttles_says_for_how_long() {
        let window = |max| Some(Window { max, ..Window::default() });
        let throttling = |source: &str, max| broker(2, |broker| (broker.source, broker.throttle) = (source.to_owned(), window(max)));
        let brokers = vec![broker(1, |broker| broker.throttle = window(0)), throttling("learned", 40_000), throttling("logical", 50_000)];
        let seen = observe(brokers, vec![]);
        assert_eq!(seen.throttles, [(2, Duration::from_secs(40))]);
        assert_eq!(seen.throttle, Duration::from_secs(50));
    }

    #[test]
    fn fetching_is_counted_by_the_connection_that_carries_records() {
        let carries = |broker: &mut Broker| {
            broker.rxpartial = 5;
            broker.req = HashMap::from([("Fetch".to_owned(), 40)]);
        };
        let coordinator = broker(1, |broker| "logical".clone_into(&mut broker.source));
        let seen = observe(vec![broker(1, carries), coordinator], vec![led_by(1, 0), led_by(1, 1)]);
        let expected = Fetching { partition: 0, broker: 1, position: 7, partial_answers: 5, requests: 40, sharers: 2 };
        assert_eq!(seen.fetching.iter().find(|fetching| fetching.partition == 0), Some(&expected));
    }
}
