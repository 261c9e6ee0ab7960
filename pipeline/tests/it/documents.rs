//! Documents that must check, and what comes of them.

use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document;

fn check(text: &str) -> Pipeline {
    let documents = document::read(text).unwrap();
    assert_eq!(documents.len(), 1);
    match Pipeline::check(&documents[0], UnknownFields::Error) {
        Ok((pipeline, warnings)) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            pipeline
        }
        Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

#[test]
fn the_full_example_checks() {
    insta::assert_debug_snapshot!(check(include_str!("../fixtures/full.yaml")));
}

#[test]
fn the_minimal_example_checks() {
    insta::assert_debug_snapshot!(check(include_str!("../fixtures/minimal.yaml")));
}

#[test]
fn the_examples_check() {
    for text in [
        include_str!("../../../examples/demo.yaml"),
        include_str!("../../../examples/index-processed.yaml"),
        include_str!("../../../examples/spy-ticks.yaml"),
    ] {
        check(text);
    }
}
