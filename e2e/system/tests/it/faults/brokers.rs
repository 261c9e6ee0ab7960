//! Brokers that die, freeze and hand their partitions on.

use std::collections::BTreeSet;
use std::time::Duration;

use stockpipeline_e2e::faults;
use stockpipeline_e2e::kafka::Kafka;
use stockpipeline_e2e::{claim, until};

use crate::load::Load;

/// Partitions, and the coordinators of groups and transactions, move with each of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn each_broker_is_killed_and_started_in_turn() {
    let mut load = Load::start("brokers", 100, |_| {}).await;
    let settings = load.pipeline.stage.settings.clone();
    let kafka = Kafka::new(&settings.kafka);
    let brokers: BTreeSet<i32> = until("the brokers answer", async || kafka.brokers().await).await;
    let mut moved = 0;
    for broker in &brokers {
        let before = until("the leaders are known", async || kafka.leaders(&load.pipeline.namespace).await).await;
        faults::restart_broker(&settings, *broker, Duration::from_secs(12)).await;
        let after = until("the leaders are known", async || kafka.leaders(&load.pipeline.namespace).await).await;
        moved += before.iter().filter(|(partition, leader)| after.get(partition) != Some(leader)).count();
        load.goes_on(&format!("broker {broker}'s SIGKILL")).await;
    }
    assert!(moved > 0, "no partition had another leader");
    claim(format_args!("{} brokers killed and started in turn, {moved} leaders moved", brokers.len()));
    load.arrives_once("SIGKILL and start of each broker in turn").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_broker_is_frozen_for_30_s_and_wakes_as_a_follower() {
    let mut load = Load::start("sleeper", 60, |_| {}).await;
    let settings = load.pipeline.stage.settings.clone();
    let kafka = Kafka::new(&settings.kafka);
    let leaders = until("the leaders are known", async || kafka.leaders(&load.pipeline.namespace).await).await;
    let leader = leaders[&0];
    faults::freeze_broker(&settings, leader, Duration::from_secs(30)).await;
    load.goes_on(&format!("broker {leader}'s sleep")).await;
    load.arrives_once("30 s with a leader that was frozen").await;
}

/// Each file that it writes is full at once: to Kafka this is a disk that has failed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_brokers_disk_is_full() {
    let mut load = Load::start("disk", 80, |_| {}).await;
    let settings = load.pipeline.stage.settings.clone();
    let kafka = Kafka::new(&settings.kafka);
    let leaders = until("the leaders are known", async || kafka.leaders(&load.pipeline.namespace).await).await;
    let leader = leaders[&0];
    faults::fill_disk(&settings, leader, Duration::from_secs(12)).await;
    load.goes_on(&format!("broker {leader}'s full disk")).await;
    load.arrives_once("a leader that ended of its full disk and came back").await;
}
