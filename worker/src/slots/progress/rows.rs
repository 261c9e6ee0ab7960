//! Looks whether the data topic has rows of a source already: then there must be progress of it, too.

use std::collections::BTreeSet;
use std::time::Instant;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::{Reader, Search, SearchError, UNDECIDED_PAUSE, Wait};
use crate::kafka::refusal;
use crate::producer::ORIGIN_HEADER;

/// Offsets at the end of each partition that are looked at; markers of transactions are among them.
const TAIL: i64 = 256;

impl Reader {
    /// Returns whether the newest records of any partition of the data topic are rows of the source that is searched for.
    ///
    /// # Errors
    /// [`SearchError`], also where the topic may not be read.
    pub fn has_rows(&self, search: &Search<'_>, data: &str, partitions: u32, cancel: &CancellationToken) -> Result<bool, SearchError> {
        let search = Search { topic: data, ..*search };
        let wait = Wait { search: &search, deadline: Instant::now() + search.timeout, cancel };
        let refused = |error: ClientError| wait.failed(refusal("read topic", data, &error));
        let mut open: BTreeSet<i32> = (0..i32::try_from(partitions).unwrap_or(i32::MAX)).collect();
        let mut list = TopicPartitionList::with_capacity(open.len());
        for partition in &open {
            list.add_partition_offset(data, *partition, Offset::OffsetTail(TAIL)).map_err(refused)?;
        }
        self.records.assign(&list).map_err(refused)?;
        let mut has_rows = false;
        while !open.is_empty() && !has_rows {
            match self.records.poll(wait.left()?.min(UNDECIDED_PAUSE)) {
                None => {}
                Some(Ok(message)) => has_rows = is_row_of(&message, &search.wanted.uri),
                Some(Err(ClientError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) => return Err(refused(error)),
            }
        }
        self.records.unassign().map_err(refused)?;
        Ok(has_rows)
    }
}

/// Returns whether a record's header names a source.
fn is_row_of(message: &BorrowedMessage<'_>, uri: &str) -> bool {
    let Ok(name) = ORIGIN_HEADER.to_str() else { return false };
    let origin = message.headers().into_iter().flat_map(Headers::iter).find(|header| header.key == name);
    let origin = origin.and_then(|header| std::str::from_utf8(header.value?).ok()?.split_once(' '));
    origin.is_some_and(|(_, source)| source == uri)
}
