//! A replay that lasts, to break things under.

use std::time::Duration;

use serde_json::Value;
use stockpipeline_e2e::{Dataset, Pipeline, Proof, Stage};

/// A pipeline under a steady load, and what has to come of it.
pub(crate) struct Load {
    pub(crate) pipeline: Pipeline,
    pub(crate) dataset: Dataset,
    rows: u64,
}

impl Load {
    /// Starts a replay by two producers and two sinks that would last so many seconds undisturbed, and waits until rows are stored.
    pub(crate) async fn start(purpose: &str, seconds: u64, edit: impl FnOnce(&mut Value)) -> Self {
        let (stage, dataset) = (Stage::open().await, Dataset::best());
        let pipeline = Pipeline::replay(&stage, purpose, &dataset, |spec| {
            spec["source"]["csvReplay"]["rowsPerSecond"] = (dataset.rows / seconds).into();
            spec["producer"]["worker"]["replicas"] = 2.into();
            spec["sink"]["worker"]["replicas"] = 2.into();
            edit(spec);
        })
        .await;
        pipeline.ready().await;
        let rows = Proof::more_than(&pipeline, 0, "the start").await;
        Self { pipeline, dataset, rows }
    }

    /// Waits until more rows are stored than before, and none twice.
    pub(crate) async fn goes_on(&mut self, after: &str) {
        if self.rows < self.dataset.rows {
            self.rows = Proof::more_than(&self.pipeline, self.rows, after).await;
        }
    }

    /// Waits for the replay's end, lets all others judge, and removes the pipeline.
    pub(crate) async fn arrives_once(self, after: &str) {
        self.pipeline.completed(Duration::from_mins(6)).await;
        Proof::exactly_once(&self.pipeline, &self.dataset, after).await;
        self.pipeline.remove().await;
    }
}
