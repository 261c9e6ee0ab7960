//! A release on a real API server: installed, upgraded, removed; what its service account may do.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Config, ResourceExt};
use stockpipeline_operator::resource::crd::{StockPipeline, definition};

use super::{CHART, repository};
use crate::cluster::{MINIMAL, Namespace, resource, run, until};

/// A release in a namespace of its own.
struct Release {
    client: Client,
    namespace: Namespace,
    name: String,
}

impl Release {
    async fn helm(&self, command: &str, more: &[&str]) -> String {
        let mut arguments = vec![command, self.name.as_str(), "--namespace", self.namespace.name()];
        let chart = repository(CHART).display().to_string();
        if command != "uninstall" {
            arguments.push(&chart);
        }
        let (done, said) = run("helm", &[&arguments[..], more].concat(), "").await;
        assert!(done, "helm {command}: {said}");
        said
    }

    /// Returns the object's name of the release.
    fn object(&self) -> String {
        format!("{}-stockpipeline-operator", self.name)
    }

    /// Returns whether the operator may do something, `verb group/resource` in a namespace.
    async fn may(&self, act: &str, namespace: &str, name: Option<&str>) -> bool {
        let (verb, what) = act.split_once(' ').unwrap();
        let (group, resource) = what.split_once('/').unwrap();
        let (resource, subresource) = resource.split_once(':').map_or((resource, None), |(resource, sub)| (resource, Some(sub.to_owned())));
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{}:{}", self.namespace.name(), self.object())),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource,
                    namespace: Some(namespace.to_owned()).filter(|name| !name.is_empty()),
                    name: name.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    }
}

/// What the operator does where it keeps pipelines.
const ACTS: [&str; 21] = [
    "list stockpipeline.dev/stockpipelines",
    "watch stockpipeline.dev/stockpipelines",
    "patch stockpipeline.dev/stockpipelines",
    "patch stockpipeline.dev/stockpipelines:status",
    "create apps/deployments",
    "patch apps/deployments",
    "delete apps/deployments",
    "watch apps/deployments",
    "create apps/controllerrevisions",
    "create /configmaps",
    "patch /configmaps",
    "create /serviceaccounts",
    "create batch/jobs",
    "delete batch/jobs",
    "create networking.k8s.io/networkpolicies",
    "create policy/poddisruptionbudgets",
    "list /pods",
    "watch /pods",
    "list /events",
    "create events.k8s.io/events",
    "patch events.k8s.io/events",
];

/// What it must not be able to do anywhere.
const FORBIDDEN: [&str; 16] = [
    "get /secrets",
    "list /secrets",
    "watch /secrets",
    "create /secrets",
    "create /pods",
    "create /pods:exec",
    "get /pods:log",
    "delete /pods",
    "create /serviceaccounts:token",
    "impersonate /serviceaccounts",
    "create stockpipeline.dev/stockpipelines",
    "delete stockpipeline.dev/stockpipelines",
    "create rbac.authorization.k8s.io/roles",
    "create rbac.authorization.k8s.io/rolebindings",
    "list /nodes",
    "patch /namespaces",
];

#[tokio::test]
#[ignore = "needs KUBECONFIG and helm"]
async fn a_release_is_installed_upgraded_and_removed_and_the_pipelines_stay() {
    let client = Client::try_from(Config::infer().await.unwrap()).unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let defined = definition().metadata.name.unwrap();
    let was_there = definitions.get_opt(&defined).await.unwrap().is_some();
    let namespace = Namespace::new(&client, "release").await;
    let other = Namespace::new(&client, "unwatched").await;
    let release = Release { client: client.clone(), name: namespace.name().to_owned(), namespace };

    let said = release.helm("install", if was_there { &["--take-ownership"] } else { &[] }).await;
    assert!(said.contains("kubectl apply -f pipeline.yaml"), "{said}");
    let kept = definitions.get(&defined).await.unwrap();
    assert_eq!(kept.annotations().get("helm.sh/resource-policy").map(String::as_str), Some("keep"));
    let label = format!("app.kubernetes.io/name=stockpipeline-operator,app.kubernetes.io/instance={}", release.name);
    until("the restricted standard lets both replicas in", async || {
        let pods: Api<Pod> = release.namespace.api();
        (pods.list(&ListParams::default().labels(&label)).await.unwrap().items.len() == 2).then_some(())
    })
    .await;
    let pipelines = release.namespace.api::<StockPipeline>();
    until("a pipeline can be made", async || pipelines.create(&PostParams::default(), &resource(MINIMAL, "kept", |_| {})).await.ok()).await;

    for act in ACTS {
        assert!(release.may(act, other.name(), None).await, "{act} is not granted");
    }
    for act in FORBIDDEN {
        assert!(!release.may(act, release.namespace.name(), None).await, "{act} is granted");
    }
    let (system, lease) = (release.namespace.name(), release.object());
    for verb in ["get", "watch", "update"] {
        let act = format!("{verb} coordination.k8s.io/leases");
        assert!(release.may(&act, system, Some(&lease)).await, "{act} {lease} is not granted");
        assert!(!release.may(&act, system, Some("another")).await, "{act} of another is granted");
        assert!(!release.may(&act, other.name(), Some(&lease)).await, "{act} elsewhere is granted");
    }
    assert!(release.may("create coordination.k8s.io/leases", system, None).await);

    let deployments = release.namespace.api::<Deployment>();
    let before = deployments.get(&release.object()).await.unwrap();
    release.helm("upgrade", &["--reset-then-reuse-values"]).await;
    assert_eq!(deployments.get(&release.object()).await.unwrap().metadata.generation, before.metadata.generation, "nothing has changed");

    let watched = format!("watchNamespaces={{{}}}", release.namespace.name());
    release.helm("upgrade", &["--reset-then-reuse-values", "--set", &watched]).await;
    let cluster_roles: Api<ClusterRole> = Api::all(client.clone());
    assert!(cluster_roles.get_opt(&release.object()).await.unwrap().is_none());
    assert!(release.namespace.api::<Role>().get_opt(&release.object()).await.unwrap().is_some());
    until("the roles are in force", async || (!release.may(ACTS[0], "", None).await).then_some(())).await;
    for act in ACTS {
        assert!(release.may(act, release.namespace.name(), None).await, "{act} is not granted");
        assert!(!release.may(act, other.name(), None).await, "{act} is granted elsewhere");
    }

    release.helm("uninstall", &[]).await;
    assert!(deployments.get_opt(&release.object()).await.unwrap().is_none());
    assert_eq!(pipelines.get("kept").await.unwrap().name_any(), "kept");
    release.helm("install", &[]).await;
    release.helm("uninstall", &[]).await;
    assert!(definitions.get_opt(&defined).await.unwrap().is_some(), "the definition stays");
    other.remove().await;
    release.namespace.remove().await;
}
