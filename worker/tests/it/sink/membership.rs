//! What a sink says and does when Kafka ends its membership, or refuses it records.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use stockpipeline_worker::clock::wall_millis;
use stockpipeline_worker::status::{Reason, State, ready};

use super::stage::{Stage, until};

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
