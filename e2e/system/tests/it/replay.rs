//! A file goes the whole way.

use std::time::Duration;

use stockpipeline_e2e::{Dataset, Pipeline, Proof, Stage};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn a_file_is_answered_by_others_as_its_oracle_says() {
    let (stage, dataset) = (Stage::open().await, Dataset::best());
    let pipeline = Pipeline::replay(&stage, "replay", &dataset, |_| {}).await;
    pipeline.ready().await;
    pipeline.completed(Duration::from_mins(3)).await;
    Proof::exactly_once(&pipeline, &dataset, "a replay without faults").await;
    pipeline.remove().await;
}
