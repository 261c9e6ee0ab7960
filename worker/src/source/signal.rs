//! What the queue holds besides records, and what librdkafka means by it.

use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::error::KafkaError;

use super::Message;

/// What the queue holds besides records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The position has reached the end of the partition.
    End {
        /// Kafka partition.
        partition: i32,
        /// Offset of the next record that may come.
        offset: i64,
    },
    /// The position is outside of the log.
    OutOfRange {
        /// Kafka partition.
        partition: i32,
    },
    /// The log was cut below the position.
    Truncated {
        /// Kafka partition.
        partition: i32,
    },
    /// What comes next is damaged, or of a kind that librdkafka does not know. It may skip it; what the queue held behind it is left out.
    Unreadable {
        /// Kafka partition.
        partition: i32,
        /// What librdkafka says.
        message: String,
    },
    /// Another error of a partition or of the consumer.
    Failed {
        /// Kafka partition, where it is one's.
        partition: i32,
        /// Whether the brokers refuse our credentials or rights.
        authentication: bool,
        /// What librdkafka says.
        message: String,
    },
}

/// Returns what an element of the queue says that is no record.
pub(super) fn signal(message: &Message) -> Signal {
    let raw = message.raw();
    let partition = raw.partition;
    match raw.err {
        Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Signal::End { partition, offset: raw.offset },
        Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION => Signal::Truncated { partition },
        // With `auto.offset.reset=error` a truncation comes under this code, and only the text tells it.
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET if tells_truncation(message) => Signal::Truncated { partition },
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => Signal::OutOfRange { partition },
        // A damaged batch (found by us, or by the broker), one that cannot be unpacked, one of another codec or format.
        Code::RD_KAFKA_RESP_ERR__BAD_MSG
        | Code::RD_KAFKA_RESP_ERR_INVALID_MSG
        | Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION
        | Code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
        | Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            if partition >= 0 =>
        {
            Signal::Unreadable { partition, message: text_of(message) }
        }
        other => {
            let code = rdkafka::types::RDKafkaErrorCode::from(other);
            Signal::Failed { partition, authentication: is_refusal(&KafkaError::MessageConsumption(code)), message: code.to_string() }
        }
    }
}

/// Returns whether the brokers refuse our credentials or our rights.
pub(super) fn is_refusal(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Refusal;
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            Refusal::Authentication
                | Refusal::SaslAuthenticationFailed
                | Refusal::TopicAuthorizationFailed
                | Refusal::GroupAuthorizationFailed
                | Refusal::ClusterAuthorizationFailed
        )
    )
}

fn tells_truncation(message: &Message) -> bool {
    text_of(message).to_ascii_lowercase().contains("truncat")
}

/// Returns what librdkafka says of an error: it stands where a record has its payload.
fn text_of(message: &Message) -> String {
    String::from_utf8_lossy(message.record().payload.unwrap_or_default()).into_owned()
}
