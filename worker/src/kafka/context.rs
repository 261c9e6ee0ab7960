//! What every Kafka client's context does: scrubbed logs, tokens of Amazon MSK, and the last thing that brokers refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use stockpipeline_program::clock::wall_millis;
use tracing::{debug, error, info, warn};

use super::{TokenSource, is_about_permission};

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
