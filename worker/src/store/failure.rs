//! What a failed attempt means: whether it may heal, how soon to try again, and what somebody should do (pure).

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// Longest text of a server or library that a message quotes.
const QUOTED_CHARS: usize = 300;

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Throttled,
    Unavailable,
    Timeout,
    AccessDenied,
    /// Like `AccessDenied`, but the credentials themselves are missing, unknown or expired.
    BadCredentials,
    NoSuchBucket,
    KeyUnusable,
    ClockSkewed,
    Redirected,
    NotS3,
    /// 409: two conditional writes at once; the next attempt learns who won.
    Conflict,
    /// 404 of a key: an answer to whoever asks for it, not a failure.
    Missing,
    /// 412: an answer to a conditional request.
    Unmet,
    /// 501: a header or an operation that this store doesn't have.
    Unsupported,
    /// The request is wrong; no attempt can succeed.
    Refused,
}

/// How soon a failed attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once but for a little jitter.
    Now,
    /// From tenths of a second on, up to 20 s.
    Soon,
    /// From a second on, up to 30 s: somebody has to act first.
    Slow,
    /// Not at all.
    Never,
}

impl Reason {
    /// Returns the label of [`super::Trouble`].
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Throttled => "Throttled",
            Self::Unavailable | Self::Conflict => "Unavailable",
            Self::Timeout => "Timeout",
            Self::AccessDenied | Self::BadCredentials => "AccessDenied",
            Self::NoSuchBucket => "NoSuchBucket",
            Self::KeyUnusable => "KeyUnusable",
            Self::ClockSkewed => "ClockSkewed",
            Self::Redirected => "Redirected",
            Self::NotS3 | Self::Missing | Self::Unmet => "NotS3",
            Self::Unsupported | Self::Refused => "Refused",
        }
    }

    pub(super) fn pace(self) -> Pace {
        match self {
            Self::Conflict => Pace::Now,
            Self::Throttled | Self::Unavailable | Self::Timeout => Pace::Soon,
            Self::AccessDenied
            | Self::BadCredentials
            | Self::NoSuchBucket
            | Self::KeyUnusable
            | Self::ClockSkewed
            | Self::Redirected
            | Self::NotS3
            | Self::Missing
            | Self::Unmet => Pace::Slow,
            Self::Unsupported | Self::Refused => Pace::Never,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Throttled => "trying again; if it lasts, spread keys over more prefixes or rotate less often",
            Self::Unavailable | Self::Conflict => "trying again; if it lasts, check the endpoint, its name and its certificate",
            Self::Timeout => "trying again; if it lasts, check the network and make objects smaller",
            Self::AccessDenied => "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on the bucket to this worker's role",
            Self::BadCredentials => "renew the worker's credentials (the Secret, or the role of its service account)",
            Self::NoSuchBucket => "create the bucket, or correct its name in the pipeline",
            Self::KeyUnusable => "enable the KMS key and allow kms:GenerateDataKey and kms:Decrypt on it to this worker's role",
            Self::ClockSkewed => "set this node's clock",
            Self::Redirected => "correct the region in the pipeline",
            Self::NotS3 | Self::Missing | Self::Unmet => "check that the endpoint is an S3 endpoint and that no proxy answers in its place",
            Self::Unsupported => "use a store that has it",
            Self::Refused => "correct the pipeline",
        }
    }
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// Outcome label of the metrics: a status or what stood in its place.
    pub(super) outcome: &'static str,
    /// What happened and the remedy.
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, outcome: &'static str, what: &str) -> Self {
        Self { reason, outcome, message: format!("{}; {}", quoted(what), reason.remedy()) }
    }

    /// Says what an error of the client means.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ConstructionFailure(_) => Self::new(Reason::Refused, "request", &chain(error)),
            SdkError::TimeoutError(_) => Self::new(Reason::Timeout, "timeout", &chain(error)),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::new(Reason::Timeout, "timeout", &chain(error)),
            SdkError::DispatchFailure(_) if holds_credentials_error(error) => {
                Self::new(Reason::BadCredentials, "credentials", &chain(error))
            }
            SdkError::DispatchFailure(_) => Self::new(Reason::Unavailable, "connection", &chain(error)),
            SdkError::ServiceError(context) => {
                let (code, message) = (context.err().code().unwrap_or(""), context.err().message().unwrap_or(""));
                Self::answered(context.raw(), code, message)
            }
            // An answer that the client can't read: of a server in trouble, or of something that isn't S3.
            _ => match error.raw_response() {
                Some(response) if response.status().as_u16() >= 400 => Self::answered(response, "", ""),
                Some(_) => Self::not_s3(&chain(error)),
                None => Self::new(Reason::Unavailable, "connection", &chain(error)),
            },
        }
    }

    /// Says what an answer without what every S3 answer has means.
    pub(super) fn not_s3(what: &str) -> Self {
        Self::new(Reason::NotS3, "not_s3", what)
    }

    fn answered(response: &HttpResponse, code: &str, message: &str) -> Self {
        let status = response.status().as_u16();
        let reason = reason(status, code, message);
        let region = response.headers().get("x-amz-bucket-region").map(|region| format!("(the bucket is in region {region})"));
        let status_text = format!("the answer was {status}");
        let parts = [status_text.as_str(), code, message, region.as_deref().unwrap_or_default()];
        let what: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self::new(reason, outcome(status), &what.join(" "))
    }
}

