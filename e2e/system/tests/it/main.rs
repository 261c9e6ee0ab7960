//! What is promised, shown on real components. Every test needs the stage (`e2e/stage up`).
//!
//! `make e2e` runs all but [`faults`], which `make faults` runs, and [`soak`], which `make soak` runs.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it sees, its helpers too")]

mod faults;
mod load;
mod replay;
mod soak;
mod story;
mod survival;
