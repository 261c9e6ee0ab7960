//! The wall clock of one process, which a test sets; what measures time keeps its pace.

use std::os::unix::fs::FileExt;

use tempfile::NamedTempFile;

use crate::stage::Settings;

/// A wall clock. What a process waits for takes as long as ever, unlike with a real clock that is set.
#[derive(Debug)]
pub struct Clock {
    file: NamedTempFile,
    library: String,
}

impl Clock {
    /// Returns one that is right.
    ///
    /// # Panics
    /// When the environment does not name the library, or there is no temporary folder.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let library = settings.clock_library.clone().expect("E2E_CLOCK names the library of e2e/clock.c; e2e/stage env prints it");
        let clock = Self { file: NamedTempFile::new().expect("there is a temporary folder"), library };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds ahead.
    ///
    /// # Panics
    /// When its file cannot be written.
    pub fn set(&self, seconds: i64) {
        // In place: processes have it mapped.
        self.file.as_file().write_all_at(&seconds.to_ne_bytes(), 0).expect("the file can be written");
    }

    /// Returns what a process that goes by it has in its environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", self.library.clone()), ("E2E_CLOCK_FILE", self.file.path().display().to_string())]
    }
}
