//! Programs as a user calls them, and what they say.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longest run of a program; `kubectl wait` and `helm --wait` have shorter ones of their own.
const DEADLINE: Duration = Duration::from_mins(10);

/// How a program has ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit code; None after a signal.
    pub code: Option<i32>,
    /// Its output.
    pub out: String,
    /// Its messages.
    pub err: String,
}

impl Said {
    /// Returns whether it ended well.
    #[must_use]
    pub fn done(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a program with a text as its input.
///
/// # Panics
/// When it can't be started, or does not end in time.
pub async fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S], input: &str) -> Said {
    let name = Path::new(program.as_ref()).display().to_string();
    let child = Command::new(program.as_ref())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("the input is a pipe");
    // A program that ends without reading its input says why.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{name} did not end within {DEADLINE:?}"));
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs a program that has to end well, and returns its output.
///
/// # Panics
/// When it does not, with all that it said.
pub async fn must<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S], input: &str) -> String {
    let said = run(program.as_ref(), arguments, input).await;
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    assert!(said.done(), "{} {arguments:?}\n{}{}", program.as_ref().display(), said.out, said.err);
    said.out
}

/// Runs `kubectl`, which has to end well, and returns its output.
pub async fn kubectl(arguments: &[&str]) -> String {
    must("kubectl", arguments, "").await
}

/// Applies an object, or several, as `kubectl apply -f -` reads them.
pub async fn apply(objects: &str) -> String {
    must("kubectl", &["apply", "-f", "-"], objects).await
}

/// Runs `helm`, which has to end well, and returns its output.
pub async fn helm(arguments: &[&str]) -> String {
    must("helm", arguments, "").await
}
