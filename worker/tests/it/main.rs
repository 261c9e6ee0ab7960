//! Tests that use the network of this machine: real protocols, in process.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod broker;
mod faults;
mod http;
mod sink;
mod store;
