//! Mounted secrets: one folder a Secret, one file a key. Read once; later only compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::KafkaError;

/// Shortest text that is scrubbed: replacing every `a` in a log would hide more than a one-letter password is worth.
const SHORTEST_SCRUBBED: usize = 4;

/// What was read, by file, as hashes; and the texts that must never be shown.
pub(super) struct Secrets {
    folder: PathBuf,
    hashes: BTreeMap<PathBuf, [u8; 32]>,
    hidden: Vec<String>,
}

impl Secrets {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), hashes: BTreeMap::new(), hidden: Vec::new() }
    }

    /// Returns a file's text that may be shown, such as a certificate.
    pub(super) fn public(&mut self, name: &str, key: &str) -> Result<String, KafkaError> {
        let path = self.folder.join(name).join(key);
        let unreadable =
            |message: String| KafkaError::Secret { name: name.to_owned(), key: key.to_owned(), path: path.display().to_string(), message };
        let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        let hash = Sha256::digest(&bytes).into();
        let text = String::from_utf8(bytes).map_err(|_| unreadable("not UTF-8 text".to_owned()))?;
        if text.contains('\0') {
            return Err(unreadable("holds a zero byte".to_owned()));
        }
        self.hashes.insert(path, hash);
        Ok(text)
    }

    /// Returns a file's text that must never be shown.
    pub(super) fn secret(&mut self, name: &str, key: &str) -> Result<String, KafkaError> {
        let text = self.public(name, key)?;
        self.hide(&text);
        Ok(text)
    }

    /// Returns a file's only line, without the line end that editors and `echo` leave.
    pub(super) fn line(&mut self, name: &str, key: &str) -> Result<String, KafkaError> {
        Ok(self.public(name, key)?.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Returns a file's only line, which must never be shown.
    pub(super) fn secret_line(&mut self, name: &str, key: &str) -> Result<String, KafkaError> {
        let line = self.line(name, key)?;
        self.hide(&line);
        Ok(line)
    }

    /// Returns the texts that must never be shown.
    pub(super) fn texts(&self) -> Vec<String> {
        self.hidden.clone()
    }

    /// Returns whether a file differs from what was read, or is gone.
    pub(super) fn changed(&self) -> bool {
        self.hashes.iter().any(|(path, hash)| match std::fs::read(path) {
            Ok(bytes) => <[u8; 32]>::from(Sha256::digest(&bytes)) != *hash,
            Err(_) => true,
        })
    }

    fn hide(&mut self, text: &str) {
        if text.len() >= SHORTEST_SCRUBBED {
            self.hidden.push(text.to_owned());
        }
    }
}
