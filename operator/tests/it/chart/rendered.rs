//! What the chart renders for the main sets of values.

use clap::Parser;
use serde_json::Value;
use stockpipeline_operator::process::arguments::{Arguments, Command};
use stockpipeline_operator::settings::Settings;

use super::{CHART, repository};
use crate::cluster::run;

/// Sets of values by name; the default has none.
const SETS: [&str; 3] = ["default", "namespaced", "everything"];

fn arguments(set: &str) -> Vec<String> {
    let mut arguments = vec![repository(CHART).display().to_string()];
    if set != "default" {
        let values = repository(&format!("{CHART}/ci/{set}-values.yaml"));
        arguments.extend(["--values".to_owned(), values.display().to_string()]);
    }
    arguments
}

async fn helm(command: &str, more: &[&str], set: &str) -> (bool, String) {
    let mut all = vec![command.to_owned()];
    all.extend(more.iter().map(|word| (*word).to_owned()));
    all.extend(arguments(set));
    run("helm", &all.iter().map(String::as_str).collect::<Vec<_>>(), "").await
}

/// Returns what is rendered, without the definition of the custom resource.
async fn rendered(set: &str) -> String {
    let named = ["stockpipeline", "--namespace", "stockpipeline-system", "--set", "crds.install=false"];
    let (done, text) = helm("template", &named, set).await;
    assert!(done, "{text}");
    text
}

fn objects(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

fn rules(objects: &[Value]) -> Vec<&Value> {
    objects.iter().filter_map(|object| object["rules"].as_array()).flatten().collect()
}

#[tokio::test]
#[ignore = "needs helm"]
async fn the_chart_has_no_flaw_that_helm_finds() {
    for set in SETS {
        let (done, said) = helm("lint", &["--strict"], set).await;
        assert!(done, "{set}: {said}");
    }
}

#[tokio::test]
#[ignore = "needs helm"]
async fn manifests_are_as_reviewed() {
    for set in SETS {
        let mut text = rendered(set).await;
        // The dashboard is reviewed as the file that it is.
        if let Some((head, tail)) = text.split_once("  stockpipeline.json: |\n") {
            let after = tail.lines().skip_while(|line| line.starts_with("    ") || line.is_empty());
            text =
                format!("{head}  stockpipeline.json: |\n    (dashboards/stockpipeline.json)\n{}\n", after.collect::<Vec<_>>().join("\n"));
        }
        insta::assert_snapshot!(set, text);
    }
}

#[tokio::test]
#[ignore = "needs helm"]
async fn roles_grant_no_secret_no_wildcard_and_no_empty_list() {
    for set in SETS {
        let text = rendered(set).await;
        let objects = objects(&text);
        let rules = rules(&objects);
        assert!(rules.len() > 8, "{set}: {}", rules.len());
        for rule in rules {
            let words = ["apiGroups", "resources", "verbs"].map(|name| rule[name].as_array().unwrap());
            for list in words {
                assert!(!list.is_empty() && !list.contains(&Value::from("*")), "{set}: {rule}");
            }
            let resources = rule["resources"].as_array().unwrap();
            assert!(!resources.iter().any(|name| name.as_str().is_some_and(|name| name.starts_with("secrets"))), "{set}: {rule}");
            assert!(
                rule["resourceNames"].is_null() || rule["resourceNames"].as_array().is_some_and(|names| !names.is_empty()),
                "{set}: {rule}"
            );
            let escalates = ["escalate", "bind", "impersonate"].map(Value::from);
            assert!(!rule["verbs"].as_array().unwrap().iter().any(|verb| escalates.contains(verb)), "{set}: {rule}");
        }
    }
}

#[tokio::test]
#[ignore = "needs helm"]
async fn the_program_takes_the_arguments() {
    for set in SETS {
        let text = rendered(set).await;
        let objects = objects(&text);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let parsed = Arguments::try_parse_from(["stockpipeline-operator"].into_iter().chain(arguments));
        let Command::Run(run) = parsed.unwrap_or_else(|error| panic!("{set}: {error}")).command else { panic!("{set}: not run") };
        let settings = run.settings.settings();
        assert_eq!(run.lease_name, deployment["metadata"]["name"].as_str().unwrap());
        if set == "everything" {
            assert_eq!(settings.grants.roles["market-data"].len(), 2);
            assert!(settings.grants.adoption("market-data", "research"));
            assert_eq!(settings.sink_resources.limits["memory"], "2Gi");
            assert_eq!(settings.network.unwrap().egress_ports, [9094, 9096]);
            assert!(settings.read_only);
        } else if set == "default" {
            // What the values say is what the program does without them.
            let namespace = &settings.network.as_ref().unwrap().operator_namespace;
            assert_eq!(settings, Settings::new(&settings.image, namespace));
        }
    }
}

#[tokio::test]
#[ignore = "needs helm"]
async fn namespaced_mode_has_no_cluster_wide_right() {
    let text = rendered("namespaced").await;
    let objects = objects(&text);
    for object in &objects {
        let kind = object["kind"].as_str().unwrap();
        assert!(!kind.starts_with("Cluster"), "{kind}");
    }
    let mut namespaces: Vec<_> =
        objects.iter().filter(|object| object["kind"] == "Role").map(|object| object["metadata"]["namespace"].as_str().unwrap()).collect();
    namespaces.sort_unstable();
    assert_eq!(namespaces, ["market-data", "research", "stockpipeline-system"]);
}

#[tokio::test]
#[ignore = "needs helm"]
async fn values_that_are_none_are_refused() {
    for (value, named) in [
        ("replica=2", "replica"),
        ("replicas=-1", "replicas"),
        ("watchNamespaces={A}", "watchNamespaces"),
        ("allow.endpoints={moto:5000}", "endpoints"),
        ("allow.roles.quotes={admin}", "roles"),
        ("allow.adopt.quotes={*}", "adopt"),
        ("driftInterval=soon", "driftInterval"),
        ("log.format=xml", "format"),
        ("statusInterval=169h", "statusInterval"),
        ("metrics.serviceMonitor.enabled=true", "networkPolicy.metricsNamespaces"),
        ("metrics.podMonitor.enabled=true", "worker.networkPolicy.metricsNamespaces"),
    ] {
        let (done, said) = helm("template", &["x", "--set", value], "default").await;
        assert!(!done && said.contains(named), "{value}: {said}");
    }
}
