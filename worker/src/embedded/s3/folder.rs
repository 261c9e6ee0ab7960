//! The folder behind the embedded S3 server: keys to paths, objects that appear whole, and what stands beside them.
//!
//! An object is a file under its key. Its attributes (user metadata, content type, checksum) are a JSON file under
//! [`HIDDEN`], written before the object is renamed into its place: a kill in between leaves attributes of nothing, which
//! the next PUT of that key replaces. An overwrite removes the old object first, for the same reason.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Folder inside the served one that holds everything that isn't an object; no key can begin with it.
pub const HIDDEN: &str = ".embedded-s3";

/// Locks in front of commits; two keys that share one only wait for each other.
const LOCKS: usize = 64;
/// Longest name of a file on the file systems in use.
const NAME_BYTES: usize = 255;

/// What an object carries beside its bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Attributes {
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) crc32: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Whether a commit may replace an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Replace,
    OnlyIfAbsent,
}

/// Outcome of a commit.
#[derive(Debug)]
pub(super) enum Committed {
    Stored(Metadata),
    Exists,
    /// A file stands where the key needs a folder, or the other way round.
    Conflict,
}

/// The served folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    attributes: PathBuf,
    temporary: PathBuf,
    locks: [Mutex<()>; LOCKS],
    staged: AtomicU64,
    /// Held while the folder is served: two servers would break the conditional writes of each other.
    _served: File,
}

impl Folder {
    /// Opens a folder, makes it when missing, and clears what a killed server left half written.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let hidden = root.join(HIDDEN);
        let (attributes, temporary) = (hidden.join("attributes"), hidden.join("temporary"));
        fs::create_dir_all(&attributes)?;
        let served = File::create(hidden.join("lock"))?;
        served.try_lock().map_err(|error| match error {
            fs::TryLockError::Error(error) => error,
            fs::TryLockError::WouldBlock => {
                let message = format!("{} is served by another process; end it or choose another folder", root.display());
                io::Error::new(io::ErrorKind::ResourceBusy, message)
            }
        })?;
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&temporary)?,
        }
        let locks = std::array::from_fn(|_| Mutex::new(()));
        Ok(Self { root: root.to_owned(), attributes, temporary, locks, staged: AtomicU64::new(0), _served: served })
    }

    /// Returns the folder that holds the objects.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of an object, or None for a key that can't be a file here: parts that are empty, `.`, `..`, too
    /// long or hold a NUL, and whatever would reach into [`HIDDEN`].
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        storable(key).then(|| self.root.join(key))
    }

    /// Returns a new file to write an object's bytes into.
    pub(super) fn stage(&self) -> io::Result<Staged> {
        let path = self.temporary.join(self.staged.fetch_add(1, Ordering::Relaxed).to_string());
        Ok(Staged { file: File::create_new(&path)?, path, kept: false })
    }

    /// Makes a staged file the object of a key, which [`Self::path`] has accepted. Blocks.
    pub(super) fn commit(&self, key: &str, mut staged: Staged, attributes: &Attributes, mode: Mode) -> io::Result<Committed> {
        let path = self.root.join(key);
        let sidecar = self.attributes.join(key);
        let text = serde_json::to_vec(attributes)?;
        let _alone = self.lock(key);
        match (fs::metadata(&path), mode) {
            (Ok(found), _) if found.is_dir() => return Ok(Committed::Conflict),
            (Ok(_), Mode::OnlyIfAbsent) => return Ok(Committed::Exists),
            (Ok(_), Mode::Replace) => fs::remove_file(&path)?,
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {}
            (Err(error), _) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Committed::Conflict),
            (Err(error), _) => return Err(error),
        }
        with_parents(&sidecar, || fs::write(&sidecar, &text))?;
        match with_parents(&path, || fs::rename(&staged.path, &path)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists) => {
                return Ok(Committed::Conflict);
            }
            renamed => renamed?,
        }
        staged.kept = true;
        Ok(Committed::Stored(staged.file.metadata()?))
    }

    /// Returns the file of a key and its attributes, or None when there is none. Blocks.
    pub(super) fn open_object(&self, key: &str) -> io::Result<Option<(File, Metadata, Attributes)>> {
        let Some(path) = self.path(key) else { return Ok(None) };
        let _alone = self.lock(key);
        let file = match File::open(&path) {
            Err(error) if absent(&error) => return Ok(None),
            opened => opened?,
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Ok(None);
        }
        let attributes = match fs::read(self.attributes.join(key)) {
            Err(error) if absent(&error) => Attributes::default(),
            read => serde_json::from_slice(&read?)?,
        };
        Ok(Some((file, found, attributes)))
    }

    /// Removes an object; a missing one is fine. Its folders stay. Blocks.
    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        let Some(path) = self.path(key) else { return Ok(()) };
        let _alone = self.lock(key);
        for path in [path, self.attributes.join(key)] {
            match fs::remove_file(path) {
                Err(error) if absent(&error) || error.kind() == io::ErrorKind::IsADirectory => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    fn lock(&self, key: &str) -> std::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % LOCKS as u64).expect("a remainder of 64 fits");
        self.locks[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that becomes an object by [`Folder::commit`], or goes when it is dropped.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Staged {
    /// Adds bytes. Blocks.
    pub(super) fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        chunks.iter().try_for_each(|chunk| self.file.write_all(chunk))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(error = %error, "failed to remove a staged object");
        }
    }
}

