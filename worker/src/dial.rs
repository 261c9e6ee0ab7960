//! Which machines the clients of files, S3 and Glue connect to: any but link-local and metadata addresses, whatever a name or a redirect
//! leads to.

use std::error::Error;
use std::net::SocketAddr;

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use stockpipeline::check::{ForbiddenAddress, is_forbidden_address};
use stockpipeline_program::lookup::{Resolver, look_up};

/// Redirects that are followed in a row.
const MOST_REDIRECTS: usize = 10;

/// Returns the HTTP client of a service of AWS' kind.
pub(crate) fn aws_client() -> SharedHttpClient {
    Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_with_resolver(Resolver)
}

/// Returns what a client of files goes by, before it is built: how it looks names up, and which redirects it follows.
pub(crate) fn guarded(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    let policy = Policy::custom(|attempt| match check(attempt.url()) {
        Err(forbidden) => attempt.error(forbidden),
        Ok(()) if attempt.previous().len() > MOST_REDIRECTS => attempt.error("too many redirects"),
        Ok(()) => attempt.follow(),
    });
    builder.dns_resolver(Names).redirect(policy)
}

/// Checks an address that stands in a URL, which nobody looks up.
///
/// # Errors
/// [`ForbiddenAddress`]; the user's.
pub(crate) fn check(url: &Url) -> Result<(), ForbiddenAddress> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host.parse().is_ok_and(is_forbidden_address) { Err(ForbiddenAddress) } else { Ok(()) }
}

/// Returns whether a failure comes of an address that nothing may connect to: no other attempt helps.
pub(crate) fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ForbiddenAddress>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Looks names up as the clients of AWS' kind do.
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let allowed = look_up(name.as_str()).await?;
            let addresses: Addrs = Box::new(allowed.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::dns::ResolveDns;

    use super::*;

    #[tokio::test]
    async fn a_name_of_what_may_not_be_reached_is_known_by_its_error() {
        // The system reads numbers as addresses, so that no server of names is needed.
        assert!(Names.resolve("localhost".parse().unwrap()).await.is_ok());
        let by_files = Names.resolve("2852039166".parse().unwrap()).await.err().unwrap();
        let by_aws = Resolver.resolve_dns("2852039166").await.unwrap_err();
        assert!(is_forbidden(&*by_files) && is_forbidden(&by_aws), "{by_files:?} {by_aws:?}");
    }

    #[test]
    fn an_address_in_a_url_is_checked_in_every_form() {
        for (url, expected) in [
            ("https://169.254.169.254/latest", false),
            ("http://2852039166/", false),
            ("http://[fd00:ec2::254]/", false),
            ("http://[::ffff:169.254.169.254]:80/", false),
            ("http://127.0.0.1:9000/", true),
            ("https://files.example/a.csv", true),
        ] {
            assert_eq!(check(&url.parse().unwrap()).is_ok(), expected, "{url}");
        }
    }
}
