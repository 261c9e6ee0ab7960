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
//! | [`controller`] | decides who is looked at when; what follows is one look |
//! | [`reconcile`] | one look in five steps: observe, check, desired, apply, status |
//! | `observe` | what there is, from caches that watches keep, and from [`workers`]' own words |
//! | `accept` | which spec is in force, with `revisions` of those that were accepted |
//! | `sync`, `lifecycle` | when the catalogue is looked at; how many workers there should be now |
//! | [`apply`], `children` | writes what differs, in an order that matters |
//! | [`findings`], `publish`, [`events`] | what it all amounts to, written when it is worth it |
//! | `finalize` | the end of a pipeline |
//! | `memory` | what is remembered between two looks |
//! | [`arguments`] | the command line |
//! | [`run`] | the process in a cluster: endpoints, election, controller, stop |
//! | [`plan`] | what applying a document would change |
//! | [`leader`] | which of several processes writes |
//! | [`fence`] | whether this one still may |
//! | [`pulse`] | whether the controller moves |
//! | [`http`] | `/livez`, `/readyz` and `/metrics` |
//! | [`telemetry`] | log lines |
//! | [`catalogue`] | brings Glue and Athena to what the catalogue decides, or says what it would do |
//! | [`glue`] | Glue's API |
//! | [`athena`] | Athena's API |
//! | [`aws`] | as whom AWS is called, where to, how fast, and what a failure means |
//! | [`limiter`] | how fast a service of AWS is called |

mod accept;
pub mod apply;
pub mod arguments;
pub mod athena;
pub mod aws;
pub mod catalog;
pub mod catalogue;
pub mod change;
mod children;
pub mod claims;
mod clock;
pub mod controller;
pub mod crd;
pub mod desired;
pub mod error;
pub mod events;
pub mod fence;
mod finalize;
pub mod findings;
pub mod glue;
mod hash;
pub mod http;
pub mod identity;
pub mod leader;
mod lifecycle;
pub mod limiter;
mod memory;
pub mod metrics;
mod observe;
pub mod plan;
mod publish;
pub mod pulse;
pub mod reconcile;
mod revisions;
pub mod run;
pub mod scaler;
pub mod settings;
pub mod status;
mod sync;
pub mod telemetry;
pub mod workers;
