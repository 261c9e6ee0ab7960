//! Conditions with a deadline, and claims with their figures.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

/// Longest wait for anything that has no deadline of its own.
pub const DEADLINE: Duration = Duration::from_mins(5);
/// Pause between two looks at the same thing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says what has been shown, also where the test's output is captured.
pub fn claim(shown: impl Display) {
    // Nobody may read it any more.
    drop(writeln!(std::io::stdout().lock(), "claim: {shown}"));
}

/// Returns what `look` finds once it finds something.
///
/// # Panics
/// When it has found nothing within [`DEADLINE`].
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, look).await
}

/// Returns what `look` finds once it finds something, within a deadline.
///
/// # Panics
/// When it has found nothing by then.
pub async fn within<T>(deadline: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < deadline, "waited {deadline:?} in vain until {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
