//! The S3 client of a store's settings: no retries of its own, no more checks than the store needs.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Config, ConfigBag, IdentityCache, Intercept, Region, RuntimeComponents, StalledStreamProtectionConfig};
use aws_sdk_s3::error::BoxError;

use super::{Credentials, Settings};
use crate::dial;

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Shortest time between two refreshes of credentials.
const REFRESH: Duration = Duration::from_secs(2);

/// The client in use and how to make one with fresh credentials.
#[derive(Debug)]
pub(super) struct Clients {
    config: Config,
    current: RwLock<(Client, Instant)>,
}

impl Clients {
    pub(super) async fn new(settings: &Settings) -> Self {
        let config = configure(settings).await;
        let client = Client::from_conf(config.clone());
        Self { config, current: RwLock::new((client, Instant::now())) }
    }

    pub(super) fn current(&self) -> Client {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Forgets the cached credentials, so that the next attempt asks the chain. The client's cache can't be emptied, so the
    /// client is replaced.
    pub(super) fn refresh(&self) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() >= REFRESH {
            let fresh = self.config.to_builder().identity_cache(IdentityCache::lazy().build()).build();
            *current = (Client::from_conf(fresh), Instant::now());
        }
    }
}

/// Returns a client for a caller that only reads, and that repeats, limits and reports on its own: each call is one attempt. The
/// settings' bucket is not looked at.
pub async fn reader(settings: &Settings) -> Client {
    Client::from_conf(configure(settings).await)
}

async fn configure(settings: &Settings) -> Config {
    let region = Region::new(settings.region.clone());
    let builder = match &settings.credentials {
        Credentials::Chain => Builder::from(&aws_config::defaults(BehaviorVersion::latest()).region(region).load().await),
        Credentials::Static { access_key_id, secret_access_key, session_token } => {
            let keys = aws_sdk_s3::config::Credentials::new(access_key_id, secret_access_key, session_token.clone(), None, "pipeline");
            Config::builder().behavior_version(BehaviorVersion::latest()).region(region).credentials_provider(keys)
        }
        Credentials::Anonymous => Config::builder().behavior_version(BehaviorVersion::latest()).region(region).allow_no_auth(),
    };
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT.min(settings.attempt_timeout)).build();
    let mut builder = builder
        .force_path_style(settings.force_path_style)
        // The store's own loop repeats: it asks the gate before each attempt, and knows no last one.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // The store limits the whole attempt.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .interceptor(LoginPages)
        .http_client(dial::aws_client());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    builder.build()
}

/// Fails an answer that says 200 with a page for people: without this a proxy's login page would count as a deletion.
#[derive(Debug)]
struct LoginPages;

impl Intercept for LoginPages {
    fn name(&self) -> &'static str {
        "LoginPages"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (status, headers) = (context.response().status(), context.response().headers());
        let is_page = headers.get("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if status.is_success() && is_page && headers.get("etag").is_none() {
            return Err("the answer was a web page".into());
        }
        Ok(())
    }
}
