//! Kafka clients of one pipeline: settings, authentication, what the broker says of a topic and a group.
//!
//! Every client of the worker is made from [`Clients::client_config`] and given [`Context`] (or a context that delegates to it), so that
//! credentials, token refresh and scrubbed logs are the same everywhere. Decides nothing about topics or records.

use std::path::Path;
use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode;
use stockpipeline::checked;

use crate::error::Class;

mod admin;
mod context;
mod membership;
mod native;
mod offsets;
mod secrets;
mod tokens;

pub use admin::{Admin, ConfigValue, NewTopic, Outcome, TopicDescription, partitions};
pub use context::{Context, Reason, Trouble};
pub use membership::{GroupMetadata, Remedy, TransactionError, send_offsets};
pub use native::{TopicIdentity, topic_id};
pub(crate) use offsets::refusal;
pub use offsets::{Committed, committed, logs, offsets_for_times, watermarks};
pub use tokens::TokenSource;

use secrets::Secrets;

/// Who a client says that it is.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// `client.id`, as brokers log it; the pod's name.
    pub client_id: String,
    /// `client.rack`: the node's zone, where it is known.
    pub rack: Option<String>,
    /// AWS region, for Amazon MSK with IAM.
    pub region: String,
    /// AWS credentials for Amazon MSK with IAM; the default chain without them.
    pub credentials: Option<SharedCredentialsProvider>,
}

/// What all Kafka clients of one pipeline share.
#[derive(Clone)]
pub struct Clients {
    config: ClientConfig,
    context: Context,
    secrets: Arc<Secrets>,
}

impl Clients {
    /// Reads the mounted secrets and returns the settings of all clients. Makes no connection.
    ///
    /// # Errors
    /// [`KafkaError::Secret`] names the file that is missing or unreadable.
    pub fn new(kafka: &checked::Kafka, secrets_dir: &Path, identity: Identity) -> Result<Self, KafkaError> {
        let mut secrets = Secrets::new(secrets_dir);
        let mut config = base_config(kafka, &identity);
        authenticate(kafka, &mut secrets, &mut config)?;
        let tokens = match kafka.auth {
            checked::KafkaAuth::MskIam => TokenSource::msk(identity.region, identity.credentials),
            checked::KafkaAuth::None | checked::KafkaAuth::SaslScram { .. } | checked::KafkaAuth::MutualTls { .. } => {
                TokenSource::default()
            }
        };
        let context = Context::new(secrets.texts(), tokens);
        Ok(Self { config, context, secrets: Arc::new(secrets) })
    }

    /// Returns the settings that every client starts from.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Returns a client context; all of them share what the brokers were last heard to refuse.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// Returns the source of the tokens that a context of one's own gives to librdkafka.
    #[must_use]
    pub fn tokens(&self) -> TokenSource {
        self.context.tokens()
    }

    /// Returns a client for administrative acts.
    ///
    /// # Errors
    /// [`KafkaError::Setting`] where librdkafka refuses the settings.
    pub fn admin(&self) -> Result<Admin, KafkaError> {
        Admin::new(self)
    }

    /// Returns whether a mounted secret file differs from what was read at the start, or cannot be read any more.
    #[must_use]
    pub fn secrets_changed(&self) -> bool {
        self.secrets.changed()
    }

    /// Returns what the clients are waiting for, or None while brokers answer.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.context.trouble()
    }

    /// Returns a text with every secret in it replaced.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        self.context.scrub(text)
    }
}

fn base_config(kafka: &checked::Kafka, identity: &Identity) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap_servers.join(","));
    config.set("client.id", &identity.client_id);
    if let Some(rack) = &identity.rack {
        config.set("client.rack", rack);
    }
    config.set("socket.keepalive.enable", "true");
    // Topics are made with the pipeline's settings or not at all; a producer's look at one would else make it with the broker's.
    config.set("allow.auto.create.topics", "false");
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

