//! One Kafka record, borrowed from where it was fetched to.

/// One Kafka record.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Offset in its partition.
    pub offset: i64,
    /// Kafka timestamp in milliseconds since 1970; None where the record has none (-1).
    pub timestamp_millis: Option<i64>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Payload; None is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Headers, looked at only for dead letters.
    pub headers: &'a dyn Headers,
}

/// The headers of a record, read on demand: most records are never asked for them.
pub trait Headers {
    /// Returns the headers in their order; names may repeat, values may be missing or binary.
    fn read(&self) -> Vec<Header>;
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Option<Vec<u8>>,
}

impl Headers for Vec<Header> {
    fn read(&self) -> Vec<Header> {
        self.clone()
    }
}
