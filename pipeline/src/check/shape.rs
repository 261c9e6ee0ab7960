//! The shape of a spec: types, required and unknown fields, bounds and patterns, against the schema of the spec's own types.
//!
//! The same schema becomes the CRD, so that a file and the API server are held to one set of bounds. Knows nothing of what
//! the fields mean.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex_lite::Regex;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::UnknownFields;
use super::findings::Findings;
use super::suggest;
use crate::spec::PipelineSpec;

/// Returns the JSON schema of the spec, everything inlined.
#[must_use]
pub fn spec_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<PipelineSpec>().into()
}

/// The schema of the spec and its patterns, compiled once: both are constants.
struct Contract {
    schema: Value,
    patterns: BTreeMap<String, Regex>,
}

/// Compares a spec with its schema. Takes out null members, which mean the same as absent ones.
pub(crate) fn compare(spec: &mut Value, unknown: UnknownFields, findings: &mut Findings) {
    let contract = Contract::get();
    Shape { findings, unknown, patterns: &contract.patterns }.compare("spec", spec, &contract.schema);
}

/// Compares any value with a part of the schema.
#[cfg(test)]
pub(crate) fn compare_with(value: &mut Value, schema: &Value, findings: &mut Findings) {
    let patterns = &Contract::get().patterns;
    Shape { findings, unknown: UnknownFields::Error, patterns }.compare("value", value, schema);
}

impl Contract {
    fn get() -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| {
            let schema = spec_schema();
            let mut patterns = BTreeMap::new();
            compile(&schema, &mut patterns);
            Self { schema, patterns }
        })
    }
}