/// Returns what a status and S3's error code mean.
pub(super) fn reason(status: u16, code: &str, message: &str) -> Reason {
    match code {
        "SlowDown" | "RequestLimitExceeded" | "TooManyRequests" | "ServiceUnavailable" => Reason::Throttled,
        code if code.starts_with("Throttl") => Reason::Throttled,
        code if code.starts_with("KMS.") => Reason::KeyUnusable,
        "AccessDenied" if message.contains("kms:") => Reason::KeyUnusable,
        "RequestTimeout" => Reason::Timeout,
        // The bytes were damaged or cut off on their way.
        "BadDigest" | "InvalidDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch" | "InternalError" => Reason::Unavailable,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "InvalidAccessKeyId"
        | "NotSignedUp"
        | "SignatureDoesNotMatch" => Reason::BadCredentials,
        "RequestTimeTooSkewed" | "RequestExpired" => Reason::ClockSkewed,
        "NoSuchBucket" => Reason::NoSuchBucket,
        "PermanentRedirect" | "TemporaryRedirect" | "Redirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            Reason::Redirected
        }
        "ConditionalRequestConflict" => Reason::Conflict,
        "NoSuchKey" | "NotFound" => Reason::Missing,
        "PreconditionFailed" => Reason::Unmet,
        "NotImplemented" => Reason::Unsupported,
        "KeyTooLongError"
        | "KeyTooLong"
        | "InvalidArgument"
        | "InvalidRequest"
        | "InvalidURI"
        | "EntityTooLarge"
        | "MetadataTooLarge"
        | "InvalidBucketName"
        | "MalformedXML"
        | "MethodNotAllowed"
        | "InvalidStorageClass"
        | "InvalidRange" => Reason::Refused,
        _ => reason_of_status(status),
    }
}

fn reason_of_status(status: u16) -> Reason {
    match status {
        300..=399 => Reason::Redirected,
        // HEAD answers have no code; a bare 400 to one is an expired token or a wrong region.
        400 | 401 => Reason::BadCredentials,
        403 => Reason::AccessDenied,
        412 => Reason::Unmet,
        408 => Reason::Timeout,
        413 | 414 | 416 => Reason::Refused,
        429 | 503 => Reason::Throttled,
        501 => Reason::Unsupported,
        409 | 500 | 502..=599 => Reason::Unavailable,
        _ => Reason::NotS3,
    }
}

