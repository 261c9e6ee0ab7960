//! Addresses: files, endpoints, brokers, buckets. Nothing may point at link-local or metadata addresses, or at the API server.
//!
//! A name can still resolve to one; who connects looks again after DNS and redirects.

use std::net::{IpAddr, Ipv4Addr};

use super::findings::Findings;
use crate::checked::Location;

/// First 32 bits of the addresses at which EC2 serves metadata, credentials and time over IPv6, outside the link-local range.
const METADATA_V6: [u16; 2] = [0xfd00, 0x0ec2];
/// First 96 bits of the addresses by which IPv6 machines reach IPv4 ones.
const TRANSLATED: [u16; 6] = [0x0064, 0xff9b, 0, 0, 0, 0];
/// Names that clouds give to their metadata services.
const METADATA_NAMES: [&str; 4] = ["metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"];

/// What is wrong with an address, and what to do.
type Complaint = (&'static str, &'static str);

/// Name that every cluster has for its API server, with or without the parts that a resolver adds.
const API_SERVER: &str = "kubernetes.default.svc";

const FORBIDDEN: Complaint = ("points at a link-local or metadata address", "use an address that is meant to be reached");

const IS_API_SERVER: Complaint = ("points at the API server of the cluster", "use an address that is meant to be reached");

/// Returns where a file is; a path after an error.
pub(crate) fn location(findings: &mut Findings, path: &str, text: &str) -> Location {
    match parse_location(text) {
        Ok(location) => location,
        Err((reason, remedy)) => {
            findings.wrong(path, text, reason, remedy);
            Location::Path(String::new())
        }
    }
}

fn parse_location(text: &str) -> Result<Location, Complaint> {
    if text.chars().any(char::is_control) {
        return Err(("holds a control character", "remove it"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(Location::Path(text.to_owned()));
    };
    match scheme {
        "s3" => parse_s3(rest),
        "https" => check_host(host_of(rest)?).map(|_| Location::Http(text.to_owned())),
        "http" if check_host(host_of(rest)?)? => Ok(Location::Http(text.to_owned())),
        "http" => Err(("is plain HTTP to another machine", "use https://, or http:// with a loopback host")),
        _ => Err(("has a scheme that is not known", "use s3://bucket/key, https://host/path or a path without a scheme")),
    }
}

fn parse_s3(rest: &str) -> Result<Location, Complaint> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if !is_bucket(bucket) {
        return Err(("names no bucket that S3 would take", "write s3://bucket/key"));
    }
    if key.is_empty() || key.ends_with('/') || key.len() > 1024 {
        return Err(("names no object", "write s3://bucket/key with a key of 1 to 1024 bytes"));
    }
    Ok(Location::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
}

/// Checks the endpoint of a service: http or https, a host, a port, nothing else.
pub(crate) fn endpoint(findings: &mut Findings, path: &str, text: &str) {
    let checked = match text.split_once("://") {
        Some(("http" | "https", rest)) => host_of(rest).and_then(|host| {
            let tail = rest.split_once('/').map_or("", |(_, tail)| tail);
            if tail.is_empty() && !rest.contains(['?', '#']) {
                check_host(host)
            } else {
                Err(("holds more than a host", "leave out everything after the host and port"))
            }
        }),
        Some(_) | None => Err(("is no endpoint", "write https://host or http://host:port")),
    };
    if let Err((reason, remedy)) = checked {
        findings.wrong(path, text, reason, remedy);
    }
}

/// Checks a broker, `host:port`.
pub(crate) fn broker(findings: &mut Findings, path: &str, text: &str) {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
    if port.is_none() {
        findings.wrong(path, text, "has no port from 1 to 65535", "write host:port, such as kafka:9092");
    } else if let Err((reason, remedy)) = host_of(text).and_then(check_host) {
        findings.wrong(path, text, reason, remedy);
    }
}

/// Checks the name of a bucket.
pub(crate) fn bucket(findings: &mut Findings, path: &str, name: &str) {
    if !is_bucket(name) {
        let remedy = "use 3 to 63 lower-case letters, digits, single dots and -, a letter or digit at either end, and no IP address";
        findings.wrong(path, name, "is no bucket name", remedy);
    }
}

fn is_bucket(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = name.bytes().next().is_some_and(allowed) && name.bytes().last().is_some_and(allowed);
    let characters = name.bytes().all(|byte| allowed(byte) || matches!(byte, b'.' | b'-'));
    let joints = !name.contains("..") && !name.contains(".-") && !name.contains("-.");
    (3..=63).contains(&name.len()) && edges && characters && joints && name.parse::<Ipv4Addr>().is_err()
}

/// Returns the host of what follows a scheme.
fn host_of(rest: &str) -> Result<&str, Complaint> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err(("holds a user name or password", "remove what stands before the @"));
    }
    let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
        let (host, tail) = inside.split_once(']').ok_or(("has an unclosed [ in its host", "write [address]:port"))?;
        (host, tail.strip_prefix(':').or(if tail.is_empty() { Some("1") } else { None }))
    } else {
        authority.split_once(':').map_or((authority, Some("1")), |(host, port)| (host, Some(port)))
    };
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(port) if port > 0 => Ok(host),
        Some(_) | None => Err(("has no port from 1 to 65535", "write host:port")),
    }
}

