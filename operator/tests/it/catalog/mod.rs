//! Glue and Athena, kept by the real clients over HTTP.

mod athena;
mod contract;
mod converge;
mod faults;
mod indexes;
mod moto;
mod places;
mod removal;
mod stage;
mod tables;

pub(crate) use stage::sorted;
