//! Calls to AWS: as whom, where to, how fast, how long, and what a failure means.
//!
//! The operator signs nothing to an endpoint, and takes no role, that its own settings do not grant. Nothing is repeated here: a caller
//! that fails is called again by whoever decides about retries.

pub mod athena;
pub mod glue;
pub mod limiter;

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use stockpipeline::check::is_forbidden_address;
use stockpipeline_program::lookup::Resolver;
use thiserror::Error;
use tokio::time::Instant;

use crate::catalog::aws::limiter::Limiter;
use crate::catalog::decide::Place;
use crate::error::chain;
use crate::metrics::{Metrics, Service};
use crate::process::fence::{Fence, Fenced};
use crate::settings::Grants;

/// How long one call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that nothing uses is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Characters of a message of AWS that are kept.
const MAX_MESSAGE: usize = 400;
/// Characters that STS takes in the name of a session.
const MAX_SESSION_NAME: usize = 64;

/// Field with the role that the operator takes.
pub(crate) const CONTROL_PLANE_ROLE: &str = "spec.aws.controlPlaneRoleArn";
/// Field with the role that the crawler is given.
pub(crate) const CRAWLER_ROLE: &str = "spec.glue.crawler.roleArn";

/// Why a pipeline's place is not called at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotGranted {
    /// The endpoint is not in the operator's list.
    #[error(
        "the operator signs no requests to {endpoint}: add it to the endpoints that the operator's settings allow, or remove it from \
         spec.aws.endpoints"
    )]
    Endpoint {
        /// Endpoint.
        endpoint: String,
    },
    /// The endpoint is an address that nothing may connect to.
    #[error("{endpoint} is a link-local or metadata address: use an address that is meant to be reached in spec.aws.endpoints")]
    Address {
        /// Endpoint.
        endpoint: String,
    },
    /// The role is not granted to the pipeline's namespace.
    #[error("namespace {namespace} may not use {role}: grant it in the operator's settings, or remove {field}")]
    Role {
        /// Field that names it.
        field: &'static str,
        /// Role.
        role: String,
        /// Namespace of the pipeline.
        namespace: String,
    },
}

/// A call that AWS did not serve.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{operation} failed: {code}: {message}")]
pub struct Failure {
    /// Name of AWS' operation, such as `GetTable`.
    pub operation: &'static str,
    /// What follows from it.
    pub kind: FailureKind,
    /// AWS' code, or `timeout` or `transport`.
    pub code: String,
    /// AWS' message.
    pub message: String,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Credentials or policy forbid it.
    AccessDenied,
    /// Too fast.
    Throttled,
    /// There is no such thing.
    NotFound,
    /// There is such a thing already.
    AlreadyExists,
    /// Others write it at the same time.
    Concurrent,
    /// AWS will never take it as it is.
    Invalid,
    /// The account may have no more of them.
    Limit,
    /// AWS failed or did not answer; what happened is unknown.
    Unavailable,
}

/// Checks that the operator's settings grant everything that a pipeline's place needs.
///
/// # Errors
/// [`NotGranted`] names what is not and who can grant it.
pub fn check_grants(place: &Place, namespace: &str, grants: &Grants) -> Result<(), NotGranted> {
    for endpoint in [&place.glue_endpoint, &place.athena_endpoint, &place.sts_endpoint].into_iter().flatten() {
        if host_address(endpoint).is_some_and(is_forbidden_address) {
            return Err(NotGranted::Address { endpoint: endpoint.clone() });
        }
        if !grants.endpoint(endpoint) {
            return Err(NotGranted::Endpoint { endpoint: endpoint.clone() });
        }
    }
    place.role_arn.as_ref().map_or(Ok(()), |role| check_role(CONTROL_PLANE_ROLE, role, namespace, grants))
}

/// Checks that the operator's settings grant a role to a namespace, whether the operator takes it or hands it on.
///
/// # Errors
/// [`NotGranted::Role`] names the role, and the field that asks for it.
pub fn check_role(field: &'static str, role: &str, namespace: &str, grants: &Grants) -> Result<(), NotGranted> {
    if grants.role(namespace, role) {
        return Ok(());
    }
    Err(NotGranted::Role { field, role: role.to_owned(), namespace: namespace.to_owned() })
}

