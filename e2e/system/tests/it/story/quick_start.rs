//! README's quick start on Kubernetes, word for word.

use std::time::Instant;

use stockpipeline_e2e::program::{self, Said};
use stockpipeline_e2e::stage::{SYSTEM, repository};
use stockpipeline_e2e::{Stage, claim, until};

use super::readme;

const NAMESPACE: &str = "market-data";
/// How long a command is watched that ends only when its user has seen enough.
const WATCHED: &str = "12";
/// What `timeout` ends with, and `plan` where something would change.
const WATCHED_LONG_ENOUGH: i32 = 124;
const CHANGES: i32 = 2;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stage: e2e/stage up"]
async fn the_quick_start_works_word_for_word() {
    let stage = Stage::bare().await;
    clean().await;
    let began = Instant::now();
    let (mut first_row, mut ran, mut asked) = (None, 0, Vec::new());
    for command in readme::commands("## On Kubernetes") {
        // The stage is up, and stays up for the tests to come.
        if command.starts_with("make ") {
            continue;
        }
        let command = adapted(&stage, &command);
        let said = run(&command).await;
        ran += 1;
        if command.contains("apply -f") {
            until("the first row is in Trino", async || rows(&stage).await.filter(|(rows, _)| *rows > 0)).await;
            first_row = Some(began.elapsed());
        }
        if command.contains("get sp ") && command.contains("-w") {
            assert!(said.out.contains("daily-bars") && said.out.contains("PHASE"), "{}", said.out);
        }
        if command.contains("count(*), count(distinct") {
            let (rows, positions) = said.out.trim().split_once('\t').unwrap_or_else(|| panic!("{command} said {}", said.out));
            assert_eq!(rows, positions, "rows and positions");
            asked.push(rows.to_owned());
        }
    }
    let first_row = first_row.expect("README applies a pipeline");
    claim(format_args!("README's quick start: {ran} commands, each ended well; rows were {}", asked.join(", then ")));
    claim(format_args!("from helm install to the first row in Trino: {:.1} s", first_row.as_secs_f64()));
    assert_eq!(asked.last().map(String::as_str), Some("12154"), "the whole file is stored when the tour is over");
    nothing_is_left(&stage).await;
    clean().await;
}

/// Ends what an earlier run may have left.
async fn clean() {
    let said = program::run("kubectl", &["delete", "sp", "--all", "-n", NAMESPACE, "--timeout=120s", "--ignore-not-found"], "").await;
    // Without a definition there are no pipelines.
    assert!(said.done() || said.err.contains("resource type"), "{}", said.err);
    program::helm(&["uninstall", "stockpipeline", "-n", SYSTEM, "--ignore-not-found", "--wait"]).await;
    program::kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"]).await;
}

/// Returns the command as it runs here: one that watches ends, and manifests name the components that the environment names.
fn adapted(stage: &Stage, command: &str) -> String {
    if command.contains(" -w") {
        return format!("timeout {WATCHED} {command}");
    }
    let settings = &stage.settings;
    let brokers = settings.kafka.split(',').map(|broker| format!("\"{broker}\"")).collect::<Vec<_>>().join(", ");
    let replace = [
        ("\"10.244.0.1:19092\", \"10.244.0.1:19095\", \"10.244.0.1:19098\"", brokers.as_str()),
        ("http://10.244.0.1:19000", &settings.s3_endpoint),
        ("http://10.244.0.1:19555", &settings.aws_endpoint),
    ];
    // The programs are where cargo was told to put them.
    let programs = stage.settings.worker.parent().expect("a program lies in a folder").display().to_string();
    let mut command = command.replace("target/debug/", &format!("{programs}/"));
    for file in ["examples/stage/daily-bars.yaml", "examples/stage/values.yaml"] {
        let text = std::fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let here = replace.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
        if here != text && command.contains(file) {
            let path = std::env::temp_dir().join(format!("stockpipeline-{}", file.replace('/', "-")));
            std::fs::write(&path, here).unwrap();
            command = command.replace(file, &path.display().to_string());
        }
    }
    command
}

/// Runs a command of the README in the repository, as a shell does.
async fn run(command: &str) -> Said {
    let root = repository().display().to_string();
    let said = program::run("bash", &["-c", &format!("cd {root} && {command}")], "").await;
    println!("$ {command}\n{}{}", said.out, said.err);
    let is_fine = match said.code {
        Some(0) => true,
        Some(WATCHED_LONG_ENOUGH) => command.contains(" -w"),
        Some(CHANGES) => command.contains(" plan "),
        Some(_) | None => false,
    };
    assert!(is_fine, "{command} ended with {:?}", said.code);
    said
}

/// Returns rows and positions of the processed table; None where there is none yet.
async fn rows(stage: &Stage) -> Option<(u64, u64)> {
    let asked = "select count(*), count(distinct (_kafka_partition, _kafka_offset)) from market_data.daily_bars";
    let answer = stage.trino.query(asked).await.ok()?;
    Some((answer.first()?.first()?.as_u64()?, answer.first()?.get(1)?.as_u64()?))
}

/// Asserts that the pipeline took with it what its policy names, and the release what is the release's.
async fn nothing_is_left(stage: &Stage) {
    for prefix in ["raw/daily-bars/", "processed/daily-bars/", "_stockpipeline/daily-bars/"] {
        let keys = stage.bucket.named("stockpipeline-demo").keys(prefix).await;
        assert!(keys.is_empty(), "{prefix} still holds {keys:?}");
    }
    let schemas = stage.trino.query("show schemas").await.unwrap();
    assert!(!schemas.iter().any(|row| row[0] == "market_data"), "the database was to go: {schemas:?}");
    until("the release's pods are gone", async || {
        program::kubectl(&["get", "pods", "-n", SYSTEM, "-o", "name"]).await.is_empty().then_some(())
    })
    .await;
    let definition = program::kubectl(&["get", "crd", "stockpipelines.stockpipeline.dev", "-o", "name"]).await;
    assert!(!definition.is_empty(), "the definition stays, so that no pipeline goes with the release");
    claim("deleted with its pipeline: topic, tables, database and objects; the definition outlives the release");
}
