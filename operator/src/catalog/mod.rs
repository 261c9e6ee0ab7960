//! The Glue tables and Athena objects of a pipeline: what they should be, brought about over AWS' APIs, and when that is looked at.
//!
//! | module | what it does |
//! |---|---|
//! | [`decide`] | what there should be, and what to do about what is there: pure |
//! | [`converge`] | does it, or says what it would do |
//! | [`aws`] | the APIs of Glue and Athena: as whom, where to, how fast, and what a failure means |
//! | `sync` | when the catalogue is looked at |

pub mod aws;
pub mod converge;
pub mod decide;
pub(crate) mod sync;
