//! Tokens of Amazon MSK, signed on a thread of their own: who asks is given the newest one, and waits for nothing but the very first.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_msk_iam_sasl_signer::{generate_auth_token, generate_auth_token_from_credentials_provider};
use rdkafka::client::OAuthToken;
use tracing::warn;

use stockpipeline_program::clock::wall_millis;

/// How long a token may take: credentials may come from STS or the metadata service.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause after a token that could not be signed.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Least and most time between two tokens. One lasts a quarter of an hour, and clients ask for the next when a fifth of it is left.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_mins(10)];
/// Life that a token must have left to be given away: enough to log in with.
const LEAST_LIFE_MILLIS: i64 = 5_000;

/// Gives the tokens that Amazon MSK wants. The default one has none to give. Clones are the same source.
#[derive(Clone, Default)]
pub struct TokenSource {
    signer: Option<Arc<Signer>>,
}

/// What tokens of Amazon MSK are made from, and the thread that makes them once the first one is asked for.
struct Signer {
    iam: Iam,
    board: OnceLock<Arc<Board>>,
}

#[derive(Clone)]
struct Iam {
    region: String,
    credentials: Option<SharedCredentialsProvider>,
}

/// Where the thread leaves its newest token.
#[derive(Default)]
struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Token and the end of its life, milliseconds since 1970.
    newest: Option<(String, i64)>,
    /// Why there is no newer one.
    failure: Option<String>,
    /// Whether signing has ended once, in whatever way.
    has_tried: bool,
    /// Whether nobody asks any more.
    is_over: bool,
}

impl TokenSource {
    pub(super) fn msk(region: String, credentials: Option<SharedCredentialsProvider>) -> Self {
        Self { signer: Some(Arc::new(Signer { iam: Iam { region, credentials }, board: OnceLock::new() })) }
    }

    /// Returns the newest token. Waits for up to twenty seconds for the first one, and for no later one; may be called inside a runtime.
    ///
    /// # Errors
    /// No source is configured, or the newest token's life is over: what signing failed with.
    pub fn token(&self) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let Some(signer) = &self.signer else {
            return Err("no source of tokens is configured".into());
        };
        let (token, lifetime_ms) = signer.board().newest()?;
        Ok(OAuthToken { token, principal_name: "aws".to_owned(), lifetime_ms })
    }
}

impl Signer {
    /// Returns the board, starting the thread with the first call.
    fn board(&self) -> &Board {
        self.board.get_or_init(|| {
            let board = Arc::new(Board::default());
            let (iam, of_thread) = (self.iam.clone(), Arc::clone(&board));
            let started = std::thread::Builder::new().name("msk-tokens".to_owned()).spawn(move || of_thread.keep(&iam));
            if let Err(error) = started {
                board.note(Err(format!("failed to start the thread that signs tokens: {error}")));
            }
            board
        })
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        if let Some(board) = self.board.get() {
            board.lock().is_over = true;
            board.changed.notify_all();
        }
    }
}

impl Board {
    /// Signs one token after the other until nobody asks any more.
    fn keep(&self, iam: &Iam) {
        loop {
            let pause = self.note(sign(iam));
            let (state, _) =
                self.changed.wait_timeout_while(self.lock(), pause, |state| !state.is_over).unwrap_or_else(PoisonError::into_inner);
            if state.is_over {
                return;
            }
        }
    }

    /// Notes what signing came to, and returns when to sign again.
    fn note(&self, signed: Signed) -> Duration {
        let mut state = self.lock();
        state.has_tried = true;
        let pause = match signed {
            Ok((token, until)) => {
                let life = Duration::from_millis(u64::try_from(until.saturating_sub(wall_millis())).unwrap_or(0));
                (state.newest, state.failure) = (Some((token, until)), None);
                (life / 2).clamp(PAUSES[0], PAUSES[1])
            }
            Err(failure) => {
                warn!(error = failure, "no new token for Amazon MSK; trying again");
                state.failure = Some(failure);
                RETRY_PAUSE
            }
        };
        drop(state);
        self.changed.notify_all();
        pause
    }

