//! The Helm chart: its files, what it renders, and its life on a real API server.

mod files;
mod metrics;
mod release;
mod rendered;
mod values;

use std::path::PathBuf;

/// Folder of the chart, from the repository's root.
pub(crate) const CHART: &str = "charts/stockpipeline-operator";

/// Returns a file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Returns the text of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    let file = repository(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Writes a generated file when golden files are to be written again, and asserts that it is current.
pub(crate) fn assert_current(path: &str, current: &str) {
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        std::fs::write(repository(path), current).unwrap();
    }
    assert!(read(path) == current, "{path} is not current; run `make golden` and read the diff");
}
