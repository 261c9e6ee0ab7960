//! The values of the chart: a sentence each, a row each in the README, and a place each in the schema.

use std::fmt::Write;

use serde_json::Value;

use super::{CHART, assert_current, read};

/// A value that can be set.
struct Setting {
    path: String,
    sentence: String,
    default: Value,
}

/// Returns the members of values.yaml that no comment is missing of, in its order: a member with a comment is a value, one without holds some.
fn settings() -> Vec<Setting> {
    let text = read(&format!("{CHART}/values.yaml"));
    let values: Value = serde_yaml::from_str(&text).unwrap();
    let mut found: Vec<Setting> = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(words) = trimmed.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        let Some((name, _)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with('-')) else {
            comment.clear();
            continue;
        };
        let inside = found.last().is_some_and(|last| parents.iter().any(|(_, path)| *path == last.path && !path.is_empty()));
        parents.retain(|(depth, _)| *depth < indent);
        let path = parents.last().map_or_else(|| name.to_owned(), |(_, parent)| format!("{parent}.{name}"));
        parents.push((indent, path.clone()));
        // What lies in a value is its default.
        let is_inside = inside && found.last().is_some_and(|last| path.starts_with(&format!("{}.", last.path)));
        if comment.is_empty() {
            let pointer = format!("/{}", path.replace('.', "/"));
            assert!(is_inside || values.pointer(&pointer).is_some_and(Value::is_object), "{path} has no sentence in values.yaml");
            continue;
        }
        let pointer = format!("/{}", path.replace('.', "/"));
        let default = values.pointer(&pointer).unwrap_or_else(|| panic!("{path} is not a value")).clone();
        found.push(Setting { path, sentence: comment.join(" "), default });
        comment.clear();
    }
    found
}

#[test]
fn the_readme_has_a_row_for_every_value() {
    let path = format!("{CHART}/README.md");
    let readme = read(&path);
    let (begin, end) = ("<!-- values: begin -->\n", "<!-- values: end -->");
    let (head, rest) = readme.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let mut table = "| value | what | default |\n|---|---|---|\n".to_owned();
    for setting in settings() {
        let sentence = setting.sentence.trim_end_matches('.').replace('|', "\\|");
        writeln!(table, "| `{}` | {sentence} | `{}` |", setting.path, setting.default).unwrap();
    }
    assert_current(&path, &format!("{head}{begin}{table}{end}{tail}"));
}

#[test]
fn every_value_is_one_sentence() {
    let settings = settings();
    assert!(settings.len() > 50, "{}", settings.len());
    for Setting { path, sentence, .. } in settings {
        assert!(sentence.ends_with('.') && sentence.starts_with(char::is_uppercase), "{path}: {sentence}");
        assert_eq!(sentence.matches(". ").count(), 0, "{path}: {sentence}");
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    fn same(path: &str, schema: &Value, values: &Value) {
        let Some(declared) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], false, "{path}");
        let values = values.as_object().unwrap();
        for name in values.keys() {
            assert!(declared.contains_key(name), "{path}.{name} is not in the schema");
        }
        for (name, schema) in declared {
            // Helm adds it to the values of every chart.
            if path.is_empty() && name == "global" {
                continue;
            }
            let value = values.get(name).unwrap_or_else(|| panic!("{path}.{name} is in the schema alone"));
            same(&format!("{path}.{name}"), schema, value);
        }
    }
    let values: Value = serde_yaml::from_str(&read(&format!("{CHART}/values.yaml"))).unwrap();
    let schema: Value = serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))).unwrap();
    same("", &schema, &values);
}
