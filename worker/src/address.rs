//! Addresses of sources as they may be shown and kept: without credentials and signatures. Pure.

use sha2::{Digest, Sha256};

/// Parameters that sign an address or say who asks, in lower case. They change from one address of a content to the next.
const SIGNING: [&str; 13] = [
    "signature",
    "expires",
    "token",
    "access_token",
    "sig",
    "policy",
    "key-pair-id",
    "awsaccesskeyid",
    "googleaccessid",
    "apikey",
    "api_key",
    "api-key",
    "x-api-key",
];
/// What the names of others begin with.
const SIGNING_PREFIXES: [&str; 2] = ["x-amz-", "x-goog-"];
/// Those of Azure's shared access signatures, which are such only beside a `sig`.
const SIGNING_BESIDE_SIG: [&str; 14] = ["sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "skoid", "sktid", "skt", "ske", "sks"];

/// Returns an address without credentials, query and fragment, as messages show it.
pub(crate) fn shown(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or(address);
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

/// Returns the name of what an address gives: its query, apart from what signs it, tells one content from another and stands there as a hash.
pub(crate) fn name(address: &str) -> String {
    let shown = shown(address);
    let address = address.split('#').next().unwrap_or(address);
    let Some((_, query)) = address.split_once('?') else { return shown };
    let asked = asked(query);
    if asked.is_empty() {
        return shown;
    }
    let digest = Sha256::digest(asked.join("&"));
    let first = digest.first_chunk().expect("a SHA-256 digest has 32 bytes");
    format!("{shown}?query={:08x}", u32::from_be_bytes(*first))
}

/// Returns the parameters that say what is asked for.
fn asked(query: &str) -> Vec<&str> {
    let name = |parameter: &str| parameter.split('=').next().unwrap_or(parameter).to_ascii_lowercase();
    let has_sig = query.split('&').any(|parameter| name(parameter) == "sig");
    let signs = |parameter: &str| {
        let name = name(parameter);
        let name = name.as_str();
        SIGNING.contains(&name)
            || SIGNING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || (has_sig && SIGNING_BESIDE_SIG.contains(&name))
    };
    query.split('&').filter(|parameter| !parameter.is_empty() && !signs(parameter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_contents_apart_and_hold_neither_credentials_nor_signatures() {
        let same = |one: &str, other: &str| assert_eq!(name(one), name(other));
        let plain = "https://host:8443/a/b.csv";
        same("https://me:secret@host:8443/a/b.csv?X-Amz-Signature=1&x-amz-date=2#x", plain);
        same("https://host:8443/a/b.csv?sv=1&se=2026-11-27&sp=r&sig=abc", plain);
        same("https://host:8443/a/b.csv?", plain);
        assert_eq!(name(plain), plain);
        let spy = name("https://host/q?symbol=SPY&interval=1d");
        same("https://host/q?symbol=SPY&Expires=1&interval=1d&Signature=2&token=3&apikey=4", "https://host/q?symbol=SPY&interval=1d");
        assert!(spy.starts_with("https://host/q?query=") && !spy.contains("SPY"), "{spy}");
        let others = ["https://host/q?symbol=DIA&interval=1d", "https://host/q?symbol=SPY", "https://host/q", "https://host/q?se=1"];
        for other in others {
            assert_ne!(name(other), spy, "{other}");
        }
        assert_ne!(name("https://host/q?se=1"), name("https://host/q?se=2"), "no shared access signature");
    }

    #[test]
    fn shown_addresses_end_before_the_query() {
        for (address, expected) in [
            ("https://me:secret@host/a.csv?x=1#y", "https://host/a.csv"),
            ("https://host", "https://host"),
            ("https://me@host?x=1", "https://host"),
            ("no address", "no address"),
        ] {
            assert_eq!(shown(address), expected);
        }
    }
}
