//! Rights that are taken away, and the one that only an admission plugin asks for. The suite's own audit log has no refusal of these.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use stockpipeline_operator::resource::crd::StockPipeline;

use crate::cluster::control_plane::ControlPlane;
use crate::end_to_end::stage::{NAME, Stage};
use crate::program::until;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd"]
async fn rights_that_are_taken_away_stop_the_work_and_given_back_it_goes_on_in_the_same_process() {
    let plane = ControlPlane::start().await;
    let stage = Stage::on(&plane).await;
    let operator = stage.lead(NAME).await;
    stage.ready("demo", |_| {}).await;
    let bindings: Api<RoleBinding> = stage.namespace.api();
    let binding = bindings.get(NAME).await.unwrap();
    drop(bindings.delete(NAME, &DeleteParams::default()).await.unwrap());
    stage.apply_one("second", |_| {}).await;
    stage.namespace.api::<ConfigMap>().delete("demo-pipeline", &DeleteParams::default()).await.unwrap();
    until("it was refused", async || stage.refusals(NAME) > 0).await;
    assert!(stage.get::<Deployment>("second-sink").await.is_null());
    assert!(operator.leads().await, "the lease is another right");
    let again = RoleBinding { metadata: kube::core::ObjectMeta { name: Some(NAME.to_owned()), ..Default::default() }, ..binding };
    bindings.create(&PostParams::default(), &again).await.unwrap();
    // What only people can mend is tried again after minutes, or at once where they say so.
    stage.ask_for_a_look("demo").await;
    stage.ask_for_a_look("second").await;
    stage.wait(&["second".to_owned(), "demo".to_owned()]).await;
    until("the document is back", async || !stage.get::<ConfigMap>("demo-pipeline").await.is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd"]
async fn where_owners_that_wait_for_their_children_need_a_right_the_chart_gives_it() {
    let plane = ControlPlane::start().await;
    let stage = Stage::on(&plane).await;
    let roles: Api<Role> = stage.namespace.api();
    let mut role = roles.get(NAME).await.unwrap();
    let whole = role.clone();
    let granted = role.rules.as_mut().unwrap();
    let before = granted.len();
    granted.retain(|rule| rule.resources != Some(vec!["stockpipelines/finalizers".to_owned()]));
    assert_eq!(granted.len(), before - 1);
    let role = roles.replace(NAME, &PostParams::default(), &role).await.unwrap();
    let operator = stage.lead(NAME).await;
    stage.apply_one("demo", |_| {}).await;
    let refused = "cannot set blockOwnerDeletion";
    until("it is said", async || stage.get::<StockPipeline>("demo").await["status"].to_string().contains(refused)).await;
    let restored = json!({ "rules": whole.rules });
    stage.patch::<Role>(role.metadata.name.as_deref().unwrap(), &restored).await;
    stage.ask_for_a_look("demo").await;
    stage.wait(&["demo".to_owned()]).await;
    drop(operator);
}
