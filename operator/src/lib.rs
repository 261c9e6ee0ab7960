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
//! | [`catalog`] | the Glue and Athena objects of a pipeline, and what to do about the ones that are there |
//! | [`scaler`] | how many workers there should be |
//! | [`status`] | conditions and phase, and when they are written |
//! | [`metrics`] | what the operator counts |
//!
//! Around the core, with clients and clocks:
//!
//! | module | what it does |
//! |---|---|
//! | [`catalogue`] | brings Glue and Athena to what the catalogue decides, or says what it would do |
//! | [`glue`] | Glue's API |
//! | [`athena`] | Athena's API |
//! | [`aws`] | as whom AWS is called, where to, how fast, and what a failure means |
//! | [`limiter`] | how fast a service of AWS is called |

pub mod athena;
pub mod aws;
pub mod catalog;
pub mod catalogue;
pub mod change;
pub mod claims;
pub mod controller;
pub mod crd;
pub mod desired;
pub mod error;
pub mod glue;
mod hash;
pub mod identity;
pub mod limiter;
pub mod metrics;
pub mod scaler;
pub mod settings;
pub mod status;
