//! Whole objects of any size into a local file: streamed, resumed where they broke off, and of one version only.

use std::time::{Duration, Instant};

use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::sync::Mutex;

use super::failure::{Failure, Reason};
use super::objects::{broke_off, require_tag};
use super::retry::{Act, Attempt, Effect};
use super::{Store, StoreError};

/// How far a download has come.
struct Progress<'a> {
    file: &'a mut File,
    offset: u64,
    /// Bytes of the object, once an answer has told.
    size: Option<u64>,
    entity_tag: Option<String>,
    failed: Option<std::io::Error>,
}

/// What one attempt ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Done,
    /// Bytes came, and there are more of them.
    More,
    NoObject,
    FileFailed,
}

impl Store {
    /// Writes the bytes of an object into a file from its start on; returns how many, or None when there is no such object.
    /// A slow download takes as many attempts as it needs; one that stands still is a time-out and goes on where it stood.
    ///
    /// # Errors
    /// As [`Store::get`]; [`StoreError::Refused`] when the object changes meanwhile, [`StoreError::Keep`] for the file.
    pub async fn download(&self, key: &str, file: &mut File) -> Result<Option<u64>, StoreError> {
        let act = Act { operation: "GetObject", key, effect: Effect::Read };
        let progress = Mutex::new(Progress { file, offset: 0, size: None, entity_tag: None, failed: None });
        // Leaves room to give a slow stream back before the attempt's limit makes a failure of it.
        let part = self.inner.settings.attempt_timeout / 2;
        loop {
            let step = self.run(act, |client| async { self.attempt_part(client, key, part, &mut *progress.lock().await).await }).await?;
            let progress = &mut *progress.lock().await;
            match step {
                Step::More => {}
                Step::Done => return Ok(Some(progress.offset)),
                Step::NoObject => return Ok(None),
                Step::FileFailed => {
                    let source = progress.failed.take().unwrap_or_else(|| std::io::ErrorKind::Other.into());
                    return Err(StoreError::Keep { key: key.to_owned(), source });
                }
            }
        }
    }

    async fn attempt_part(&self, client: aws_sdk_s3::Client, key: &str, part: Duration, progress: &mut Progress<'_>) -> Attempt<Step> {
        // Asking for what lies behind the last byte would be refused.
        if progress.offset > 0 && progress.size == Some(progress.offset) {
            return Ok((Step::Done, "200"));
        }
        let begun = Instant::now();
        let mut request = client.get_object().bucket(self.bucket()).key(key).set_if_match(progress.entity_tag.clone());
        if progress.offset > 0 {
            request = request.range(format!("bytes={}-", progress.offset));
        }
        let answer = match request.send().await.map_err(|error| Failure::of(&error)) {
            Ok(answer) => answer,
            Err(Failure { reason: Reason::Missing, .. }) if progress.offset == 0 => return Ok((Step::NoObject, "404")),
            Err(Failure { reason: Reason::Missing | Reason::Unmet, outcome, .. }) => {
                return Err(Failure::new(Reason::Refused, outcome, "the object changed while it was read"));
            }
            Err(failure) => return Err(failure),
        };
        require_tag(answer.e_tag.as_deref())?;
        if progress.offset > 0 && answer.content_range.is_none() {
            return Err(Failure::new(Reason::Unsupported, "200", "the store doesn't answer ranges"));
        }
        progress.entity_tag = answer.e_tag;
        progress.size = answer.content_length.and_then(|length| u64::try_from(length).ok()).map(|length| progress.offset + length);
        // A write that was cut off may have moved the file's position.
        if let Err(error) = progress.file.seek(SeekFrom::Start(progress.offset)).await {
            progress.failed = Some(error);
            return Ok((Step::FileFailed, "200"));
        }
        let mut body = answer.body;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broke_off(&error))?;
            if let Err(error) = keep(progress.file, &chunk).await {
                progress.failed = Some(error);
                return Ok((Step::FileFailed, "200"));
            }
            progress.offset += chunk.len() as u64;
            if begun.elapsed() >= part {
                return Ok((Step::More, "200"));
            }
        }
        Ok((Step::Done, "200"))
    }
}

/// Writes a chunk to the file itself, so that the offset never runs ahead of it.
async fn keep(file: &mut File, chunk: &[u8]) -> std::io::Result<()> {
    file.write_all(chunk).await?;
    file.flush().await
}
