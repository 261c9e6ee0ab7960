//! The sink on a real Kafka protocol and a real S3 server, both in process; what dies is a child process.

mod crash;
mod stage;
mod stored;
