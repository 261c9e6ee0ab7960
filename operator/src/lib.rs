//! The operator of StockPipeline: the pure core from which it keeps workers, Glue tables and Athena objects.
//!
//! Everything here takes values and the time and gives values: no client, no clock, no environment.
//!
//! | module | what it decides |
//! |---|---|
//! | [`crd`] | the custom resource: its schema, columns and status |
//! | [`identity`] | the resource that everything made for a pipeline belongs to, and the names of those things |
//! | [`settings`] | what the operator itself is set to |
//! | [`change`] | what a new spec may not change about the one in force |
//! | [`claims`] | which of two pipelines keeps what both claim |
//! | [`desired`] | the Kubernetes objects of a pipeline |
//! | [`catalog`] | the Glue tables of a pipeline, and what to do about the ones that are there |
//! | [`scaler`] | how many workers there should be |
//! | [`status`] | conditions and phase, and when they are written |
//! | [`metrics`] | what the operator counts |

pub mod catalog;
pub mod change;
pub mod claims;
pub mod controller;
pub mod crd;
pub mod desired;
pub mod error;
mod hash;
pub mod identity;
pub mod metrics;
pub mod scaler;
pub mod settings;
pub mod status;
