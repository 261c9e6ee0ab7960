//! From `helm install` to the first row that a query returns, on a cluster whose nodes have the images.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::bucket::{BUCKET, REGION};
use crate::figure::Line;
use crate::stage::{PATIENCE, Stage};
use crate::trino::Trino;

/// Namespace, release, pipeline and database of the benchmark.
const NAMESPACE: &str = "bench-first-row";
const DATABASE: &str = "bench_first_row";
const CHART: &str = "charts/stockpipeline-operator";
/// Rows to replay, in the repository.
const ROWS: &str = "examples/data/daily-bars.csv.gz";

/// What a cluster needs to be given.
struct Cluster<'a> {
    operator_image: &'a str,
    worker_image: &'a str,
    glue: &'a str,
    trino: Trino,
}

/// Installs the product, applies a pipeline, and asks Trino until it has a row; removes it all again.
pub(crate) fn measure(stage: &Stage) -> anyhow::Result<Vec<Line>> {
    let options = &stage.options;
    let (Some(_), Some(operator_image), Some(worker_image), Some(glue), Some(trino)) =
        (&options.kubeconfig, &options.operator_image, &options.worker_image, &options.glue, &options.trino)
    else {
        eprintln!("skipped: first-row: KUBECONFIG, OPERATOR_IMAGE, WORKER_IMAGE, AWS_ENDPOINT_URL and TRINO_URL name no cluster");
        return Ok(Vec::new());
    };
    ensure!(!run("helm", &["list", "-A", "-o", "json"])?.contains("stockpipeline-operator"), "an operator is installed already");
    let cluster = Cluster { operator_image, worker_image, glue, trino: Trino::at(trino)? };
    let measured = first_row(stage, &cluster);
    let removed = remove(stage);
    let lines = measured?;
    removed?;
    Ok(lines)
}

fn first_row(stage: &Stage, cluster: &Cluster<'_>) -> anyhow::Result<Vec<Line>> {
    let values = path(stage.write("values.json", &values(cluster)?.to_string())?)?;
    let documents = path(stage.write("first-row.json", &documents(stage, cluster).to_string())?)?;
    run("kubectl", &["create", "namespace", NAMESPACE])?;
    run("kubectl", &["create", "configmap", "rows", "-n", NAMESPACE, &format!("--from-file={ROWS}")])?;
    let started = Instant::now();
    run("helm", &["install", "bench", CHART, "-n", NAMESPACE, "-f", &values])?;
    let installed = started.elapsed().as_secs_f64();
    run("kubectl", &["apply", "-f", &documents])?;
    let sql = format!("select count(*) from awsdatacatalog.{DATABASE}.rows");
    loop {
        // Until the operator has made the table, Trino knows none.
        let rows = cluster.trino.query(&sql).ok().and_then(|rows| rows.first()?.first()?.as_u64()).unwrap_or_default();
        if rows > 0 {
            break;
        }
        ensure!(started.elapsed() < PATIENCE, "no row: {}", run("kubectl", &["get", "sp,pods", "-n", NAMESPACE])?);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let line = Line::new("first-row", "helm install", started.elapsed().as_secs_f64(), "s to the first row in Trino");
    Ok(vec![line.and("s of them in helm install", installed)])
}

fn values(cluster: &Cluster<'_>) -> anyhow::Result<Value> {
    let image = |name: &str| {
        let (repository, tag) = name.rsplit_once(':').with_context(|| format!("the image {name} has no tag"))?;
        anyhow::Ok(json!({ "repository": repository, "tag": tag }))
    };
    let port: u16 =
        cluster.glue.rsplit(':').next().unwrap_or_default().trim_end_matches('/').parse().context("Glue's endpoint has no port")?;
    let variables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let variables = variables.map(|name| Ok(json!({ "name": name, "value": std::env::var(name)? })));
    Ok(json!({
        "image": image(cluster.operator_image)?,
        "worker": { "image": image(cluster.worker_image)? },
        "aws": { "region": REGION },
        "allow": { "endpoints": [cluster.glue] },
        "networkPolicy": { "egressPorts": [port] },
        "extraEnv": variables.into_iter().collect::<anyhow::Result<Vec<_>>>()?,
    }))
}

fn documents(stage: &Stage, cluster: &Cluster<'_>) -> Value {
    let key = |name: &str| std::env::var(name).unwrap_or_default();
    let prices = ["Open", "High", "Low", "Close"];
    let mut columns = vec![
        json!({ "name": "symbol", "type": "String", "from": "Ticker", "nullable": false }),
        json!({ "name": "trade_date", "type": "Date", "from": "Date", "nullable": false }),
    ];
    columns.extend(prices.map(|from| json!({ "name": from.to_lowercase(), "type": "Double", "from": from })));
    let metadata = |name: &str| json!({ "name": name, "namespace": NAMESPACE });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata("s3"),
        "stringData": { "accessKeyId": key("AWS_ACCESS_KEY_ID"), "secretAccessKey": key("AWS_SECRET_ACCESS_KEY") },
    });
    let pipeline = json!({
        "apiVersion": "stockpipeline.dev/v1alpha1", "kind": "StockPipeline", "metadata": metadata("bench"),
        "spec": {
            "aws": {
                "region": REGION, "forcePathStyle": true,
                "credentials": { "type": "Secret", "secretRef": { "name": "s3" } },
                "endpoints": { "s3": stage.s3, "glue": cluster.glue },
            },
            "source": { "type": "CsvReplay", "csvReplay": { "configMapRef": { "name": "rows", "key": "daily-bars.csv.gz" } } },
            "schema": { "eventTimeColumn": "trade_date", "columns": columns },
            "kafka": {
                "bootstrapServers": stage.kafka.split(',').collect::<Vec<_>>(),
                "topic": { "name": NAMESPACE, "partitions": 6 },
            },
            "producer": { "keyColumn": "symbol" },
            "sink": {
                "bucket": { "name": BUCKET },
                "processed": {
                    "prefix": NAMESPACE,
                    "partitionBy": [{ "name": "year", "transform": "year", "column": "trade_date" }],
                },
                "ledger": { "prefix": format!("{NAMESPACE}-ledger") },
                "rotation": { "maxInterval": "1s" },
            },
            "glue": { "database": { "name": DATABASE, "create": true }, "tables": { "processed": "rows" } },
            "deletionPolicy": { "tables": "Delete", "database": "Delete", "topic": "Delete" },
        },
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [secret, pipeline] })
}

/// Removes the pipeline with what it has made, the release and the namespace; the definition stays, as it does for a user.
fn remove(stage: &Stage) -> anyhow::Result<()> {
    run("kubectl", &["delete", "sp", "--all", "-n", NAMESPACE, "--ignore-not-found", "--timeout=2m"])?;
    run("helm", &["uninstall", "bench", "-n", NAMESPACE, "--ignore-not-found", "--wait"])?;
    run("kubectl", &["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=2m"])?;
    stage.bucket.empty(NAMESPACE)
}

fn path(path: std::path::PathBuf) -> anyhow::Result<String> {
    path.into_os_string().into_string().ok().context("a temporary path is text")
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().with_context(|| format!("failed to run {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
