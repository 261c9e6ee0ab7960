//! Workers that die, freeze, move, starve, or are there twice.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use stockpipeline_e2e::clock::Clock;
use stockpipeline_e2e::faults::{self, Dice};
use stockpipeline_e2e::host::HostWorker;
use stockpipeline_e2e::pods::Pod;
use stockpipeline_e2e::program::must;
use stockpipeline_e2e::{claim, until};

use crate::load::Load;
use crate::survival::PAST_SESSION;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn workers_are_killed_every_5_s_for_2_minutes() {
    let mut load = Load::start("killed", 130, |_| {}).await;
    let killed = faults::kill_workers_for(&load.pipeline, Duration::from_mins(2), Duration::from_secs(5), &mut Dice::new(2)).await;
    assert!(killed > 12, "only {killed} were killed");
    load.goes_on("the last SIGKILL").await;
    load.arrives_once(&format!("{killed} SIGKILLs of random sinks and producers in 2 minutes")).await;
}

/// A transaction lasts a second, so that a producer that writes all the time is always in one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn producers_are_killed_in_their_transactions() {
    let mut load = Load::start("transactions", 60, |_| {}).await;
    let (mut dice, mut killed, began) = (Dice::new(3), 0, Instant::now());
    while began.elapsed() < Duration::from_mins(1) {
        let pods: Vec<Pod> = load.pipeline.pods("producer").await.into_iter().filter(|pod| !pod.processes().is_empty()).collect();
        if !pods.is_empty() {
            killed += u32::from(faults::kill(&pods[dice.below(pods.len())]).await);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert!(killed > 5, "only {killed} were killed");
    load.goes_on("the last SIGKILL").await;
    load.arrives_once(&format!("{killed} SIGKILLs of producers within transactions, each key in order")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn all_workers_are_evicted_three_times() {
    let mut load = Load::start("evicted", 90, |_| {}).await;
    let mut evicted = 0;
    for round in 1..=3 {
        evicted += faults::drain(&load.pipeline).await;
        load.pipeline.ready().await;
        load.goes_on(&format!("eviction {round}")).await;
    }
    load.arrives_once(&format!("{evicted} evictions")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn each_worker_is_frozen_past_its_session_and_wakes_beside_its_successor() {
    let mut load = Load::start("frozen", 120, |_| {}).await;
    for role in ["sink", "producer"] {
        let pods = load.pipeline.pods(role).await;
        faults::freeze(&pods[0], PAST_SESSION).await;
        load.goes_on(&format!("a frozen {role}")).await;
    }
    load.arrives_once("a sink and a producer frozen past their sessions").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn sinks_are_scaled_from_1_to_4_and_back_every_20_s() {
    let mut load = Load::start("scaled", 120, |_| {}).await;
    let began = Instant::now();
    let mut times = 0;
    while began.elapsed() < Duration::from_mins(2) {
        load.pipeline.scale(if times % 2 == 0 { 4 } else { 1 }).await;
        times += 1;
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    load.goes_on("scaling").await;
    load.arrives_once(&format!("{times} times 1 -> 4 or 4 -> 1 sinks")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn columns_are_added_while_everything_is_rolled() {
    let mut load = Load::start("rolled", 120, |_| {}).await;
    for (name, from) in [("close_text", "Close"), ("volume_text", "Volume")] {
        let column = json!({ "name": name, "type": "String", "from": from });
        load.pipeline.change(|spec| spec["schema"]["columns"].as_array_mut().unwrap().push(column)).await;
        let (table, sql) = (load.pipeline.table("processed"), format!("count({name})"));
        until("the new column is filled", async || {
            let rows = load.pipeline.stage.trino.query(&format!("select {sql} from {table}")).await.ok()?;
            rows[0][0].as_u64().filter(|filled| *filled > 0)
        })
        .await;
        load.goes_on(name).await;
    }
    load.pipeline.change(|spec| spec["lifecycle"]["restartNonce"] = 1.into()).await;
    load.pipeline.ready().await;
    load.arrives_once("two new columns and a restart under load").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn all_group_offsets_are_deleted_twice() {
    let mut load = Load::start("forgotten", 60, |_| {}).await;
    for _ in 0..2 {
        faults::forget_offsets(&mut load.pipeline).await;
        load.goes_on("the loss of all group offsets").await;
    }
    load.arrives_once("two losses of all group offsets of sinks and producers").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn workers_live_on_a_tenth_of_a_core() {
    let load = Load::start("starved", 60, |spec| {
        for role in ["producer", "sink"] {
            let memory = if role == "sink" { "512Mi" } else { "256Mi" };
            spec[role]["worker"]["resources"] =
                json!({ "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "cpu": "100m", "memory": memory } });
        }
    })
    .await;
    load.pipeline.completed(Duration::from_mins(8)).await;
    let mut pods = load.pipeline.pods("sink").await;
    pods.extend(load.pipeline.pods("producer").await);
    let restarts: u64 = pods.iter().map(|pod| pod.restarts).sum();
    assert_eq!(restarts, 0, "{pods:?}");
    claim(format_args!("{} workers with 0.1 core each: no restart", pods.len()));
    load.arrives_once("a replay on a tenth of a core each").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_sink_runs_out_of_file_descriptors() {
    let mut load = Load::start("descriptors", 90, |_| {}).await;
    // A process of this machine: not everywhere may one change the limits of a pod's.
    let mut sink = HostWorker::start(&load.pipeline, "sink", "beside", None).await;
    sink.owns_partitions().await;
    let process = sink.process().expect("it has not ended").to_string();
    must("prlimit", &["--pid", &process, "--nofile=8:"], "").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    if sink.is_running() {
        must("prlimit", &["--pid", &process, "--nofile=1024:"], "").await;
    }
    load.goes_on("30 s without file descriptors").await;
    // The operator asks pods alone: while another owns partitions, it cannot tell that all is stored.
    drop(sink);
    load.arrives_once("a sink without file descriptors for 30 s").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_worker_is_there_twice() {
    let mut load = Load::start("twice", 60, |_| {}).await;
    let sinks = load.pipeline.pods("sink").await;
    let mut twin = HostWorker::start(&load.pipeline, "sink", &sinks[0].name, None).await;
    load.goes_on("a second worker of the same name").await;
    twin.owns_partitions().await;
    load.goes_on("the twin's first partitions").await;
    twin.signal(Signal::KILL);
    load.goes_on("its SIGKILL").await;
    load.arrives_once("a second sink of the same name beside the first, then killed").await;
}

/// More than the 15 minutes by which S3 lets a clock be off, and less than the hour by which a broker lets a record be ahead.
const OFF: i64 = 3_000;

/// S3's client goes by S3's clock once S3 has refused what it signed; the group, the fences and the rotation have one that never jumps. Who is
/// set back starts anew.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn clocks_are_set() {
    let mut load = Load::start("clocks", 180, |_| {}).await;
    let clock = Clock::new(&load.pipeline.stage.settings);
    clock.set(-OFF);
    let mut sink = HostWorker::start(&load.pipeline, "sink", "sink-beside", Some(&clock)).await;
    let mut producer = HostWorker::start(&load.pipeline, "producer", "producer-beside", Some(&clock)).await;
    sink.owns_partitions().await;
    until("the producer has slots", async || {
        let status = producer.status().await?;
        status["producer"]["slots"].as_array().filter(|slots| !slots.is_empty()).map(drop)
    })
    .await;
    for seconds in [-OFF, 0, OFF] {
        clock.set(seconds);
        let before = until("the sink answers", async || committed(&mut sink).await).await;
        until("the sink stores more", async || committed(&mut sink).await.filter(|records| *records > before)).await;
    }
    clock.set(0);
    for worker in [&mut sink, &mut producer] {
        let code = until("a worker whose clock was set back ends", async || worker.exit_code()).await;
        assert_eq!(code, 3, "it has ended otherwise");
    }
    load.goes_on("the end of those whose clocks were set back").await;
    load.arrives_once("a sink and a producer with clocks 50 minutes behind, right, 50 minutes ahead, and set back").await;
}

async fn committed(sink: &mut HostWorker) -> Option<u64> {
    sink.status().await?["sink"]["committedRecords"].as_u64()
}
