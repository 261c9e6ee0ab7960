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
//! | [`arguments`] | the command line |
//! | [`run`] | the process in a cluster: endpoints, election, controller, stop |
//! | [`leader`] | which of several processes writes |
//! | [`fence`] | whether this one still may |
//! | [`http`] | `/livez`, `/readyz` and `/metrics` |
//! | [`telemetry`] | log lines |
//! | [`controller`] | keeps every pipeline as it is declared |
//! | [`catalogue`] | brings Glue and Athena to what the catalogue decides, or says what it would do |
//! | [`glue`] | Glue's API |
//! | [`athena`] | Athena's API |
//! | [`aws`] | as whom AWS is called, where to, how fast, and what a failure means |
//! | [`limiter`] | how fast a service of AWS is called |

pub mod arguments;
pub mod athena;
pub mod aws;
pub mod catalog;
pub mod catalogue;
pub mod change;
pub mod claims;
mod clock;
pub mod controller;
pub mod crd;
pub mod desired;
pub mod error;
pub mod fence;
pub mod glue;
mod hash;
pub mod http;
pub mod identity;
pub mod leader;
pub mod limiter;
pub mod metrics;
pub mod run;
pub mod scaler;
pub mod settings;
pub mod status;
pub mod telemetry;
