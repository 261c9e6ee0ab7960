//! The sink on a real Kafka protocol and a real S3 server, both in process; what dies is a child process.

mod clean_up;
mod contract;
mod crash;
mod damaged;
mod membership;
mod ownership;
mod partitions;
mod real;
mod records;
mod refusals;
mod refused_partitions;
mod stage;
mod start;
mod store_faults;
mod stored;
