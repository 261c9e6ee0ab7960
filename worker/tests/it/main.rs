//! Tests that use the network of this machine: real protocols, in process.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod audit;
#[expect(dead_code, reason = "the operator's suite uses the rest of it")]
#[path = "../../../operator/tests/aws_endpoint/mod.rs"]
mod aws_endpoint;
mod broker;
mod charts;
mod command_line;
mod faults;
mod feed;
#[path = "../../../e2e/free_port.rs"]
mod free_port;
mod http;
mod local;
mod producer;
mod sink;
mod source;
mod store;
mod topics;
mod zone;
