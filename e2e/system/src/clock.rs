//! The wall clock of one process, which a test sets; what measures time keeps its pace.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::stage::Settings;

/// A wall clock, by libfaketime, which reads its file once a second. What a process waits for takes as long as ever, unlike with a real clock
/// that is set.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
    library: String,
}

impl Clock {
    /// Returns one that is right.
    ///
    /// # Panics
    /// When the environment does not name the library, or there is no temporary folder.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let library = settings.clock_library.clone().expect("E2E_CLOCK names libfaketime's library; e2e/stage env prints it");
        let clock = Self { folder: tempfile::tempdir().expect("there is a temporary folder"), library };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds ahead.
    ///
    /// # Panics
    /// When its file cannot be written.
    pub fn set(&self, seconds: i64) {
        let whole = self.folder.path().join("next");
        std::fs::write(&whole, format!("{seconds:+}\n")).expect("the folder can be written");
        std::fs::rename(whole, self.file()).expect("the folder can be written");
    }

    /// Returns what a process that goes by it has in its environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}
