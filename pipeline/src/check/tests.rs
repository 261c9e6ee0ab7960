//! The texts that the areas share: durations, schedules, hosts, suggestions, and the schema as a whole.

use serde_json::{Value, json};

use super::cron::Cron;
use super::{spec_schema, suggest, time};
use crate::spec::bounds::{DRAIN_TIMEOUT, DRIFT_INTERVAL, LEDGER_RETAIN, MAX_FUTURE, ROTATION_INTERVAL, SCALE_DOWN, TRANSACTION_INTERVAL};

#[test]
fn durations_are_whole_numbers_with_units() {
    let cases = [
        ("60s", Some(60_000)),
        ("10m", Some(600_000)),
        ("1s500ms", Some(1_500)),
        ("720h", Some(2_592_000_000)),
        ("0s", Some(0)),
        ("1h1h", Some(7_200_000)),
        ("", None),
        ("60", None),
        ("s", None),
        ("1d", None),
        ("1.5s", None),
        ("-1s", None),
        ("1 s", None),
        ("99999999999999999999h", None),
        ("5124095576030431h", None),
    ];
    for (text, expected) in cases {
        assert_eq!(time::parse_span(text).map(|span| span.as_millis()), expected, "{text}");
    }
}

#[test]
fn bounds_of_durations_are_durations() {
    for bounds in [DRAIN_TIMEOUT, DRIFT_INTERVAL, LEDGER_RETAIN, MAX_FUTURE, ROTATION_INTERVAL, SCALE_DOWN, TRANSACTION_INTERVAL] {
        assert!(time::parse_span(bounds.least).unwrap() < time::parse_span(bounds.most).unwrap(), "{bounds:?}");
    }
}

#[test]
fn schedules_fire_when_cron_would() {
    // 2024-01-01 is a Monday.
    let cases = [
        ("25 9 * * 1-5", "2024-01-01T09:25", true),
        ("25 9 * * 1-5", "2024-01-01T09:26", false),
        ("25 9 * * 1-5", "2024-01-06T09:25", false),
        ("*/15 * * * *", "2024-01-01T00:45", true),
        ("*/15 * * * *", "2024-01-01T00:50", false),
        ("5/15 * * * *", "2024-01-01T00:50", true),
        ("0 0 * * 7", "2024-01-07T00:00", true),
        ("0 0 * * sun", "2024-01-07T00:00", true),
        ("0 0 * JAN,mar *", "2024-03-09T00:00", true),
        ("0 0 * JAN,mar *", "2024-02-09T00:00", false),
        // Either day is enough when both are given.
        ("0 0 13 * fri", "2024-01-13T00:00", true),
        ("0 0 13 * fri", "2024-01-12T00:00", true),
        ("0 0 13 * *", "2024-01-12T00:00", false),
    ];
    for (text, moment, expected) in cases {
        let moment: jiff::civil::DateTime = moment.parse().unwrap();
        assert_eq!(Cron::parse(text).unwrap().fires_at(moment), expected, "{text} at {moment}");
    }
}

#[test]
fn no_schedule_comes_of_other_texts() {
    for text in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "+1 * * * *",
        "1-2-3 * * * *",
        "*/5/5 * * * *",
        "mon * * * *",
    ] {
        assert!(Cron::parse(text).is_err(), "{text}");
    }
}

#[test]
fn suggestions_are_close_or_absent() {
    let known = ["rowsPerSecond", "replicationFactor", "uri", "order"];
    let cases = [
        ("rowsPerSeconds", Some("rowsPerSecond")),
        ("rows_per_second", Some("rowsPerSecond")),
        ("url", Some("uri")),
        ("ordre", Some("order")),
        ("x", None),
        ("partitions", None),
        ("", None),
    ];
    for (unknown, expected) in cases {
        assert_eq!(suggest::closest(unknown, &known), expected, "{unknown}");
    }
}

/// Visits every field of a schema with its path.
fn visit(path: &str, schema: &Value, look: &mut impl FnMut(&str, &Value)) {
    look(path, schema);
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        visit(&format!("{path}.{name}"), field, look);
    }
    for (suffix, inner) in [("[]", "items"), ("{}", "additionalProperties")] {
        if let Some(inner) = schema.get(inner).filter(|inner| inner.is_object()) {
            visit(&format!("{path}{suffix}"), inner, look);
        }
    }
}

fn has_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(several)) => several.contains(&json!(name)),
        Some(_) | None => false,
    }
}

#[test]
fn every_field_is_bounded_and_explained() {
    let mut faults = Vec::new();
    visit("spec", &spec_schema(), &mut |path, schema| {
        let word = schema.get("oneOf").is_some() || schema.get("anyOf").is_some();
        let missing = |bound: &str| schema.get(bound).is_none();
        let unbounded = has_type(schema, "string") && missing("maxLength") && !word
            || has_type(schema, "array") && missing("maxItems")
            || schema.get("additionalProperties").is_some() && missing("maxProperties")
            || has_type(schema, "integer") && missing("minimum")
            || has_type(schema, "number") && missing("maximum");
        if unbounded {
            faults.push(format!("{path} has no bound"));
        }
        if !path.ends_with(['}', ']']) && schema.get("description").is_none() {
            faults.push(format!("{path} has no description"));
        }
        // The API server takes no type that is named twice over, and no closed objects.
        if schema.get("$ref").is_some() || schema.get("additionalProperties") == Some(&json!(false)) || schema.get("allOf").is_some() {
            faults.push(format!("{path} is no structural schema"));
        }
    });
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn every_default_of_the_schema_keeps_to_the_schema() {
    let mut defaults = 0;
    visit("spec", &spec_schema(), &mut |path, schema| {
        if let Some(default) = schema.get("default") {
            defaults += 1;
            let mut findings = super::Findings::default();
            super::shape::compare_with(&mut default.clone(), schema, &mut findings);
            assert!(findings.errors.is_empty(), "{path}: {:?}", findings.errors);
        }
    });
    assert!(defaults > 50, "{defaults}");
}

#[test]
fn fields_that_are_left_out_get_the_defaults_of_the_schema() {
    // An object's own default and those of its fields must say the same, or `{}` and nothing would differ.
    visit("spec", &spec_schema(), &mut |path, schema| {
        let Some(Value::Object(default)) = schema.get("default") else { return };
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            assert_eq!(default.get(name), field.get("default"), "{path}.{name}");
        }
    });
}
