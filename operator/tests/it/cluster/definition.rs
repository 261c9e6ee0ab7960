//! The definition itself: how it is applied, and that its objects can be applied by several owners.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use stockpipeline_operator::resource::crd::{StockPipeline, definition, definition_yaml};

use super::{FULL, Namespace, client, kubectl, resource};

/// Returns today's definition as one of another group, so that a test may apply and remove it as it likes.
pub(super) fn in_group(group: &str) -> CustomResourceDefinition {
    let mut definition = definition();
    group.clone_into(&mut definition.spec.group);
    definition.spec.names.short_names = None;
    definition.spec.names.categories = None;
    definition.metadata.name = Some(format!("{}.{group}", definition.spec.names.plural));
    definition
}

/// Removes a definition with all its objects.
pub(super) async fn remove(client: &Client, definition: &CustomResourceDefinition) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    drop(definitions.delete(&definition.name_any(), &DeleteParams::default()).await.unwrap());
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn the_definition_is_applied_by_the_client_and_by_the_server() {
    let client = client().await;
    let group = "applied.stockpipeline.dev";
    let text = serde_json::to_string(&in_group(group)).unwrap();
    assert!(kubectl(&["apply", "-f", "-"], &text).await.contains("created"));
    assert!(kubectl(&["apply", "-f", "-"], &text).await.contains("unchanged"), "a second apply changes nothing");
    let forced = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    kubectl(&forced, &text).await;
    kubectl(&forced, &text).await;
    remove(&client, &in_group(group)).await;
    // The committed file too, as README has it.
    kubectl(&["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"], &definition_yaml()).await;
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn lists_by_name_are_shared_by_their_owners() {
    let client = client().await;
    let namespace = Namespace::new(&client, "owners").await;
    let pipelines = namespace.api::<StockPipeline>();
    let whole = resource(FULL, "shared", |_| {});
    pipelines.patch("shared", &PatchParams::apply("author"), &Patch::Apply(&whole)).await.unwrap();
    let column = |name: &str, kind: &str| {
        json!({ "apiVersion": "stockpipeline.dev/v1alpha1", "kind": "StockPipeline", "spec": { "schema": { "columns": [
            { "name": name, "type": kind, "comment": "of another owner" },
        ] } } })
    };
    pipelines.patch("shared", &PatchParams::apply("other"), &Patch::Apply(&column("extra", "Double"))).await.unwrap();
    let stored = pipelines.patch("shared", &PatchParams::apply("author"), &Patch::Apply(&whole)).await.unwrap();
    let names: Vec<_> = stored.spec.members["schema"]["columns"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["symbol", "ts", "open", "high", "low", "close", "volume", "extra"], "neither takes the other's columns away");
    let error = pipelines.patch("shared", &PatchParams::apply("other"), &Patch::Apply(&column("volume", "Double"))).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.is_conflict()), "{error}");
    namespace.remove().await;
}
