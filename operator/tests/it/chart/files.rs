//! What the chart holds beside its templates.

use serde_json::Value;
use stockpipeline_operator::resource::crd::definition_yaml;

use super::{CHART, assert_current, read};

#[test]
fn the_chart_brings_the_generated_definition() {
    assert_current(&format!("{CHART}/files/stockpipelines.yaml"), &definition_yaml());
    // What the template puts its annotations in front of, exactly once.
    assert_eq!(definition_yaml().matches("\nmetadata:\n").count(), 1);
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart: Value = serde_yaml::from_str(&read(&format!("{CHART}/Chart.yaml"))).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_dashboard_is_one_that_grafana_imports() {
    let dashboard: Value = serde_json::from_str(&read(&format!("{CHART}/dashboards/stockpipeline.json"))).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "numbers of panels are unique");
    let mut filled: Vec<(&Value, [u64; 4])> = Vec::new();
    for panel in panels {
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(x + width <= 24, "{}", panel["title"]);
        for (title, [left, top, right, bottom]) in &filled {
            let is_apart = x >= *right || *left >= x + width || y >= *bottom || *top >= y + height;
            assert!(is_apart, "{} lies on {title}", panel["title"]);
        }
        filled.push((&panel["title"], [x, y, x + width, y + height]));
        if panel["type"] != "row" {
            assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{}", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
}
