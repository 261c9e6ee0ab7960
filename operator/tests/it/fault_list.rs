//! The page of faults names tests that are there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::chart::{read, repository};

/// Folders whose sources have tests.
const FOLDERS: [&str; 7] = ["pipeline/src", "pipeline/tests", "worker/src", "worker/tests", "operator/src", "operator/tests", "e2e"];
/// Shortest name that is a claim.
const SHORTEST: usize = 20;

fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(text.split("fn ").skip(1).filter_map(|rest| rest.split_once('(').map(|(name, _)| name.to_owned())));
        }
    }
}

#[test]
fn every_test_that_the_page_of_faults_names_is_there() {
    let mut found = BTreeSet::new();
    FOLDERS.iter().for_each(|folder| functions(&repository(folder), &mut found));
    let page = read("docs/faults.md");
    let quoted = page.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted.filter(|word| word.len() >= SHORTEST && !word.contains([' ', '/', '-'])).collect();
    assert!(names.len() > 50, "{}", names.len());
    let missing: Vec<&&str> = names.iter().filter(|name| !found.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_page_of_faults_has_each_number_once_and_in_order() {
    let page = read("docs/faults.md");
    let firsts = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.split('-').next()?.trim().parse::<u32>().ok());
    let numbers: Vec<u32> = firsts.collect();
    assert!(numbers.is_sorted() && numbers.len() > 40, "{numbers:?}");
    let distinct: BTreeSet<u32> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "{numbers:?}");
}
