//! The operator over real protocols: servers in process, files beside the crate, and real components.
//!
//! What needs a real API server is ignored, and says so; it finds it by `KUBECONFIG`, and `kubectl` and `helm` on the path: `e2e/run` sets
//! all of them up.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "../api_server/mod.rs"]
mod api_server;
mod audit_log;
mod audited;
#[path = "../aws_endpoint/mod.rs"]
mod aws_endpoint;
mod catalog;
mod chart;
mod cluster;
mod dockerfile;
mod end_to_end;
#[path = "../../../e2e/free_port.rs"]
mod free_port;
mod iam;
mod leader;
mod moto;
mod plan;
mod process;
mod program;
mod proxy;
mod reconcile;
mod side_by_side;
#[path = "../simulation/mod.rs"]
mod simulation;
mod worker_status;
