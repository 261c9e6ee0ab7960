//! One fetched message, as librdkafka holds it.

use std::ffi::CStr;
use std::ptr::NonNull;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;

use crate::record::{Header, Headers, Record};

/// What librdkafka holds of a message besides its key and payload: an operation of 304 bytes with what the allocator adds, the frame
/// of the record in its set, and the pointers to it.
pub(super) const OVERHEAD_BYTES: usize = 336;

/// One fetched message; freed when dropped.
pub struct Message(NonNull<rd::rd_kafka_message_t>);

// SAFETY: a message that was taken from a queue belongs to its holder alone; librdkafka frees it on any thread.
unsafe impl Send for Message {}

impl Message {
    /// Returns a message that was taken from a queue, which nothing else holds.
    pub(super) fn owned(message: NonNull<rd::rd_kafka_message_t>) -> Self {
        Self(message)
    }

    pub(super) fn raw(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: the pointer came from librdkafka, is owned by self and lives until drop.
        unsafe { self.0.as_ref() }
    }

    /// Returns the offset.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// Returns the bytes of memory that the message holds, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.raw().len + self.raw().key_len + OVERHEAD_BYTES
    }

    /// Returns the leader epoch of the record, where the broker tells it.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: as in `raw`; the call reads a field.
        let epoch = unsafe { rd::rd_kafka_message_leader_epoch(self.0.as_ptr()) };
        (epoch >= 0).then_some(epoch)
    }

    /// Returns the record, borrowed from the message.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        let raw = self.raw();
        // SAFETY: librdkafka's payload and key are `len` and `key_len` bytes that live as long as the message.
        let (payload, key) = unsafe { (bytes(raw.payload, raw.len), bytes(raw.key, raw.key_len)) };
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: as in `raw`; `kind` is a valid place to write to.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        let known = kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0;
        Record { offset: raw.offset, timestamp_millis: known.then_some(timestamp), key, payload, headers: self }
    }
}

unsafe fn bytes<'a>(start: *mut std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller says that `length` bytes live at `start`, or that it is null.
    NonNull::new(start.cast::<u8>()).map(|start| unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
}

impl Headers for Message {
    fn read(&self) -> Vec<Header> {
        let mut found = Vec::new();
        let mut list = std::ptr::null_mut();
        // SAFETY: the message lives; names are C strings and values `size` bytes that live as long as it does.
        unsafe {
            if rd::rd_kafka_message_headers(self.0.as_ptr(), &raw mut list) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return found;
            }
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            while rd::rd_kafka_header_get_all(list, found.len(), &raw mut name, &raw mut value, &raw mut size)
                == Code::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                found.push(Header {
                    name: CStr::from_ptr(name).to_string_lossy().into_owned(),
                    value: bytes(value.cast_mut(), size).map(<[u8]>::to_vec),
                });
            }
        }
        found
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is owned and destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}
