//! The documented IAM policies name exactly the operations of AWS that the programs call.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::chart::{read, repository};

/// Actions that are no operations of their own: AWS asks for them when a new object has tags, or is given a role.
const IMPLIED: [(&str, &str); 2] = [("glue:TagResource", ".set_tags("), ("athena:TagResource", ".set_tags(")];

/// Returns the text of all sources of a folder or file, without white space, so that a chain of calls is one word.
fn sources(path: &str) -> String {
    fn add(path: &Path, text: &mut String) {
        if path.is_dir() {
            let mut entries: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            for entry in &entries {
                add(entry, text);
            }
        } else {
            text.extend(std::fs::read_to_string(path).unwrap().split_whitespace());
        }
    }
    let mut text = String::new();
    add(&repository(path), &mut text);
    text
}

/// Returns the operations that are called of clients in some sources: `client.get_table()` is `GetTable`.
fn called(service: &str, paths: &[&str]) -> BTreeSet<String> {
    let text: String = paths.iter().map(|path| sources(path)).collect();
    let calls = text.split("client.").skip(1).filter_map(|rest| rest.split_once("()").map(|(name, _)| name));
    let operations =
        calls.filter(|name| name.contains('_') && name.chars().all(|character| character.is_ascii_lowercase() || character == '_'));
    operations
        .map(|name| {
            let words = name.split('_').map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]));
            format!("{service}:{}", words.collect::<String>())
        })
        .collect()
}

/// Returns the part of the documentation under a heading.
fn section(heading: &str) -> String {
    let text = read("docs/iam.md");
    let (_, rest) = text.split_once(&format!("## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// Returns the actions of a service that a text names, in a policy or in a table.
fn documented(text: &str, service: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == ':'));
    words.filter(|word| word.starts_with(&format!("{service}:")) && word.len() > service.len() + 1).map(str::to_owned).collect()
}

fn check(heading: &str, service: &str, paths: &[&str]) {
    let mut expected = called(service, paths);
    assert!(expected.len() > 3, "{expected:?}");
    for (action, sign) in IMPLIED {
        let is_sent = paths.iter().any(|path| sources(path).contains(sign));
        if is_sent && action.starts_with(&format!("{service}:")) {
            expected.insert(action.to_owned());
        }
    }
    assert_eq!(documented(&section(heading), service), expected, "docs/iam.md, {heading}");
}

#[test]
fn the_operators_policy_names_every_operation_of_glue_and_athena_that_it_calls_and_no_other() {
    check("Operator", "glue", &["operator/src/catalog/aws/glue"]);
    check("Operator", "athena", &["operator/src/catalog/aws/athena.rs"]);
}

#[test]
fn the_sinks_policy_names_every_operation_of_glue_that_they_call_and_no_other() {
    check("Sinks", "glue", &["worker/src/partitions/glue.rs"]);
}

#[test]
fn no_source_outside_of_these_has_a_client_of_glue_or_athena() {
    for (path, allowed) in
        [("operator/src", vec!["catalog"]), ("operator/src/catalog", vec!["aws"]), ("worker/src", vec!["partitions", "contact.rs"])]
    {
        for entry in std::fs::read_dir(repository(path)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !allowed.contains(&name.as_str()) {
                let text = sources(&format!("{path}/{name}"));
                let has_client = ["aws_sdk_glue::Client", "aws_sdk_athena::Client"].iter().any(|client| text.contains(client));
                assert!(!has_client, "{path}/{name} has a client, whose calls no policy is compared with");
            }
        }
    }
}

#[test]
fn every_policy_is_one_that_iam_reads() {
    let text = read("docs/iam.md");
    let policies: Vec<&str> = text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(policies.len() >= 4, "{}", policies.len());
    for policy in policies {
        let policy: Value = serde_json::from_str(policy).unwrap_or_else(|error| panic!("{error} in\n{policy}"));
        assert_eq!(policy["Version"], "2012-10-17");
        for statement in policy["Statement"].as_array().unwrap() {
            let actions = statement["Action"].as_array().cloned().unwrap_or_else(|| vec![statement["Action"].clone()]);
            assert!(!actions.is_empty() && actions.iter().all(|action| !action.as_str().unwrap().contains('*')), "{statement}");
            assert!(statement["Effect"] == "Allow" && !statement["Resource"].is_null(), "{statement}");
        }
    }
}