/// Returns the address that an endpoint names, if it names one.
fn host_address(endpoint: &str) -> Option<IpAddr> {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).split('/').next()?;
    if let Ok(address) = authority.parse() {
        return Some(address);
    }
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split_once(']').map(|(host, _)| host)?,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.parse().ok()
}

/// Returns the settings of clients for a place, without its endpoints. Credentials are looked for when the first request is signed;
/// `credentials` stand in for what AWS' default chain would find. Each time that a role is taken is counted.
pub async fn configuration(place: &Place, session: &str, credentials: Option<Credentials>, metrics: &Metrics) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(place.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    // AWS itself is reached by the SDK's own client, which heeds HTTPS_PROXY.
    if [&place.glue_endpoint, &place.athena_endpoint, &place.sts_endpoint].into_iter().any(Option::is_some) {
        let tls = tls::Provider::Rustls(CryptoMode::AwsLc);
        loader = loader.http_client(Builder::new().pool_idle_timeout(IDLE).tls_provider(tls).build_with_resolver(Resolver));
    }
    if let Some(credentials) = credentials {
        loader = loader.credentials_provider(credentials);
    }
    let own = loader.load().await;
    let Some(role) = &place.role_arn else { return own };
    let mut sts = own.to_builder();
    sts.set_endpoint_url(place.sts_endpoint.clone().or_else(|| own.endpoint_url().map(str::to_owned)));
    let provider = AssumeRoleProvider::builder(role).session_name(session_name(session)).configure(&sts.build()).build().await;
    let provider = CountedRole { provider, metrics: metrics.clone() };
    own.to_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Counts each time that a role is taken: the SDK does so by itself, when what it has expires.
#[derive(Debug)]
struct CountedRole {
    provider: AssumeRoleProvider,
    metrics: Metrics,
}

impl ProvideCredentials for CountedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let taken = self.provider.provide_credentials().await;
            self.metrics.aws_request(Service::Sts, "AssumeRole", taken.as_ref().map_or_else(code_of_role, |_| "200"));
            taken
        })
    }
}

/// Returns the code of a role that could not be taken, which is only in the text of what the SDK says.
fn code_of_role(error: &CredentialsError) -> &'static str {
    if matches!(error, CredentialsError::ProviderTimedOut(_)) {
        return "timeout";
    }
    let text = chain(error);
    let known = ["AccessDenied", "ExpiredToken", "InvalidClientTokenId", "RegionDisabledException", "Throttling"];
    known.into_iter().find(|code| text.contains(code)).unwrap_or("transport")
}

/// Returns a name that shows in CloudTrail for whom a role was taken.
fn session_name(namespace: &str) -> String {
    let name = format!("stockpipeline-{namespace}");
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(MAX_SESSION_NAME).collect()
}

/// Calls one service: in its turn, within its time, counted, and with a write only while this process may write.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The service.
    pub service: Service,
    /// How fast it is called.
    pub limiter: Limiter,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// Whether writes may leave.
    pub fence: Fence,
    /// When no call may go on any more.
    pub deadline: Instant,
}

impl Caller {
    /// Makes one call.
    ///
    /// # Errors
    /// [`Failure`] of any kind; nothing is tried twice.
    pub fn call<T, E>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> impl Future<Output = Result<T, Failure>>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        // The SDK's futures have some 20 KB each, in every future around them, too.
        self.in_turn(operation, Box::pin(request))
    }

    async fn in_turn<T, E>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let timed_out =
            |message: &str| Failure { operation, kind: FailureKind::Unavailable, code: "timeout".to_owned(), message: message.to_owned() };
        if !self.limiter.turn(self.deadline).await {
            return Err(Failure { kind: FailureKind::Throttled, ..timed_out("it would not have had its turn in time") });
        }
        if !is_read(operation) {
            let fenced = |error: Fenced| Failure { code: "fenced".to_owned(), ..timed_out(&error.to_string()) };
            self.fence.check().map_err(fenced)?;
        }
        let until = self.deadline.min(Instant::now() + CALL_TIMEOUT);
        let result = match tokio::time::timeout_at(until, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure(operation, &error)),
            Err(_) => Err(timed_out("there was no answer in time")),
        };
        let code = result.as_ref().err().map_or("200", |failure| failure.code.as_str());
        self.metrics.aws_request(self.service, operation, code);
        match &result {
            Err(Failure { kind: FailureKind::Throttled, .. }) => self.limiter.throttled(),
            Err(Failure { kind: FailureKind::Unavailable, .. }) => {}
            Ok(_) | Err(_) => self.limiter.served(),
        }
        result
    }
}

