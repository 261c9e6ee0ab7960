//! What a sink says and does when Kafka ends its membership, refuses it records, or a broker does not answer.

use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use stockpipeline_program::clock::wall_millis;
use stockpipeline_worker::status::{Failure, Reason, State, ready};

use super::stage::{RunningSink, Stage, until};

const RECORDS: i64 = 60;

fn slow(spec: &mut serde_json::Value) {
    spec["sink"]["rotation"]["maxInterval"] = "1h".into();
}

#[test]
fn a_sink_that_is_thrown_out_of_the_group_says_that_it_waits_until_it_is_in_again() {
    let stage = Stage::new(1);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    until("it has its partition", || sink.status.read().sink.as_ref().is_some_and(|sink| !sink.partitions.is_empty()));
    let away = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 10_000];
    stage.broker().mock().request_errors(RDKafkaApiKey::JoinGroup, &away);
    stage.end_membership();
    until("the membership is lost", || sink.status.read().sink.as_ref().is_some_and(|sink| sink.partitions.is_empty()));
    let status = sink.status.read();
    assert_eq!(status.state, State::Joining);
    assert!(ready(&status, wall_millis()).is_err());
    stage.broker().mock().clear_request_errors(RDKafkaApiKey::JoinGroup);
    stage.produce(0, 0, RECORDS);
    until("it is in again", || sink.durable() == RECORDS);
    assert_eq!(sink.status.read().state, State::Running);
    assert!(sink.stop().unwrap().drained);
}

#[test]
fn dead_letters_whose_records_are_read_again_count_once() {
    let stage = Stage::new(1);
    for _ in 0..RECORDS {
        stage.send(0, b"poison");
    }
    stage.flush();
    let sink = stage.sink(
        "only",
        stage.pipeline(|spec| {
            slow(spec);
            spec["sink"]["onBadRecord"]["haltAbovePerMinute"] = 100.into();
            spec["sink"]["rotation"]["maxRecords"] = (RECORDS + 1).into();
        }),
    );
    until("all are buffered", || sink.metric("stockpipeline_lag_seconds") > 0.0);
    assert_eq!(sink.status.read().sink.as_ref().unwrap().dead_letters, 0, "none is stored yet");
    stage.end_membership();
    until("the buffer is dropped", || sink.metric("stockpipeline_rebalances_total{kind=\"lost\"") >= 1.0);
    stage.produce(0, RECORDS, 1);
    until("all is stored", || sink.durable() == RECORDS + 1);
    let status = sink.status.read();
    assert_eq!((status.paused.as_ref(), status.sink.as_ref().unwrap().dead_letters), (None, u64::try_from(RECORDS).unwrap()));
    assert!(sink.stop().unwrap().drained);
}

#[test]
fn a_sink_that_may_not_read_the_topic_is_not_ready_until_it_may() {
    let stage = Stage::new(1);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    until("all is stored", || sink.durable() == RECORDS);
    let refusals = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 100_000];
    stage.broker().mock().request_errors(RDKafkaApiKey::Fetch, &refusals);
    until("it is not ready", || ready(&sink.status.read(), wall_millis()).is_err());
    let status = sink.status.read();
    assert_eq!(status.last_error.as_ref().unwrap().reason, Reason::AuthFailed);
    stage.broker().mock().clear_request_errors(RDKafkaApiKey::Fetch);
    // Without a new record, too.
    until("it is ready", || ready(&sink.status.read(), wall_millis()).is_ok());
    until("its lag is known", || sink.status.read().sink.as_ref().unwrap().partitions[0].lag == Some(0));
    assert!(sink.stop().unwrap().drained);
}

fn unreachable(sink: &RunningSink) -> Option<Failure> {
    sink.status.read().paused.clone().filter(|failure| failure.reason == Reason::BrokerUnreachable)
}

fn lags(sink: &RunningSink) -> Vec<Option<i64>> {
    sink.status.read().sink.as_ref().unwrap().partitions.iter().map(|partition| partition.lag).collect()
}

#[test]
fn a_broker_that_is_cut_off_is_named_with_its_partitions_until_it_answers() {
    let stage = Stage::on_two_brokers(4);
    (0..4).for_each(|partition| stage.produce(partition, 0, RECORDS));
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    until("all is stored", || sink.durable() == 4 * RECORDS);
    until("its lag is known", || lags(&sink) == [Some(0); 4]);
    stage.broker().mock().broker_down(2).unwrap();
    until("it is told", || unreachable(&sink).is_some());
    let message = unreachable(&sink).unwrap().message;
    for part in ["broker 2", "partitions 1, 3"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!message.contains("broker 1"), "{message}");
    assert_eq!(lags(&sink), [Some(0), None, Some(0), None]);
    assert!(ready(&sink.status.read(), wall_millis()).is_err());
    stage.produce(0, RECORDS, RECORDS);
    until("the other broker's partitions go on", || sink.durable() == 5 * RECORDS);
    assert!(unreachable(&sink).is_some());
    stage.broker().mock().broker_up(2).unwrap();
    until("nothing is told any more", || sink.status.read().paused.is_none());
    stage.produce(1, RECORDS, RECORDS);
    until("all is stored again", || sink.durable() == 6 * RECORDS && lags(&sink) == [Some(0); 4]);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS), (1, 2 * RECORDS), (2, RECORDS), (3, RECORDS)]);
}

#[test]
fn a_partition_that_cannot_begin_because_its_broker_is_cut_off_is_named_too() {
    let stage = Stage::on_two_brokers(2);
    (0..2).for_each(|partition| stage.produce(partition, 0, RECORDS));
    let first = stage.sink("first", stage.pipeline(|_| {}));
    until("all is stored", || first.durable() == 2 * RECORDS);
    assert!(first.stop().unwrap().drained);
    (0..2).for_each(|partition| stage.produce(partition, RECORDS, RECORDS));
    stage.broker().mock().broker_down(2).unwrap();
    let sink = stage.sink("second", stage.pipeline(|_| {}));
    until("it is told", || unreachable(&sink).is_some());
    let message = unreachable(&sink).unwrap().message;
    assert!(message.contains("partition 1"), "{message}");
    stage.broker().mock().broker_up(2).unwrap();
    until("all is stored", || sink.durable() == 4 * RECORDS);
    until("nothing is told any more", || sink.status.read().paused.is_none());
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS), (1, 2 * RECORDS)]);
}

#[test]
fn a_broker_that_takes_requests_and_does_not_answer_them_is_named_too() {
    let stage = Stage::on_two_brokers(2);
    (0..2).for_each(|partition| stage.produce(partition, 0, RECORDS));
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    until("all is stored", || sink.durable() == 2 * RECORDS);
    stage.broker().mock().broker_round_trip_time(2, Duration::from_hours(1)).unwrap();
    until("it is told", || unreachable(&sink).is_some_and(|failure| failure.message.contains("of partition 1;")));
    assert_eq!(lags(&sink), [Some(0), None]);
    stage.produce(0, RECORDS, RECORDS);
    until("the other broker's partition goes on", || sink.durable() == 3 * RECORDS);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2 * RECORDS), (1, RECORDS)]);
}
