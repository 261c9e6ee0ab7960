//! A worker's own failure: its pod runs, and the pipeline says within a minute that nothing is stored any more.

use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::{Live, conditions};
use crate::moto;
use crate::proxy::{Fate, Proxy};

/// How long it may take until a failure shows.
const SHOWN_WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KUBECONFIG, AWS_ENDPOINT_URL, KAFKA_BOOTSTRAP_SERVERS and helm"]
async fn a_sink_that_s3_refuses_shows_within_a_minute_and_when_it_is_well_again() {
    let mut live = Live::new("failing").await;
    let s3 = Proxy::before(&moto::endpoint()).await;
    live.apply(|spec| {
        spec["aws"]["endpoints"]["s3"] = json!(s3.url);
        // Rows come for longer than this test lasts.
        spec["source"]["synthetic"] = json!({ "rows": 100_000, "rowsPerSecond": 50 });
    })
    .await;
    let is_ready = |status: &serde_json::Value| {
        let is_committing = status["sink"]["committedRecords"].as_u64().is_some_and(|records| records > 0);
        let ready = conditions(status).any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        (is_committing && ready).then_some(())
    };
    live.until_status("records are stored", is_ready).await;

    s3.rule(|_| Fate::Refuse(403, "AccessDenied"));
    let began = Instant::now();
    let message = live.until_condition("SinkAvailable", "False/AccessDenied").await;
    assert!(began.elapsed() < SHOWN_WITHIN, "{:?}: {message}", began.elapsed());
    live.until_condition("Ready", "False/AccessDenied").await;
    assert!(message.contains("s3:"), "it says what to grant: {message}");
    s3.heal();
    live.until_condition("Ready", "True/Ready").await;
    live.delete().await;
    live.end().await;
}
