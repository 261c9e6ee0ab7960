//! The classes of error, which alone decide when something is tried again, and how long that waits.
//!
//! Every module's error says which class it is; nothing else looks at what went wrong to decide that.

use std::time::Duration;

/// When something that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Retry {
    /// At once: somebody else was faster, and a second look sees what they did.
    Fast,
    /// Later and later: an outside system is busy or gone.
    Backoff,
    /// Seldom: somebody has to permit or make something outside, and then it heals by itself.
    User,
    /// Not until the resource changes.
    Terminal,
}

/// Wait after the first failure of [`Retry::Fast`].
const FAST: Duration = Duration::from_millis(200);
/// Wait after the first failure of [`Retry::Backoff`].
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer than this.
const LONGEST: Duration = Duration::from_mins(5);
/// What an API server that enforces permissions of owners says while it does not know a definition that was made just now: no permission is
/// missing, and seconds later it does.
const UNMAPPED: &str = "cannot find RESTMapping";
/// How often in a row somebody else may be faster before it counts as an outside system that fails.
const FAST_ATTEMPTS: u32 = 5;

impl Retry {
    /// Returns the wait before the next attempt, `failures` (from 1) in a row. `chance`, within 0..1, spreads those that failed together.
    ///
    /// What is terminal is looked at again as seldom as possible too: what stood in the way may be gone.
    #[must_use]
    pub fn delay(self, failures: u32, chance: f64) -> Duration {
        match self {
            Self::Fast if failures <= FAST_ATTEMPTS => spread(FAST * failures.max(1), chance),
            Self::Fast => spread(doubled(failures - FAST_ATTEMPTS), chance),
            Self::Backoff => spread(doubled(failures), chance),
            Self::User | Self::Terminal => spread(LONGEST, chance),
        }
    }

    /// Returns the class of an answer of the API server, or of none.
    #[must_use]
    pub fn of_kubernetes(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() || status.is_not_found() => Self::Fast,
            kube::Error::Api(status) if status.is_forbidden() && status.message.contains(UNMAPPED) => Self::Backoff,
            kube::Error::Api(status) if status.is_forbidden() => Self::User,
            // A definition that is just being replaced or a policy of admission refuses what it takes a moment later: what is invalid is shown
            // at once, and tried again soon and then seldom.
            kube::Error::Api(status) if status.is_invalid() => Self::Backoff,
            kube::Error::Api(status) if status.code == 400 => Self::Terminal,
            _ => Self::Backoff,
        }
    }

    /// Returns the label of the class in logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Backoff => "backoff",
            Self::User => "user",
            Self::Terminal => "terminal",
        }
    }
}

fn doubled(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST)
}

/// Half of the wait is certain, so that nothing becomes a busy loop.
fn spread(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// Returns an error with everything below it on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_never_beyond() {
        let cases = [
            (Retry::Fast, 1, 200),
            (Retry::Fast, 5, 1_000),
            (Retry::Fast, 6, 1_000),
            (Retry::Fast, 8, 4_000),
            (Retry::Backoff, 1, 1_000),
            (Retry::Backoff, 4, 8_000),
            (Retry::Backoff, 9, 256_000),
            (Retry::Backoff, 10, 300_000),
            (Retry::Backoff, u32::MAX, 300_000),
            (Retry::User, 1, 300_000),
            (Retry::Terminal, 1, 300_000),
        ];
        for (retry, failures, millis) in cases {
            assert_eq!(retry.delay(failures, 1.0), Duration::from_millis(millis), "{retry:?} {failures}");
            assert_eq!(retry.delay(failures, 0.0), Duration::from_millis(millis / 2), "{retry:?} {failures}");
        }
    }

    #[test]
    fn answers_of_the_api_server_have_a_class() {
        let unmapped = "cannot set blockOwnerDeletion: cannot find RESTMapping for APIVersion stockpipeline.dev/v1alpha1";
        for (code, message, expected) in [
            (403, unmapped, Retry::Backoff),
            (409, "Conflict", Retry::Fast),
            (409, "AlreadyExists", Retry::Fast),
            (404, "NotFound", Retry::Fast),
            (403, "Forbidden", Retry::User),
            (422, "Invalid", Retry::Backoff),
            (400, "BadRequest", Retry::Terminal),
            (429, "TooManyRequests", Retry::Backoff),
            (500, "InternalError", Retry::Backoff),
            (503, "ServiceUnavailable", Retry::Backoff),
        ] {
            let reason = if code == 403 { "Forbidden" } else { message };
            let status = Status { code, reason: reason.to_owned(), message: message.to_owned(), ..Status::default() };
            assert_eq!(Retry::of_kubernetes(&kube::Error::Api(status.boxed())), expected, "{code} {message}");
        }
    }
}
