//! Listings, page by page.
//!
//! Keys are asked for URL-encoded, since XML can't hold every byte of a key. A page goes on after the last key of the one
//! before and not by token, so that a listing survives any pause.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;

use super::failure::Failure;
use super::objects::millis;
use super::retry::{Act, Effect};
use super::{Listed, Store, StoreError};

/// Most entries of a page, as S3 has it.
const PAGE_ENTRIES: usize = 1_000;

/// What to list in one request.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    prefix: &'a str,
    start_after: Option<&'a str>,
    delimiter: Option<&'a str>,
    token: Option<&'a str>,
    limit: usize,
}

impl Store {
    /// Returns up to `limit` entries under a prefix, after a key, in key order. One request when `limit` is 1,000 or less.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let mut listed: Vec<Listed> = Vec::new();
        while listed.len() < limit {
            let start_after = listed.last().map_or(start_after, |last| Some(last.key.as_str()));
            let question = Question { prefix, start_after, delimiter: None, token: None, limit: PAGE_ENTRIES.min(limit - listed.len()) };
            let answer = self.list_page(question).await?;
            let more = answer.is_truncated == Some(true) && !answer.contents().is_empty();
            listed.extend(entries(&answer));
            if !more {
                break;
            }
        }
        Ok(listed)
    }

    /// Returns the pages of everything under a prefix, in key order. Makes no request yet.
    #[must_use]
    pub fn list_all(&self, prefix: &str) -> Pages {
        Pages { store: self.clone(), prefix: prefix.to_owned(), after: None, ended: false }
    }

    /// Returns what stands between a prefix and the next delimiter, the delimiter included: the folders of a folder.
    /// As many as there are, so it is for levels that are known to be narrow.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn prefixes(&self, prefix: &str, delimiter: &str) -> Result<Vec<String>, StoreError> {
        let mut prefixes = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let question = Question { prefix, start_after: None, delimiter: Some(delimiter), token: token.as_deref(), limit: PAGE_ENTRIES };
            let answer = self.list_page(question).await?;
            let encoded = answer.encoding_type == Some(EncodingType::Url);
            prefixes.extend(answer.common_prefixes().iter().filter_map(|common| common.prefix()).map(|text| spelled(text, encoded)));
            token = answer.next_continuation_token;
            if token.is_none() {
                return Ok(prefixes);
            }
        }
    }

    async fn list_page(&self, question: Question<'_>) -> Result<ListObjectsV2Output, StoreError> {
        let act = Act { operation: "ListObjectsV2", key: question.prefix, effect: Effect::Read };
        self.run(act, |client| async move {
            let request = client
                .list_objects_v2()
                .bucket(self.bucket())
                .prefix(question.prefix)
                .set_start_after(question.start_after.map(str::to_owned))
                .set_delimiter(question.delimiter.map(str::to_owned))
                .set_continuation_token(question.token.map(str::to_owned))
                .encoding_type(EncodingType::Url)
                .max_keys(i32::try_from(question.limit).unwrap_or(i32::MAX));
            let answer = request.send().await.map_err(|error| Failure::of(&error))?;
            if answer.name.is_none() && answer.is_truncated.is_none() {
                return Err(Failure::not_s3("the answer to a listing was no listing"));
            }
            Ok((answer, "200"))
        })
        .await
    }
}

/// The pages of a listing.
#[derive(Debug)]
pub struct Pages {
    store: Store,
    prefix: String,
    after: Option<String>,
    ended: bool,
}

impl Pages {
    /// Returns the next page of at most 1,000 entries, or None at the end.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn next(&mut self) -> Result<Option<Vec<Listed>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let page = self.store.list(&self.prefix, self.after.as_deref(), PAGE_ENTRIES).await?;
        self.ended = page.len() < PAGE_ENTRIES;
        self.after = page.last().map(|last| last.key.clone());
        Ok((!page.is_empty()).then_some(page))
    }
}

fn entries(answer: &ListObjectsV2Output) -> impl Iterator<Item = Listed> {
    let encoded = answer.encoding_type == Some(EncodingType::Url);
    answer.contents().iter().filter_map(move |object| {
        Some(Listed {
            key: spelled(object.key()?, encoded),
            size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            modified_millis: millis(object.last_modified),
        })
    })
}

/// Returns a key as it is, from its spelling in a listing.
fn spelled(text: &str, encoded: bool) -> String {
    if !encoded {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_from_their_url_spelling() {
        for (text, key) in [
            ("raw/symbol%3DBRK.B/x.parquet", "raw/symbol=BRK.B/x.parquet"),
            ("a%252Fb", "a%2Fb"),
            ("a+b%2Bc", "a b+c"),
            ("%E2%82%AC", "€"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
        ] {
            assert_eq!(spelled(text, true), key);
        }
        assert_eq!(spelled("a%2Fb+c", false), "a%2Fb+c");
    }
}
