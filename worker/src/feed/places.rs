//! Where the files of sources lie: opens one, fetching it first if it is elsewhere, and takes its fingerprint.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use stockpipeline::checked::Location;

use super::FeedError;
use super::download::{Origin, download};
use crate::address;

/// Bytes that are hashed at once.
const HASH_BYTES: usize = 256 * 1024;

/// Where the files of sources lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder that relative paths start from.
    pub base_dir: PathBuf,
    /// Folder in which the key `K` of a mounted `ConfigMap` `N` is the file `N/K`.
    pub config_maps_dir: PathBuf,
    /// Writable folder for downloads. A download has no name there for longer than it takes to open it, so that
    /// nothing is left behind by a process that is killed.
    pub scratch_dir: PathBuf,
    /// Client for `s3://` sources.
    pub s3: Option<aws_sdk_s3::Client>,
    /// Bounds of a download.
    pub limits: Limits,
}

/// Bounds of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a downloaded file.
    pub max_bytes: u64,
    /// Longest wait for the next bytes; after that the download is resumed.
    pub read_timeout: Duration,
    /// Longest time of the whole download, retries included.
    pub deadline: Duration,
}

impl Default for Limits {
    /// 16 GiB, 30 seconds, an hour.
    fn default() -> Self {
        Self { max_bytes: 16 << 30, read_timeout: Duration::from_secs(30), deadline: Duration::from_hours(1) }
    }
}

/// A file on this machine, open, with its fingerprint.
#[derive(Debug)]
pub(super) struct Stored {
    file: File,
    name: String,
    size: u64,
    modified: Option<SystemTime>,
    fingerprint: String,
}

impl Stored {
    /// Opens the file of a location; what is elsewhere is fetched first.
    pub(super) async fn open(location: &Location, places: &Places) -> Result<Self, FeedError> {
        let name = name_of(location);
        let file = match location {
            Location::Path(path) => open_local(&places.base_dir.join(path), &name)?,
            Location::ConfigMap { name: map, key } => open_local(&places.config_maps_dir.join(map).join(key), &name)?,
            Location::Http(address) => fetch(&Origin::http(address, &name)?, &name, places).await?,
            Location::S3 { bucket, key } => {
                let client = places.s3.as_ref().ok_or_else(|| FeedError::Refused {
                    name: name.clone(),
                    problem: "this process has no client of S3; give it AWS credentials".to_owned(),
                })?;
                fetch(&Origin::S3 { client, bucket, key }, &name, places).await?
            }
        };
        let task_name = name.clone();
        tokio::task::spawn_blocking(move || Self::measure(file, task_name))
            .await
            .map_err(|error| FeedError::Read { name, error: io::Error::other(error) })?
    }

    fn measure(file: File, name: String) -> Result<Self, FeedError> {
        let failed = |error| FeedError::Read { name: name.clone(), error };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(FeedError::Unsupported { name, problem: "it is no regular file".to_owned() });
        }
        let mut stored =
            Self { file, size: metadata.len(), modified: metadata.modified().ok(), fingerprint: String::new(), name: name.clone() };
        stored.fingerprint = hash(stored.rewound()?).map_err(failed)?;
        stored.check_unchanged()?;
        Ok(stored)
    }

    /// Returns the file at its first byte. There is one reader at a time: all share one position.
    pub(super) fn rewound(&self) -> Result<File, FeedError> {
        self.check_unchanged()?;
        let failed = |error| FeedError::Read { name: self.name.clone(), error };
        let mut file = self.file.try_clone().map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(file)
    }

    /// Checks that nobody has written to the file since its fingerprint was taken. One that was replaced by another is still
    /// open here and does no harm.
    pub(super) fn check_unchanged(&self) -> Result<(), FeedError> {
        let metadata = self.file.metadata().map_err(|error| FeedError::Read { name: self.name.clone(), error })?;
        if metadata.len() != self.size || metadata.modified().ok() != self.modified {
            return Err(FeedError::Changed { name: self.name.clone() });
        }
        Ok(())
    }

    /// Returns the file as the user wrote it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the hex SHA-256 of the stored bytes, as `sha256sum` prints it.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Returns a location as the user wrote it, without what may be secret in an address.
fn name_of(location: &Location) -> String {
    match location {
        Location::Path(path) => path.clone(),
        Location::S3 { bucket, key } => format!("s3://{bucket}/{key}"),
        Location::ConfigMap { name, key } => format!("configMap {name}/{key}"),
        Location::Http(address) => address::shown(address),
    }
}

fn open_local(path: &Path, name: &str) -> Result<File, FeedError> {
    File::open(path).map_err(|error| FeedError::Read { name: name.to_owned(), error })
}

async fn fetch(origin: &Origin<'_>, name: &str, places: &Places) -> Result<File, FeedError> {
    let file = nameless_file(&places.scratch_dir)
        .map_err(|error| FeedError::Scratch { folder: places.scratch_dir.display().to_string(), error })?;
    download(origin, name, file, places).await
}

/// Opens a new file and takes its name away: it lives as long as it is open.
fn nameless_file(folder: &Path) -> io::Result<File> {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = folder.join(format!(".stockpipeline-{}-{number}.download", std::process::id()));
    // A file of that name is of a process that was killed between these two lines.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn hash(mut file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// Returns bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}
