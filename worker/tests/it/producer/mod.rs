//! Producers over real protocols: on the embedded broker at least once, on a real one exactly once, whatever dies.

mod embedded;
mod real;
mod stage;
