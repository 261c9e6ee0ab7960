//! What is promised, shown on real components. Every test needs the stage (`e2e/stage up`).
//!
//! `make e2e` runs all but [`faults`], which `make faults` runs, and [`soak`], which `make soak` runs.

mod faults;
mod load;
mod replay;
mod soak;
mod story;
mod survival;
