//! The controller over an API server in process: what it writes, in which order, when it writes nothing, and what survives.

mod annotations;
mod catalog;
mod children;
mod crash;
mod deletion;
mod faults;
mod lifecycle;
mod specs;
mod stage;
mod start;
mod turns;
mod workers;