/// Returns whether a host is this machine; an error when nothing may connect to it.
fn check_host(host: &str) -> Result<bool, Complaint> {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if let Ok(address) = name.parse::<IpAddr>() {
        return if is_forbidden_address(address) { Err(FORBIDDEN) } else { Ok(address.to_canonical().is_loopback()) };
    }
    let characters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if name.is_empty() || name.len() > 253 || !characters || name.split('.').any(str::is_empty) {
        return Err(("has no host", "write a host name, an IPv4 address or [an IPv6 address]"));
    }
    // Libraries read 2852039166, 0xa9fea9fe or 0251.254.169.254 as addresses.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err(("writes an IP address in an unusual way", "write four decimal numbers with dots"));
    }
    let is_shortened = API_SERVER.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.') || rest.is_empty());
    if is_shortened || name.strip_prefix(API_SERVER).is_some_and(|rest| rest.starts_with('.')) {
        return Err(IS_API_SERVER);
    }
    if METADATA_NAMES.contains(&name.as_str()) { Err(FORBIDDEN) } else { Ok(name == "localhost" || name.ends_with(".localhost")) }
}

/// Returns whether nothing may connect to an address: link-local ones, metadata services, and what is no machine's address.
#[must_use]
pub fn is_forbidden_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified() || address.is_broadcast() || address.is_multicast(),
        IpAddr::V6(address) => {
            let segments = address.segments();
            let [.., a, b, c, d] = address.octets();
            let translated = segments.starts_with(&TRANSLATED).then(|| Ipv4Addr::new(a, b, c, d));
            let embedded = address.to_ipv4().or(translated).is_some_and(|inner| inner.is_link_local());
            let metadata = segments.starts_with(&METADATA_V6);
            address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast() || metadata || embedded
        }
    }
}

/// A name leads to addresses that nothing may connect to, and to no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name leads to a link-local or metadata address; use one that is meant to be reached")]
pub struct ForbiddenAddress;

/// Returns those addresses of a name that may be connected to, in their order.
///
/// # Errors
/// [`ForbiddenAddress`] when there are others only; the user's.
pub fn allowed_addresses(found: impl IntoIterator<Item = IpAddr>) -> Result<Vec<IpAddr>, ForbiddenAddress> {
    let (forbidden, allowed): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(|address| is_forbidden_address(*address));
    if allowed.is_empty() && !forbidden.is_empty() { Err(ForbiddenAddress) } else { Ok(allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_machine_of_the_user_s_is_forbidden_in_every_form() {
        let cases = [
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("::ffff:169.254.169.254", true),
            ("::169.254.169.254", true),
            ("64:ff9b::169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("fd00:ec2::23", true),
            ("0.0.0.0", true),
            ("::", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("10.0.12.9", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("fd12:3456::1", false),
            ("64:ff9b::52.94.5.7", false),
            ("52.94.5.7", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_forbidden_address(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_name_keeps_the_addresses_that_may_be_reached() {
        let [metadata, private] = ["169.254.169.254", "10.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(allowed_addresses([metadata, private]), Ok(vec![private]));
        assert_eq!(allowed_addresses([metadata]), Err(ForbiddenAddress));
        assert_eq!(allowed_addresses([]), Ok(Vec::new()));
    }
}
