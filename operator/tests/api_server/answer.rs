//! Answers as the API server gives them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// HTTP status.
    pub(super) status: StatusCode,
    /// Kubernetes' word for it.
    pub(super) reason: &'static str,
    /// What is wrong.
    pub(super) message: String,
}

impl Refused {
    /// There is no such object or resource.
    pub(super) fn not_found(what: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: "NotFound", message: format!("{what} not found") }
    }

    /// Somebody else has written before.
    pub(super) fn conflict(message: String) -> Self {
        Self { status: StatusCode::CONFLICT, reason: "Conflict", message }
    }

    /// The object exists.
    pub(super) fn exists(what: &str) -> Self {
        Self { status: StatusCode::CONFLICT, reason: "AlreadyExists", message: format!("{what} already exists") }
    }

    /// The request makes no sense.
    pub(super) fn bad(message: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: "BadRequest", message: message.to_owned() }
    }

    /// Returns the answer.
    pub(super) fn into_response(self) -> Response {
        let body = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "code": self.status.as_u16(), "reason": self.reason, "message": self.message,
        });
        self::json(self.status, &body)
    }
}

/// Returns an answer with a JSON body.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    (status, [("content-type", "application/json")], value.to_string()).into_response()
}
