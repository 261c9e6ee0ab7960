//! Tests that use the network of this machine: real protocols, in process.

mod http;
