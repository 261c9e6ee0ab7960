//! From a checked pipeline to the clients of its Kafka and its bucket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stockpipeline::checked::{Location, Pipeline, Source};
use tokio_util::sync::CancellationToken;

use super::CommandError;
use crate::kafka::{Clients, Identity};
use crate::metrics::{PartitionMetrics, StoreMetrics};
use crate::partitions::{self, Partitions};
use crate::store::{self, Credentials, Gate, Settings, Store};

/// Longest secret that is read; keys of AWS have some hundred bytes, session tokens some thousand.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// How long a command that a person waits for retries one request.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// Returns the Kafka clients of a pipeline; connects to nothing yet.
///
/// # Errors
/// [`CommandError::Kafka`] for a missing secret or a setting that Kafka's client refuses.
pub(super) fn kafka(pipeline: &Pipeline, secrets_dir: &Path, client_id: &str, rack: Option<String>) -> Result<Clients, CommandError> {
    let identity = Identity { client_id: client_id.to_owned(), rack, region: pipeline.aws.region.clone(), ..Identity::default() };
    Clients::new(&pipeline.kafka, secrets_dir, identity).map_err(|source| CommandError::Kafka { act: "set up kafka's clients", source })
}

/// How a bucket's client behaves.
pub(super) struct StoreOptions {
    /// Total time of one attempt.
    pub(super) attempt_timeout: Duration,
    /// How long one call may retry altogether; None is for ever.
    pub(super) give_up_after: Option<Duration>,
    /// What every write has to pass.
    pub(super) gate: Option<Arc<dyn Gate>>,
    /// Metrics of the requests.
    pub(super) metrics: StoreMetrics,
}

impl StoreOptions {
    /// Returns the options of a command that a person waits for.
    pub(super) fn patient() -> Self {
        Self { attempt_timeout: Duration::from_mins(1), give_up_after: Some(PATIENCE), gate: None, metrics: StoreMetrics::default() }
    }
}

/// Returns the bucket of a pipeline; connects to nothing yet.
///
/// # Errors
/// [`CommandError::Secret`] when static credentials can't be read.
pub(super) async fn store(pipeline: &Pipeline, secrets_dir: &Path, options: StoreOptions) -> Result<Store, CommandError> {
    let settings = Settings {
        attempt_timeout: options.attempt_timeout,
        give_up_after: options.give_up_after,
        ..settings(pipeline, secrets_dir, &pipeline.sink.bucket)?
    };
    Ok(Store::connect(settings, options.gate, options.metrics).await)
}

/// Starts what keeps the pipeline's Hive partitions in the catalogue; None where there is nothing to keep.
///
/// # Errors
/// [`CommandError::Secret`] when static credentials can't be read.
pub(super) async fn partitions(
    pipeline: &Pipeline,
    secrets_dir: &Path,
    metrics: PartitionMetrics,
    shutdown: &CancellationToken,
) -> Result<Option<Partitions>, CommandError> {
    let Some(settings) = partitions::Settings::of(pipeline, credentials(pipeline, secrets_dir)?) else { return Ok(None) };
    // An audit gives up and comes again; its listings' trouble is not the data path's.
    let store = store(pipeline, secrets_dir, StoreOptions::patient()).await?;
    Ok(Some(Partitions::start(settings, store, metrics, shutdown.clone()).await))
}

/// Returns the client of a source in S3, which is reached as the pipeline's bucket is; None for any other source.
///
/// # Errors
/// [`CommandError::Secret`] when static credentials can't be read.
pub(super) async fn source(pipeline: &Pipeline, secrets_dir: &Path) -> Result<Option<aws_sdk_s3::Client>, CommandError> {
    let Source::CsvReplay(replay) = &pipeline.source else { return Ok(None) };
    let Location::S3 { bucket, .. } = &replay.location else { return Ok(None) };
    Ok(Some(store::reader(&settings(pipeline, secrets_dir, bucket)?).await))
}

fn settings(pipeline: &Pipeline, secrets_dir: &Path, bucket: &str) -> Result<Settings, CommandError> {
    let patient = StoreOptions::patient();
    Ok(Settings {
        bucket: bucket.to_owned(),
        region: pipeline.aws.region.clone(),
        endpoint: pipeline.aws.s3_endpoint.clone(),
        force_path_style: pipeline.aws.force_path_style,
        kms_key_arn: pipeline.sink.kms_key_arn.clone(),
        credentials: credentials(pipeline, secrets_dir)?,
        attempt_timeout: patient.attempt_timeout,
        give_up_after: patient.give_up_after,
    })
}

/// Keys of AWS from a mounted secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StaticKeys {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// Returns the keys of the secret that the document names; None where it names none.
///
/// # Errors
/// [`CommandError::Secret`] names the file that can't be read.
pub(super) fn static_keys(pipeline: &Pipeline, secrets_dir: &Path) -> Result<Option<StaticKeys>, CommandError> {
    let Some(secret) = &pipeline.aws.credentials_secret else { return Ok(None) };
    let folder = secrets_dir.join(secret);
    let token = folder.join("sessionToken");
    Ok(Some(StaticKeys {
        access_key_id: read_line(&folder.join("accessKeyId"))?,
        secret_access_key: read_line(&folder.join("secretAccessKey"))?,
        session_token: if token.exists() { Some(read_line(&token)?) } else { None },
    }))
}

fn credentials(pipeline: &Pipeline, secrets_dir: &Path) -> Result<Credentials, CommandError> {
    Ok(match static_keys(pipeline, secrets_dir)? {
        Some(StaticKeys { access_key_id, secret_access_key, session_token }) => {
            Credentials::Static { access_key_id, secret_access_key, session_token }
        }
        None => Credentials::Chain,
    })
}

/// Returns the text of a mounted key without the line end that editors and `echo` leave.
fn read_line(file: &Path) -> Result<String, CommandError> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut text));
    read.map_err(|source| CommandError::Secret { file: file.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
