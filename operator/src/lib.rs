//! The operator of StockPipeline: keeps workers, Glue tables and Athena objects of each pipeline as declared, and says how they are.
//!
//! One look at a pipeline is five steps, each a folder:
//!
//! | step | what it does |
//! |---|---|
//! | [`observe`] | what there is: from caches that watches keep, and from the workers' own words |
//! | [`accept`] | which spec is in force: accepted ones are kept as `revisions`; what a new one may not [`change`](accept::change), and which of two pipelines keeps what both [claim](accept::claims) |
//! | [`desired`] | the Kubernetes objects of a pipeline, and [how many workers](desired::scaler) there should be |
//! | [`apply`] | writes what differs, in an order that matters (`children`) |
//! | [`status`] | from what was seen to `findings`, conditions, phase and `events`; written (`publish`) when it is worth it |
//!
//! Around the steps:
//!
//! | folder | what it is |
//! |---|---|
//! | [`resource`] | the custom resource ([`crd`](resource::crd)), and the names, labels and owner of what is made for one ([`identity`](resource::identity)) |
//! | [`catalog`] | Glue and Athena: what they should have and what to do about what they have ([`decide`](catalog::decide)), doing it ([`converge`](catalog::converge)) over their APIs ([`aws`](catalog::aws)), and when (`sync`) |
//! | [`reconcile`] | one look as a table of contents; [who is looked at when](reconcile::controller) (`agenda`: what comes again), and what is remembered between two looks (`memory`); how many workers run now (`lifecycle`); the end of a pipeline (`finalize`); when looks begin (`gate`) and whether they end ([`pulse`](reconcile::pulse)) |
//! | [`plan`] | what applying a document would change |
//! | [`process`] | the process: [command line](process::arguments), [run](process::run), which of several processes writes ([`leader`](process::leader)) and whether this one still may ([`fence`](process::fence)), [endpoints](process::http), [log](process::telemetry) |
//!
//! What every folder uses stands beside them: [`act`], [`error`], `hash`, [`metrics`], [`settings`].
//!
//! [`catalog::decide`], [`desired`], [`resource`], [`accept::change`], [`accept::claims`] and [`status`] but for its `publish` are pure: they take values and the time and
//! give values, without client, clock or environment.

pub mod accept;
pub mod act;
pub mod apply;
pub mod catalog;
pub mod desired;
pub mod error;
mod hash;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod process;
pub mod reconcile;
pub mod resource;
pub mod settings;
pub mod status;
