//! What the clean-up commands delete, and what they leave.

use std::process::Output;

use bytes::Bytes;
use stockpipeline_worker::embedded::EmbeddedS3;

use super::stage::Stage;
use super::stored::files;
use crate::command_line::worker;

const RECORDS: i64 = 50;

fn delete(stage: &Stage, what: &str) -> Output {
    let mut command = worker();
    command.arg(what).arg(stage.file("it", |_| {})).arg("--delete");
    command.env("AWS_ACCESS_KEY_ID", EmbeddedS3::ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", EmbeddedS3::SECRET_ACCESS_KEY);
    command.output().unwrap()
}

#[test]
fn data_delete_removes_zones_and_ledger_and_nothing_else() {
    let stage = Stage::new(1);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    stage.produce(0, 0, RECORDS);
    stage.produce_payload(0, b"poison");
    stage.wait_for_rows(usize::try_from(RECORDS).unwrap() + 1);
    assert!(sink.stop().unwrap().drained);
    for key in ["raw-of-others/a", "processed2/b", "_stockpipeline/sinks2/c"] {
        let none = std::collections::BTreeMap::new();
        stage.runtime.block_on(stage.store().put_if_absent(key, Bytes::from_static(b"x"), "text/plain", &none)).unwrap();
    }
    for round in 0..2 {
        let output = delete(&stage, "data");
        assert!(output.status.success(), "round {round}: {output:?}");
        let left: Vec<String> =
            files(&stage.bucket()).iter().map(|path| path.strip_prefix(stage.bucket()).unwrap().display().to_string()).collect();
        assert_eq!(left, ["_stockpipeline/sinks2/c", "processed2/b", "raw-of-others/a"], "round {round}");
    }
}

#[test]
#[ignore = "needs a real Kafka broker: KAFKA_BOOTSTRAP_SERVERS"]
fn topic_delete_removes_the_topic_and_says_so_twice() {
    let stage = Stage::on_real_broker(1);
    let sink = stage.sink("only", stage.pipeline(|spec| spec["kafka"]["topic"]["replicationFactor"] = 1.into()));
    super::stage::until("the sink has made the topic", || sink.status.read().sink.as_ref().is_some_and(|sink| !sink.partitions.is_empty()));
    assert!(sink.stop().unwrap().drained);
    for expected in ["deleted", "was not there"] {
        let output = delete(&stage, "topic");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("topic {}: {expected}", stage.topic())), "{said}");
    }
}
