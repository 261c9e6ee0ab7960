//! Tests with clients, servers and processes; one binary.

#[path = "../aws_endpoint/mod.rs"]
mod aws_endpoint;
mod catalogue;
