//! Every metric of the operator that dashboard, rules and docs name is exported, and every exported one is documented.

use std::collections::BTreeSet;

use stockpipeline_operator::metrics::{Metrics, Outcome, Service};

use super::{CHART, read};

const PREFIX: &str = "stockpipeline_operator_";

/// Returns the names of the samples, such as `x_bucket` of a histogram `x`.
fn exported() -> BTreeSet<String> {
    let metrics = Metrics::default();
    metrics.reconciled(Outcome::Done, 0.1);
    metrics.aws_request(Service::Glue, "GetTable", "200");
    metrics.worker_status(0.1);
    metrics.kubernetes_write("Deployment");
    metrics.drift_corrected(1);
    metrics.leader(true);
    let text = metrics.render();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Returns the names that a file uses.
fn named(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(PREFIX) {
        let name: String = text[at..].chars().take_while(|character| character.is_ascii_alphanumeric() || *character == '_').collect();
        names.insert(name);
    }
    names
}

#[test]
fn what_is_drawn_and_alerted_on_is_exported() {
    let exported = exported();
    for file in ["dashboards/stockpipeline.json", "templates/prometheusrule.yaml"] {
        let names = named(&format!("{CHART}/{file}"));
        assert!(!names.is_empty(), "{file} names no metric");
        for name in names {
            assert!(exported.contains(&name), "{file} names {name}, which the operator does not export: {exported:?}");
        }
    }
}

#[test]
fn the_docs_name_exactly_what_is_exported() {
    // Of a histogram they give the name without what its samples end with.
    let plain = |name: &String| ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned();
    assert_eq!(named("docs/metrics.md"), exported().iter().map(plain).collect());
}