fn compile(schema: &Value, patterns: &mut BTreeMap<String, Regex>) {
    match schema {
        Value::Object(members) => {
            if let Some(pattern) = pattern_of(schema) {
                let regex = Regex::new(pattern).expect("the patterns of the spec are constants, and a test compiles them all");
                patterns.insert(pattern.to_owned(), regex);
            }
            members.values().for_each(|member| compile(member, patterns));
        }
        Value::Array(items) => items.iter().for_each(|item| compile(item, patterns)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Compares values with schemas and collects what differs.
struct Shape<'a> {
    findings: &'a mut Findings,
    unknown: UnknownFields,
    patterns: &'a BTreeMap<String, Regex>,
}

impl Shape<'_> {
    fn compare(&mut self, path: &str, value: &mut Value, schema: &Value) {
        let schema = without_null(schema);
        if let Some(words) = words(schema) {
            self.compare_word(path, value, &words);
            return;
        }
        if schema.get("x-kubernetes-int-or-string").is_some() {
            self.compare_quantity(path, value, schema);
            return;
        }
        match expected_type(schema) {
            "object" => self.compare_object(path, value, schema),
            "array" => self.compare_array(path, value, schema),
            "string" => self.compare_text(path, value, schema),
            "integer" => self.compare_integer(path, value, schema),
            "number" => self.compare_number(path, value, schema),
            "boolean" if !value.is_boolean() => {
                self.findings.wrong(path, value.clone(), &is_not(value, "true or false"), "write true or false, without quotes");
            }
            _ => {}
        }
    }

    fn compare_word(&mut self, path: &str, value: &Value, words: &[&str]) {
        let Some(text) = value.as_str() else {
            let remedy = format!("use one of {}", words.join(", "));
            self.findings.wrong(path, value.clone(), &is_not(value, "one of the known words"), &remedy);
            return;
        };
        if !words.contains(&text) {
            let remedy = suggest::closest(text, words).map_or("choose one of them".to_owned(), |word| format!("did you mean {word}?"));
            self.findings.wrong(path, text, &format!("is none of {}", words.join(", ")), &remedy);
        }
    }

    fn compare_quantity(&mut self, path: &str, value: &Value, schema: &Value) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_u64() => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.findings.wrong(path, value.clone(), "is no quantity", "write a text such as \"250m\" or \"512Mi\", or a whole number");
                return;
            }
        };
        if !self.matches(schema, &text) {
            self.findings.wrong(path, text, "is no quantity", "write a text such as \"250m\" or \"512Mi\", or a whole number");
        }
    }

    fn compare_object(&mut self, path: &str, value: &mut Value, schema: &Value) {
        let Value::Object(members) = value else {
            self.findings.wrong(path, value.clone(), &is_not(value, "an object"), "indent its fields under its name");
            return;
        };
        if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
            return;
        }
        members.retain(|_, member| !member.is_null());
        self.bound(path, members.len(), (schema.get("minProperties"), schema.get("maxProperties")), "entries");
        if let Some(rest) = schema.get("additionalProperties").filter(|rest| rest.is_object()) {
            for (name, member) in members.iter_mut() {
                self.compare(&keyed(path, name), member, rest);
            }
            return;
        }
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        for (name, member) in members.iter_mut() {
            match known.get(name) {
                Some(schema) => self.compare(&keyed(path, name), member, schema),
                None => self.report_unknown(path, name, known),
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.findings.broken(&keyed(path, name), "is required", &format!("add {name}{}", example(known.get(name))));
            }
        }
    }

    fn report_unknown(&mut self, path: &str, name: &str, known: &Map<String, Value>) {
        let path = keyed(path, name);
        let remedy = suggest::remedy(name, known.keys().map(String::as_str));
        match self.unknown {
            UnknownFields::Error => self.findings.broken(&path, "is no field of a StockPipeline", &remedy),
            UnknownFields::Warn => self.findings.warn(&path, &format!("is no field that this version knows and is ignored; {remedy}")),
        }
    }

    fn compare_array(&mut self, path: &str, value: &mut Value, schema: &Value) {
        let Value::Array(items) = value else {
            self.findings.wrong(path, value.clone(), &is_not(value, "a list"), "write [a, b], or one line with a dash for each");
            return;
        };
        self.bound(path, items.len(), (schema.get("minItems"), schema.get("maxItems")), "entries");
        // What is beyond the bound is wrong already; reading it would only take time.
        let most = schema.get("maxItems").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let Some(item_schema) = schema.get("items") else { return };
        for (index, item) in items.iter_mut().enumerate().take(most) {
            self.compare(&format!("{path}[{index}]"), item, item_schema);
        }
        self.find_duplicates(path, items.get(..most.min(items.len())).unwrap_or_default(), schema);
    }

    fn find_duplicates(&mut self, path: &str, items: &[Value], schema: &Value) {
        let suffix = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("map") => ".name",
            Some("set") => "",
            Some(_) | None => return,
        };
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let key = if suffix.is_empty() { item.as_str() } else { item.get("name").and_then(Value::as_str) };
            let Some(key) = key else { continue };
            if let Some(first) = seen.insert(key, index) {
                let reason = format!("stands at {path}[{first}] already");
                self.findings.wrong(&format!("{path}[{index}]{suffix}"), key, &reason, "remove one, or rename it");
            }
        }
    }

    fn compare_text(&mut self, path: &str, value: &Value, schema: &Value) {
        let Some(text) = value.as_str() else {
            let remedy = match value {
                Value::Bool(_) | Value::Number(_) if self.matches(schema, &value.to_string()) => format!("quote it: \"{value}\""),
                Value::Bool(_) | Value::Number(_) => describe_pattern(pattern_of(schema)).1,
                Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => "write a text".to_owned(),
            };
            self.findings.wrong(path, value.clone(), &is_not(value, "text"), &remedy);
            return;
        };
        let (least, most) = (schema.get("minLength"), schema.get("maxLength"));
        if self.bound(path, text.chars().count(), (least, most), "characters") && !self.matches(schema, text) {
            let (reason, remedy) = describe_pattern(pattern_of(schema));
            self.findings.wrong(path, text, &reason, &remedy);
        }
    }

    fn compare_integer(&mut self, path: &str, value: &Value, schema: &Value) {
        if value.as_i64().is_some() {
            self.compare_range(path, value, schema);
            return;
        }
        match value {
            Value::String(text) if text.parse::<i64>().is_ok() => {
                self.findings.wrong(path, value.clone(), "is text, not a whole number", &format!("write {text} without quotes"));
            }
            Value::Number(_) if value.is_u64() => self.compare_range(path, value, schema),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.findings.wrong(path, value.clone(), &is_not(value, "a whole number"), &range_remedy(schema));
            }
        }
    }

    fn compare_number(&mut self, path: &str, value: &Value, schema: &Value) {
        match value {
            Value::Number(_) => self.compare_range(path, value, schema),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.findings.wrong(path, value.clone(), &is_not(value, "a number"), &range_remedy(schema));
            }
        }
    }

    fn compare_range(&mut self, path: &str, value: &Value, schema: &Value) {
        let Some(number) = value.as_f64() else { return };
        let too_small = least(schema).is_some_and(|least| number < least);
        let too_great = most(schema).is_some_and(|most| number > most);
        if too_small || too_great || value.as_i64().is_none() && value.is_u64() {
            let reason = if too_small { "is too small" } else { "is too great" };
            self.findings.wrong(path, value.clone(), reason, &range_remedy(schema));
        }
    }

    /// Returns whether a count lies within bounds, and reports it if not.
    fn bound(&mut self, path: &str, count: usize, bounds: (Option<&Value>, Option<&Value>), unit: &str) -> bool {
        let read = |bound: Option<&Value>| bound.and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        let (least, most) = (read(bounds.0).unwrap_or(0), read(bounds.1).unwrap_or(usize::MAX));
        if (least..=most).contains(&count) {
            return true;
        }
        let range = if least == most {
            format!("exactly {least}")
        } else if most == usize::MAX {
            format!("at least {least}")
        } else {
            format!("{least} to {most}")
        };
        self.findings.broken(path, &format!("has {count} {unit}"), &format!("use {range}"));
        false
    }

    fn matches(&self, schema: &Value, text: &str) -> bool {
        pattern_of(schema).and_then(|pattern| self.patterns.get(pattern)).is_none_or(|regex| regex.is_match(text))
    }
}

