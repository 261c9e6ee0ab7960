//! The clients of the API server. Neither tries again by itself: whoever calls decides that, and each attempt has to pass the fence.
//!
//! A certificate that a kubeconfig's plugin gives is asked for once, at the start: kube's own client does not renew it either. Once it has
//! expired no request is served, the lease is lost, and the next process asks for another one. In a pod there is a token, which is renewed.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config, Error};
use tower::{BoxError, ServiceBuilder};

use crate::process::fence::Fence;

/// How long a connection that nothing uses is kept: after a burst there are dozens, with some 30 KiB of buffers each.
const IDLE: Duration = Duration::from_secs(30);

/// Returns a client that always may write: for the lease itself.
///
/// # Errors
/// What is wrong with the settings, or with the files that they name.
pub(super) fn unfenced(mut config: Config) -> Result<Client, Error> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.build())
}

/// Returns a client that writes only while a fence is open: [`ClientBuilder`]'s stack, with the fence right before the connections,
/// where a layer of the builder cannot come.
///
/// # Errors
/// What is wrong with the settings, or with the files that they name.
pub(super) fn fenced(config: &Config, fence: &Fence) -> Result<Client, Error> {
    let mut connector = TimeoutConnector::new(config.rustls_https_connector()?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let mut connections = legacy::Client::builder(TokioExecutor::new());
    connections.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(fence.layer())
        .map_err(BoxError::from)
        .service(connections.build(connector));
    Ok(Client::new(service, config.default_namespace.clone()))
}
