//! The scale subresource: `kubectl scale` and an autoscaler work on the resource itself.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stockpipeline_operator::resource::crd::StockPipeline;

use super::{FULL, Namespace, client, kubectl, resource, set, until, workers};

async fn replicas(pipelines: &Api<StockPipeline>, name: &str) -> Value {
    pipelines.get(name).await.unwrap().spec.members["sink"]["worker"]["replicas"].clone()
}

/// Reports replicas as the operator does.
async fn report(pipelines: &Api<StockPipeline>, name: &str, replicas: u32) {
    let selector = format!("stockpipeline.dev/pipeline={name},app.kubernetes.io/component=sink");
    let status = json!({ "status": { "sink": workers(replicas, &selector) } });
    pipelines.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn the_resource_is_scaled_like_a_deployment() {
    let client = client().await;
    let namespace = Namespace::new(&client, "scale").await;
    let pipelines = namespace.api::<StockPipeline>();
    pipelines.create(&PostParams::default(), &resource(FULL, "scaled", |_| {})).await.unwrap();
    report(&pipelines, "scaled", 3).await;
    let scale = pipelines.get_scale("scaled").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    let status = scale.status.unwrap();
    assert_eq!(status.replicas, 3);
    assert_eq!(status.selector.as_deref(), Some("stockpipeline.dev/pipeline=scaled,app.kubernetes.io/component=sink"));
    kubectl(&["-n", namespace.name(), "scale", "sp/scaled", "--replicas=5"], "").await;
    assert_eq!(replicas(&pipelines, "scaled").await, json!(5));
    let told = super::run("kubectl", &["-n", namespace.name(), "scale", "sp/scaled", "--replicas=13"], "").await;
    assert!(!told.0 && told.1.contains("must not exceed kafka.topic.partitions"), "{told:?}");
    namespace.remove().await;
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn an_autoscaler_lifts_the_replicas_to_its_least_number_without_metrics() {
    let client = client().await;
    let namespace = Namespace::new(&client, "autoscaled").await;
    let pipelines = namespace.api::<StockPipeline>();
    let lone = resource(FULL, "lone", |body| {
        set(body, "/spec/sink/worker/replicas", json!(1));
        set(body, "/spec/sink/worker/scaling", json!({ "mode": "External" }));
    });
    pipelines.create(&PostParams::default(), &lone).await.unwrap();
    report(&pipelines, "lone", 1).await;
    let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": { "name": "lone" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "stockpipeline.dev/v1alpha1", "kind": "StockPipeline", "name": "lone" },
            "minReplicas": 3,
            "maxReplicas": 6,
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }],
        },
    }))
    .unwrap();
    namespace.api::<HorizontalPodAutoscaler>().create(&PostParams::default(), &autoscaler).await.unwrap();
    until("the autoscaler lifts 1 to 3", async || (replicas(&pipelines, "lone").await == json!(3)).then_some(())).await;
    namespace.remove().await;
}
