//! Where everything is: read from the environment, once; and the chart, installed on it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bucket::Bucket;
use crate::program::{helm, kubectl};
use crate::trino::Trino;

/// Release of the chart.
pub const RELEASE: &str = "stockpipeline";
/// Namespace of the release.
pub const SYSTEM: &str = "stockpipeline-system";

/// A variable of the environment that is missing.
#[derive(Debug, thiserror::Error)]
#[error("{name} is not set: it names {what}; run e2e/stage up and take what e2e/stage env prints")]
pub struct MissingVariable {
    name: &'static str,
    what: &'static str,
}

/// The real components, as a test finds them.
#[derive(Debug, Clone)]
pub struct Stage {
    /// What the environment says.
    pub settings: Arc<Settings>,
    /// The bucket of all tests.
    pub bucket: Bucket,
    /// The SQL engine over Glue and the bucket.
    pub trino: Trino,
}

/// What the environment says.
#[derive(Debug)]
pub struct Settings {
    /// Brokers as `host:port,…`, by addresses that pods reach too.
    pub kafka: String,
    /// S3 server, by an address that pods reach too.
    pub s3_endpoint: String,
    /// Glue and Athena, by an address that pods reach too.
    pub aws_endpoint: String,
    /// Region of all of them.
    pub region: String,
    /// Access key for all of them.
    pub access_key_id: String,
    /// Secret key for all of them.
    pub secret_access_key: String,
    /// Bucket of the tests.
    pub bucket: String,
    /// Trino's URL.
    pub trino_url: String,
    /// Trino's catalogue that holds the databases of Glue.
    pub trino_catalog: String,
    /// Image of the workers, with its tag.
    pub worker_image: String,
    /// Image of the operator, with its tag.
    pub operator_image: String,
    /// Python that has DuckDB.
    pub python: PathBuf,
    /// Program of the workers on this machine, for the audit.
    pub worker: PathBuf,
    /// Script that kills and starts brokers; where the brokers are not of this repository, there is none.
    pub kafka_script: Option<PathBuf>,
    /// Script that stops and starts the S3 server; where the server is not of this repository, there is none.
    pub s3_script: Option<PathBuf>,
    /// What sets the wall clock of a process, for the loader.
    pub clock_library: Option<String>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`MissingVariable`] for the first that is not there.
    pub fn from_environment() -> Result<Self, MissingVariable> {
        let get = |name: &'static str, what: &'static str| std::env::var(name).map_err(|_| MissingVariable { name, what });
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        get("KUBECONFIG", "the cluster, for kubectl and helm")?;
        Ok(Self {
            kafka: get("KAFKA_BOOTSTRAP_SERVERS", "the brokers")?,
            s3_endpoint: get("AWS_ENDPOINT_URL_S3", "the S3 server")?,
            aws_endpoint: get("AWS_ENDPOINT_URL", "Glue and Athena")?,
            region: std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
            access_key_id: get("AWS_ACCESS_KEY_ID", "the access key of the S3 server")?,
            secret_access_key: get("AWS_SECRET_ACCESS_KEY", "the secret key of the S3 server")?,
            bucket: std::env::var("E2E_BUCKET").unwrap_or_else(|_| "stockpipeline-e2e".to_owned()),
            trino_url: get("TRINO_URL", "Trino")?,
            trino_catalog: std::env::var("TRINO_CATALOG").unwrap_or_else(|_| "awsdatacatalog".to_owned()),
            worker_image: get("WORKER_IMAGE", "the workers' image")?,
            operator_image: get("OPERATOR_IMAGE", "the operator's image")?,
            python: path("PYTHON").ok_or(MissingVariable { name: "PYTHON", what: "a Python with DuckDB" })?,
            worker: path("STOCKPIPELINE_WORKER").unwrap_or_else(beside_this_program),
            kafka_script: path("E2E_KAFKA"),
            s3_script: path("E2E_S3"),
            clock_library: std::env::var("E2E_CLOCK").ok(),
        })
    }
}

/// Returns the workers' program as cargo puts it beside the tests'.
fn beside_this_program() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.ancestors().nth(2).expect("tests are under target/<profile>/deps");
    profile.join("stockpipeline-worker")
}

/// Returns the root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Stage {
    /// Returns the stage, with the chart installed and the bucket made.
    ///
    /// # Panics
    /// When a variable lacks, or something of the stage does not answer.
    pub async fn open() -> Self {
        let stage = Self::bare().await;
        stage.install().await;
        stage
    }

    /// Returns the stage with the bucket and without the chart, for a test that installs it itself.
    ///
    /// # Panics
    /// As [`Stage::open`].
    pub async fn bare() -> Self {
        let settings = Settings::from_environment().unwrap_or_else(|missing| panic!("{missing}"));
        let bucket = Bucket::connect(&settings).await;
        bucket.make().await;
        let trino = Trino::new(&settings.trino_url, &settings.trino_catalog);
        Self { settings: Arc::new(settings), bucket, trino }
    }

    /// Installs the chart, or upgrades what an earlier test has left.
    async fn install(&self) {
        let chart = repository().join("charts/stockpipeline-operator").display().to_string();
        let values = self.values();
        let mut arguments = vec!["upgrade", "--install", RELEASE, &chart, "-n", SYSTEM, "--create-namespace", "--wait", "--timeout", "5m"];
        for value in &values {
            arguments.extend(["--set-string", value]);
        }
        helm(&arguments).await;
        kubectl(&["wait", "--for=condition=Established", "crd/stockpipelines.stockpipeline.dev", "--timeout=60s"]).await;
    }

    /// Returns the chart's values for this stage, each as `helm --set-string` takes it.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        let settings = &self.settings;
        let (operator, operator_tag) = split_image(&settings.operator_image);
        let (worker, worker_tag) = split_image(&settings.worker_image);
        vec![
            format!("image.repository={operator}"),
            format!("image.tag={operator_tag}"),
            format!("worker.image.repository={worker}"),
            format!("worker.image.tag={worker_tag}"),
            format!("aws.region={}", settings.region),
            format!("allow.endpoints={{{}}}", settings.aws_endpoint),
            "statusInterval=2s".to_owned(),
            // The emulators know no roles.
            "extraEnv[0].name=AWS_ACCESS_KEY_ID".to_owned(),
            format!("extraEnv[0].value={}", settings.access_key_id),
            "extraEnv[1].name=AWS_SECRET_ACCESS_KEY".to_owned(),
            format!("extraEnv[1].value={}", settings.secret_access_key),
        ]
    }
}

/// Splits `repository:tag`.
fn split_image(image: &str) -> (&str, &str) {
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_repository_and_a_tag() {
        assert_eq!(split_image("host:5000/worker:e2e"), ("host:5000/worker", "e2e"));
        assert_eq!(split_image("host:5000/worker"), ("host:5000/worker", "latest"));
    }
}
