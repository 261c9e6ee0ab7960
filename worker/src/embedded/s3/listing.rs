//! Pages of keys in key order, straight from the folder: files that others put there or took away are seen.
//!
//! A page reads only the folders that can hold its keys, each once; it looks at the attributes only of what it returns.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::folder::{HIDDEN, entity_tag};

/// What to list.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// What keys begin with.
    pub(super) prefix: String,
    /// Only keys after this one.
    pub(super) start_after: String,
    /// The last key or common prefix of the page before.
    pub(super) resume_after: String,
    /// Whether what goes on with `/` after the prefix is folded into common prefixes.
    pub(super) folded: bool,
    /// Most keys and common prefixes.
    pub(super) limit: usize,
}

/// One key of a page.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) modified: SystemTime,
    pub(super) entity_tag: String,
}

/// One page.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) keys: Vec<Found>,
    pub(super) common_prefixes: Vec<String>,
    /// Where the next page starts; None at the end.
    pub(super) resume_after: Option<String>,
    last: String,
}

/// Returns a page of the objects under a folder. Blocks.
pub(super) fn page(root: &Path, question: &Question) -> io::Result<Page> {
    let mut page = Page::default();
    if question.limit > 0 {
        let base = question.prefix.rfind('/').map_or("", |slash| &question.prefix[..=slash]);
        if base.split('/').any(|part| part == "..") {
            return Ok(page);
        }
        if walk(&root.join(base), base, question, &mut page)? == Walk::Full {
            page.resume_after = Some(page.last.clone());
        }
    }
    Ok(page)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    More,
    Full,
}

fn walk(folder: &Path, base: &str, question: &Question, page: &mut Page) -> io::Result<Walk> {
    for key in names(folder, base, question)? {
        let Some(inner) = key.strip_suffix('/') else {
            let Some(found) = look(folder, base, &key) else { continue };
            if page.full(question) {
                return Ok(Walk::Full);
            }
            page.last.clone_from(&key);
            page.keys.push(Found { key, ..found });
            continue;
        };
        let path = folder.join(&inner[base.len()..]);
        if question.folded && key.len() > question.prefix.len() {
            if key <= question.resume_after || !holds_objects(&path, &key, question)? {
                continue;
            }
            if page.full(question) {
                return Ok(Walk::Full);
            }
            page.last.clone_from(&key);
            page.common_prefixes.push(key);
        } else if walk(&path, &key, question, page)? == Walk::Full {
            return Ok(Walk::Full);
        }
    }
    Ok(Walk::More)
}

impl Page {
    fn full(&self, question: &Question) -> bool {
        self.keys.len() + self.common_prefixes.len() >= question.limit
    }
}

/// Returns what a folder holds for the question, as keys in key order, folders with `/` at their end. A folder that is gone
/// is empty.
fn names(folder: &Path, base: &str, question: &Question) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut keys = Vec::new();
    let mut key = String::from(base);
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // A name that isn't UTF-8 can't be a key.
        let Some(name) = name.to_str() else { continue };
        if base.is_empty() && name == HIDDEN {
            continue;
        }
        let kind = entry.file_type()?;
        let is_folder = kind.is_dir() || (kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|target| target.is_dir()));
        key.truncate(base.len());
        key.push_str(name);
        if is_folder {
            key.push('/');
        }
        // Most names of a long folder stand before the page: they are passed over without a copy.
        if relevant(&key, is_folder, question) {
            keys.push(key.clone());
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

fn relevant(key: &str, is_folder: bool, question: &Question) -> bool {
    let under_prefix = key.starts_with(&question.prefix) || (is_folder && question.prefix.starts_with(key));
    let after = |bound: &str| key > bound || (is_folder && bound.starts_with(key));
    under_prefix && after(&question.start_after) && after(&question.resume_after)
}

/// Returns what a listing says of a file, or None when it is gone.
fn look(folder: &Path, base: &str, key: &str) -> Option<Found> {
    let metadata = fs::metadata(folder.join(&key[base.len()..])).ok()?;
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    metadata.is_file().then(|| Found { key: String::new(), size: metadata.len(), modified, entity_tag: entity_tag(&metadata) })
}

/// Returns whether a folder holds a key of the question, at any depth.
fn holds_objects(folder: &Path, base: &str, question: &Question) -> io::Result<bool> {
    let any = Question { start_after: question.start_after.clone(), limit: 1, ..Question::default() };
    let mut page = Page::default();
    walk(folder, base, &any, &mut page)?;
    Ok(!page.keys.is_empty())
}