fn authenticate(kafka: &checked::Kafka, secrets: &mut Secrets, config: &mut ClientConfig) -> Result<(), KafkaError> {
    let tls = kafka.tls.as_ref();
    let protocol = match (&kafka.auth, tls) {
        (checked::KafkaAuth::None, None) => "PLAINTEXT",
        (checked::KafkaAuth::None, Some(_)) | (checked::KafkaAuth::MutualTls { .. }, _) => "SSL",
        (checked::KafkaAuth::SaslScram { .. }, None) => "SASL_PLAINTEXT",
        // Amazon MSK takes IAM over TLS only.
        (checked::KafkaAuth::SaslScram { .. }, Some(_)) | (checked::KafkaAuth::MskIam, _) => "SASL_SSL",
    };
    config.set("security.protocol", protocol);
    if protocol.ends_with("SSL") {
        match tls.and_then(|tls| tls.ca.as_ref()) {
            Some(ca) => config.set("ssl.ca.pem", secrets.public(&ca.name, &ca.key)?),
            // `probe` looks where distributions keep their bundle, also when OpenSSL was linked in.
            None => config.set("ssl.ca.location", "probe"),
        };
    }
    match &kafka.auth {
        checked::KafkaAuth::None => {}
        checked::KafkaAuth::SaslScram { mechanism, username, password } => {
            config.set("sasl.mechanisms", mechanism);
            config.set("sasl.username", secrets.line(&username.name, &username.key)?);
            config.set("sasl.password", secrets.secret_line(&password.name, &password.key)?);
        }
        checked::KafkaAuth::MskIam => {
            config.set("sasl.mechanisms", "OAUTHBEARER");
        }
        checked::KafkaAuth::MutualTls { certificate_secret } => {
            config.set("ssl.certificate.pem", secrets.public(certificate_secret, "tls.crt")?);
            config.set("ssl.key.pem", secrets.secret(certificate_secret, "tls.key")?);
        }
    }
    Ok(())
}

/// A Kafka act that failed.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A mounted secret cannot be read.
    #[error("failed to read secret {name:?}, key {key:?}, at {path}: {message}; make the secret with that key in the pipeline's namespace")]
    Secret {
        /// Name of the Secret.
        name: String,
        /// Key in it.
        key: String,
        /// File that was looked for.
        path: String,
        /// Why it cannot be read.
        message: String,
    },
    /// librdkafka refuses a setting.
    #[error("failed to make a kafka client: {message}; correct spec.kafka or the producer's config")]
    Setting {
        /// What it says, scrubbed.
        message: String,
    },
    /// The broker or the client refused an act.
    #[error("kafka refused to {act} {target:?}: {message} ({code:?})")]
    Refused {
        /// The act, such as `create topic`.
        act: &'static str,
        /// Topic or group.
        target: String,
        /// librdkafka's code.
        code: RDKafkaErrorCode,
        /// What it says, scrubbed.
        message: String,
    },
    /// No answer in time.
    #[error("no answer from kafka within {milliseconds} ms to {act} {target:?}")]
    TimedOut {
        /// The act, such as `describe topic`.
        act: &'static str,
        /// Topic or group.
        target: String,
        /// Milliseconds waited.
        milliseconds: u64,
    },
    /// librdkafka could not do what it always can.
    #[error("failed to prepare to {act} {target:?}: {message}")]
    Client {
        /// The act.
        act: &'static str,
        /// Topic or group.
        target: String,
        /// What it says.
        message: String,
    },
}

impl KafkaError {
    /// Returns who can do something about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Secret { .. } | Self::Setting { .. } => Class::User,
            Self::Refused { code, .. } if is_for_user(*code) => Class::User,
            Self::Refused { .. } | Self::TimedOut { .. } => Class::External,
            Self::Client { .. } => Class::Bug,
        }
    }

    /// Returns librdkafka's code, where there is one.
    #[must_use]
    pub fn code(&self) -> Option<RDKafkaErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Secret { .. } | Self::Setting { .. } | Self::TimedOut { .. } | Self::Client { .. } => None,
        }
    }
}

/// Returns whether a broker's refusal stands until the user changes a permission or the spec.
pub(crate) fn is_for_user(code: RDKafkaErrorCode) -> bool {
    is_about_permission(code)
        || matches!(
            code,
            RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::InvalidConfig
                | RDKafkaErrorCode::InvalidPartitions
                | RDKafkaErrorCode::InvalidReplicationFactor
                | RDKafkaErrorCode::InvalidTopic
        )
}

/// Returns whether a code says that the client may not do what it asked for.
pub(crate) fn is_about_permission(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
    )
}

#[cfg(test)]
mod tests;
