//! Log lines: to standard error, as text or JSON. `RUST_LOG` chooses what, in the usual syntax.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::process::arguments::LogFormat;

/// Starts logging for the whole process; once.
pub fn start(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
