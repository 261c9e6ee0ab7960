//! The faults that matter most, one after the other, to one pipeline under load.

use std::time::Duration;

use serde_json::json;
use stockpipeline_e2e::claim;
use stockpipeline_e2e::faults::{self, Dice};
use stockpipeline_e2e::kafka::Kafka;

use crate::load::Load;

/// Longer than a sink's session of 30 s, so that others own its partitions when it wakes.
pub(crate) const PAST_SESSION: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_pipeline_lives_through_what_kills_others() {
    let mut load = Load::start("survival", 150, |_| {}).await;

    let killed = faults::kill_workers_for(&load.pipeline, Duration::from_secs(30), Duration::from_secs(5), &mut Dice::new(1)).await;
    assert!(killed > 3, "only {killed} were killed");
    load.goes_on("SIGKILL of workers").await;

    let sinks = load.pipeline.pods("sink").await;
    let kafka = Kafka::new(&load.pipeline.stage.settings.kafka);
    let leader = kafka.leaders(&load.pipeline.namespace).await.and_then(|leaders| leaders.get(&0).copied()).unwrap();
    tokio::join!(
        faults::freeze(&sinks[0], PAST_SESSION),
        faults::restart_broker(&load.pipeline.stage.settings, leader, Duration::from_secs(5)),
    );
    load.goes_on("a frozen sink and a broker's SIGKILL").await;

    faults::without_s3(&load.pipeline, Duration::from_secs(20)).await;
    load.goes_on("20 s without S3").await;

    let groups = faults::forget_offsets(&mut load.pipeline).await;
    load.goes_on("the loss of all group offsets").await;

    let text = json!({ "name": "close_text", "type": "String", "from": "Close" });
    load.pipeline.change(|spec| spec["schema"]["columns"].as_array_mut().unwrap().push(text)).await;
    load.pipeline.scale(4).await;
    load.goes_on("a new column while sinks are rolled and scaled").await;
    load.pipeline.scale(1).await;

    claim(format_args!("survived: {killed} SIGKILLs, a sink frozen past its session, broker {leader}'s SIGKILL, 20 s without S3"));
    claim(format_args!("survived: {} groups deleted with their offsets, a new column under load, 2 -> 4 -> 1 sinks", groups.len()));
    load.arrives_once("six kinds of faults").await;
}
