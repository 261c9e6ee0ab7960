//! Topics as others leave them: compacted, of every codec, with values of any size, with more partitions than before.

use std::time::Duration;

use serde_json::{Value, json};
use stockpipeline_e2e::host::audit;
use stockpipeline_e2e::kafka::{Kafka, Sent};
use stockpipeline_e2e::{Pipeline, Proof, Stage, claim, until, within};

use crate::load::Load;

/// The columns of a tick.
pub(crate) fn ticks() -> Value {
    json!({
        "eventTimeColumn": "ts",
        "columns": [
            { "name": "symbol", "type": "String", "nullable": false },
            { "name": "ts", "type": "Timestamp", "nullable": false },
            { "name": "price", "type": "Double" },
            { "name": "volume", "type": "Bigint" },
        ],
    })
}

fn tick(number: usize, note: &str) -> Vec<u8> {
    let (symbol, day) = (number % 7, 1 + number % 3);
    json!({ "symbol": format!("S{symbol}"), "ts": format!("2026-01-0{day}T10:00:00Z"), "price": 1.5, "volume": number, "note": note })
        .to_string()
        .into_bytes()
}

/// Starts a pipeline over a topic that `fill` has made and filled; the topic has the namespace's name.
async fn over_topic(stage: &Stage, purpose: &str, topic: &str) -> Pipeline {
    Pipeline::start(stage, purpose, |spec| {
        spec["source"] = json!({ "type": "ExternalTopic" });
        spec["schema"] = ticks();
        spec["kafka"]["topic"] = json!({ "name": topic, "management": "Observe" });
        spec["sink"]["processed"]["partitionBy"] = json!([{ "name": "dt", "transform": "day", "column": "ts" }]);
        spec["deletionPolicy"]["topic"] = "Retain".into();
        spec.as_object_mut().expect("it is an object").remove("producer");
    })
    .await
}

/// Returns rows of the processed zone, dead letters, and rows of the raw zone.
async fn zones(pipeline: &Pipeline) -> [u64; 3] {
    let mut counts = [0; 3];
    for (count, zone) in counts.iter_mut().zip(["processed", "dlq", "raw"]) {
        let rows = pipeline.stage.trino.query(&format!("select count(*) from {}", pipeline.table(zone))).await.unwrap_or_default();
        *count = rows.first().and_then(|row| row[0].as_u64()).unwrap_or(0);
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn every_codec_tombstones_and_large_values_are_stored() {
    let stage = Stage::open().await;
    let kafka = Kafka::new(&stage.settings.kafka);
    let topic = format!("codecs-{}", std::process::id());
    kafka.make_topic(&topic, 3, &[("max.message.bytes", "16000000")]).await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let records = (0..1_000).map(|number| Sent {
            partition: i32::try_from(number % 3).unwrap(),
            key: format!("k{}", number % 10),
            value: (number % 100 != 99).then(|| tick(number, codec)),
        });
        kafka.send(&topic, records.collect(), &[("compression.type", codec)]).await;
    }
    for megabytes in [1, 10] {
        let value = tick(megabytes, &"x".repeat(megabytes << 20));
        let record = Sent { partition: 0, key: "large".to_owned(), value: Some(value) };
        kafka.send(&topic, vec![record], &[("message.max.bytes", "16000000")]).await;
    }
    let pipeline = over_topic(&stage, "codecs", &topic).await;
    within(Duration::from_mins(3), "all is stored", async || (zones(&pipeline).await == [4_952, 50, 5_002]).then_some(())).await;
    audit(&pipeline).await;
    claim("5 codecs, 50 tombstones, values of 1 and 10 MB: 4,952 rows, 50 dead letters, 5,002 raw lines, audit clean");
    pipeline.remove().await;
    kafka.delete_topic(&topic).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_compacted_topic_with_gaps_is_stored_as_it_is() {
    let stage = Stage::open().await;
    let kafka = Kafka::new(&stage.settings.kafka);
    let topic = format!("compacted-{}", std::process::id());
    let settings =
        [("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0.01"), ("max.compaction.lag.ms", "1000")];
    kafka.make_topic(&topic, 1, &settings).await;
    let send = async |from: usize| {
        let records =
            (from..from + 500).map(|number| Sent { partition: 0, key: format!("k{}", number % 50), value: Some(tick(number, "")) });
        kafka.send(&topic, records.collect(), &[]).await;
    };
    send(0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The segment before is closed, and compacted when the broker comes round.
    send(500).await;
    let left = until("the broker has compacted the first segment", async || kafka.count(&topic).await.filter(|left| *left < 1_000)).await;
    let pipeline = over_topic(&stage, "compacted", &topic).await;
    within(Duration::from_mins(3), "all is stored", async || (zones(&pipeline).await == [left, 0, left]).then_some(())).await;
    audit(&pipeline).await;
    claim(format_args!("1,000 offsets of which compaction has left {left}: {left} rows, audit clean"));
    pipeline.remove().await;
    kafka.delete_topic(&topic).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn partitions_are_added_under_load() {
    let mut load = Load::start("wider", 60, |_| {}).await;
    load.pipeline.change(|spec| spec["kafka"]["topic"]["partitions"] = 8.into()).await;
    let kafka = Kafka::new(&load.pipeline.stage.settings.kafka);
    until("the topic has 8 partitions", async || {
        kafka.leaders(&load.pipeline.namespace).await.filter(|leaders| leaders.len() == 8).map(drop)
    })
    .await;
    load.goes_on("two more partitions").await;
    load.pipeline.completed(Duration::from_mins(4)).await;
    Proof::exactly_once_in_any_order(&load.pipeline, &load.dataset, "6 -> 8 partitions under load").await;
    load.pipeline.remove().await;
}
