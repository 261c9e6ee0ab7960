//! Objects that another version of the schema has let in.

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::definition::{in_group, remove};
use super::{FULL, Namespace, client, define, resource, set};

const GROUP: &str = "stored.stockpipeline.dev";

/// Today's definition as an older version may have been: with a field that is gone, and without the rules and bounds of today.
fn older() -> k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition {
    fn loosen(schema: &mut Value) {
        if let Some(members) = schema.as_object_mut() {
            for keyword in ["x-kubernetes-validations", "maxLength", "maximum", "enum"] {
                members.remove(keyword);
            }
            members.values_mut().for_each(loosen);
        } else if let Some(items) = schema.as_array_mut() {
            items.iter_mut().for_each(loosen);
        }
    }
    let mut definition = serde_json::to_value(in_group(GROUP)).unwrap();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    loosen(schema);
    schema["properties"]["spec"]["properties"]["gone"] = json!({ "type": "string" });
    serde_json::from_value(definition).unwrap()
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn an_object_of_an_older_schema_is_listed_and_can_be_mended() {
    let client = client().await;
    let namespace = Namespace::new(&client, "stored").await;
    define(&client, &older()).await;
    let resources = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1alpha1", "StockPipeline"));
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace.name(), &resources);
    let old = |change: &dyn Fn(&mut Value)| {
        let mut body = serde_json::to_value(resource(FULL, "old", |_| {})).unwrap();
        body["apiVersion"] = json!(format!("{GROUP}/v1alpha1"));
        change(&mut body);
        serde_json::from_value::<DynamicObject>(body).unwrap()
    };
    let made = old(&|body| {
        set(body, "/spec/gone", json!("since today"));
        set(body, "/spec/sink/worker/scaling/mode", json!("Sometimes"));
        set(body, "/spec/sink/ledger/prefix", json!("a/../b"));
    });
    objects.create(&PostParams::default(), &made).await.unwrap();

    define(&client, &in_group(GROUP)).await;
    let wrong = old(&|body| {
        set(body, "/metadata/name", json!("new"));
        set(body, "/spec/sink/ledger/prefix", json!("a/../b"));
    });
    // The API server takes the new schema up within moments.
    let listed = super::until("the new schema is in force", async || {
        let refused = objects.create(&PostParams { dry_run: true, ..PostParams::default() }, &wrong).await;
        refused.is_err().then_some(())?;
        Some(objects.list(&ListParams::default()).await.unwrap().items)
    })
    .await;
    assert_eq!(listed.len(), 1);
    let spec = &listed[0].data["spec"];
    assert!(spec["gone"].is_null(), "what the schema does not know is not shown");
    assert_eq!(spec["sink"]["worker"]["scaling"]["mode"], "Sometimes", "what is stored stays as it is");
    assert_eq!(spec["sink"]["ledger"]["prefix"], "a/../b");

    // The operator's own writes, status and finalizers, never depend on the spec.
    let status = json!({ "status": { "phase": "Invalid" } });
    objects.patch_status("old", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let finalizer = json!({ "metadata": { "finalizers": ["stockpipeline.dev/cleanup"] } });
    objects.patch("old", &PatchParams::default(), &Patch::Merge(&finalizer)).await.unwrap();
    let none = json!({ "metadata": { "finalizers": null } });
    objects.patch("old", &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    // A user mends what the new schema refuses, and changes what it does not.
    let replicas = json!({ "spec": { "sink": { "worker": { "replicas": 2 } } } });
    objects.patch("old", &PatchParams::default(), &Patch::Merge(&replicas)).await.unwrap();
    let mended = json!({ "spec": { "sink": { "worker": { "scaling": { "mode": "Fixed" } } } } });
    objects.patch("old", &PatchParams::default(), &Patch::Merge(&mended)).await.unwrap();
    remove(&client, &in_group(GROUP)).await;
    namespace.remove().await;
}
