//! The contract of StockPipeline: everything that the operator and the workers must agree on.
//!
//! Pure values and functions only: no Kubernetes client, no async runtime, no I/O, no clock.
//!
//! | module | what it decides |
//! |---|---|
//! | [`document`] | how a file for `kubectl apply` is read |
//! | [`spec`] | what a user writes |
//! | [`check`] | from the one to the other, or every field error at once |
//! | [`checked`] | the pipeline after checking |
//! | [`operations`] | the parts of it that say how it is run and catalogued |
//! | [`schema`] | columns and the one type table |
//! | [`value`] | text of a record to a typed value |
//! | [`rules`] | everything that decides what a record becomes |
//! | [`layout`] | object keys, Hive partition values, ledger keys |
//! | [`murmur2`] | the hash of Kafka's partitioner |
//! | [`plan`] | the record of one rotation |
//! | [`table`] | the catalogue tables, for Glue and for SQL |
//! | [`ddl`] | the Athena tables as SQL |
//! | [`launch`] | how a worker is started and ends |
//! | [`status`] | what a worker says of itself |

pub mod check;
pub mod checked;
mod civil;
pub mod ddl;
pub mod document;
pub mod launch;
pub mod layout;
pub mod murmur2;
pub mod operations;
pub mod plan;
pub mod rules;
pub mod schema;
pub mod spec;
pub mod status;
pub mod table;
pub mod value;

pub use checked::Pipeline;
