//! The S3 server and the Kafka broker that `local`, the benchmark and the tests run in process.
//!
//! Both speak the real protocols over loopback, so that nothing in the data path knows that it is at home.

pub mod broker;
pub mod s3;

pub use broker::EmbeddedBroker;
pub use s3::EmbeddedS3;
