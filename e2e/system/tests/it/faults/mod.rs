//! The list of faults that has to be survived, at full length: what `make faults` runs. docs/faults.md says which test shows which.

mod brokers;
pub(crate) mod records;
mod store;
mod workers;
