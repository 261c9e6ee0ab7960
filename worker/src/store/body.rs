//! The body of a PUT: the pieces of an object one behind another, and what S3 checks them by.
//!
//! The client would make the checks itself only of bytes that lie in one piece; of a stream it makes them while it sends, in a trailer that
//! not every store reads. So they are made here, once for all attempts.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use sha2::{Digest as _, Sha256};

use crate::pieces::Pieces;

/// A body, for as many attempts as it takes.
pub(super) struct Body {
    pieces: Pieces,
    /// CRC32 as S3 writes it.
    pub(super) crc32: String,
    /// What the signature covers of the body.
    pub(super) signed: Signed,
}

/// What a request's signature covers of its body.
#[derive(Debug, Clone)]
pub(super) struct Signed(PayloadSigningOverride);

impl Body {
    /// Returns a body that the signature does not cover: TLS keeps it whole.
    pub(super) fn unsigned(pieces: Pieces) -> Self {
        Self { crc32: crc32(&pieces), signed: Signed(PayloadSigningOverride::unsigned_payload()), pieces }
    }

    /// Returns a body that the signature covers.
    pub(super) fn signed(pieces: Pieces) -> Self {
        Self { crc32: crc32(&pieces), signed: Signed(PayloadSigningOverride::Precomputed(sha256(&pieces))), pieces }
    }

    /// Returns the body for one attempt.
    pub(super) fn stream(&self) -> ByteStream {
        let left = u64::try_from(self.pieces.len()).unwrap_or(u64::MAX);
        ByteStream::new(SdkBody::from_body_1_x(Chain { pieces: self.pieces.clone(), next: 0, left }))
    }
}

fn crc32(pieces: &Pieces) -> String {
    let mut hasher = crc32fast::Hasher::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    STANDARD.encode(hasher.finalize().to_be_bytes())
}

fn sha256(pieces: &Pieces) -> String {
    let mut hasher = Sha256::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory cannot fail");
        text
    })
}

/// Tells the signer, which would leave out what does not lie in one piece.
impl Intercept for Signed {
    fn name(&self) -> &'static str {
        "Signed"
    }

    fn read_before_signing(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(self.0.clone());
        Ok(())
    }
}

/// The pieces that are still to be sent. Each is a frame of its own: nothing is copied.
struct Chain {
    pieces: Pieces,
    next: usize,
    left: u64,
}

impl hyper::body::Body for Chain {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.get(self.next).cloned();
        if let Some(piece) = &piece {
            self.next += 1;
            self.left = self.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_are_sent_and_checked_as_the_bytes_that_they_are() {
        let whole = "123456789";
        for cut in [vec!["123456789"], vec!["1", "2345", "6789"]] {
            let pieces: Pieces = cut.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
            let body = Body::signed(pieces);
            // The check value of CRC-32 is cbf43926.
            assert_eq!(body.crc32, "y/Q5Jg==");
            let sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
            assert!(matches!(&body.signed.0, PayloadSigningOverride::Precomputed(text) if text == sha256), "{:?}", body.signed);
            for _attempt in 0..2 {
                assert_eq!(body.stream().size_hint(), (9, Some(9)));
                assert_eq!(body.stream().collect().await.unwrap().into_bytes(), whole, "{cut:?}");
            }
        }
    }
}