/// Returns None in place of the failure that something is not there.
pub(crate) fn absent<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Lets the body of a write leave only while the fence is open: after [`Caller`] has asked, the request is signed and waits for a
/// connection.
#[derive(Debug)]
struct GuardWrites(Fence);

impl Intercept for GuardWrites {
    fn name(&self) -> &'static str {
        "GuardWrites"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !config.load::<Metadata>().is_some_and(|operation| is_read(operation.name())) {
            let body = context.request_mut().take_body();
            *context.request_mut().body_mut() = SdkBody::from_body_1_x(self.0.guard(body));
        }
        Ok(())
    }
}

/// AWS names what only reads alike in all services.
fn is_read(operation: &str) -> bool {
    ["Get", "List", "BatchGet"].iter().any(|start| operation.starts_with(start))
}

fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let Some(answer) = error.as_service_error() {
        let code = answer.code().unwrap_or("unknown").to_owned();
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let message = answer.message().map_or_else(|| "AWS says no more".to_owned(), tidy);
        return Failure { operation, kind: kind_of(&code, status, &message), code, message };
    }
    let (kind, code) = match error {
        _ if no_credentials(error) => (FailureKind::AccessDenied, "credentials"),
        SdkError::TimeoutError(_) => (FailureKind::Unavailable, "timeout"),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => (FailureKind::Unavailable, "timeout"),
        SdkError::ConstructionFailure(_) => (FailureKind::Invalid, "request"),
        _ => (FailureKind::Unavailable, "transport"),
    };
    Failure { operation, kind, code: code.to_owned(), message: tidy(&chain(error)) }
}

/// Returns whether there were no credentials to sign with, for a reason that does not pass by itself.
fn no_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(credentials) = error.downcast_ref::<CredentialsError>() {
            return match credentials {
                CredentialsError::ProviderTimedOut(_) => false,
                CredentialsError::ProviderError(_) => {
                    let text = chain(credentials);
                    ["AccessDenied", "InvalidClientTokenId", "ExpiredToken", "InvalidIdentityToken"].iter().any(|code| text.contains(code))
                }
                _ => true,
            };
        }
        next = error.source();
    }
    false
}

/// Returns a message in one line of a bounded length.
pub(crate) fn tidy(message: &str) -> String {
    let line: Vec<&str> =
        message.split(|letter: char| letter.is_control() || letter.is_whitespace()).filter(|word| !word.is_empty()).collect();
    line.join(" ").chars().take(MAX_MESSAGE).collect()
}

/// Codes are AWS' own; some services add a number or a namespace, which the SDK takes away.
fn kind_of(code: &str, status: u16, message: &str) -> FailureKind {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown" => FailureKind::Throttled,
        "EntityNotFoundException" | "ResourceNotFoundException" | "NotFoundException" => FailureKind::NotFound,
        // Athena has no code of its own for a workgroup or a query that is not there.
        "InvalidRequestException" if message.contains("not found") || message.contains("does not exist") => FailureKind::NotFound,
        "InvalidRequestException" if message.contains("already") => FailureKind::AlreadyExists,
        "AlreadyExistsException" | "IdempotentParameterMismatchException" => FailureKind::AlreadyExists,
        "ConcurrentModificationException"
        | "VersionMismatchException"
        | "CrawlerRunningException"
        | "CrawlerStoppingException"
        | "ResourceNotReadyException"
        | "ConcurrentRunsExceededException"
        | "SchedulerTransitioningException" => FailureKind::Concurrent,
        "ResourceNumberLimitExceededException" | "LimitExceededException" => FailureKind::Limit,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "OptInRequired"
        | "GlueEncryptionException"
        | "FederationSourceException"
        | "NotAuthorizedException" => FailureKind::AccessDenied,
        "OperationTimeoutException"
        | "InternalServiceException"
        | "InternalServerException"
        | "ServiceUnavailableException"
        | "ServiceUnavailable"
        | "InternalFailure"
        | "RequestTimeout"
        | "RequestTimeTooSkewed" => FailureKind::Unavailable,
        _ => match status {
            429 => FailureKind::Throttled,
            401 | 403 => FailureKind::AccessDenied,
            400..=499 => FailureKind::Invalid,
            _ => FailureKind::Unavailable,
        },
    }
}
