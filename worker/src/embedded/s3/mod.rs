//! An S3 server in process over a folder: one bucket, whose objects are the folder's files under their own keys.
//!
//! It keeps what the sink's exactness rests on: `If-None-Match: *` is atomic, a listing is in key order, and an object is
//! seen whole with its metadata or not at all, even when the process is killed in the middle of a PUT. It promises nothing
//! for a power cut (no fsync). Whatever isn't an object stands under [`HIDDEN`], so globs over the zones see only data.
//! Not here: multipart uploads, versions, copies, access control (it listens on loopback only, and takes unsigned requests).

mod folder;
mod listing;
mod objects;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use folder::HIDDEN;

use folder::Folder;
use objects::{Objects, TakesUnsigned};

/// How long requests that are under way may go on after [`EmbeddedS3::shutdown`].
const DRAIN: Duration = Duration::from_secs(5);

/// The running server; it stops when this is dropped.
#[derive(Debug)]
pub struct EmbeddedS3 {
    address: SocketAddr,
    stop: DropGuard,
    served: tokio::task::JoinHandle<()>,
}

impl EmbeddedS3 {
    /// Key id that signed requests use; unsigned ones are taken as well.
    pub const ACCESS_KEY_ID: &str = "embedded";
    /// Secret of [`Self::ACCESS_KEY_ID`].
    pub const SECRET_ACCESS_KEY: &str = "embedded-secret";

    /// Serves a folder as a bucket on a free port of 127.0.0.1; makes the folder when it is missing.
    ///
    /// # Errors
    /// When the folder can't be written, another process serves it, or no port can be bound.
    pub async fn start(folder: &Path, bucket: &str) -> io::Result<Self> {
        let folder = Folder::open(folder)?;
        let mut builder = S3ServiceBuilder::new(Objects::new(Arc::new(folder), bucket));
        builder.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY_ID, Self::SECRET_ACCESS_KEY));
        builder.set_access(TakesUnsigned);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, builder.build(), stop.clone()));
        Ok(Self { address, stop: stop.drop_guard(), served })
    }

    /// Returns the URL to give to a client, with path style.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the server once the requests under way are answered, or after 5 s.
    pub async fn shutdown(self) {
        drop(self.stop);
        if let Err(error) = self.served.await {
            tracing::warn!(error = %error, "failed to stop the embedded s3 server");
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, service.clone(), stop.clone()));
                }
                Err(error) => {
                    // Out of descriptors, mostly: without a pause this loop would be hot until one is free.
                    tracing::warn!(error = %error, "failed to accept a connection of the embedded s3 server");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("dropped requests of the embedded s3 server that took too long");
    }
}

async fn serve_connection(stream: TcpStream, service: S3Service, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "failed to set no-delay on a connection of the embedded s3 server");
    }
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection of the embedded s3 server broke");
    }
}
