//! Where the files of sources lie and how they are fetched.

use std::path::PathBuf;
use std::time::Duration;

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
        Self { max_bytes: 16 << 30, read_timeout: Duration::from_secs(30), deadline: Duration::from_secs(3600) }
    }
}
