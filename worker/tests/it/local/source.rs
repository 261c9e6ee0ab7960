//! A source that lies in S3, reached as the pipeline's bucket is, with the credentials of the environment; and one that lacks a column.

use stockpipeline_worker::embedded::s3::EmbeddedS3;

use super::{DEMO_ROWS, clean_audit, rows, said};
use crate::command_line::{example, worker};

#[test]
fn a_source_in_s3_is_replayed_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let market = folder.path().join("market");
    std::fs::create_dir_all(market.join("seed")).unwrap();
    std::fs::copy(example("data/daily-bars.csv.gz"), market.join("seed/daily-bars.csv.gz")).unwrap();
    let server = runtime.block_on(EmbeddedS3::start(&market, "market")).unwrap();
    let text = std::fs::read_to_string(example("demo.yaml")).unwrap();
    let text = text.replace("uri: data/daily-bars.csv.gz", "uri: s3://market/seed/daily-bars.csv.gz");
    let aws = format!("spec:\n  aws: {{ region: us-east-1, endpoints: {{ s3: \"{}\" }}, forcePathStyle: true }}", server.endpoint());
    let document = folder.path().join("demo.yaml");
    std::fs::write(&document, text.replacen("spec:", &aws, 1)).unwrap();

    let run = |output: &str, secret: &str| {
        let mut command = worker();
        command.arg("local").arg(&document).arg("--output").arg(folder.path().join(output));
        command.env("AWS_ACCESS_KEY_ID", EmbeddedS3::ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", secret).output().unwrap()
    };
    let ended = run("out", EmbeddedS3::SECRET_ACCESS_KEY);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    assert_eq!(rows(&clean_audit(&document, &folder.path().join("out")), "processed"), DEMO_ROWS);

    // Wrong keys are said to be wrong, and which object could not be read.
    let refused = run("none", "another");
    assert_ne!(refused.status.code(), Some(0));
    assert!(said(&refused).contains("s3://market/seed/daily-bars.csv.gz"), "{}", said(&refused));
}

#[test]
fn a_name_that_the_file_lacks_is_told_where_its_column_may_be_null() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::copy(example("data/daily-bars.csv.gz"), folder.path().join("data/daily-bars.csv.gz")).unwrap();
    let text = std::fs::read_to_string(example("demo.yaml")).unwrap();
    let document = folder.path().join("demo.yaml");
    std::fs::write(&document, text.replace("from: Close,", "from: Clsoe,").replace("from: Close }", "from: Clsoe }")).unwrap();
    let ended = worker().arg("local").arg(&document).arg("--output").arg(folder.path().join("out")).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    let told = said(&ended);
    assert!(told.contains("the file lacks [\"Clsoe\"]") && told.contains("\"Close\""), "{told}");
}
