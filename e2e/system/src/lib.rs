//! The whole system on real components: what its tests stand on.
//!
//! A test opens the [`Stage`], lets a [`Pipeline`] run on it as a user would (`helm`, `kubectl`), breaks things with [`faults`], and lets
//! others judge what is stored: Trino over Glue ([`trino`]), DuckDB over the objects ([`duckdb`]), and the worker's own audit.
//! [`Proof`] asks all three.
//!
//! | module | what |
//! |---|---|
//! | [`stage`] | where everything is, from the environment; the chart, installed once |
//! | [`program`] | kubectl, helm and scripts as processes |
//! | [`wait`] | conditions with a deadline; claims |
//! | [`dataset`] | files to replay, and what must be stored of them |
//! | [`bucket`] | the S3 server, seen by the test |
//! | [`pipeline`] | a pipeline in a namespace, bucket prefix, topic and database of its own |
//! | [`pods`] | its pods, and signals to their processes |
//! | [`kafka`] | the brokers, their leaders, groups and records |
//! | [`faults`] | what breaks |
//! | [`host`] | the workers' program on this machine |
//! | [`trino`], [`duckdb`], [`proof`] | who judges |
//!
//! A harness: what should not happen ends the test with all that was said, so functions panic where a program would return an error.
//! The tests are under `tests/it`, and all of them are ignored unless asked for, since they need the stage.

pub mod bucket;
pub mod clock;
pub mod dataset;
pub mod duckdb;
pub mod faults;
#[path = "../../free_port.rs"]
mod free_port;
pub mod host;
pub mod kafka;
pub mod pipeline;
pub mod pods;
pub mod program;
pub mod proof;
pub mod stage;
pub mod trino;
pub mod wait;

pub use dataset::Dataset;
pub use pipeline::Pipeline;
pub use proof::Proof;
pub use stage::Stage;
pub use wait::{claim, until, within};
