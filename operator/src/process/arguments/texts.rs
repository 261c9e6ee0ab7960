//! Texts of arguments that hold more than a text: quantities, spans, endpoints, grants.

use std::time::Duration;

use jiff::SignedDuration;

/// Shortest and longest time that any argument takes.
const SPANS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 7);

/// A quantity of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quantity {
    /// Name of the resource, such as `memory`.
    pub(super) name: String,
    /// How much, in Kubernetes' form.
    pub(super) value: String,
}

/// Something that is granted to a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// The namespace.
    pub(super) namespace: String,
    /// ARN of a role, or name of a database.
    pub(super) granted: String,
}

/// Reads `cpu=100m`. Kubernetes itself judges the quantity.
pub(super) fn parse_quantity(text: &str) -> Result<Quantity, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Quantity { name: name.to_owned(), value: value.to_owned() }),
        Some(_) | None => Err("write a name and a quantity, such as memory=512Mi".to_owned()),
    }
}

/// Reads `10m`, `1h 30m`, `45s`.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.filter(|span| SPANS.contains(span)).ok_or_else(|| "write a time of 1s to 168h, such as 45s, 10m or 1h30m".to_owned())
}

/// Reads an endpoint: scheme, host and port alone.
pub(super) fn parse_endpoint(text: &str) -> Result<String, String> {
    let uri = text.parse::<axum::http::Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let plain =
        uri.filter(|uri| uri.path() == "/" && uri.query().is_none() && uri.authority().is_some_and(|host| !host.as_str().contains('@')));
    match plain {
        Some(_) => Ok(text.to_owned()),
        None => Err("write scheme, host and port only, such as http://moto.aws.svc:5000".to_owned()),
    }
}

/// Reads `quotes=arn:aws:iam::123456789012:role/quotes`.
pub(super) fn parse_grant(text: &str) -> Result<Grant, String> {
    match text.split_once('=') {
        Some((namespace, role)) if !namespace.is_empty() && role.starts_with("arn:") && role.contains(":role/") => {
            Ok(Grant { namespace: namespace.to_owned(), granted: role.to_owned() })
        }
        Some(_) | None => Err("write a namespace and a role, such as quotes=arn:aws:iam::123456789012:role/quotes".to_owned()),
    }
}

/// Reads `quotes=market_data`.
pub(super) fn parse_adoption(text: &str) -> Result<Grant, String> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    match text.split_once('=') {
        Some((namespace, database)) if is_name(namespace) && is_name(database) => {
            Ok(Grant { namespace: namespace.to_owned(), granted: database.to_owned() })
        }
        Some(_) | None => Err("write a namespace and a database, such as quotes=market_data".to_owned()),
    }
}
