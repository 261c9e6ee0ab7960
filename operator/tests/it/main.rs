//! Tests of the operator that read files beside the crate or talk to real components.
//!
//! What needs an API server finds it by `KUBECONFIG`, and `kubectl` and `helm` on the path: `e2e/run` sets all of them up.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod chart;
mod cluster;
