//! What a worker finds in its files: the document, the keys of Secrets and `ConfigMaps` that it names, and room for downloads.
//!
//! One projected volume holds all that is read: a volume inside another one's read-only folder could not be mounted, and a key that
//! is mounted by its path follows a rotation, so that the worker notices it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, EmptyDirVolumeSource, KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use stockpipeline::Pipeline;
use stockpipeline::checked::{KafkaAuth, KeyRef, Location, Source};
use stockpipeline::launch::{CONFIG_PATH, SECRETS_DIR};

use crate::resource::identity::{Identity, Role};
use crate::settings::Settings;

/// Volume of everything that is read.
const CONFIG: &str = "config";
/// Volume for downloads, which only producers make.
const SCRATCH: &str = "scratch";
/// Folder for downloads: the system's own, which the worker takes unless it is told otherwise.
const SCRATCH_PATH: &str = "/tmp";
/// Folder beside the document with one folder for each `ConfigMap`.
const CONFIG_MAPS_FOLDER: &str = "configmaps";
/// Key of the producers' document: they are given a new one only once every sink has it.
pub(super) const PRODUCER_DOCUMENT: &str = "producer.yaml";
/// Owner and group may read; the pod's group is the worker's.
const FILE_MODE: i32 = 0o440;

/// Returns the volumes of a role's pods.
pub(super) fn volumes(identity: &Identity, pipeline: &Pipeline, settings: &Settings, role: Role) -> Vec<Volume> {
    let mut sources = vec![config_map(&identity.config_name(), vec![item(&document_key(role), &document_key(Role::Sink))])];
    if role == Role::Producer
        && let Source::CsvReplay(replay) = &pipeline.source
        && let Location::ConfigMap { name, key } = &replay.location
    {
        sources.push(config_map(name, vec![item(key, &format!("{CONFIG_MAPS_FOLDER}/{name}/{key}"))]));
    }
    for (name, keys) in secret_keys(pipeline) {
        sources.push(secret(&name, &keys.required, None));
        if !keys.optional.is_empty() {
            sources.push(secret(&name, &keys.optional, Some(true)));
        }
    }
    let mut volumes = vec![Volume {
        name: CONFIG.to_owned(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(FILE_MODE), sources: Some(sources) }),
        ..Volume::default()
    }];
    if role == Role::Producer {
        let size_limit = Some(Quantity(settings.scratch_limit.clone()));
        volumes.push(Volume {
            name: SCRATCH.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource { medium: None, size_limit }),
            ..Volume::default()
        });
    }
    volumes
}

/// Returns where the volumes stand in the worker's container.
pub(super) fn mounts(role: Role) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount(CONFIG, &config_folder(), Some(true))];
    if role == Role::Producer {
        mounts.push(mount(SCRATCH, SCRATCH_PATH, None));
    }
    mounts
}

/// Returns the key of a role's document in the `ConfigMap`. The sinks' is the name of the file that workers are given.
pub(super) fn document_key(role: Role) -> String {
    if role == Role::Producer {
        return PRODUCER_DOCUMENT.to_owned();
    }
    let name = Path::new(CONFIG_PATH).file_name().expect("the document's path is a constant that ends in a file");
    name.to_string_lossy().into_owned()
}

/// Keys of one Secret.
#[derive(Debug, Default)]
struct Keys {
    required: BTreeSet<String>,
    optional: BTreeSet<String>,
}

/// Returns the keys of each Secret that a pipeline names, and no others.
fn secret_keys(pipeline: &Pipeline) -> BTreeMap<String, Keys> {
    let mut found: BTreeMap<String, Keys> = BTreeMap::new();
    for KeyRef { name, key } in required_keys(pipeline) {
        found.entry(name).or_default().required.insert(key);
    }
    if let Some(name) = &pipeline.aws.credentials_secret {
        found.entry(name.clone()).or_default().optional.insert("sessionToken".to_owned());
    }
    found
}

fn required_keys(pipeline: &Pipeline) -> Vec<KeyRef> {
    let key = |name: &String, key: &str| KeyRef { name: name.clone(), key: key.to_owned() };
    let mut required = match &pipeline.kafka.auth {
        KafkaAuth::None | KafkaAuth::MskIam => Vec::new(),
        KafkaAuth::SaslScram { mechanism: _, username, password } => vec![username.clone(), password.clone()],
        KafkaAuth::MutualTls { certificate_secret: name } => vec![key(name, "tls.crt"), key(name, "tls.key")],
    };
    required.extend(pipeline.kafka.tls.as_ref().and_then(|tls| tls.ca.clone()));
    if let Some(name) = &pipeline.aws.credentials_secret {
        required.extend([key(name, "accessKeyId"), key(name, "secretAccessKey")]);
    }
    required
}

fn secret(name: &str, keys: &BTreeSet<String>, optional: Option<bool>) -> VolumeProjection {
    let folder = Path::new(SECRETS_DIR).strip_prefix(config_folder()).expect("secrets lie below the document's folder, both constants");
    let items = keys.iter().map(|key| item(key, &format!("{}/{name}/{key}", folder.display()))).collect();
    VolumeProjection {
        secret: Some(SecretProjection { name: name.to_owned(), items: Some(items), optional }),
        ..VolumeProjection::default()
    }
}

fn config_map(name: &str, items: Vec<KeyToPath>) -> VolumeProjection {
    VolumeProjection {
        config_map: Some(ConfigMapProjection { name: name.to_owned(), items: Some(items), optional: None }),
        ..VolumeProjection::default()
    }
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}

fn config_folder() -> String {
    let folder = Path::new(CONFIG_PATH).parent().expect("the document's path is a constant below a folder");
    folder.to_string_lossy().into_owned()
}