/// Returns the entity tag of a file: its time and size. Not a digest of the bytes, as a multipart object's isn't either.
pub(super) fn entity_tag(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{:x}-{:x}", modified.as_nanos(), metadata.len())
}

fn storable(key: &str) -> bool {
    let part_fits = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= NAME_BYTES && !part.contains('\0');
    key.split('/').all(part_fits) && key.split('/').next() != Some(HIDDEN)
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Acts, and once more after making the folders above a path: they are there already in nearly every case.
fn with_parents(path: &Path, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match act() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            act()
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_leave_the_folder_nor_reach_what_is_hidden() {
        for key in
            ["", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../../b", "a/./b", ".", "..", "a\0b", ".embedded-s3/lock", ".embedded-s3"]
        {
            assert!(!storable(key), "{key:?}");
        }
        for key in ["a", "a/b=c%2Fd/e.parquet", "a/..b", "...", "a\\..\\b", "ä/€", "_stockpipeline/x", "raw/.embedded-s3"] {
            assert!(storable(key), "{key:?}");
        }
        assert!(!storable(&format!("a/{}", "x".repeat(256))));
    }

    #[test]
    fn object_never_appears_before_its_attributes() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let put = |mode| {
            let mut staged = folder.stage().unwrap();
            staged.append(&[Bytes::from_static(b"body")]).unwrap();
            folder.commit("zone/key", staged, &Attributes::default(), mode)
        };
        // Its attributes can't be written, as if the process ended there.
        let sidecar = folder.attributes.join("zone/key");
        fs::create_dir_all(&sidecar).unwrap();
        put(Mode::OnlyIfAbsent).unwrap_err();
        assert!(!root.path().join("zone/key").exists());
        fs::remove_dir(&sidecar).unwrap();
        assert!(matches!(put(Mode::OnlyIfAbsent), Ok(Committed::Stored(_))));
        assert!(matches!(put(Mode::OnlyIfAbsent), Ok(Committed::Exists)));
        // An overwrite never leaves the old object under the new one's attributes.
        fs::remove_file(&sidecar).unwrap();
        fs::create_dir(&sidecar).unwrap();
        put(Mode::Replace).unwrap_err();
        assert!(!root.path().join("zone/key").exists());
        assert_eq!(fs::read_dir(&folder.temporary).unwrap().count(), 0, "what was staged is gone");
    }
}
