//! Which machines clients connect to: any but link-local and metadata addresses, whatever a name leads to. The check of a spec has looked at
//! what stands there; this looks at what came of it. Credentials are fetched by clients of their own, which may.

use std::error::Error;
use std::net::IpAddr;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use stockpipeline::check::allowed_addresses;

/// Looks a name up as the system does, and leaves out addresses that nothing may connect to.
///
/// # Errors
/// The system's; or [`ForbiddenAddress`](stockpipeline::check::ForbiddenAddress), when there are no others.
pub async fn look_up(name: &str) -> Result<Vec<IpAddr>, Box<dyn Error + Send + Sync>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(allowed_addresses(found.map(|address| address.ip()))?)
}

/// Looks names up like [`look_up`], for clients of AWS' kind.
#[derive(Debug, Clone, Copy)]
pub struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { look_up(name).await.map_err(ResolveDnsError::new) })
    }
}

#[cfg(test)]
mod tests {
    use stockpipeline::check::ForbiddenAddress;

    use super::*;

    #[tokio::test]
    async fn a_name_is_followed_to_what_may_be_reached_and_nowhere_else() {
        // The system reads numbers as addresses, so that no server of names is needed.
        for (name, expected) in [("localhost", true), ("2130706433", true), ("2852039166", false), ("0xa9fea9fe", false)] {
            let found = Resolver.resolve_dns(name).await;
            assert_eq!(found.is_ok(), expected, "{name}: {found:?}");
            let Err(error) = look_up(name).await else { continue };
            assert!(error.is::<ForbiddenAddress>(), "{name}: {error:?}");
        }
    }
}
