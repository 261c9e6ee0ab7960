//! The S3 operations over a [`Folder`]: errors as S3 answers them, bodies streamed, checksums checked.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use s3s::access::{S3Access, S3AccessContext};
use s3s::crypto::{Checksum, Crc32};
use s3s::dto::{
    CommonPrefix, CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
    DeletedObject, ETag, EncodingType, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;

use super::folder::{Attributes, Committed, Folder, Mode, Staged, entity_tag};
use super::listing::{Question, page};

/// Bytes that are gathered before they are written, and read before they are sent.
const CHUNK_BYTES: usize = 1 << 20;
/// Most entries of a listing's page, as S3 has it.
const PAGE_ENTRIES: usize = 1_000;

/// Lets unsigned requests in beside those that are signed with the server's own key.
pub(super) struct TakesUnsigned;

#[async_trait::async_trait]
impl S3Access for TakesUnsigned {
    async fn check(&self, _: &mut S3AccessContext<'_>) -> S3Result<()> {
        Ok(())
    }
}

/// One bucket over a folder.
pub(super) struct Objects {
    folder: Arc<Folder>,
    bucket: String,
}

impl Objects {
    pub(super) fn new(folder: Arc<Folder>, bucket: &str) -> Self {
        Self { folder, bucket: bucket.to_owned() }
    }

    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket { Ok(()) } else { Err(s3_error!(NoSuchBucket, "this server has the bucket {:?} only", self.bucket)) }
    }

    /// Runs an act that blocks on the file system.
    async fn blocking<T: Send + 'static>(&self, act: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static) -> S3Result<T> {
        let folder = Arc::clone(&self.folder);
        let done = tokio::task::spawn_blocking(move || act(&folder)).await;
        done.map_err(|error| s3_error!(error, InternalError))?.map_err(|error| failed(&error))
    }

    /// Writes a request's body into a staged file and checks its length and checksum.
    async fn receive(&self, body: StreamingBlob, length: Option<i64>, crc32: Option<&str>) -> S3Result<Staged> {
        let mut staged = self.blocking(Folder::stage).await?;
        let mut body = body;
        let mut digest = crc32.map(|_| Crc32::new());
        let (mut chunks, mut gathered, mut received) = (Vec::new(), 0, 0_u64);
        loop {
            let chunk = body.next().await.transpose().map_err(|error| s3_error!(IncompleteBody, "the body broke off: {error}"))?;
            let ended = chunk.is_none();
            if let Some(chunk) = chunk {
                if let Some(digest) = &mut digest {
                    digest.update(&chunk);
                }
                gathered += chunk.len();
                received += chunk.len() as u64;
                chunks.push(chunk);
            }
            if ended || gathered >= CHUNK_BYTES {
                let full = std::mem::take(&mut chunks);
                gathered = 0;
                staged = self.blocking(move |_| staged.append(&full).map(|()| staged)).await?;
            }
            if ended {
                break;
            }
        }
        if length.is_some_and(|length| u64::try_from(length) != Ok(received)) {
            return Err(s3_error!(IncompleteBody, "{received} bytes came of {length:?}"));
        }
        if let (Some(digest), Some(expected)) = (digest, crc32) {
            let computed = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.finalize());
            if computed != expected {
                return Err(s3_error!(BadDigest, "the body's CRC32 is {computed}, not {expected}"));
            }
        }
        Ok(staged)
    }
}

