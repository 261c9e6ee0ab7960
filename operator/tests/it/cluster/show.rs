//! What `kubectl get` shows, and what `kubectl wait` waits for.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use stockpipeline_operator::resource::crd::StockPipeline;

use super::{FULL, Namespace, client, kubectl, resource, workers};

fn words(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn the_columns_tell_how_a_pipeline_is() {
    let client = client().await;
    let namespace = Namespace::new(&client, "columns").await;
    let pipelines = namespace.api::<StockPipeline>();
    pipelines.create(&PostParams::default(), &resource(FULL, "quotes", |_| {})).await.unwrap();
    let get = ["-n", namespace.name(), "get", "sp"];
    let said = kubectl(&get, "").await;
    assert_eq!(
        words(said.lines().next().unwrap()),
        ["NAME", "PHASE", "READY", "REASON", "PRODUCERS", "SINKS", "LAG", "LAST-COMMIT", "AGE"]
    );

    let committed = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(90);
    let condition = json!({
        "type": "Ready", "status": "False", "reason": "NoRecentCommit", "message": "no commit for 11 minutes",
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let mut sink = workers(3, "role=sink");
    sink["lastCommitTime"] = json!(committed);
    let status = json!({ "status": {
        "phase": "Degraded",
        "conditions": [condition],
        "producer": workers(2, "role=producer"),
        "sink": sink,
        "kafka": { "lag": { "total": 1234, "maxPartition": 1000, "measuredAt": committed } },
        "glue": { "processedTable": "market_data.us_equities" },
    } });
    pipelines.patch_status("quotes", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let said = kubectl(&get, "").await;
    let row = words(said.lines().nth(1).unwrap());
    assert_eq!(row[..7], ["quotes", "Degraded", "False", "NoRecentCommit", "2/2", "3/3", "1234"]);
    assert!(row[7].starts_with('9') || row[7].starts_with("1m"), "{row:?}");
    let wide = kubectl(&[&get[..], &["-o", "wide"]].concat(), "").await;
    assert_eq!(words(wide.lines().next().unwrap())[9..], ["TABLE", "MESSAGE"]);
    assert_eq!(words(wide.lines().nth(1).unwrap())[9..], ["market_data.us_equities", "no commit for 11 minutes"]);
    assert!(kubectl(&["-n", namespace.name(), "get", "streaming"], "").await.contains("quotes"), "the category lists it");

    let waited = ["-n", namespace.name(), "wait", "--for=condition=Ready", "--timeout=20s", "sp/quotes"];
    let ready = json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "Ready", "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:01:00Z",
    }] } });
    let made_ready = async {
        pipelines.patch_status("quotes", &PatchParams::default(), &Patch::Merge(&ready)).await.unwrap();
    };
    let (said, ()) = tokio::join!(kubectl(&waited, ""), made_ready);
    assert!(said.contains("condition met"), "{said}");
    namespace.remove().await;
}
