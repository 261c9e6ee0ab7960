//! The S3 server, gone.

use std::time::Duration;

use stockpipeline_e2e::faults;

use crate::load::Load;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn the_s3_server_is_gone_for_a_minute() {
    let mut load = Load::start("stored", 100, |_| {}).await;
    faults::without_s3(&load.pipeline, Duration::from_mins(1)).await;
    load.goes_on("a minute without S3").await;
    load.arrives_once("SIGKILL of the S3 server and a minute without it").await;
}