/// Returns the metrics' label of a status, out of a closed set.
pub(super) fn outcome(status: u16) -> &'static str {
    match status {
        200..=299 => "200",
        301 => "301",
        307 => "307",
        400 => "400",
        403 => "403",
        404 => "404",
        409 => "409",
        412 => "412",
        429 => "429",
        500 => "500",
        501 => "501",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => "other",
    }
}

fn holds_credentials_error(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(<dyn Error>::is::<CredentialsError>)
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// Returns an error with its causes on one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = sources(error).map(ToString::to_string).collect();
    texts.join(": ")
}

fn quoted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_ends_in_the_reason_that_its_remedy_fits() {
        let table = [
            (503, "SlowDown", "", Reason::Throttled, Pace::Soon),
            (503, "ServiceUnavailable", "", Reason::Throttled, Pace::Soon),
            (503, "", "", Reason::Throttled, Pace::Soon),
            (429, "", "", Reason::Throttled, Pace::Soon),
            (400, "ThrottlingException", "", Reason::Throttled, Pace::Soon),
            (500, "InternalError", "", Reason::Unavailable, Pace::Soon),
            (200, "InternalError", "", Reason::Unavailable, Pace::Soon),
            (502, "", "", Reason::Unavailable, Pace::Soon),
            (504, "", "", Reason::Unavailable, Pace::Soon),
            (400, "RequestTimeout", "", Reason::Timeout, Pace::Soon),
            (400, "BadDigest", "", Reason::Unavailable, Pace::Soon),
            (403, "AccessDenied", "", Reason::AccessDenied, Pace::Slow),
            (403, "", "", Reason::AccessDenied, Pace::Slow),
            (403, "AllAccessDisabled", "", Reason::AccessDenied, Pace::Slow),
            (403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey", Reason::KeyUnusable, Pace::Slow),
            (400, "KMS.DisabledException", "", Reason::KeyUnusable, Pace::Slow),
            (400, "KMS.NotFoundException", "", Reason::KeyUnusable, Pace::Slow),
            (400, "ExpiredToken", "", Reason::BadCredentials, Pace::Slow),
            (403, "InvalidAccessKeyId", "", Reason::BadCredentials, Pace::Slow),
            (400, "", "", Reason::BadCredentials, Pace::Slow),
            (404, "NoSuchBucket", "", Reason::NoSuchBucket, Pace::Slow),
            (403, "RequestTimeTooSkewed", "", Reason::ClockSkewed, Pace::Slow),
            (301, "PermanentRedirect", "", Reason::Redirected, Pace::Slow),
            (307, "", "", Reason::Redirected, Pace::Slow),
            (400, "AuthorizationHeaderMalformed", "", Reason::Redirected, Pace::Slow),
            (404, "", "", Reason::NotS3, Pace::Slow),
            (404, "NoSuchKey", "", Reason::Missing, Pace::Slow),
            (412, "PreconditionFailed", "", Reason::Unmet, Pace::Slow),
            (409, "ConditionalRequestConflict", "", Reason::Conflict, Pace::Now),
            (409, "OperationAborted", "", Reason::Unavailable, Pace::Soon),
            (501, "NotImplemented", "", Reason::Unsupported, Pace::Never),
            (400, "KeyTooLongError", "", Reason::Refused, Pace::Never),
            (400, "InvalidArgument", "", Reason::Refused, Pace::Never),
            (400, "EntityTooLarge", "", Reason::Refused, Pace::Never),
            (413, "", "", Reason::Refused, Pace::Never),
        ];
        for (status, code, message, expected, pace) in table {
            let found = reason(status, code, message);
            assert_eq!((found, found.pace()), (expected, pace), "{status} {code} {message}");
        }
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length_with_its_remedy() {
        let failure = Failure::new(Reason::Redirected, "301", &format!("line\nline {}", "x".repeat(1_000)));
        assert!(failure.message.starts_with("line line x"), "{}", failure.message);
        assert!(failure.message.ends_with("; correct the region in the pipeline"), "{}", failure.message);
        assert!(failure.message.len() < 400, "{}", failure.message.len());
    }
}
