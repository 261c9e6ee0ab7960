//! The operator's process is killed right after each of its writes in turn, whether to the API server or to AWS, before it learns of the
//! answer. Whoever comes after it brings the pipeline to the same end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use serde_json::{Value, json};

use crate::end_to_end::stage::{NAME, Stage, list};
use crate::program::{Operator, until};
use crate::proxy::{Fate, Passing, Proxy};

/// Runs at one time: most of each is waiting.
const SIDE_BY_SIDE: usize = 4;
/// What the operator makes, with its group and version, its kind and its plural.
const KINDS: [(&str, &str, &str); 7] = [
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("apps/v1", "ControllerRevision", "controllerrevisions"),
    ("apps/v1", "Deployment", "deployments"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("stockpipeline.dev/v1alpha1", "StockPipeline", "stockpipelines"),
];
/// Role of the crawler.
const CRAWLER_ROLE: &str = "arn:aws:iam::111122223333:role/crawler";
/// Hexadecimal digits in a row that are a hash or a part of an identifier.
const DIGITS_OF_A_HASH: usize = 8;

/// One pipeline whose operator writes through proxies.
struct Run {
    stage: Stage,
    cluster: Proxy,
    aws: Proxy,
}

impl Run {
    async fn new() -> Self {
        let mut stage = Stage::new("killed").await;
        let (cluster, aws) = (stage.proxy().await, Proxy::before(&stage.aws.url).await);
        stage.endpoint.clone_from(&aws.url);
        Self { stage, cluster, aws }
    }

    async fn apply(&self) {
        self.stage
            .apply_one("demo", |spec| {
                spec["sink"]["worker"] = json!({ "replicas": 2 });
                spec["sink"]["raw"] = json!({ "prefix": "raw" });
                spec["glue"]["tables"]["raw"] = json!("raw");
                spec["glue"]["crawler"] = json!({ "enabled": true, "roleArn": CRAWLER_ROLE });
                spec["athena"] = json!({
                    "workgroup": { "name": "quotes", "create": true, "outputLocation": "s3://results/athena/" },
                    "namedQueries": [{ "name": "count", "sql": "select count(*) from demo" }],
                    "views": [{ "name": "latest", "sql": "select * from demo" }, { "name": "oldest", "sql": "select * from demo" }],
                });
                spec["deletionPolicy"] = json!({ "tables": "Delete" });
            })
            .await;
    }

    /// Starts the operator, which may give a crawler its role.
    async fn operate(&self) -> Operator {
        let granted = format!("--allow-role={}={CRAWLER_ROLE}", self.stage.namespace.name());
        self.stage.operate_with(NAME, Some(&self.cluster), &[&granted]).await
    }

    /// Holds everything from the answer of one write on; returns how many writes there were.
    fn die_at(&self, last: usize) -> Arc<AtomicUsize> {
        let writes = Arc::new(AtomicUsize::new(0));
        for (proxy, is_write) in
            [(&self.cluster, Passing::is_write as fn(&Passing) -> bool), (&self.aws, Passing::is_aws_write as fn(&Passing) -> bool)]
        {
            let writes = Arc::clone(&writes);
            proxy.rule(move |passing| {
                let writes = if is_write(passing) { writes.fetch_add(1, Ordering::SeqCst) + 1 } else { writes.load(Ordering::SeqCst) };
                match writes.cmp(&last) {
                    std::cmp::Ordering::Less => Fate::Pass,
                    std::cmp::Ordering::Equal if is_write(passing) => Fate::LoseAnswer,
                    _ => Fate::Hold,
                }
            });
        }
        writes
    }

    /// Returns the number of writes so far.
    fn writes(&self) -> usize {
        self.cluster.seen().iter().filter(|passing| passing.is_write()).count() + self.aws.aws_writes().len()
    }

    /// Returns everything that is stored, without what differs between two runs of the same.
    async fn end(&self) -> Vec<String> {
        let mut objects = Vec::new();
        for (api_version, kind, plural) in KINDS {
            for mut object in list(&self.stage.client, self.stage.namespace.name(), api_version, kind, plural).await {
                let is_the_clusters = ["kube-root-ca.crt", "default"].iter().any(|name| object["metadata"]["name"] == *name);
                if !is_the_clusters {
                    forget_times(&mut object);
                    if kind != "StockPipeline" {
                        object.as_object_mut().unwrap().remove("status");
                    }
                    objects.push(format!("{kind} {object}"));
                }
            }
        }
        let world = self.stage.aws.world();
        for (database, held) in &world.glue.databases {
            objects.push(format!("database {database} {}", held.input));
            objects.extend(held.tables.iter().map(|(name, table)| format!("table {name} {}", crate::catalog::sorted(&table.input))));
        }
        objects.extend(world.athena.workgroups.values().map(|group| format!("workgroup {}", crate::catalog::sorted(group))));
        objects.extend(world.glue.crawlers.values().map(|crawler| format!("crawler {}", crate::catalog::sorted(crawler))));
        for query in world.athena.queries.values() {
            let mut query = crate::catalog::sorted(query);
            query.as_object_mut().unwrap().retain(|name, _| !["NamedQueryId", "ClientRequestToken"].contains(&name.as_str()));
            objects.push(format!("query {query}"));
        }
        drop(world);
        let namespace = self.stage.namespace.name();
        let text = |object: String| {
            let ports = [self.aws.url.rsplit(':').next().unwrap().to_owned(), self.stage.simulation.port.to_string()];
            let text = object.replace(&self.aws.url, "AWS").replace(&ports[0], "PORT").replace(&ports[1], "PORT");
            let text = text.replace(namespace, "NAMESPACE");
            without_hashes(&text.replace(&namespace.replace('-', "_"), "DATABASE"))
        };
        let mut objects: Vec<String> = objects.into_iter().map(text).collect();
        objects.sort();
        objects
    }
}

/// Takes away what tells when something was made, and as which.
fn forget_times(object: &mut Value) {
    match object {
        Value::Object(members) => {
            let of_a_time = ["creationTimestamp", "lastTransitionTime", "managedFields", "measuredAt", "resourceVersion", "uid"];
            members.retain(|name, _| !of_a_time.contains(&name.as_str()) && !name.ends_with("last-applied-configuration"));
            // By its own id.
            if let Some(queries) = members.get_mut("namedQueries").filter(|queries| queries.is_object()) {
                queries.as_object_mut().unwrap().values_mut().for_each(|id| *id = json!(""));
            }
            members.values_mut().for_each(forget_times);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Replaces what is a hash of names that differ between two runs.
fn without_hashes(text: &str) -> String {
    let mut kept = String::new();
    let mut digits = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_ascii_digit() || ('a'..='f').contains(&character) {
            digits.push(character);
            continue;
        }
        kept.push_str(if digits.len() >= DIGITS_OF_A_HASH { "#" } else { &digits });
        digits.clear();
        kept.push(character);
    }
    kept
}

/// Returns the end of a run whose operator is killed after so many writes, and the number of writes of one that is not.
async fn run(last: Option<usize>) -> (Vec<String>, usize) {
    let run = Run::new().await;
    run.apply().await;
    if let Some(last) = last {
        let writes = run.die_at(last);
        let mut killed = run.operate().await;
        until("the last write was made", async || writes.load(Ordering::SeqCst) >= last).await;
        killed.signal("KILL");
        killed.ended().await;
        run.cluster.heal();
        run.aws.heal();
        run.stage.free_lease().await;
    }
    let operator = run.operate().await;
    run.stage.wait(&["demo".to_owned()]).await;
    // At rest: two looks for drift have found nothing to write.
    let (mut writes, mut looks) = (run.writes(), run.stage.aws.calls("GetDatabase"));
    until("it rests", async || {
        if run.writes() != writes {
            (writes, looks) = (run.writes(), run.stage.aws.calls("GetDatabase"));
        }
        run.stage.aws.calls("GetDatabase") >= looks + 2
    })
    .await;
    let end = run.end().await;
    drop(operator);
    run.stage.remove().await;
    (end, writes)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn an_operator_that_is_killed_after_any_of_its_writes_comes_to_the_same_end() {
    let (expected, writes) = run(None).await;
    assert!((10..60).contains(&writes), "{writes}");
    let kinds = ["ConfigMap", "Deployment", "table", "query", "workgroup", "database", "crawler"];
    assert!(kinds.iter().all(|kind| expected.iter().any(|object| object.starts_with(kind))), "{expected:#?}");
    let runs = futures::stream::iter(1..=writes).map(async |last| (last, run(Some(last)).await.0)).buffer_unordered(SIDE_BY_SIDE);
    let mut runs = std::pin::pin!(runs);
    while let Some((last, found)) = runs.next().await {
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "after write {last} of {writes}");
        }
        assert_eq!(found.len(), expected.len(), "after write {last} of {writes}");
    }
}