    fn newest(&self) -> Signed {
        let waited = self.changed.wait_timeout_while(self.lock(), TOKEN_TIMEOUT, |state| !state.has_tried);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (&state.newest, &state.failure) {
            (Some((token, until)), _) if until - wall_millis() > LEAST_LIFE_MILLIS => Ok((token.clone(), *until)),
            (_, Some(failure)) => Err(failure.clone()),
            (Some(_), None) => Err("the newest token for Amazon MSK is over, and its successor is still being signed".to_owned()),
            (None, None) => Err(no_credentials()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock still holds whole values: each field is only ever replaced.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Signed = Result<(String, i64), String>;

fn sign(iam: &Iam) -> Signed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("failed to start a runtime for the signer: {error}"))?;
    let region = aws_config::Region::new(iam.region.clone());
    let signed = runtime.block_on(async {
        match &iam.credentials {
            Some(provider) => {
                tokio::time::timeout(TOKEN_TIMEOUT, generate_auth_token_from_credentials_provider(region, provider.clone())).await
            }
            None => tokio::time::timeout(TOKEN_TIMEOUT, generate_auth_token(region)).await,
        }
    });
    match signed {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(error)) => Err(format!("failed to sign a token for Amazon MSK: {error}")),
        Err(_) => Err(no_credentials()),
    }
}

fn no_credentials() -> String {
    format!("no AWS credentials within {} s to sign a token for Amazon MSK", TOKEN_TIMEOUT.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;

    /// Gives credentials, or none, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Provider {
        has_none: bool,
        asked: Arc<AtomicUsize>,
    }

    impl ProvideCredentials for Provider {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.asked.fetch_add(1, Ordering::Relaxed);
            future::ProvideCredentials::ready(if self.has_none {
                Err(CredentialsError::not_loaded("there are none"))
            } else {
                Ok(Credentials::new("AKID", "secret", None, None, "test"))
            })
        }
    }

    fn source(has_none: bool) -> (TokenSource, Arc<AtomicUsize>) {
        let provider = Provider { has_none, ..Provider::default() };
        let asked = Arc::clone(&provider.asked);
        (TokenSource::msk("eu-central-1".to_owned(), Some(SharedCredentialsProvider::new(provider))), asked)
    }

    #[test]
    fn token_that_is_there_is_given_again_without_signing() {
        let (source, asked) = source(false);
        let first = source.token().unwrap();
        assert!(first.lifetime_ms > wall_millis() && !first.token.is_empty());
        let again = source.clone().token().unwrap();
        assert_eq!((again.token, again.lifetime_ms), (first.token, first.lifetime_ms));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn failure_is_told_again_without_another_attempt() {
        let (source, asked) = source(true);
        for _ in 0..3 {
            let error = source.token().err().unwrap().to_string();
            assert!(error.contains("failed to sign a token for Amazon MSK"), "{error}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn token_is_kept_through_failures_and_its_end_is_told() {
        let board = Board::default();
        board.note(Ok(("first".to_owned(), wall_millis() + 900_000)));
        assert_eq!(board.note(Err("no credentials".to_owned())), RETRY_PAUSE);
        assert_eq!(board.newest().unwrap().0, "first");
        board.note(Ok(("second".to_owned(), wall_millis() - 1)));
        assert!(board.newest().unwrap_err().contains("is over"));
        board.note(Err("no credentials".to_owned()));
        assert_eq!(board.newest().unwrap_err(), "no credentials");
    }

    #[test]
    fn next_token_is_signed_at_half_of_a_life() {
        let board = Board::default();
        let pause = board.note(Ok((String::new(), wall_millis() + 900_000)));
        assert!(pause > Duration::from_secs(440) && pause <= Duration::from_secs(450), "{pause:?}");
        assert_eq!(board.note(Ok((String::new(), 0))), PAUSES[0]);
    }

    #[test]
    fn thread_ends_with_the_last_source() {
        let (source, _) = source(false);
        source.token().unwrap();
        let board = Arc::downgrade(source.signer.as_ref().unwrap().board.get().unwrap());
        drop(source);
        let start = std::time::Instant::now();
        while board.upgrade().is_some() {
            assert!(start.elapsed() < TOKEN_TIMEOUT, "the thread goes on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn without_a_source_there_is_no_token() {
        assert!(TokenSource::default().token().is_err());
    }
}
