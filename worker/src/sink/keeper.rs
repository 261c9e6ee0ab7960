//! The sink that owns Kafka partition 0 keeps the topics: it adds partitions and sets configs, now and then.

use std::time::{Duration, Instant};

use super::conductor::Conductor;
use super::work::Work;
use crate::topic::{self, SlotsTopic};

/// How often the topics are compared with the pipeline.
const DRIFT_INTERVAL: Duration = Duration::from_mins(10);

impl Conductor {
    /// Looks after the topics, where that is this sink's turn.
    pub(super) fn keep_topics(&mut self) {
        let now = Instant::now();
        let due = self.topics_kept_at.is_none_or(|at| now.duration_since(at) >= DRIFT_INTERVAL);
        // With an epoch given the broker lives in this process, and its topics with it.
        if !due || self.draining.is_some() || self.context.epoch.is_some() || !self.partitions.contains_key(&0) {
            return;
        }
        self.topics_kept_at = Some(now);
        let (pipeline, clients, sender) = (self.context.pipeline.clone(), self.context.clients.clone(), self.sender.clone());
        self.runtime.spawn_blocking(move || {
            let report = topic::keep(&clients, &pipeline.kafka.topic, slots_topic(&pipeline));
            super::rotation::report(&sender, Work::TopicsKept(report));
        });
    }
}

/// Returns the slots topic of a pipeline that has a producer.
pub(super) fn slots_topic(pipeline: &stockpipeline::Pipeline) -> Option<SlotsTopic<'_>> {
    pipeline.producer.as_ref().map(|producer| SlotsTopic { name: &producer.slots_topic, slots: producer.slots })
}
