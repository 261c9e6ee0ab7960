//! Every metric of a worker that the chart's dashboard and rules and the docs name is exported, and every exported one is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stockpipeline_worker::metrics::{PartitionMetrics, ProducerMetrics, Registry, SinkMetrics, StoreMetrics};

const PREFIX: &str = "stockpipeline_";
/// What the operator's own names start with.
const OPERATOR: &str = "stockpipeline_operator";

/// Returns the names of the samples, such as `x_bucket` of a histogram `x`.
fn exported() -> BTreeSet<String> {
    let mut sink = Registry::new("sink");
    let metrics = SinkMetrics::register(&mut sink);
    metrics.set_lag_records(0, 0);
    metrics.dead_letters(&BTreeMap::from([("invalid_json", 0)]));
    StoreMetrics::register(&mut sink).observe("GetObject", "200", 0.001);
    PartitionMetrics::register(&mut sink).request("GetTable", "200");
    let mut producer = Registry::new("producer");
    let _metrics = ProducerMetrics::register(&mut producer);
    let text = sink.render() + &producer.render();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Returns the names that a file of the repository uses.
fn named(path: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(PREFIX) {
        let name: String = text[at..].chars().take_while(|character| character.is_ascii_alphanumeric() || *character == '_').collect();
        // Labels of Kubernetes and modules of the programs begin like that too.
        let is_other = name.starts_with(OPERATOR) || name.starts_with("stockpipeline_dev_") || text[..at].ends_with("pod_label_");
        if !is_other {
            names.insert(name);
        }
    }
    names
}

#[test]
fn what_is_drawn_and_alerted_on_is_exported() {
    let exported = exported();
    for file in ["dashboards/stockpipeline.json", "templates/prometheusrule.yaml"] {
        let names = named(&format!("charts/stockpipeline-operator/{file}"));
        assert!(!names.is_empty(), "{file} names no metric");
        for name in names {
            assert!(exported.contains(&name), "{file} names {name}, which no worker exports: {exported:?}");
        }
    }
}

#[test]
fn the_docs_name_exactly_what_is_exported() {
    // Of a histogram they give the name without what its samples end with.
    let plain = |name: &String| ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned();
    assert_eq!(named("docs/metrics.md"), exported().iter().map(plain).collect());
}
