//! What every Kafka client's context does: scrubbed logs, tokens of Amazon MSK, and the last thing that brokers refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_msk_iam_sasl_signer::{generate_auth_token, generate_auth_token_from_credentials_provider};
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use tracing::{debug, error, info, warn};

use super::is_about_permission;
use crate::clock::wall_millis;

/// How long a token may take: credentials may come from STS or the metadata service.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);

/// Context of a Kafka client. Clones share their state.
///
/// A context of one's own delegates `log`, `error` and `generate_oauth_token` to it and sets `ENABLE_REFRESH_OAUTH_TOKEN`.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    hidden: Vec<String>,
    tokens: TokenSource,
    trouble: Mutex<Option<Trouble>>,
}

/// Gives the tokens that Amazon MSK wants. The default one has none to give. Clones are the same source.
#[derive(Clone, Default)]
pub struct TokenSource {
    iam: Option<Arc<Iam>>,
}

/// What tokens of Amazon MSK are made from.
struct Iam {
    region: String,
    credentials: Option<SharedCredentialsProvider>,
}

impl TokenSource {
    pub(super) fn msk(region: String, credentials: Option<SharedCredentialsProvider>) -> Self {
        Self { iam: Some(Arc::new(Iam { region, credentials })) }
    }

    /// Returns a fresh token. Blocks for up to twenty seconds; may be called inside a runtime.
    ///
    /// # Errors
    /// No source is configured, or no AWS credentials were found in time.
    pub fn token(&self) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let Some(iam) = &self.iam else {
            return Err("no source of tokens is configured".into());
        };
        // The caller may stand inside a runtime, where blocking on another one is refused: a thread of its own, every few minutes.
        let signed = std::thread::scope(|scope| scope.spawn(|| sign(iam)).join());
        let (token, lifetime_ms) = signed.map_err(|_| "the signer panicked")??;
        Ok(OAuthToken { token, principal_name: "aws".to_owned(), lifetime_ms })
    }
}

/// What Kafka clients are waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Closed reason.
    pub reason: Reason,
    /// What librdkafka says, scrubbed of secrets.
    pub message: String,
    /// Since when, milliseconds since 1970.
    pub since_millis: i64,
}

/// Why brokers cannot be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Credentials or permissions are refused.
    AuthFailed,
    /// No broker answers.
    BrokerUnreachable,
}

impl Reason {
    /// Returns the label used in `/status`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::AuthFailed => "AuthFailed",
            Self::BrokerUnreachable => "BrokerUnreachable",
        }
    }
}

impl Context {
    pub(super) fn new(hidden: Vec<String>, tokens: TokenSource) -> Self {
        Self { shared: Arc::new(Shared { hidden, tokens, trouble: Mutex::new(None) }) }
    }

    /// Returns what the clients are waiting for, or None while brokers answer.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    /// Returns the source of the tokens.
    #[must_use]
    pub fn tokens(&self) -> TokenSource {
        self.shared.tokens.clone()
    }

    /// Notes that a broker has answered as it should.
    pub fn succeeded(&self) {
        *self.lock() = None;
    }

    /// Returns a text with every secret in it replaced.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        self.shared.hidden.iter().fold(text.to_owned(), |text, hidden| text.replace(hidden.as_str(), "***"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        // A poisoned lock still holds a whole value: it is only ever replaced.
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, reason: Reason, message: String) {
        let mut trouble = self.lock();
        // A refused login is followed by the word that all brokers are down, which explains less.
        if reason == Reason::BrokerUnreachable && trouble.as_ref().is_some_and(|before| before.reason == Reason::AuthFailed) {
            return;
        }
        let since_millis = match trouble.as_ref() {
            Some(before) if before.reason == reason => before.since_millis,
            _ => wall_millis(),
        };
        *trouble = Some(Trouble { reason, message, since_millis });
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = self.scrub(message);
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                error!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Warning => warn!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Debug => debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: ClientError, message: &str) {
        let message = self.scrub(message);
        match error.rdkafka_error_code() {
            Some(code) if is_about_permission(code) => self.failed(Reason::AuthFailed, message),
            // One broker of several may be away; all of them are an outage.
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve) => self.failed(Reason::BrokerUnreachable, message),
            _ => debug!(error = %error, message, "kafka client reports"),
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.shared.tokens.token()
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
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
        Err(_) => Err(format!("no AWS credentials within {} s to sign a token for Amazon MSK", TOKEN_TIMEOUT.as_secs())),
    }
}
