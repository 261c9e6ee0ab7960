//! A steady rate with random faults, for as long as one likes: what `make soak` runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use stockpipeline_e2e::faults::{self, Dice};
use stockpipeline_e2e::host::audit;
use stockpipeline_e2e::kafka::Kafka;
use stockpipeline_e2e::pods::Pod;
use stockpipeline_e2e::stage::SYSTEM;
use stockpipeline_e2e::{Pipeline, Proof, Stage, claim, until};

use crate::faults::records::ticks;
use crate::survival::PAST_SESSION;

const ROWS_PER_SECOND: u64 = 500;
/// Pause between the end of one fault and the next.
const REST: Duration = Duration::from_secs(15);
/// Growth of memory that is none: what one process needs more than the one before it.
const SLACK_BYTES: u64 = 32 << 20;

/// Largest memory of a process of each kind, in the first and in the last third of the run.
#[derive(Debug, Default, Clone)]
struct Memory(BTreeMap<&'static str, [u64; 3]>);

impl Memory {
    async fn look(&mut self, pipeline: &Pipeline, third: usize) {
        let operator = Pod::list(SYSTEM, "app.kubernetes.io/name=stockpipeline-operator").await;
        for (kind, pods) in [("sink", pipeline.pods("sink").await), ("producer", pipeline.pods("producer").await), ("operator", operator)] {
            let largest = pods.iter().map(Pod::resident_bytes).max().unwrap_or(0);
            let seen = &mut self.0.entry(kind).or_default()[third.min(2)];
            *seen = largest.max(*seen);
        }
    }
}

/// Does one of the faults, and says which.
async fn fault(pipeline: &Pipeline, dice: &mut Dice) -> &'static str {
    match dice.below(6) {
        0 => {
            faults::kill_any_worker(pipeline, dice).await;
            "a SIGKILL"
        }
        1 => {
            faults::drain(pipeline).await;
            "an eviction of all"
        }
        2 => {
            let sinks = pipeline.pods("sink").await;
            if let Some(sink) = sinks.iter().find(|sink| !sink.processes().is_empty()) {
                faults::freeze(sink, PAST_SESSION).await;
            }
            "a frozen sink"
        }
        3 => {
            let broker = i32::try_from(1 + dice.below(3)).expect("it is at most three");
            faults::restart_broker(&pipeline.stage.settings, broker, Duration::from_secs(10)).await;
            "a broker's SIGKILL"
        }
        4 => {
            faults::without_s3(pipeline, Duration::from_secs(20)).await;
            "20 s without S3"
        }
        _ => {
            pipeline.scale(u32::try_from(1 + dice.below(4)).expect("it is at most four")).await;
            "a scaling"
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_steady_rate_under_random_faults_ends_clean_with_memory_flat() {
    let minutes = std::env::var("SOAK_MINUTES").map_or(20, |minutes| minutes.parse::<u64>().expect("SOAK_MINUTES is a number"));
    let time = Duration::from_mins(minutes);
    let stage = Stage::open().await;
    let mut pipeline = Pipeline::start(&stage, "soak", |spec| {
        spec["source"] = json!({ "type": "Synthetic", "synthetic": { "rowsPerSecond": ROWS_PER_SECOND } });
        spec["schema"] = ticks();
        spec["producer"]["keyColumn"] = "symbol".into();
        spec["producer"]["worker"]["replicas"] = 2.into();
        spec["sink"]["worker"]["replicas"] = 2.into();
        spec["sink"]["rotation"]["maxInterval"] = "10s".into();
        spec["sink"]["processed"]["partitionBy"] = json!([{ "name": "dt", "transform": "day", "column": "ts" }]);
    })
    .await;
    pipeline.ready().await;
    let mut dice = Dice::new(minutes);
    let (began, mut memory, mut done, mut rows) = (Instant::now(), Memory::default(), BTreeMap::<&str, u32>::new(), 0);
    while began.elapsed() < time {
        let what = fault(&pipeline, &mut dice).await;
        *done.entry(what).or_default() += 1;
        tokio::time::sleep(REST).await;
        rows = Proof::more_than(&pipeline, rows, what).await;
        let third = began.elapsed().as_millis() * 3 / time.as_millis();
        memory.look(&pipeline, usize::try_from(third).expect("it is a small number")).await;
    }
    pipeline.desire("Drained").await;
    pipeline.until_status("it is Drained", Duration::from_mins(5), |status| status["phase"] == "Drained").await;
    let kafka = Kafka::new(&stage.settings.kafka);
    let produced = until("the topic is counted", async || kafka.count(&pipeline.namespace).await).await;
    let stored = until("all is visible", async || Some(Proof::no_row_twice(&pipeline).await).filter(|stored| *stored >= produced)).await;
    assert_eq!(stored, produced, "rows of the zone and records of the topic");
    audit(&pipeline).await;
    let faults: Vec<String> = done.iter().map(|(what, times)| format!("{times} x {what}")).collect();
    claim(format_args!(
        "{minutes} minutes at {ROWS_PER_SECOND} rows/s, {}: {stored} rows = {produced} records, audit clean",
        faults.join(", ")
    ));
    for (kind, [first, _, last]) in &memory.0 {
        claim(format_args!("largest {kind}: {} MiB in the first third, {} MiB in the last", first >> 20, last >> 20));
        assert!(*last <= first + first / 4 + SLACK_BYTES, "the memory of a {kind} grows: {memory:?}");
    }
    pipeline.remove().await;
}
