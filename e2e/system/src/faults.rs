//! What breaks: processes, pods, brokers, the S3 server, what Kafka remembers. Each where it really happens, and each is healed.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kafka::Kafka;
use crate::pipeline::Pipeline;
use crate::pods::Pod;
use crate::program::must;
use crate::stage::Settings;
use crate::wait::until;

/// Numbers without a pattern that are the same each time.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Returns dice that fall as the seed says.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below a bound that is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("it is below a usize")
    }
}

/// Kills a random worker of a pipeline with SIGKILL; returns its name, or None while there is none.
///
/// A pod that has come back before is also removed, so that the kubelet's pause between restarts, which doubles each time, is no part of the test.
pub async fn kill_any_worker(pipeline: &Pipeline, dice: &mut Dice) -> Option<String> {
    let mut pods = pipeline.pods("sink").await;
    pods.extend(pipeline.pods("producer").await);
    pods.retain(|pod| !pod.processes().is_empty());
    if pods.is_empty() {
        return None;
    }
    let pod = pods.swap_remove(dice.below(pods.len()));
    kill(&pod).await.then_some(pod.name)
}

/// Kills the processes of a pod with SIGKILL, as [`kill_any_worker`] does; returns whether there was one.
pub async fn kill(pod: &Pod) -> bool {
    let killed = pod.signal(Signal::KILL);
    if pod.restarts > 0 {
        let said = pod.remove_at_once().await;
        assert!(said.done() || said.err.contains("NotFound"), "{}", said.err);
    }
    killed > 0
}

/// Kills random workers for some time, one each `every`; returns how many.
pub async fn kill_workers_for(pipeline: &Pipeline, time: Duration, every: Duration, dice: &mut Dice) -> usize {
    let (began, mut killed) = (Instant::now(), 0);
    while began.elapsed() < time {
        killed += usize::from(kill_any_worker(pipeline, dice).await.is_some());
        tokio::time::sleep(every).await;
    }
    killed
}

/// Freezes a pod's processes for some time, then wakes them.
pub async fn freeze(pod: &Pod, time: Duration) {
    let frozen = pod.signal(Signal::STOP);
    assert!(frozen > 0, "{} has no process on this machine: the cluster's node has to be here", pod.name);
    tokio::time::sleep(time).await;
    // The kubelet may have ended it meanwhile, so that there is nothing to wake.
    let _woken = pod.signal(Signal::CONT);
}

/// Ends a broker with SIGKILL, leaves it dead for some time, starts it again, and waits until all replicas are in sync.
///
/// # Panics
/// When the brokers are not of this repository.
pub async fn restart_broker(settings: &Settings, number: i32, dead_for: Duration) {
    let script = script(settings.kafka_script.as_deref(), "E2E_KAFKA", "brokers");
    must(script, &["kill", &number.to_string()], "").await;
    tokio::time::sleep(dead_for).await;
    must(script, &["start", &number.to_string()], "").await;
    let kafka = Kafka::new(&settings.kafka);
    until("all replicas are in sync", async || kafka.is_whole().await.then_some(())).await;
}

/// Freezes a broker for some time, wakes it, and waits until all replicas are in sync.
///
/// # Panics
/// When the brokers are not of this repository.
pub async fn freeze_broker(settings: &Settings, number: i32, time: Duration) {
    let script = script(settings.kafka_script.as_deref(), "E2E_KAFKA", "brokers");
    let process = must(script, &["process", &number.to_string()], "").await;
    must("kill", &["-STOP", process.trim()], "").await;
    tokio::time::sleep(time).await;
    must("kill", &["-CONT", process.trim()], "").await;
    let kafka = Kafka::new(&settings.kafka);
    until("all replicas are in sync", async || kafka.is_whole().await.then_some(())).await;
}

/// Lets a broker write nothing more, as on a full disk, until it has ended of that; leaves it dead for some time, starts it with room
/// again, and waits until all replicas are in sync.
///
/// # Panics
/// When the brokers are not of this repository.
pub async fn fill_disk(settings: &Settings, number: i32, dead_for: Duration) {
    let script = script(settings.kafka_script.as_deref(), "E2E_KAFKA", "brokers");
    let process = must(script, &["process", &number.to_string()], "").await;
    must("prlimit", &["--pid", process.trim(), "--fsize=0:"], "").await;
    until("the broker ends of its full disk", async || {
        let stat = tokio::fs::read_to_string(format!("/proc/{}/stat", process.trim())).await;
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    })
    .await;
    tokio::time::sleep(dead_for).await;
    must(script, &["start", &number.to_string()], "").await;
    let kafka = Kafka::new(&settings.kafka);
    until("all replicas are in sync", async || kafka.is_whole().await.then_some(())).await;
}

/// Takes the S3 server away for some time.
///
/// # Panics
/// When the server is not of this repository.
pub async fn without_s3(pipeline: &Pipeline, time: Duration) {
    let script = script(pipeline.stage.settings.s3_script.as_deref(), "E2E_S3", "S3 server");
    must(script, &["kill"], "").await;
    tokio::time::sleep(time).await;
    must(script, &["start"], "").await;
    until("the S3 server answers", async || pipeline.stage.bucket.answers().await.then_some(())).await;
}

/// Evicts all workers of a pipeline, as `kubectl drain` does: one whose budget refuses is asked for again. Returns how many there were.
pub async fn drain(pipeline: &Pipeline) -> usize {
    let mut pods = pipeline.pods("sink").await;
    pods.extend(pipeline.pods("producer").await);
    for pod in &pods {
        until(&format!("{} is evicted", pod.name), async || {
            let said = pod.evict().await;
            (said.done() || said.err.contains("NotFound")).then_some(())
        })
        .await;
    }
    pods.len()
}

/// Stops a pipeline's workers, deletes its groups with all their offsets, and lets the workers run again. Returns the groups.
///
/// # Panics
/// When there are fewer than two groups: the sinks' and the producers'.
pub async fn forget_offsets(pipeline: &mut Pipeline) -> Vec<String> {
    pipeline.desire("Stopped").await;
    for role in ["producer", "sink"] {
        pipeline.until_workers(role, 0).await;
    }
    let kafka = Kafka::new(&pipeline.stage.settings.kafka);
    let groups = until("the brokers list the groups", async || kafka.groups(&pipeline.namespace).await).await;
    assert!(groups.len() >= 2, "the sinks' group and the producers' are not among {groups:?}");
    for group in &groups {
        until(&format!("the group {group} is deleted"), async || kafka.delete_group(group).await.ok()).await;
    }
    pipeline.desire("Running").await;
    groups
}

fn script<'a>(path: Option<&'a Path>, variable: &str, what: &str) -> &'a Path {
    path.unwrap_or_else(|| panic!("{variable} is not set: it names the script that kills and starts the {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_fall_the_same_way_again_and_on_every_side() {
        let fall = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(fall(1), fall(1));
        assert_ne!(fall(1), fall(2));
        assert!((0..6).all(|side| fall(1).contains(&side)));
    }
}
