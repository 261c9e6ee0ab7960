//! The sink that owns Kafka partition 0 keeps what all share: it adds partitions to the topics and sets their configs, now and then, and
//! audits the catalogue. A sink that owns nothing looks after the topics too: when one was deleted, nobody owns partition 0.

use std::time::{Duration, Instant};

use super::conductor::Conductor;
use super::work::Work;
use crate::topic::{self, SlotsTopic};

/// How often the topics are compared with the pipeline.
const DRIFT_INTERVAL: Duration = Duration::from_mins(10);
/// How often a sink without partitions looks whether they are there.
const IDLE_INTERVAL: Duration = Duration::from_mins(1);

impl Conductor {
    /// Looks after the topics, where that is this sink's turn.
    pub(super) fn keep_topics(&mut self) {
        let now = Instant::now();
        let (interval, ours) = if self.partitions.is_empty() {
            (IDLE_INTERVAL, self.report.has_joined())
        } else {
            (DRIFT_INTERVAL, self.partitions.contains_key(&0))
        };
        let due = self.topics_kept_at.is_none_or(|at| now.duration_since(at) >= interval);
        // With an epoch given the broker lives in this process, and its topics with it.
        if !due || !ours || self.draining.is_some() || self.context.epoch.is_some() {
            return;
        }
        self.topics_kept_at = Some(now);
        let (pipeline, clients, sender) = (self.context.pipeline.clone(), self.context.clients.clone(), self.sender.clone());
        self.runtime.spawn_blocking(move || {
            let report = topic::keep(&clients, &pipeline.kafka.topic, slots_topic(&pipeline));
            super::rotation::report(&sender, Work::TopicsKept(report));
        });
    }

    /// Says whether the catalogue's partitions are this sink's to audit.
    pub(super) fn audit_partitions(&self) {
        if let Some(partitions) = &self.context.partitions {
            partitions.audits(self.draining.is_none() && self.partitions.contains_key(&0));
        }
    }
}

/// Returns the slots topic of a pipeline that has a producer.
pub(super) fn slots_topic(pipeline: &stockpipeline::Pipeline) -> Option<SlotsTopic<'_>> {
    pipeline.producer.as_ref().map(|producer| SlotsTopic { name: &producer.slots_topic, slots: producer.slots })
}
