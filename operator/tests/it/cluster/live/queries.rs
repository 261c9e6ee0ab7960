//! Athena's part: what others change about a workgroup, its saved queries and the views comes back, and is counted.

use serde_json::{Value, json};

use super::stage::Live;
use crate::cluster::until;
use crate::moto;

/// Bytes that one query may scan.
const CUTOFF: i64 = 20_000_000;

/// Runs nothing, so that only the catalogue matters; with everything that Athena keeps.
fn declared(spec: &mut Value) {
    spec["lifecycle"] = json!({ "desiredState": "Stopped" });
    spec["athena"]["workgroup"]["bytesScannedCutoff"] = json!(CUTOFF);
    spec["athena"]["views"] = json!([{ "name": "latest", "sql": "select * from p" }]);
}

async fn configuration(live: &Live) -> Value {
    moto::athena("GetWorkGroup", json!({ "WorkGroup": live.name })).await["WorkGroup"]["Configuration"].clone()
}

/// Waits until so many things were set right, and everything is as declared again.
async fn corrected(live: &mut Live, count: u64) {
    let what = format!("{count} things were set right");
    live.until_status(&what, |status| (status["glue"]["driftCorrections"].as_u64() == Some(count)).then_some(())).await;
    live.until_condition("CatalogSynced", "True/InSync").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KUBECONFIG, AWS_ENDPOINT_URL, KAFKA_BOOTSTRAP_SERVERS and helm"]
async fn what_others_change_about_a_workgroup_a_saved_query_or_a_view_comes_back_and_is_counted() {
    let mut live = Live::new("queries").await;
    live.apply(declared).await;
    live.until_condition("CatalogSynced", "True/InSync").await;
    let group = configuration(&live).await;
    assert_eq!(group["BytesScannedCutoffPerQuery"], CUTOFF, "{group}");
    let [query] = moto::queries(&live.name).await.try_into().unwrap();
    let view = moto::glue("GetTable", json!({ "DatabaseName": live.database(), "Name": "latest" })).await;
    assert_eq!(view["Table"]["TableType"], "VIRTUAL_VIEW", "{view}");

    let updates = json!({ "ResultConfigurationUpdates": { "OutputLocation": "s3://theirs/" }, "RemoveBytesScannedCutoffPerQuery": true });
    moto::athena("UpdateWorkGroup", json!({ "WorkGroup": live.name, "ConfigurationUpdates": updates })).await;
    assert_ne!(configuration(&live).await, group, "it is changed");
    corrected(&mut live, 1).await;
    assert_eq!(configuration(&live).await, group);

    let theirs =
        json!({ "NamedQueryId": query["NamedQueryId"], "Name": "count", "Description": query["Description"], "QueryString": "select 2" });
    moto::athena("UpdateNamedQuery", theirs).await;
    corrected(&mut live, 2).await;
    assert_eq!(moto::queries(&live.name).await, std::slice::from_ref(&query));

    moto::athena("DeleteNamedQuery", json!({ "NamedQueryId": query["NamedQueryId"] })).await;
    corrected(&mut live, 3).await;
    let [again] = moto::queries(&live.name).await.try_into().unwrap();
    assert_eq!((&again["Name"], &again["QueryString"]), (&query["Name"], &query["QueryString"]));
    let known =
        live.until_status("its new id is remembered", |status| status["athena"]["namedQueries"]["count"].as_str().map(str::to_owned));
    assert_eq!(known.await, again["NamedQueryId"].as_str().unwrap());

    moto::glue("DeleteTable", json!({ "DatabaseName": live.database(), "Name": "latest" })).await;
    corrected(&mut live, 4).await;
    until("the view is back", async || moto::tables(&live.database()).await.contains(&"latest".to_owned()).then_some(())).await;
    live.apply(|spec| {
        declared(spec);
        spec.as_object_mut().unwrap().remove("athena");
    })
    .await;
    live.until_condition("CatalogSynced", "True/InSync").await;
    until("saved query and view go with their section", async || {
        let is_gone = moto::queries(&live.name).await.is_empty() && !moto::tables(&live.database()).await.contains(&"latest".to_owned());
        is_gone.then_some(())
    })
    .await;
    live.delete().await;
    live.end().await;
}
