//! The values of Secrets are in no log, event, status, metric or object, also where they are wrong and every message is about them.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use stockpipeline::launch::HTTP_PORT;

use super::stage::Live;
use super::{CANARY, variable};
use crate::cluster::kubectl;

/// A password that the brokers do not know.
const WRONG: &str = "canary-password-51d7a2be";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KUBECONFIG, AWS_ENDPOINT_URL, KAFKA_BOOTSTRAP_SERVERS and helm"]
async fn values_of_secrets_stand_nowhere_but_in_their_secrets() {
    let mut live = Live::new("canary").await;
    let authority = std::fs::read_to_string(variable("KAFKA_SSL_CA")).unwrap();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "kafka" }, "stringData": { "username": "e2e", "password": WRONG, "ca.crt": authority },
    }))
    .unwrap();
    live.namespace.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    live.apply(|spec| {
        spec["kafka"]["bootstrapServers"] = json!([variable("KAFKA_SASL_SSL_BOOTSTRAP_SERVERS")]);
        spec["kafka"]["auth"] = json!({ "type": "SaslScram", "saslScram": {
            "mechanism": "SCRAM-SHA-256",
            "usernameRef": { "name": "kafka", "key": "username" }, "passwordRef": { "name": "kafka", "key": "password" },
        } });
        spec["kafka"]["tls"] = json!({ "enabled": true, "caRef": { "name": "kafka", "key": "ca.crt" } });
    })
    .await;
    let message = live.until_condition("TopicReady", "False/AuthFailed").await;
    assert!(!message.is_empty());

    let mut texts = Vec::new();
    for entry in std::fs::read_dir(live.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(texts.len() >= 3, "the operator and two workers write logs");
    let kinds = "stockpipelines,configmaps,deployments,pods,events,controllerrevisions,jobs,serviceaccounts,networkpolicies";
    texts.push(("objects".to_owned(), kubectl(&["-n", &live.name, "get", kinds, "-o", "json", "--show-managed-fields"], "").await));
    for pod in live.namespace.api::<Pod>().list(&ListParams::default()).await.unwrap().items {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap();
        for path in ["status", "metrics", "readyz", "livez", "debug", ""] {
            let answer = reqwest::get(format!("http://{address}:{HTTP_PORT}/{path}")).await.unwrap().text().await.unwrap();
            texts.push((format!("{} /{path}", pod.name_any()), answer));
        }
    }
    texts.push(("audit log".to_owned(), std::fs::read_to_string(variable("E2E_AUDIT_LOG")).unwrap()));
    for (place, text) in &texts {
        for canary in [CANARY, WRONG] {
            assert!(!text.contains(canary), "{canary} is in {place}");
        }
    }
    live.delete().await;
    live.end().await;
}