#[async_trait::async_trait]
impl S3 for Objects {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.check_bucket(&request.input.bucket)?;
        Err(s3_error!(BucketAlreadyOwnedByYou))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let mode = match (&input.if_none_match, &input.if_match) {
            (None, None) => Mode::Replace,
            (Some(condition), None) if condition.is_any() => Mode::OnlyIfAbsent,
            _ => return Err(s3_error!(NotImplemented, "only If-None-Match: * is known here")),
        };
        let body = input.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        // The body is read to its end before any answer: a server that answers and hangs up would look like a reset.
        let staged = self.receive(body, input.content_length, input.checksum_crc32.as_deref()).await?;
        if self.folder.path(&input.key).is_none() {
            return Err(s3_error!(
                InvalidArgument,
                "the embedded server keeps objects as files: no part of a key may be empty, '.', '..' or longer than 255 bytes"
            ));
        }
        let attributes = Attributes {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            crc32: input.checksum_crc32.clone(),
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        };
        let key = input.key;
        match self.blocking(move |folder| folder.commit(&key, staged, &attributes, mode)).await? {
            Committed::Stored(metadata) => Ok(S3Response::new(PutObjectOutput {
                e_tag: Some(ETag::Strong(entity_tag(&metadata))),
                checksum_crc32: input.checksum_crc32,
                ..PutObjectOutput::default()
            })),
            Committed::Exists => Err(s3_error!(PreconditionFailed, "an object of that key exists")),
            Committed::Conflict => {
                Err(s3_error!(InvalidArgument, "the embedded server keeps objects as files: a key and the same key with '/' can't both be"))
            }
        }
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let key = input.key;
        let (file, metadata, attributes) =
            self.blocking(move |folder| folder.open_object(&key)).await?.ok_or_else(|| s3_error!(NoSuchKey))?;
        let tag = entity_tag(&metadata);
        if let Some(condition) = &input.if_match
            && !condition.is_any()
            && condition.as_etag().is_none_or(|wanted| wanted.value() != tag)
        {
            return Err(s3_error!(PreconditionFailed, "the object has changed"));
        }
        let whole = 0..metadata.len();
        let part = match input.range {
            None => whole.clone(),
            Some(range) => range.check(metadata.len()).map_err(|error| s3_error!(error, InvalidRange))?,
        };
        let length = part.end - part.start;
        let content_range = input.range.map(|_| format!("bytes {}-{}/{}", part.start, part.end - 1, metadata.len()));
        Ok(S3Response::new(GetObjectOutput {
            body: Some(send(file, part.start, length).await.map_err(|error| failed(&error))?),
            content_length: i64::try_from(length).ok(),
            content_range,
            last_modified: metadata.modified().ok().map(Timestamp::from),
            metadata: Some(attributes.metadata.into_iter().collect()),
            content_type: attributes.content_type,
            content_encoding: attributes.content_encoding,
            checksum_crc32: attributes.crc32.filter(|_| part == whole),
            e_tag: Some(ETag::Strong(tag)),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let key = input.key;
        let (_, metadata, attributes) = self.blocking(move |folder| folder.open_object(&key)).await?.ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: i64::try_from(metadata.len()).ok(),
            last_modified: metadata.modified().ok().map(Timestamp::from),
            metadata: Some(attributes.metadata.into_iter().collect()),
            content_type: attributes.content_type,
            content_encoding: attributes.content_encoding,
            checksum_crc32: attributes.crc32,
            e_tag: Some(ETag::Strong(entity_tag(&metadata))),
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        if input.delimiter.as_deref().is_some_and(|delimiter| delimiter != "/") {
            return Err(s3_error!(NotImplemented, "the only delimiter here is '/'"));
        }
        let limit = input.max_keys.map_or(PAGE_ENTRIES, |keys| usize::try_from(keys).unwrap_or(0).min(PAGE_ENTRIES));
        let question = Question {
            prefix: input.prefix.clone().unwrap_or_default(),
            start_after: input.start_after.clone().unwrap_or_default(),
            resume_after: input.continuation_token.clone().unwrap_or_default(),
            folded: input.delimiter.is_some(),
            limit,
        };
        let found = self.blocking(move |folder| page(folder.root(), &question)).await?;
        let encoded = input.encoding_type.as_ref().is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
        let spell = |text: String| if encoded { url_encoded(&text) } else { text };
        let count = found.keys.len() + found.common_prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix.map(spell),
            start_after: input.start_after.map(spell),
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            continuation_token: input.continuation_token,
            max_keys: i32::try_from(limit).ok(),
            key_count: i32::try_from(count).ok(),
            is_truncated: Some(found.resume_after.is_some()),
            next_continuation_token: found.resume_after,
            common_prefixes: Some(found.common_prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(spell(prefix)) }).collect()),
            contents: Some(
                found
                    .keys
                    .into_iter()
                    .map(|found| Object { key: Some(spell(found.key)), ..entry(found.size, found.modified, found.entity_tag) })
                    .collect(),
            ),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        self.blocking(move |folder| folder.remove(&input.key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let quiet = input.delete.quiet.unwrap_or(false);
        let keys: Vec<String> = input.delete.objects.into_iter().map(|object| object.key).collect();
        let deleted = self
            .blocking(move |folder| {
                keys.iter().try_for_each(|key| folder.remove(key))?;
                Ok(keys)
            })
            .await?;
        let deleted = if quiet { Vec::new() } else { deleted };
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted.into_iter().map(|key| DeletedObject { key: Some(key), ..DeletedObject::default() }).collect()),
            ..DeleteObjectsOutput::default()
        }))
    }
}

/// Returns a part of a file as a body: small ones in one piece.
async fn send(file: std::fs::File, start: u64, length: u64) -> io::Result<StreamingBlob> {
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(start)).await?;
    let mut file = file.take(length);
    if length > CHUNK_BYTES as u64 {
        return Ok(StreamingBlob::wrap(ReaderStream::with_capacity(file, CHUNK_BYTES)));
    }
    let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or(CHUNK_BYTES));
    while file.read_buf(&mut bytes).await? > 0 {}
    Ok(StreamingBlob::wrap(stream::once(ready(Ok::<Bytes, io::Error>(bytes.freeze())))))
}

fn entry(size: u64, modified: SystemTime, tag: String) -> Object {
    Object {
        size: i64::try_from(size).ok(),
        last_modified: Some(Timestamp::from(modified)),
        e_tag: Some(ETag::Strong(tag)),
        ..Object::default()
    }
}

fn failed(error: &io::Error) -> S3Error {
    tracing::warn!(error = %error, "the embedded s3 server failed on its folder");
    s3_error!(InternalError, "the embedded server failed on its folder: {error}")
}

/// Spells a key as `encoding-type=url` asks for: what XML can't hold comes through too.
fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
    }
    encoded
}