/// Returns the path of a member; a key that is no plain name is quoted.
pub(crate) fn keyed(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    let short: String = name.chars().take(100).collect();
    if plain { format!("{path}.{short}") } else { format!("{path}[{}]", Value::from(short)) }
}

fn pattern_of(schema: &Value) -> Option<&str> {
    schema.get("pattern").and_then(Value::as_str)
}

/// An optional union stands as "this or null"; null members are gone before it is looked at.
fn without_null(schema: &Value) -> &Value {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    choices.and_then(|choices| choices.iter().find(|choice| expected_type(choice) != "null")).unwrap_or(schema)
}

fn words(schema: &Value) -> Option<Vec<&str>> {
    let choices = schema.get("oneOf")?.as_array()?;
    choices.iter().map(|choice| choice.get("const")?.as_str()).collect()
}

fn expected_type(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("null"),
        Some(_) | None => "",
    }
}

fn is_not(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    if found == "a number" && wanted == "a whole number" { "is not a whole number".to_owned() } else { format!("is {found}, not {wanted}") }
}

fn least(schema: &Value) -> Option<f64> {
    schema.get("minimum").and_then(Value::as_f64)
}

fn most(schema: &Value) -> Option<f64> {
    schema.get("maximum").and_then(Value::as_f64)
}

fn range_remedy(schema: &Value) -> String {
    let noun = if expected_type(schema) == "integer" { "whole number" } else { "number" };
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!("use a {noun} from {least} to {most}"),
        (Some(least), None) => format!("use a {noun} of at least {least}"),
        (None, Some(most)) => format!("use a {noun} of at most {most}"),
        (None, None) => format!("use a {noun}"),
    }
}

fn example(schema: Option<&Value>) -> String {
    schema.map(without_null).and_then(words).map(|words| format!(": one of {}", words.join(", "))).unwrap_or_default()
}

/// Returns what a pattern asks for in words; the pattern itself where nobody has said it better.
fn describe_pattern(pattern: Option<&str>) -> (String, String) {
    let (reason, remedy) = match pattern.unwrap_or_default() {
        r"^[a-z_][a-z0-9_]*$" => ("is no SQL identifier", "use lower-case letters, digits and _, not a digit first"),
        r"^([0-9]{1,12}(ms|s|m|h))+$" => ("is no duration", "write whole numbers with units, such as 60s, 10m, 1s500ms or 720h"),
        r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$" => {
            ("is no key prefix", "use letters, digits and _ . = - with single slashes between, none at either end")
        }
        r"^[a-zA-Z0-9._-]+$" => ("holds other characters", "use letters, digits and . _ - only"),
        r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$" => ("is no name of a Kubernetes object", "use lower-case letters, digits, . and -"),
        r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$" => ("is no bucket name", "use 3 to 63 lower-case letters, digits, . and -"),
        text if text.starts_with("^(year|") => {
            ("is no transform", "use year, month, day, hour, identity, bucket(16) or truncate(4), with a number from 1")
        }
        text if text.contains(":[0-9]{1,5}$") => ("is no broker address", "write host:port, such as kafka:9092"),
        text => return (format!("does not match {text}"), "change it to match".to_owned()),
    };
    (reason.to_owned(), remedy.to_owned())
}
